"""What the kernels were to reach on a GPU, and what was measured: one line per case, one verdict per target.

A fraction is floor over time, as bench_gpu reports it; "x floor" is its inverse. A ratio to PyTorch counts as reached when it is so
to one decimal.
"""

from dataclasses import dataclass
from typing import Callable


@dataclass
class Target:
    name: str
    wanted: str
    cases: Callable  # of all parts, gives (case, what was measured, whether that is enough)


def ops(parts, part, names, precisions=("fp32", "bf16"), **shape):
    """Lines of bench_gpu on a case, failed ones too; every size unless `shape` says which."""
    return [line for line in parts[part] if line.get("case") in names and line["precision"] in precisions
            and ("failed" in line or all(line["shape"].get(key) == value for key, value in shape.items()))]


def kernels(parts, op, **shape):
    return [line for line in parts["kernels"] if line.get("op") == op
            and all(line["shape"].get(key) == value for key, value in shape.items())]


def size(line):
    shape = line.get("shape", {})
    words = [line["case"], *(shape[key] for key in ("pattern", "protocol") if key in shape)]
    words += [f"{key} {shape[key]}" for key in ("n", "d", "batch") if key in shape]
    return " ".join([*words, line["precision"]])


def kernel_size(line):
    return " ".join([line["op"], *(f"{key} {value}" for key, value in line["shape"].items()), line["precision"]])


def failures(lines):
    for line in lines:
        if "failed" in line:
            yield size(line), "failed", False


def measured(lines):
    return [line for line in lines if "failed" not in line]


def fraction(lines, least, passes=("both",)):
    yield from failures(lines)
    for line in measured(lines):
        for name in passes:
            if line.get(name):
                value = line[name]["roof"]["fraction"]
                yield f"{size(line)}, {name}", f"{100 * value:.0f} % of {line[name]['roof']['name']}", value >= least


def times_floor(lines, most):
    yield from failures(lines)
    for line in measured(lines):
        whole = line.get("both") or line["forward"]  # a step is one pass
        value = whole["median_ms"] / whole["floor_ms"]
        yield size(line), f"{value:.2g} x floor", value <= most


def large_product(parts):
    for line in kernels(parts, "matmul", m=8192):
        if "ratio" in line:
            yield kernel_size(line), f"{line['ratio']:.2f} x PyTorch's cuBLAS", round(line["ratio"], 1) >= 1


def skinny_product(parts):
    for line in kernels(parts, "matmul", m=65536, k=64):
        if line["precision"] == "fp32":
            value = line["roof"]["fraction"]
            yield kernel_size(line), f"{100 * value:.0f} % of {line['roof']['name']}", value >= 0.6


def fused_attention(parts):
    for width, forward, backward in ((64, 250, 200), (32, 120, 100)):
        for op, least in (("attention_forward", forward), ("attention_backward", backward)):
            for line in kernels(parts, op, width=width, n=4096):
                if line["precision"] == "bf16":
                    yield kernel_size(line), f"{line['gflops'] / 1e3:.0f} of {least} TFLOP/s", line["gflops"] / 1e3 >= least


def nystrom(parts):
    lines = ops(parts, "attentions", ["nystrom"])
    yield from times_floor(lines, 3)
    for line in measured(lines):
        launches = line["both"]["launches"]
        yield size(line), f"{launches} launches", launches <= 12


def pointwise(parts):
    for op in ("layer_norm", "add_layer_norm", "layer_norm_backward", "bias_gelu_dropout", "bias_gelu_dropout_backward", "cross_entropy",
               "adamw"):
        for line in kernels(parts, op):
            if line["gbytes"] * line["median_ms"] >= 32:  # MB
                value = line["roof"]["fraction"]
                yield kernel_size(line), f"{100 * value:.0f} % of {line['roof']['name']}", value >= 0.8


ATTENTIONS = ("nystrom", "fsat", "paramixer", "combiner", "local")


