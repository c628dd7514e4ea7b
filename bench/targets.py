#!/usr/bin/env python3
"""What was asked of the kernels on a CPU beside what was measured: a table, then one line per target that says met or short.

  python3 bench/targets.py --longest growth.jsonl --gib 16     of one op: seconds and memory of its last length, and how time grows
  python3 bench/targets.py --rows rows.jsonl [--only REGEX] [--n 1024,4096] [--roofs FILE ...] [--cold FILE ...] [--peers peers.jsonl]
                           [--growth growth.jsonl] [--threads threads.jsonl]

rows.jsonl is what `bench_kernel --rows` prints, the roofs' files are those of bench_primitives and its kin (--benchmark_out), the
others those of bench/compare.sh. A target is met when every one of its rows is, of those that --only and --n name; a row that was not
measured is `open`, and so is one whose peer failed in one of its ways, such as torch.compile: the row names it. How many rows stand beside a
PyTorch that was not compiled, or have no JAX beside them, is said behind `met`. What the same rows reach with cold inputs, and several
threads, are for information.
"""

import argparse
import json
import pathlib
import re
import sys

PASSES = ("forward", "backward")


def text_of(path):
    try:
        return pathlib.Path(path).read_text()
    except OSError as error:
        sys.exit(f"targets: {path}: {error.strerror}")


def parsed(text, path):
    try:
        return json.loads(text)
    except ValueError as error:
        sys.exit(f"targets: {path}: {error}")


def json_lines(path):
    """Nothing where no path is given."""
    return [parsed(line, path) for line in text_of(path).splitlines()] if path else []


def fractions(files):
    """(title, pass) of what Google Benchmark timed: its line."""
    found = {}
    for file in filter(None, files):
        for line in parsed(text_of(file), file).get("benchmarks", []):
            words = line["name"].split("/")
            name = next((word for word in words if word in PASSES), None)
            if name and not line.get("error_occurred"):
                found[" ".join(words[:words.index(name)]).replace(":", "="), name] = line
    return found


class Figure:
    """One measured number, what was asked of it, and of which row it is; what failed that might have made it smaller, and what was not
    asked for."""

    def __init__(self, title, text, value, wanted, failed=(), unasked=()):
        self.title, self.text, self.value, self.wanted = title, text, value, wanted
        self.failed, self.unasked = list(failed), list(unasked)

    def enough(self):
        return self.value >= self.wanted

    def met(self):
        return self.enough() and not self.failed


class Measurements:
    """What is known of a row."""

    def __init__(self, roofs, cold, peers):
        self.roofs, self.cold, self.peers = fractions(roofs), fractions(cold), {line["title"]: line for line in json_lines(peers)}

    def share(self, row, name, cold=False):
        """Of the roof that its target is about; None where it was not measured."""
        line = (self.cold if cold else self.roofs).get((row["title"], name))
        return line and line["fma" if target_of(row)["products"] else "roof"]

    def roof_figures(self, row):
        target = target_of(row)
        for name in PASSES:
            share, wanted = self.share(row, name), target[name + "_roof"]
            if share and wanted:
                floor = "FMA peak" if target["products"] else f"floor ({self.roofs[row['title'], name]['label']})"
                yield Figure(f"{row['title']}, {name}", f"{100 * share:.0f} % of the {floor}", share, wanted)

    def peer_figures(self, row):
        line, wanted = self.peers.get(row["title"]), target_of(row)["peer"]
        if line and wanted:
            unasked = ([] if line["jax"] else ["no JAX"]) + (["PyTorch not compiled"] if line["eager"] else [])
            yield Figure(row["title"], f"{line['ratio']:.2f} x {line['peer']}", line["ratio"], wanted, line["failed"], unasked)

    def missing(self, row):
        """What was asked for and not measured, of "roof" and "peer"."""
        target = target_of(row)
        roof = self.roofs and any(target[name + "_roof"] and not self.share(row, name) for name in PASSES)
        return [name for name, lacks in (("roof", roof), ("peer", self.peers and target["peer"] and row["title"] not in self.peers)) if lacks]

    def verdict(self, rows, kind, wanted):
        figures = [figure for row in rows for figure in (self.roof_figures if kind == "roof" else self.peer_figures)(row)]
        missing = [row["title"] for row in rows if kind in self.missing(row)]
        return verdict(target_of(rows[0])["name"], kind, figures, missing, wanted)

    def table_line(self, row):
        """None where nothing is known."""
        percent = lambda share: f"{100 * share:.0f}" if share else ""
        cold = [self.share(row, name, cold=True) for name in PASSES]
        line = self.peers.get(row["title"])
        if not line and not any(self.share(row, name) for name in PASSES):
            return None
        beside = f"{line['median_ms']['ours']:.2f} | {line['ratio']:.2f} | {line['peer']}{failures(line)}" if line else "| |"
        missing = self.missing(row)
        short = [name + (" open" if name in missing else "") for name, figures in (("roof", self.roof_figures(row)), ("peer", self.peer_figures(row)))
                 if name in missing or not all(figure.met() for figure in figures)]
        return (f"| {row['title']} | {' | '.join(percent(self.share(row, name)) for name in PASSES)} | "
                f"{' / '.join(map(percent, cold)) if any(cold) else ''} | {beside} | {', '.join(short)} |")


def failures(line):
    return "".join(f"; {name} failed" for name in line["failed"]) + ("; none compiled" if line["eager"] else "")


