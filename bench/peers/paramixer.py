"""Paramixer's block: an MLP for the values, one for the links of each factor, and factors that are products of gathered rows.

The official code gathers a copy [B, N L, D] of the values for every factor and adds products up by row index; the other ways say
the same with less memory traffic, to be fair to PyTorch.
"""

import torch
import torch.nn.functional as F


def mlp(x, first, first_bias, second, second_bias):
    return F.gelu(x @ first + first_bias) @ second + second_bias


def layers(t, name):
    """The parameters of each of the perceptrons that bench_kernel stores one behind the other."""
    return list(zip(*(t[f"{name}.{layer}.{kind}"].unbind(0) for layer in ("first", "second") for kind in ("weight", "bias"))))


def offsets_of(protocol, m, factors):
    """Of the links of factor m, the first being 0."""
    if protocol == "chord":
        return [0] + [2**k for k in range(factors)]
    half = range(1, 5)  # cdil: nine links
    return [0] + [k * 2**m for k in half] + [-k * 2**m for k in half]


def block(product):
    def forward(t, shape):
        x, (value_layers,) = t["x"], layers(t, "g")
        v = mlp(x, *value_layers)
        factors = layers(t, "f")
        for m, link_layers in enumerate(factors):
            v = product(mlp(x, *link_layers), v, offsets_of(shape["protocol"], m, len(factors))) + v
        return v

    return forward


def columns_of(n, offsets):
    return (torch.arange(n)[:, None] + torch.tensor(offsets)[None, :]).remainder(n).flatten()  # [N L]


def gather_and_scatter(w, v, offsets):
    batch, n, links = w.shape
    rows = torch.arange(n).repeat_interleave(links)
    products = w.reshape(batch, n * links, 1) * v[:, columns_of(n, offsets)]
    return torch.zeros_like(v).index_add(1, rows, products)


def gather_and_sum(w, v, offsets):
    batch, n, links = w.shape
    gathered = v[:, columns_of(n, offsets)].reshape(batch, n, links, -1)
    return torch.einsum("bnl,bnld->bnd", w, gathered)


def rolled(w, v, offsets):
    return sum(w[..., k:k + 1] * torch.roll(v, -o, 1) for k, o in enumerate(offsets))


WAYS = {"gather, scatter_add (official)": block(gather_and_scatter), "gather, einsum": block(gather_and_sum),
        "rolled copies": block(rolled)}
