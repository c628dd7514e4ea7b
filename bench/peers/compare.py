#!/usr/bin/env python3
"""Ours beside the same work in PyTorch and in JAX, on the CPU: results and gradients compared first, then both timed turn by turn.

  python3 bench/peers/compare.py --bench build/release/bin/bench_kernel [--only REGEX] [--n 1024,4096] [--json FILE]

The rows are those of `bench_kernel --rows`. Each peer is a file of this folder: the operations of the official code of its paper,
written anew from the paper, on the inputs and parameters that bench_kernel drew; JAX's, where it is installed, stand in in_jax.py. One thread; processor time; medians of runs that alternate, so that what else the machine
does meets both alike. A way that differs from ours by more than float32 explains is named and not timed; a row without any way
that agrees ends the program with status 1.
"""

import argparse
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

import torch

import safetensors_file
from ways import ways_of

try:
    import in_jax
except ImportError:
    in_jax = None


def rows_of(program):
    """The table of sizes, each as a dictionary: family, op, title, shape (every setting, as text), where there
    is one its length n, and its target."""
    lines = subprocess.run([program, "--rows"], stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()
    return [json.loads(line) for line in lines]


class Ours:
    """bench_kernel as a process that runs once whenever it is asked to."""

    def __init__(self, program, op, settings, file):
        words = [w for name, value in settings.items() for w in ("--" + name, str(value))]
        self.process = subprocess.Popen([program, op, *words, "--threads", "1", "--dump", file, "--turns"],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.run()  # the file is there once this has been answered
        self.shape = dict(settings)

    def run(self):
        """Seconds of forward and backward."""
        try:
            self.process.stdin.write("\n")
            self.process.stdin.flush()
            answer = self.process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            raise RuntimeError(f"bench_kernel ended with status {self.process.wait()}")
        times = json.loads(answer)
        return times["forward"], times["backward"]

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def numbered(name, tensors):
    """NAME, NAME.1, ... as far as there are such tensors."""
    return [n for n in [name, *(f"{name}.{i}" for i in range(1, len(tensors)))] if n in tensors]


class Peer:
    """One way to do the work in PyTorch: `function(tensors, shape)` gives the result, or several."""

    def __init__(self, function, tensors, shape):
        self.function, self.shape = function, shape
        self.names = [name[len("grad."):] for name in tensors if name.startswith("grad.")]
        self.outs, upstream = numbered("out", tensors), numbered("upstream", tensors)
        self.inputs = {name: t.detach().clone() for name, t in tensors.items() if name not in self.outs and not name.startswith("grad.")}
        for name in self.names:
            self.inputs[name].requires_grad_()
        self.upstream = [self.inputs[name] for name in upstream]

    def forward(self):
        out = self.function(self.inputs, self.shape)
        return out if isinstance(out, tuple) else (out,)

    def backward(self, outs):
        leaves = [self.inputs[name] for name in self.names]
        return torch.autograd.grad(outs, leaves, [u.to(out.dtype) for u, out in zip(self.upstream, outs)], allow_unused=True)

    def results(self):
        outs = self.forward()
        grads = self.backward(outs) if self.names else ()
        named = {name: out.detach() for name, out in zip(self.outs, outs, strict=True)}
        return {**named, **{"grad." + n: g for n, g in zip(self.names, grads) if g is not None}}

    def run(self):
        start = time.process_time()
        outs = self.forward()
        middle = time.process_time()
        grads = self.backward(outs) if self.names else ()
        end = time.process_time()
        del grads
        return middle - start, end - middle


def largest_difference(peer, tensors, scale_of):
    """Of any result or gradient, relative to the largest element of its kind; a missing one is infinitely different."""
    results, worst, where = {name: torch.as_tensor(value) for name, value in peer.results().items()}, 0.0, "nothing"
    for name in peer.outs + ["grad." + n for n in peer.names]:
        ours = tensors[name].double()
        theirs = results[name].double() if name in results else torch.zeros_like(ours)
        difference = (ours - theirs).abs().max().item() / max(scale_of(name, ours), 1e-30)
        if not difference <= worst:
            worst, where = difference, name
    return worst, where


def scales(tensors):
    """Of results: the largest element. Of gradients: the largest of any gradient of a parameter or input of the same rank, since some, such
    as that of a bias of the keys, are zero but for rounding."""
    largest = {}
    for name, t in tensors.items():
        if name.startswith("grad."):
            largest[t.dim()] = max(largest.get(t.dim(), 0.0), t.abs().max().item())
    return lambda name, t: largest[t.dim()] if name.startswith("grad.") else t.abs().max().item()


def median(values):
    return sorted(values)[len(values) // 2]


def alternate(ours, peers, seconds, repetitions):
    """Times of ours and of each peer, one run of each in turn."""
    runners = {"ours": ours, **peers}
    for runner in runners.values():  # caches, pages
        runner.run()
        runner.run()
    times = {name: [] for name in runners}
    start = time.monotonic()
    while len(times["ours"]) < repetitions or time.monotonic() - start < seconds:
        for name, runner in runners.items():
            times[name].append(runner.run())
    return times


def compare_row(options, row, folder):
    """The record of one row, or None when results differ."""
    op, settings = row["op"], row["shape"]
    file = str(pathlib.Path(folder) / "case.safetensors")
    ours = Ours(options.bench, op, settings, file)
    try:
        tensors = safetensors_file.read(file)
        ways = ways_of(op)
        peers = {name: Peer(function, tensors, settings) for name, function in ways.items()}
        way = in_jax and in_jax.way_of(op, settings)
        if way:
            like = next(iter(peers.values()))
            peers["JAX (jit)"] = in_jax.Peer(way, tensors, settings, like.names, like.outs, numbered("upstream", tensors))
        record = {**row, "differences": {}}
        for name, peer in list(peers.items()):
            try:
                difference, where = largest_difference(peer, tensors, scales(tensors))
            except (RuntimeError, ValueError) as error:  # a way that does not do this row, or not in this memory
                print(f"{row['title']}: {name} failed: {error}", file=sys.stderr)
                del peers[name]
                continue
            if difference <= options.tolerance:
                record["differences"][name] = difference
            else:
                print(f"{row['title']}: {name} differs by {difference:.2g} in {where}: not timed", file=sys.stderr)
                del peers[name]
        if not peers:
            return None
        times = alternate(ours, peers, options.seconds, options.repetitions)
    finally:
        ours.close()
    total = {name: median([f + b for f, b in runs]) for name, runs in times.items()}
    best = min(peers, key=total.get)
    record.update(
        median_ms={name: t * 1e3 for name, t in total.items()},
        forward_ms={name: median([f for f, _ in runs]) * 1e3 for name, runs in times.items()},
        backward_ms={name: median([b for _, b in runs]) * 1e3 for name, runs in times.items()},
        quartiles_ms={name: [sorted(f + b for f, b in runs)[i * (len(runs) - 1) // 4] * 1e3 for i in (1, 3)]
                      for name, runs in times.items()},
        reps=len(times["ours"]), peer=best, ratio=total[best] / total["ours"])
    return record


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bench", required=True, help="the program bench_kernel")
    parser.add_argument("--family", default="", help="rows of this family: primitives, attentions, layers or training")
    parser.add_argument("--only", default="", help="rows whose title matches this regular expression")
    parser.add_argument("--n", default="1024,4096,16384", help="lengths, with commas between")
    parser.add_argument("--seconds", type=float, default=5, help="at least so long for each row")
    parser.add_argument("--repetitions", type=int, default=5, help="and so often")
    parser.add_argument("--tolerance", type=float, default=2e-4, help="of a difference, relative to the largest element")
    parser.add_argument("--json", help="append records to this file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)  # as ours does

    lengths = options.n.split(",")
    rows = [row for row in rows_of(options.bench) if ("length" not in row or str(row["length"]) in lengths)
            and options.family in ("", row["family"]) and re.search(options.only, row["title"])]
    wrong = 0
    beside = f"JAX {in_jax.jax.__version__}" if in_jax else "no JAX"
    print(f"PyTorch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}, {beside}; one thread, processor time, "
          "forward + backward")
    print(f"| {'case':58} | {'ours ms':>9} | {'peer ms':>9} | {'ratio':>6} | {'differ':>7} | fastest peer |")
    print("|---|---|---|---|---|---|")
    for row in rows:
        with tempfile.TemporaryDirectory() as folder:
            record = compare_row(options, row, folder)
        if record is None:
            wrong += 1
            continue
        print(f"| {row['title']:58} | {record['median_ms']['ours']:9.2f} | {record['median_ms'][record['peer']]:9.2f} "
              f"| {record['ratio']:6.2f} | {max(record['differences'].values()):7.1e} | {record['peer']} |", flush=True)
        if options.json:
            record.update(torch=torch.__version__, jax=in_jax and in_jax.jax.__version__, threads=1, cpu_count=os.cpu_count(), load=os.getloadavg()[0])
            with open(options.json, "a") as file:
                file.write(json.dumps(record) + "\n")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
