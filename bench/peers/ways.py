"""Which functions do an op of bench_kernel in PyTorch."""

import importlib

import encoder
import primitives


def ways_of(op):
    """By name; an attention has a file of its own."""
    if op in primitives.WAYS:
        return primitives.WAYS[op]
    attention, _, around = op.partition("_")
    ways = importlib.import_module(attention).WAYS
    return {name: {"layer": encoder.layer, "step": encoder.loss}[around](way) if around else way for name, way in ways.items()}
