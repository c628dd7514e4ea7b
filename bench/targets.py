#!/usr/bin/env python3
"""What was asked of the kernels on a CPU beside what was measured: a table, then one line per target that says met or short.

  python3 bench/targets.py --longest growth.jsonl --gib 16     of one op: seconds and memory of its last length, and how time grows
  python3 bench/targets.py --rows rows.jsonl [--only REGEX] [--roofs FILE ...] [--cold FILE ...] [--peers peers.jsonl]
                           [--growth growth.jsonl] [--threads threads.jsonl]

rows.jsonl is what `bench_kernel --rows` prints, the roofs' files are those of bench_primitives and its kin (--benchmark_out), the
others those of bench/compare.sh. A target is met when every one of its rows is; what was not measured is `open`. What the same rows
reach with cold inputs, and several threads, are for information.
"""

import argparse
import json
import pathlib
import re
import sys

PASSES = ("forward", "backward")


def json_lines(path):
    return [json.loads(line) for line in pathlib.Path(path).read_text().splitlines()] if path and pathlib.Path(path).exists() else []


def fractions(files):
    """(title, pass) of what Google Benchmark timed: its line."""
    found = {}
    for file in filter(None, files):
        for line in json.loads(pathlib.Path(file).read_text())["benchmarks"]:
            words = line["name"].split("/")
            name = next((word for word in words if word in PASSES), None)
            if name and not line.get("error_occurred"):
                found[" ".join(words[:words.index(name)]).replace(":", "="), name] = line
    return found


class Figure:
    """One measured number, what was asked of it, and of which row it is."""

    def __init__(self, title, text, value, wanted):
        self.title, self.text, self.value, self.wanted = title, text, value, wanted

    def met(self):
        return round(self.value, 2) >= self.wanted


def roof_figures(row, roofs, cold):
    target = row["target"]
    for name in PASSES:
        line, wanted = roofs.get((row["title"], name)), target[name + "_roof"]
        if line and wanted:
            kind = "fma" if target["products"] else "roof"
            what = "FMA peak" if target["products"] else f"floor ({line['label']})"
            text = f"{100 * line[kind]:.0f} % of the {what}"
            if (row["title"], name) in cold:
                text += f"; {100 * cold[row['title'], name][kind]:.0f} % cold"
            yield Figure(f"{row['title']}, {name}", text, line[kind], wanted)


def peer_figures(row, peers):
    line, wanted = peers.get(row["title"]), row["target"]["peer"]
    if line and wanted:
        yield Figure(row["title"], f"{line['ratio']:.2f} x {line['peer']}", line["ratio"], wanted)


def span(values, unit):
    low, high = min(values), max(values)
    scale = 100 if unit == "%" else 1
    text = f"{low * scale:.{0 if scale == 100 else 2}f}"
    return text + (f" to {high * scale:.{0 if scale == 100 else 2}f}" if high > low else "") + " " + unit


def verdict(name, kind, figures, wanted):
    """One line: name, figure, target, met or short; with the row that is furthest off."""
    if not figures:
        return f"{name}, {kind}: not measured, wanted {wanted}: open"
    worst = min(figures, key=lambda figure: figure.value / figure.wanted)
    seen = span([figure.value for figure in figures], "%" if kind == "roof" else "x")
    met = all(figure.met() for figure in figures)
    return f"{name}, {kind}: {seen}, wanted {wanted}: " + ("met" if met else f"short ({worst.title}: {worst.text})")


def wanted_roof(target):
    asked = [f"{100 * target[name + '_roof']:.0f} % {name}" for name in PASSES if target[name + "_roof"]]
    return " and ".join(asked) + (" of the FMA peak" if target["products"] else " of the floor")


def growth_verdicts(lines):
    for line in lines:
        if "growth" in line:
            g = line["growth"]
            counted = max(g["flops"], g["bytes"])
            chosen = " ".join(f"{key}={line['shape'][key]}" for key in ("pattern", "protocol", "causal") if key in line["shape"])
            yield (f"growth of {line['op']} {chosen}".rstrip() + f", n = {g['from']} to {g['to']}: time n^{g['time']:.2f}, "
                   f"counted n^{counted:.2f} + 0.05: " + ("met" if g["time_met"] else "short"))


def thread_lines(lines):
    """How much sooner several threads are done than one."""
    wall = {}
    for line in lines:
        seconds = sum(line[name]["wall_median_ms"] for name in PASSES if name in line)
        wall.setdefault((line["op"], line["shape"]["n"]), {})[line["threads"]] = seconds
    for (op, n), by in wall.items():
        if len(by) > 1:
            most = max(by)
            yield f"{op} n={n}: {by[1] / by[most]:.2f} times as fast on {most} threads (wall time, for information)"


def longest(file, most_gib):
    """Prints one line; whether the process stayed below so many GiB."""
    lines = json_lines(file)
    runs, growth = [line for line in lines if "memory" in line], lines[-1]["growth"]
    last = max(runs, key=lambda line: int(line["shape"]["n"]))
    seconds = [last[name]["median_ms"] / 1e3 for name in PASSES]
    tensors, process = (last["memory"][kind] / 2**30 for kind in ("peak", "resident"))
    met = process < most_gib
    print(f"{last['op']}, n = {last['shape']['n']}: {seconds[0]:.2f} s forward, {seconds[1]:.2f} s backward, {tensors:.2f} GiB of tensors, "
          f"{process:.2f} GiB of the process, wanted {most_gib:g}: {'met' if met else 'short'}; time n^{growth['time']:.2f}, "
          f"counted n^{max(growth['flops'], growth['bytes']):.2f}")
    return met


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows")
    parser.add_argument("--longest")
    parser.add_argument("--gib", type=float, default=16)
    parser.add_argument("--only", default="", help="rows whose title matches this regular expression")
    parser.add_argument("--roofs", nargs="*", default=[])
    parser.add_argument("--cold", nargs="*", default=[])
    parser.add_argument("--peers")
    parser.add_argument("--growth")
    parser.add_argument("--threads")
    options = parser.parse_args()
    if options.longest:
        sys.exit(0 if longest(options.longest, options.gib) else 1)
    rows = [row for row in json_lines(options.rows) if "target" in row and re.search(options.only, row["title"])]
    roofs, cold = fractions(options.roofs), fractions(options.cold)
    peers = {line["title"]: line for line in json_lines(options.peers)}

    names = list(dict.fromkeys(row["target"]["name"] for row in rows))
    verdicts = []
    print("| row | measured | wanted | |\n|---|---|---|---|")
    for name in names:
        own = [row for row in rows if row["target"]["name"] == name]
        target = own[0]["target"]
        by_roof = [figure for row in own for figure in roof_figures(row, roofs, cold)]
        by_peer = [figure for row in own for figure in peer_figures(row, peers)]
        for figure in by_roof + by_peer:
            unit = f"{100 * figure.wanted:.0f} %" if figure in by_roof else f"{figure.wanted:g} x"
            print(f"| {figure.title} | {figure.text} | {unit} | {'met' if figure.met() else 'short'} |")
        if target["forward_roof"]:
            verdicts.append(verdict(name, "roof", by_roof, wanted_roof(target)))
        if target["peer"]:
            verdicts.append(verdict(name, "peer", by_peer, f"{target['peer']:g} x"))
    print()
    print("\n".join([*verdicts, *growth_verdicts(json_lines(options.growth)), *thread_lines(json_lines(options.threads))]))


if __name__ == "__main__":
    main()