def target_of(row):
    return row.get("target") or {"name": "no target", "forward_roof": 0, "backward_roof": 0, "peer": 0, "products": False}


def span(values, unit):
    low, high = min(values), max(values)
    scale = 100 if unit == "%" else 1
    text = f"{low * scale:.{0 if scale == 100 else 2}f}"
    return text + (f" to {high * scale:.{0 if scale == 100 else 2}f}" if high > low else "") + " " + unit


def unasked(figures):
    """" (PyTorch not compiled in 2 of 3 rows)"."""
    reasons = dict.fromkeys(reason for figure in figures for reason in figure.unasked)
    counts = [(reason, sum(reason in figure.unasked for figure in figures)) for reason in reasons]
    said = [reason if count == len(figures) else f"{reason} in {count} of {len(figures)} rows" for reason, count in counts]
    return f" ({', '.join(said)})" if said else ""


def verdict(name, kind, figures, missing, wanted):
    """One line: name, figure, target, met, short or open; with the row that is furthest off. `missing`: rows without a figure."""
    if not figures:
        return f"{name}, {kind}: not measured, wanted {wanted}: open"
    worst = min(figures, key=lambda figure: figure.value / figure.wanted)
    seen = span([figure.value for figure in figures], "%" if kind == "roof" else "x")
    unsure = next((figure for figure in figures if figure.failed), None)
    if not worst.enough():
        judged = f"short ({worst.title}: {worst.text})"
    elif unsure:
        judged = f"open ({unsure.title}: {', '.join(unsure.failed)} failed)"
    elif missing:
        judged = f"open ({missing[0]}{f' and {len(missing) - 1} more' if len(missing) > 1 else ''} not measured)"
    else:
        judged = "met" + unasked(figures)
    return f"{name}, {kind}: {seen}, wanted {wanted}: {judged}"


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
    runs, growth = [line for line in lines if "memory" in line], lines[-1].get("growth") if lines else None
    if not runs or not growth:
        sys.exit(f"targets: {file}: not what `bench_kernel OP --growth` printed")
    last = max(runs, key=lambda line: int(line["shape"]["n"]))
    seconds = [last[name]["median_ms"] / 1e3 for name in PASSES]
    tensors, process = (last["memory"][kind] / 2**30 for kind in ("peak", "resident"))
    met = process < most_gib
    print(f"{last['op']}, n = {last['shape']['n']}: {seconds[0]:.2f} s forward, {seconds[1]:.2f} s backward, {tensors:.2f} GiB of tensors, "
          f"{process:.2f} GiB of the process, wanted {most_gib:g}: {'met' if met else 'short'}; time n^{growth['time']:.2f}, "
          f"counted n^{max(growth['flops'], growth['bytes']):.2f}")
    return met


def of_length(row, lengths):
    return not lengths or "length" not in row or str(row["length"]) in lengths.split(",")


def pattern(text):
    try:
        return re.compile(text)
    except re.error as error:
        raise argparse.ArgumentTypeError(f"'{text}' is no regular expression: {error}") from error


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows")
    parser.add_argument("--longest")
    parser.add_argument("--gib", type=float, default=16)
    parser.add_argument("--only", default="", type=pattern, help="rows whose title matches this regular expression")
    parser.add_argument("--n", help="rows of these lengths, with commas between, and those that have none")
    parser.add_argument("--roofs", nargs="*", default=[])
    parser.add_argument("--cold", nargs="*", default=[])
    parser.add_argument("--peers")
    parser.add_argument("--growth")
    parser.add_argument("--threads")
    options = parser.parse_args()
    if options.longest:
        sys.exit(0 if longest(options.longest, options.gib) else 1)
    if not options.rows:
        parser.error("--rows or --longest is needed")
    rows = [row for row in json_lines(options.rows) if options.only.search(row["title"]) and of_length(row, options.n)]
    measured = Measurements(options.roofs, options.cold, options.peers)
    verdicts = []
    print("Roofs in % of the FMA peak, or of the floor of products and bytes; ours in ms, forward + backward; ratio: times as fast as the\n"
          "fastest peer, whose time below 0.1 ms is mostly that of calls from Python. A peer one of whose ways failed is not met.\nNone compiled: torch.compile was not tried.\n")
    print("| row | forward | backward | cold | ours | ratio | fastest peer | short of |\n|---|---|---|---|---|---|---|---|")
    for name in dict.fromkeys(target_of(row)["name"] for row in rows):
        own = [row for row in rows if target_of(row)["name"] == name]
        lines = list(filter(None, map(measured.table_line, own)))
        target = target_of(own[0])
        wanted = [f"≥ {100 * target[name + '_roof']:.0f}" if target[name + "_roof"] else "" for name in PASSES]
        if lines:
            print(f"| **{name}** | {' | '.join(wanted)} | | | {'≥ ' + format(target['peer'], 'g') if target['peer'] else ''} | "
                  f"{'of the FMA peak' if target['products'] else 'of the floor'} | |", *lines, sep="\n")
        if target["forward_roof"]:
            verdicts.append(measured.verdict(own, "roof", wanted_roof(target)))
        if target["peer"]:
            verdicts.append(measured.verdict(own, "peer", f"{target['peer']:g} x"))
    if not measured.roofs and not measured.peers:
        verdicts = []
    print()
    print("\n".join([*verdicts, *growth_verdicts(json_lines(options.growth)), *thread_lines(json_lines(options.threads))]))


if __name__ == "__main__":
    main()
