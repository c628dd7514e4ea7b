#!/usr/bin/env python3
"""Puts what bench/gpu.sh has left in a folder into gpu.json, every record with its machine, and gpu.md, to read.

  python3 bench/gpu/report.py FOLDER
"""

import json
import pathlib
import sys

import targets

PARTS = ("build", "tests", "sanitizer", "kernels", "attentions", "layers", "ops", "growth", "training", "listops")


def read(path):
    return [json.loads(line) for line in path.read_text().splitlines() if line] if path.exists() else []


def table(header, rows):
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join(lines + ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows])


def number(value, digits=3):
    return "–" if value is None else f"{value:.{digits}g}" if abs(value) < 1000 else f"{value:.0f}"


def kernel_row(k):
    shape = ", ".join(f"{name} {extent}" for name, extent in k["shape"].items())
    teraflops = number(k["gflops"] / 1e3) if k["gflops"] else "–"
    return (k["op"], shape, k["precision"], number(k["median_ms"]), teraflops, number(k["gbytes"]),
            f"{100 * k['roof']['fraction']:.0f} % {k['roof']['name']}", number(k.get("peer_ms")), number(k.get("ratio")),
            k.get("peer", "–"))


def op_row(k):
    """One line of bench_gpu --attentions, --layers or --ops."""
    if "failed" in k:
        return (k["case"], "–", k["precision"], "failed: " + k["failed"].replace("|", "/"), *["–"] * 9)
    usual = {"n", "d", "batch", "heads"}
    shape = ", ".join(f"{name} {value}" for name, value in k["shape"].items() if name in usual or k["case"] in ("combiner", "paramixer")
                      and name in ("pattern", "protocol"))
    forward, both = k["forward"], k.get("both")
    peer = k.get("peer_both_ms") or k.get("peer_forward_ms")
    roof = lambda p: f"{100 * p['roof']['fraction']:.0f} % {p['roof']['name']}" if p and "roof" in p else "–"
    return (k["case"], shape, k["precision"], number(forward["median_ms"]), roof(forward), number(both["median_ms"] if both else None),
            roof(both), f"{forward['launches']} + {both['launches'] - forward['launches'] if both else 0}",
            number(k["peak_bytes"] / 2**20), number(k.get("error"), 1), number(peer), number(k.get("ratio")), k.get("peer", "–"))


OP_HEADER = ("op", "shape", "precision", "forward ms", "roof", "both ms", "roof", "launches", "peak MiB", "error", "peer ms", "ratio", "peer")


def growth_tables(lines):
    """Milliseconds of forward and backward by n, and fitted exponents."""
    runs = [line for line in lines if line.get("growth")]
    ops = list(dict.fromkeys(line["case"] for line in runs))
    lengths = sorted({int(line["shape"]["n"]) for line in runs})
    at = {(line["case"], int(line["shape"]["n"])): line for line in runs}
    times = [(op, *(number(at[op, n]["both"]["median_ms"]) if (op, n) in at else "–" for n in lengths)) for op in ops]
    memory = [(op, *(number(at[op, n]["peak_bytes"] / 2**20) if (op, n) in at else "–" for n in lengths)) for op in ops]
    heads = [str(n) for n in lengths]
    met = lambda yes: "met" if yes else "above"
    exponents = [(e["exponents_of"], "failed: " + e["failed"].replace("|", "/"), "–", "–", "–", "–", "–") if "failed" in e else
                 (e["exponents_of"], number(e["time"]), number(e["flops"]), met(e["time_met"]), number(e["allocated"]),
                  number(e["bytes"]), met(e["memory_met"])) for e in lines if "exponents_of" in e]
    return [table(("ms", *heads), times), "", table(("peak MiB", *heads), memory), "",
            table(("exponent of", "time", "counted flops", "", "memory", "counted bytes", ""), exponents)]


def percent(value):
    return "–" if value is None else f"{100 * value:.2f}"


