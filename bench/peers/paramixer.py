"""Paramixer's block: an MLP for the values, one for the links of each factor, and factors that are products of gathered rows.

The official code gathers a copy [B, N L, D] of the values for every factor and adds products up by row index; the other ways say
the same with less memory traffic, to be fair to PyTorch. It has chord and cdil; butterfly's links take the same ways.
"""

import functools

import torch
import torch.nn.functional as F


def mlp(x, first, first_bias, second, second_bias):
    return F.gelu(x @ first + first_bias) @ second + second_bias


def layers(t, name):
    """The parameters of each of the perceptrons that bench_kernel stores one behind the other."""
    return list(zip(*(t[f"{name}.{layer}.{kind}"].unbind(0) for layer in ("first", "second") for kind in ("weight", "bias"))))


@functools.lru_cache(maxsize=None)
def circular_columns(offsets, n):
    """[N L]; made once, as in the official code."""
    return (torch.arange(n)[:, None] + torch.tensor(offsets)[None, :]).remainder(n).flatten()


class Circular:
    """Link k of row i stands in column (i + offsets[k]) mod N."""

    def __init__(self, offsets):
        self.offsets = tuple(offsets)

    def columns(self, n):
        return circular_columns(self.offsets, n)

    def copies(self, v):  # what each link sees
        return (torch.roll(v, -o, 1) for o in self.offsets)


class Flip:
    """Row i is linked to i and to i XOR distance. N must be a multiple of twice the distance, a power of two."""

    def __init__(self, distance):
        self.distance = distance

    def columns(self, n):
        rows = torch.arange(n)
        return torch.stack([rows, rows ^ self.distance], 1).flatten()

    def copies(self, v):
        yield v
        yield v.unflatten(1, (-1, 2, self.distance)).flip(2).flatten(1, 3)


def links_of(protocol, m, factors):
    """Of factor m."""
    if protocol == "chord":
        return Circular([0] + [2**k for k in range(factors)])
    if protocol == "butterfly":
        return Flip(2**m)
    half = range(1, 5)  # cdil: nine links
    return Circular([0] + [k * 2**m for k in half] + [-k * 2**m for k in half])


def block(product):
    def forward(t, shape):
        x, (value_layers,) = t["x"], layers(t, "g")
        v = mlp(x, *value_layers)
        factors = layers(t, "f")
        for m, link_layers in enumerate(factors):
            v = product(mlp(x, *link_layers), v, links_of(shape["protocol"], m, len(factors))) + v
        return v

    return forward


def gather_and_scatter(w, v, links):
    batch, n, count = w.shape
    rows = torch.arange(n).repeat_interleave(count)
    products = w.reshape(batch, n * count, 1) * v[:, links.columns(n)]
    return torch.zeros_like(v).index_add(1, rows, products)


def gather_and_sum(w, v, links):
    batch, n, count = w.shape
    gathered = v[:, links.columns(n)].reshape(batch, n, count, -1)
    return torch.einsum("bnl,bnld->bnd", w, gathered)


def moved(w, v, links):
    return sum(w[..., k:k + 1] * copy for k, copy in enumerate(links.copies(v)))


WAYS = {"gather, scatter_add (official)": block(gather_and_scatter), "gather, einsum": block(gather_and_sum),
        "moved copies": block(moved)}
