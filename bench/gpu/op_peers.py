#!/usr/bin/env python3
"""The same work in PyTorch: adds to the lines of bench_gpu --attentions, --ops and --layers the time of the fastest way.

  python3 bench/gpu/op_peers.py --dump FOLDER [--device cuda] < ops.jsonl > with_peers.jsonl

FOLDER holds what bench_gpu --dump wrote. The ways are those of bench/peers, the operations of the official code or what a user
would write, on our inputs and parameters, each as it is and compiled; in bf16 under autocast, in TF32 where PyTorch allows it.
Results and gradients in fp32 are compared with ours first: a way that differs is named and not timed, and a line without any way
that agrees ends the program with status 1. Times are those of bench_gpu: events around replays of a CUDA graph, or around plain
calls where PyTorch cannot record one, and inputs that take turns so that none is in the cache.

Compiling takes longer than all else. So every line gets its eager times first, then the fastest way of each line is compiled, then
the other ways, as far as the time goes; `peers_ms` says what was timed, and `peers_left` what was not.
"""

import argparse
import json
import pathlib
import signal
import sys
import time

import torch

sys.path[:0] = [str(pathlib.Path(__file__).parent), str(pathlib.Path(__file__).parent.parent / "peers")]
import safetensors_file
from compare import Peer, largest_difference, scales
from encoder import step_of
from peers import seconds_of, set_precision
from ways import ways_of

TOLERANCE = 1e-3  # of a difference in fp32, relative to the largest element: sums of PyTorch's GPU kernels have another order


def title(record):
    return f"{record['case']} {record['shape']} {record['precision']}"


def short(error):
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def plain_seconds(calls):
    """Where there is no GPU: the median of five, for trying this program out."""
    times = []
    for _ in range(5):
        begin = time.perf_counter()
        for call in calls:
            call()
        times.append((time.perf_counter() - begin) / len(calls))
    return sorted(times)[2]


class Row:
    """A line of bench_gpu whose results were dumped, with the ways that do the same and what they took."""

    def __init__(self, record, file, device):
        self.record, self.file, self.device = record, file, device
        self.times, self.failed = {}, set()

    def tensors(self):
        return {name: t.to(self.device) for name, t in safetensors_file.read(str(self.file)).items()}

    def agreeing(self):
        """The ways whose results are ours, by name."""
        tensors, kept = self.tensors(), {}
        shape = {**self.record["shape"], "dropout": "0"}  # as in the dump: what is dropped, nobody can compare
        for name, way in ways_of(self.record["case"]).items():
            try:
                difference, where = largest_difference(Peer(way, tensors, shape), tensors, scales(tensors))
            except Exception as error:  # not for this shape, or not enough memory
                print(f"{title(self.record)}: {name}: {short(error)}", file=sys.stderr)
                continue
            if difference <= TOLERANCE:
                kept[name] = way
            else:
                print(f"{title(self.record)}: {name} differs by {difference:.2g} in {where}: not timed", file=sys.stderr)
        return kept

    def calls(self, way):
        """Forward alone, and forward with backward, of as many sets as ours took turns with; of a step, whole steps."""
        tensors = self.tensors()
        autocast = torch.autocast(self.device, torch.bfloat16, enabled=self.record["precision"] == "bf16")

        def forward(peer):
            with autocast:
                return peer.forward()

        peers = [Peer(way, tensors, self.record["shape"]) for _ in range(self.record.get("sets", 1))]
        if self.record["case"].endswith("_step"):
            return [step_of(peer, lambda peer=peer: forward(peer)) for peer in peers], None
        ahead = [lambda peer=peer: forward(peer) for peer in peers]
        return ahead, [lambda peer=peer: peer.backward(forward(peer)) for peer in peers] if peers[0].names else None

    def measure(self, name, how, way, seconds):
        set_precision(self.record["precision"])
        try:
            forward, both = self.calls(way)
            self.times[f"{name}, {how}"] = [seconds(forward), seconds(both) if both else None]
        except Exception as error:  # no compiler on this machine, or not enough memory: the other ways remain
            print(f"{title(self.record)}: {name}, {how}: {short(error)}", file=sys.stderr)
            self.failed.add(f"{name}, {how}")

    def whole(self, name):
        forward, both = self.times[name]
        return forward if both is None else both

    def eager_order(self, ways):
        """The fastest first."""
        return sorted((name for name in ways if f"{name}, eager" in self.times), key=lambda name: self.whole(f"{name}, eager"))

    def finish(self, ways):
        if self.times:
            best = min(self.times, key=self.whole)
            forward, both = self.times[best]
            ours = self.record["forward" if both is None else "both"]["median_ms"]
            self.record.update(peer=f"PyTorch {torch.__version__}, {best}", peer_forward_ms=forward * 1e3,
                               peer_both_ms=None if both is None else both * 1e3, ratio=self.whole(best) * 1e3 / ours,
                               peers_ms={name: [t and t * 1e3 for t in pair] for name, pair in self.times.items()})
        wanted = {f"{name}, {how}" for name in ways for how in ("eager", "compiled")}
        if wanted - set(self.times):
            self.record["peers_left"] = sorted(wanted - set(self.times))