def main():
    folder = pathlib.Path(sys.argv[1])
    machine = json.loads((folder / "machine.json").read_text())
    parts = {part: read(folder / f"{part}.jsonl") for part in PARTS}
    roofs = [line["roofs"] for line in parts["kernels"] if "roofs" in line]
    clock = next((line["sm_mhz"] for line in read(folder / "clock.jsonl")), None)  # while the kernels ran
    kernels = [{**line, "device": machine["gpu"]["name"], "driver": machine["gpu"]["driver_version"],
                "clock_mhz": clock, "compiler": machine["nvcc"], "commit": machine["commit"]}
               for line in parts["kernels"] if "op" in line]
    (folder / "gpu.json").write_text(json.dumps({"machine": machine, "roofs": roofs, **parts, "kernels": kernels}, indent=1) + "\n")

    gpu = machine["gpu"]
    page = [f"# {gpu['name']}", "",
            f"Driver {gpu['driver_version']}, clocks up to {gpu['clocks.max.sm']}, memory {gpu['memory.total']}, "
            f"{machine['nvcc']}, commit {machine['commit']}."]
    if parts["build"]:
        page += ["", f"Built in {parts['build'][0]['seconds']} s."]
    if parts["tests"]:
        page += ["", "## Tests on the device", "",
                 table(("program", "passed", "failed", "s"),
                       [(t["program"], t.get("passed", "–"), t.get("failed", "–"), t["seconds"]) for t in parts["tests"]])]
    if parts["sanitizer"]:
        page += ["", "## compute-sanitizer", "",
                 table(("tool", "result"), [(s["tool"], s["result"]) for s in parts["sanitizer"]])]
    if kernels:
        flops = {name: number(value / 1e3) for name, value in roofs[0]["gflops"].items()} if roofs else {}
        page += ["", "## Kernels", "",
                 f"Roofs, measured in the same run: copies {number(roofs[0]['copy_gbytes'])} GB/s, in the cache "
                 f"{number(roofs[0]['cache_gbytes'])}; products of cuBLAS in TFLOP/s "
                 + ", ".join(f"{name} {value}" for name, value in flops.items())
                 + f". Clock while they ran: {number(clock)} MHz (median). Medians, cold; ratio above 1: faster than the peer.", "",
                 table(("op", "shape", "precision", "ms", "TFLOP/s", "GB/s", "roof", "peer ms", "ratio", "peer"),
                       [kernel_row(k) for k in kernels])]
    if parts["ops"] or parts["attentions"] or parts["layers"]:
        page += ["", "## Attentions, layers, steps, primitives", "",
                 "Forward, and forward with backward as one graph, where gradients are added to those of parameters and inputs as in a "
                 "training step (PyTorch's are handed over); a step is one pass. The fraction is that of the roof which the mechanism's own "
                 "count of operations and bytes allows: products (fp32: plain units or three of TF32, whichever is faster), memory, or the "
                 "second-level cache for rows that are read again; of a layer or a step the sum over its parts. Launches forward + backward; "
                 "the error is that against float64; fsat is our reconstruction. Medians, cold; ratio above 1: faster than the fastest of "
                 "PyTorch, eager or compiled."]
        for part in ("attentions", "layers", "ops"):
            if parts[part]:
                page += ["", table(OP_HEADER, [op_row(k) for k in parts[part] if "case" in k])]
    if parts["growth"]:
        page += ["", "## Growth with N, one sample, forward and backward", ""] + growth_tables(parts["growth"])
    if parts["training"]:
        page += ["", "## Training, ListOps of up to 200 tokens, 400 steps", "",
                 table(("run", "steps", "last loss", "tokens/s", "peak MiB"),
                       [(t["run"], t.get("steps", t.get("result")), number(t.get("loss"), 6), number(t.get("tokens_per_second")),
                         number((t.get("peak_bytes") or 0) / 2**20)) for t in parts["training"]])]
    if parts["listops"]:
        page += ["", "## ListOps, 500 to 2,000 tokens, each attention's preset", "",
                 table(("attention", "steps", "best validation, %", "test, %", "s", "tokens/s"),
                       [(t["attention"], t["steps"], percent(t["best_validation"]), percent(t["test"]), number(t["seconds"]),
                         number(t["tokens_per_second"])) for t in parts["listops"]])]
    verdicts = targets.verdicts(parts)
    page += ["", "## Targets", "", table(("target", "case", "measured", "wanted", ""), targets.table_rows(parts)), "",
             *("- " + line for line in verdicts)]
    (folder / "gpu.md").write_text("\n".join(page) + "\n")
    print("\n".join(verdicts))


if __name__ == "__main__":
    main()
