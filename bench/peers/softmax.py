"""Softmax attention: as the LRA baselines write it (logits and weights are stored), and PyTorch's fused kernel."""

import math

import torch
import torch.nn.functional as F

from projections import output, queries_keys_values


def stored(t, shape):
    q, k, v = queries_keys_values(t, shape)
    logits = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
    if shape["causal"] == "true":
        n = q.shape[2]
        logits = logits.masked_fill(torch.ones(n, n, dtype=torch.bool).triu(1), -math.inf)
    return output(t, torch.softmax(logits, -1) @ v)


def fused(t, shape):
    q, k, v = queries_keys_values(t, shape)
    return output(t, F.scaled_dot_product_attention(q, k, v, is_causal=shape["causal"] == "true"))


WAYS = {"stored logits": stored, "scaled_dot_product_attention": fused}