def measure_all(rows, ways, seconds, left, compiling):
    """`ways` by file, filled row by row; `left()` says whether there is time."""
    begin = time.monotonic()

    def passed(what):
        print(f"op_peers: {what} done after {time.monotonic() - begin:.0f} s", file=sys.stderr)

    for row in rows:
        if not left():
            return
        if row.file not in ways:
            set_precision("fp32")
            ways[row.file] = row.agreeing()
        for name, way in ways[row.file].items():
            row.measure(name, "eager", way, seconds)
    passed("eager")
    if not compiling:
        return
    compiled = {}  # one function per way and line: what is compiled for one shape is not looked at for another

    def compile_for(row, name):
        key = (row.file, name)
        if key not in compiled:
            torch._dynamo.reset()  # else too many shapes of one function would end compiling
            compiled[key] = torch.compile(ways[row.file][name], dynamic=False)
        row.measure(name, "compiled", compiled[key], seconds)

    for place, what in ((slice(0, 1), "compiled, the fastest"), (slice(1, None), "compiled, the others")):
        for row in rows:
            for name in row.eager_order(ways[row.file])[place]:
                if not left():
                    return
                compile_for(row, name)
        passed(what)


def rows_of(records, folder, device):
    """Lines without a dump of their own, in another precision, take that of the same case and shape."""
    files = {(r["case"], json.dumps(r["shape"])): folder / r["dump"] for r in records if "dump" in r}
    return [Row(r, files[key], device) for r in records
            if "case" in r and "shape" in r and (key := (r["case"], json.dumps(r["shape"]))) in files]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dump", type=pathlib.Path, required=True, help="what bench_gpu --dump wrote")
    parser.add_argument("--device", default="cuda", help="cpu tries this program out without a GPU")
    parser.add_argument("--seconds", type=float, default=500, help="after so long what is left goes without a time")
    parser.add_argument("--no-compile", action="store_true", help="eager alone")
    options = parser.parse_args()
    torch.set_default_device(options.device)
    torch.set_num_threads(1)  # of the CPU, where it is tried out
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(124))  # the lines are written all the same
    end = time.monotonic() + options.seconds
    records = [json.loads(line) for line in sys.stdin]
    rows, ways = rows_of(records, options.dump, options.device), {}
    seconds = seconds_of if options.device == "cuda" else plain_seconds
    try:
        measure_all(rows, ways, seconds, lambda: time.monotonic() < end, not options.no_compile)
    finally:
        for row in rows:
            row.finish(ways.get(row.file, {}))
        for record in records:
            print(json.dumps(record), flush=True)
    without = sorted({title(row.record) for row in rows if ways.get(row.file) == {} and ways_of(row.record["case"])})
    for name in without:
        print(f"{name}: PyTorch has no way that agrees with ours", file=sys.stderr)
    sys.exit(1 if without else 0)


if __name__ == "__main__":
    main()
