"""Attention to neighbours alone: blocks of queries beside the keys of their own and the two adjacent blocks, as sliding windows are
usually written for tensors (N must be a multiple of the window), and PyTorch's fused kernel with a mask of N x N."""

import math

import torch
import torch.nn.functional as F

from projections import output, queries_keys_values


def seen(query, key, n, shape):
    """Which keys, by their positions, a query sees; some of a block's lie outside the sequence."""
    ahead = 0 if shape["causal"] == "true" else int(shape["window"])
    return (key >= 0) & (key < n) & (key >= query - int(shape["window"])) & (key <= query + ahead)


def blocks(t, shape):
    q, k, v = queries_keys_values(t, shape)
    n, size = q.shape[2], int(shape["window"])
    q = q.unflatten(2, (n // size, size)) / math.sqrt(q.shape[-1])  # [B, H, G, S, E]
    k, v = (F.pad(z, (0, 0, size, size)).unfold(2, 3 * size, size) for z in (k, v))  # [B, H, G, E, 3 S]
    first = torch.arange(0, n, size)[:, None, None]
    queries, keys = first + torch.arange(size)[None, :, None], first + torch.arange(-size, 2 * size)[None, None, :]
    weights = torch.softmax((q @ k).masked_fill(~seen(queries, keys, n, shape), -math.inf), -1)
    return output(t, (weights @ v.transpose(-1, -2)).flatten(2, 3))


def fused(t, shape):
    q, k, v = queries_keys_values(t, shape)
    positions = torch.arange(q.shape[2])
    mask = seen(positions[:, None], positions[None, :], q.shape[2], shape)
    return output(t, F.scaled_dot_product_attention(q, k, v, attn_mask=mask))


WAYS = {"blocks and their neighbours": blocks, "scaled_dot_product_attention": fused}
