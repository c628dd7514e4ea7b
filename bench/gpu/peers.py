#!/usr/bin/env python3
"""The same work in PyTorch: adds to every line of bench_gpu the time of the fastest of eager, compiled and fused attention.

  python3 bench/gpu/peers.py --dump FOLDER < kernels.jsonl > with_peers.jsonl

FOLDER holds what bench_gpu --dump wrote; PyTorch's results for those inputs are compared with ours, and a difference larger
than both precisions explain ends the program with status 1. Timing is that of bench_gpu: events around replays of a CUDA
graph, or around plain calls where PyTorch cannot record one; inputs take turns so that they are cold.
"""

import argparse
import json
import math
import pathlib
import struct
import sys

import torch
import torch.nn.functional as F

EPS, P = 1e-5, 0.1  # as in rows.cpp
DTYPES = {"F32": torch.float32, "F64": torch.float64, "I64": torch.int64, "BOOL": torch.bool}
UNITS = {"fp32": 2**-24, "tf32": 2**-11, "bf16": 2**-8}


def attention_plain(q, k, v):
    return torch.softmax(q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1]), dim=-1) @ v


def bias_gelu_dropout(x, bias):
    return F.dropout(F.gelu(x + bias), P, training=True)


def random(*shape):
    return torch.randn(shape, device="cuda")


class Work:
    """One op: `inputs(shape)` makes a set, `ways` are the functions of a set to be timed (each forward only), and `wants`
    names the inputs whose gradients are the work where the op is a backward."""

    def __init__(self, inputs, ways, wants=()):
        self.inputs, self.ways, self.wants = inputs, ways, wants


def qkv(s):
    layout = (s["batch"], s["n"], s["heads"], s["width"])
    return {name: random(*layout).transpose(1, 2) for name in ("q", "k", "v", "dout")}


def rows(s):
    return {"x": random(s["rows"], s["width"]), "residual": random(s["rows"], s["width"]), "dout": random(s["rows"], s["width"]),
            "gamma": random(s["width"]), "beta": random(s["width"]), "bias": random(s["width"]),
            "labels": torch.randint(s["width"], (s["rows"],), device="cuda")}


def norm(i):
    return F.layer_norm(i["x"], i["gamma"].shape, i["gamma"], i["beta"], EPS)


def add_norm(i):
    total = i["x"] + i["residual"]
    return total, F.layer_norm(total, i["gamma"].shape, i["gamma"], i["beta"], EPS)


ATTENTION = {"fused attention": lambda i: F.scaled_dot_product_attention(i["q"], i["k"], i["v"]),
             "eager": lambda i: attention_plain(i["q"], i["k"], i["v"])}
WORK = {
    "matmul": Work(lambda s: {"a": random(s["m"], s["k"]), "b": random(s["k"], s["n"])}, {"eager": lambda i: i["a"] @ i["b"]}),
    "attention_forward": Work(qkv, ATTENTION),
    "attention_backward": Work(qkv, ATTENTION, ("q", "k", "v")),
    "softmax": Work(rows, {"eager": lambda i: torch.softmax(i["x"], -1)}),
    "layer_norm": Work(rows, {"eager": norm}),
    "add_layer_norm": Work(rows, {"eager": add_norm}),
    "layer_norm_backward": Work(rows, {"eager": norm}, ("x", "gamma", "beta")),
    "bias_gelu_dropout": Work(rows, {"eager": lambda i: bias_gelu_dropout(i["x"], i["bias"])}),
    "bias_gelu_dropout_backward": Work(rows, {"eager": lambda i: bias_gelu_dropout(i["x"], i["bias"])}, ("x", "bias")),
}


def cross_entropy(i):
    """Loss and gradient, as our kernel makes both in one pass."""
    x = i["x"].detach().requires_grad_()
    losses = F.cross_entropy(x, i["labels"], reduction="none")
    return losses, torch.autograd.grad(losses.sum(), x)[0]


WORK["cross_entropy"] = Work(rows, {"eager": cross_entropy})


def adamw_step(count):
    """A whole fused optimiser step, which keeps its own state."""
    parameter = random(count).requires_grad_()
    parameter.grad = random(count)
    optimizer = torch.optim.AdamW([parameter], lr=1e-3, weight_decay=0.01, fused=True, capturable=True)
    return optimizer.step


