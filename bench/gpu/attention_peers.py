#!/usr/bin/env python3
"""The attentions in PyTorch on the GPU: adds to the lines of bench_gpu --attentions that have a dump the time of the fastest way.

  python3 bench/gpu/attention_peers.py --dump FOLDER [--device cuda] < attentions.jsonl > with_peers.jsonl

FOLDER holds what bench_gpu --attentions --dump wrote. The ways are those of bench/peers, the operations of the official code on our
inputs and parameters, each as it is, compiled, and with scaled_dot_product_attention where the file has it; in bf16 under
autocast. Results and gradients in fp32 are compared with ours first: a way that differs is named and not timed, and an attention
without any way that agrees ends the program with status 1. Times are those of peers.py: events around replays of a CUDA graph, or
around plain calls where PyTorch cannot record one.
"""

import argparse
import importlib
import json
import pathlib
import sys
import time

import torch

sys.path[:0] = [str(pathlib.Path(__file__).parent), str(pathlib.Path(__file__).parent.parent / "peers")]
import safetensors_file
from compare import Peer, largest_difference, scales
from peers import seconds_of, set_precision

TOLERANCE = 1e-3  # of a difference in fp32, relative to the largest element: sums of PyTorch's GPU kernels have another order


def calls_of(peer, precision):
    """Forward alone, and forward with backward."""
    autocast = torch.autocast(peer.upstream.device.type, torch.bfloat16, enabled=precision == "bf16")
    leaves = [peer.inputs[name] for name in peer.names]

    def forward():
        with autocast:
            return peer.function(peer.inputs, peer.shape)

    def both():
        out = forward()
        return torch.autograd.grad(out, leaves, peer.upstream.to(out.dtype), allow_unused=True)

    return forward, both


def plain_seconds(calls):
    """Where there is no GPU: the median of five, for trying this program out."""
    times = []
    for _ in range(5):
        begin = time.perf_counter()
        for call in calls:
            call()
        times.append((time.perf_counter() - begin) / len(calls))
    return sorted(times)[2]


def agreeing_ways(record, tensors):
    """The ways whose results are ours, by name."""
    kept = {}
    for name, function in importlib.import_module(record["case"]).WAYS.items():
        try:
            difference, where = largest_difference(Peer(function, tensors, record["shape"]), tensors, scales(tensors))
        except Exception as error:  # not for this shape, or not enough memory
            print(f"{record['case']} {record['shape']}: {name}: {str(error).splitlines()[0]}", file=sys.stderr)
            continue
        if difference <= TOLERANCE:
            kept[name] = function
        else:
            print(f"{record['case']} {record['shape']}: {name} differs by {difference:.2g} in {where}: not timed", file=sys.stderr)
    return kept


def timed(record, ways, tensors, seconds):
    times = {}
    for name, function in ways.items():
        for how, way in (("eager", function), ("compiled", torch.compile(function))):
            try:
                peer = Peer(way, tensors, record["shape"])
                forward, both = calls_of(peer, record["precision"])
                times[f"{name}, {how}"] = (seconds([forward]), seconds([both]))
            except Exception as error:  # no compiler on this machine, or not enough memory: the other ways remain
                print(f"{record['case']} {name}, {how}: {str(error).splitlines()[0]}", file=sys.stderr)
    return times


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dump", type=pathlib.Path, required=True, help="what bench_gpu --attentions --dump wrote")
    parser.add_argument("--device", default="cuda", help="cpu tries this program out without a GPU")
    parser.add_argument("--seconds", type=float, default=500, help="after so long the remaining lines go without a peer")
    options = parser.parse_args()
    torch.set_default_device(options.device)
    seconds = seconds_of if options.device == "cuda" else plain_seconds
    begin, wrong, files, ways = time.monotonic(), 0, {}, {}
    for line in sys.stdin:
        record = json.loads(line)
        key = json.dumps((record.get("case"), record.get("shape")))
        if "dump" in record:
            files[key] = record["dump"]
        if key in files and time.monotonic() - begin < options.seconds:
            set_precision("fp32")
            tensors = {name: t.to(options.device) for name, t in safetensors_file.read(str(options.dump / files[key])).items()}
            if key not in ways:
                ways[key] = agreeing_ways(record, tensors)
                wrong += not ways[key]
            set_precision(record["precision"])
            times = timed(record, ways[key], tensors, seconds)
            if times:
                best = min(times, key=lambda name: times[name][1])
                forward, both = times[best]
                record.update(peer=f"PyTorch {torch.__version__}, {best}", peer_forward_ms=forward * 1e3, peer_both_ms=both * 1e3,
                              ratio=both * 1e3 / record["both"]["median_ms"],
                              peers_ms={name: [t * 1e3 for t in pair] for name, pair in times.items()})
        print(json.dumps(record), flush=True)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