def layer_launches(parts):
    for line in measured(ops(parts, "layers", [name + "_layer" for name in ("softmax", *ATTENTIONS)], n="2048")):
        forward = line["forward"]["launches"]
        backward = line["both"]["launches"] - forward
        yield size(line), f"{forward} + {backward} launches", forward <= 15 and backward <= 25


def growth(parts):
    for line in parts["growth"]:
        if "exponents_of" in line:
            if "failed" in line:
                yield line["exponents_of"], "failed", False
            else:
                what = (f"time n^{line['time']:.2f} (operations n^{line['flops']:.2f}, bytes n^{line['bytes']:.2f}), "
                        f"memory n^{line['allocated']:.2f}")
                yield line["exponents_of"], what, line["time_met"] and line["memory_met"]


TARGETS = [
    Target("large matrix product", "1.0 x cuBLAS", large_product),
    Target("skinny product", ">= 60 % of memory", skinny_product),
    Target("softmax attention, bf16", "d = 64: 250 / 200 TFLOP/s; d = 32: 120 / 100", fused_attention),
    Target("Nystrom", "<= 3 x floor, <= 12 launches", nystrom),
    Target("chord product, Paramixer block", ">= 60 % of L2 or memory",
           lambda parts: [*fraction(ops(parts, "ops", ["chord_matmul", "chord_chain"]), 0.6),
                          *fraction(ops(parts, "attentions", ["paramixer"], protocol="chord"), 0.6)]),
    Target("FFT along N", ">= 70 % of memory",
           lambda parts: fraction(ops(parts, "ops", ["rfft", "irfft", "circular_convolve"]), 0.7, ("forward",))),
    Target("top-k", ">= 60 % of memory", lambda parts: fraction(ops(parts, "ops", ["top_k"], batch="4096"), 0.6, ("forward",))),
    Target("lag-column attention, FSAT block", ">= 60 % of L2",
           lambda parts: [*fraction(ops(parts, "ops", ["lag_column_attention"]), 0.6), *fraction(ops(parts, "attentions", ["fsat"]), 0.6)]),
    Target("gathered attention", ">= 60 % of L2", lambda parts: fraction(ops(parts, "ops", ["gathered_attention"]), 0.6)),
    Target("block reductions, Combiner", "<= 3 x floor",
           lambda parts: [*times_floor(ops(parts, "ops", ["span_pool", "running_max", "span_attention", "block_attention", "summary_attention"]), 3),
                          *times_floor(ops(parts, "attentions", ["combiner"]), 3)]),
    Target("layer norm, bias + GELU, loss, AdamW", ">= 80 % of memory, from 32 MB on", pointwise),
    Target("encoder layer", "<= 2.5 x floor", lambda parts: times_floor(ops(parts, "layers", [a + "_layer" for a in ATTENTIONS]), 2.5)),
    Target("launches of an encoder layer", "<= 15 forward, <= 25 backward", layer_launches),
    Target("whole training step, one graph", "<= 4 x floor",
           lambda parts: times_floor(ops(parts, "layers", [a + "_step" for a in ("softmax", *ATTENTIONS)]), 4)),
    Target("growth with N", "exponents of the counts + 0.05", growth),
]


def table_rows(parts):
    """(target, case, measured, wanted, met or short) for all that was measured."""
    return [(target.name, case, measured, target.wanted, "met" if met else "short")
            for target in TARGETS for case, measured, met in target.cases(parts)]


def verdicts(parts):
    """One line per target."""
    lines = []
    for target in TARGETS:
        cases = list(target.cases(parts))
        short = [f"{case} {measured}" for case, measured, met in cases if not met]
        verdict = "open, not measured" if not cases else f"met in all {len(cases)}"
        if short:
            verdict = f"short in {len(short)} of {len(cases)}: {'; '.join(short[:3])}{'; ...' if len(short) > 3 else ''}"
        lines.append(f"{target.name} ({target.wanted}): {verdict}")
    return lines