def seconds_of(calls):
    """Median of one call; the calls of the list take turns."""
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for call in calls * 2:
            call()
        torch.cuda.synchronize()
        repetitions = max(1, math.ceil(10 / len(calls)))

        def replay():  # results are let go of one by one
            for _ in range(repetitions):
                for call in calls:
                    call()

        try:
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, stream=stream):
                replay()
            replay = graph.replay
        except RuntimeError as error:
            torch.cuda.synchronize()
            print(f"peers: calls as they are, not as a graph: {str(error).splitlines()[0]}", file=sys.stderr)
        times, begin, end = [], torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        while len(times) < 20 or sum(times) < 300:
            begin.record()
            replay()
            end.record()
            end.synchronize()
            times.append(begin.elapsed_time(end))
    return sorted(times)[len(times) // 2] / (repetitions * len(calls)) * 1e-3


def gradient_call(way, wants, inputs):
    """A call that runs only the backward of a forward made here."""
    leaves = [inputs[name].detach().requires_grad_() for name in wants]
    out = way({**inputs, **dict(zip(wants, leaves))})
    return lambda: torch.autograd.grad(out, leaves, inputs["dout"], retain_graph=True)


def set_precision(precision):
    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    torch.backends.cudnn.allow_tf32 = precision == "tf32"


def cast(inputs, precision):
    if precision != "bf16":
        return inputs
    return {name: t.bfloat16() if t.is_floating_point() else t for name, t in inputs.items()}


def sets_for(record):
    """As many sets as bench_gpu took: four times the second-level cache."""
    cache = torch.cuda.get_device_properties(0).L2_cache_size
    moved = record["gbytes"] * record["median_ms"] * 1e6
    return int(min(max(4 * cache / moved + 1, 1), 64))


def too_large(record, way):
    """Plain attention stores three arrays of N x N per head."""
    s = record["shape"]
    return way == "eager" and "heads" in s and 12 * s["batch"] * s["heads"] * s["n"] ** 2 > 0.3 * torch.cuda.mem_get_info()[0]


def peer_times(record):
    if record["op"] == "adamw":
        return {"fused optimiser": seconds_of([adamw_step(record["shape"]["parameters"]) for _ in range(sets_for(record))])}
    work, times = WORK[record["op"]], {}
    sets = [cast(work.inputs(record["shape"]), record["precision"]) for _ in range(sets_for(record))]
    ways = dict(work.ways)
    if "fused attention" not in ways and record["op"] != "matmul":
        ways["compiled"] = torch.compile(ways["eager"])
    for name, way in ways.items():
        if too_large(record, name):
            continue
        try:
            calls = [gradient_call(way, work.wants, i) if work.wants else (lambda i=i, way=way: way(i)) for i in sets]
            times[name] = seconds_of(calls)
        except Exception as error:  # no compiler on this machine, or not enough memory: the other ways remain
            print(f"peers: {record['op']} {name}: {str(error).splitlines()[0]}", file=sys.stderr)
    return times


def read_safetensors(path):
    data = path.read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    tensors = {}
    for name, entry in json.loads(data[8:8 + size]).items():
        if name != "__metadata__":
            begin, end = (8 + size + offset for offset in entry["data_offsets"])
            flat = torch.frombuffer(bytearray(data[begin:end]), dtype=DTYPES[entry["dtype"]])
            tensors[name] = flat.reshape(entry["shape"]).cuda()
    return tensors


def want(op, t):
    """PyTorch's results in float64 where that is affordable, by the names of ours."""
    d = {name: value.double() if value.is_floating_point() else value for name, value in t.items()}
    if op == "matmul":
        return {"out": d["a"] @ d["b"]}
    if op.startswith("attention"):
        head = {name: d[name][-1:, -1:] for name in ("q", "k", "v", "dout")}
        leaves = [head[name].requires_grad_() for name in ("q", "k", "v")]
        out = attention_plain(*leaves)
        results = {"out": out.detach()}
        if "dq" in t:
            results.update(zip(("dq", "dk", "dv"), torch.autograd.grad(out, leaves, head["dout"])))
        return results
    if op == "softmax":
        return {"out": torch.softmax(d["x"], -1)}
    if op == "cross_entropy":
        return dict(zip(("losses", "dx"), cross_entropy(d)))
    if op == "layer_norm":
        return {"out": norm(d)}
    if op == "add_layer_norm":
        return dict(zip(("sum", "out"), add_norm(d)))
    if op == "layer_norm_backward":
        leaves = [d[name].requires_grad_() for name in ("x", "gamma", "beta")]
        return dict(zip(("dx", "dgamma", "dbeta"), torch.autograd.grad(norm(dict(zip(("x", "gamma", "beta"), leaves))), leaves, d["dout"])))
    if op == "bias_gelu_dropout":  # the mask is ours; what was kept must be right
        return {"out": torch.where(t["out"] == 0, 0.0, F.gelu(d["x"] + d["bias"]) / (1 - P))}
    if op == "bias_gelu_dropout_backward":
        x = d["x"].requires_grad_()
        gradient = torch.autograd.grad(F.gelu(x + d["bias"]), x, d["dout"])[0]
        return {"dx": torch.where(t["dx"] == 0, 0.0, gradient / (1 - P))}
    return {}


def compare(path):
    """A line about the largest difference, and whether it is small enough."""
    op, precision = path.stem.rsplit("-", 1)
    ours = read_safetensors(path)
    worst = 0.0
    for name, expected in want(op, ours).items():
        got = ours[name][-1:, -1:] if op.startswith("attention") else ours[name]
        scale = max(1.0, expected.abs().max().item())
        worst = max(worst, (got.double() - expected).abs().max().item() / scale)
    longest = max(max(t.shape, default=1) for t in ours.values())  # of any sum in the op
    right = worst <= 8 * UNITS[precision] * (8 + 4 * math.sqrt(longest))
    print(f"{path.stem}: differs from PyTorch by {worst:.2g}{'' if right else ', TOO MUCH'}", file=sys.stderr)
    return right


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dump", type=pathlib.Path, help="what bench_gpu --dump wrote")
    options = parser.parse_args()
    set_precision("fp32")
    right = all([compare(path) for path in sorted(options.dump.glob("*.safetensors"))]) if options.dump else True
    for line in sys.stdin:
        record = json.loads(line)
        if "op" in record:
            set_precision(record["precision"])
            times = peer_times(record)
            if times:
                best = min(times, key=times.get)
                record.update(peer=f"PyTorch {torch.__version__}, {best}", peer_ms=times[best] * 1e3,
                              ratio=times[best] * 1e3 / record["median_ms"], peers_ms={n: s * 1e3 for n, s in times.items()})
        print(json.dumps(record), flush=True)
    sys.exit(0 if right else 1)


if __name__ == "__main__":
    main()
