"""What the peers with queries and keys share: x [B, N, D] to heads [B, H, N, E] and back, and rows by their number. Parameters as
bench_kernel names them."""

from math import prod

import torch


def linear(t, name, x):
    return x @ t[name + ".weight"] + t[name + ".bias"]


def heads_of(t, name, x, heads):
    y = linear(t, name, x)
    return y.reshape(*y.shape[:2], heads, -1).transpose(1, 2)


def queries_keys_values(t, shape):
    return [heads_of(t, name, t["x"], int(shape["heads"])) for name in ("query", "key", "value")]


def output(t, mixed):
    """mixed [B, H, N, E]"""
    merged = mixed.transpose(1, 2).reshape(mixed.shape[0], mixed.shape[2], prod(mixed.shape[1:4:2]))
    return linear(t, "out", merged)


def index_select(x, index):
    """Rows of all heads in one table [B H N, E], picked by number; index [B, H, N, K]."""
    batch, heads, n, width = x.shape
    first = n * torch.arange(batch * heads).reshape(batch, heads, 1, 1)
    return x.flatten(0, 2).index_select(0, (index + first).flatten()).reshape(*index.shape, width)
