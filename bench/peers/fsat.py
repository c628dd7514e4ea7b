"""FSAT, the reconstruction (there is no official code): its operations one after the other, with stored indices and gathers.

All positions are real, so that indices run modulo N.
"""

import math

import torch
import torch.nn.functional as F

from projections import output, queries_keys_values


def cross(a, b):
    """Products of all pairs pooled along cyclic lags and along columns, [B, N, C] each."""
    n = a.shape[1]
    mean = a.mean(1, keepdim=True)
    a, b = a - mean, b - b.mean(1, keepdim=True)
    size = n if n & (n - 1) == 0 else 1 << (2 * n - 1).bit_length()
    g = torch.fft.irfft(torch.fft.rfft(a, size, 1).conj() * torch.fft.rfft(b, size, 1), size, 1)
    lag = g if size == n else torch.cat([g[:, :1], g[:, 1:n] + g[:, size - n + 1:]], 1)
    return lag / n, mean * b


def scores(t, name, feature, heads):
    f = feature.reshape(*feature.shape[:2], heads, -1)  # [B, N, H, R]
    hidden = F.gelu(torch.einsum("bnhr,hrm->bnhm", f, t[name + ".w1"]) + t[name + ".b1"])
    s = torch.einsum("bnhr,hr->bnh", f, t[name + ".u"]) + torch.einsum("bnhm,hm->bnh", hidden, t[name + ".w2"])
    return s.transpose(1, 2)  # [B, H, N]


def chosen(keys, count, window):
    """The indices, ascending; |t| <= window always among them."""
    n = keys.shape[-1]
    keys = keys.detach().clone()
    if window >= 0:
        keys[..., torch.arange(-window, window + 1).remainder(n)] = math.inf
    return torch.topk(keys, min(count, n), -1).indices.sort(-1).values


def keys_of_queries(lags, columns, n):
    """index [B, H, N, K], and which slots are live: a column that a chosen lag reaches as well is dropped."""
    i = torch.arange(n)[:, None]
    by_lag = (i + lags[:, :, None, :]).remainder(n)
    by_column = columns[:, :, None, :].expand(*columns.shape[:2], n, -1)
    is_lag = torch.zeros(*lags.shape[:2], n, dtype=torch.bool).scatter(2, lags, True)
    distance = (by_column - i).remainder(n)
    dropped = is_lag.gather(2, distance.flatten(2)).reshape(distance.shape)
    return torch.cat([by_lag, by_column], -1), torch.cat([torch.ones_like(by_lag, dtype=torch.bool), ~dropped], -1)


def gathered_attention(q, k, v, index, live, bias):
    batch, heads, n, width = q.shape
    flat = index.reshape(batch, heads, -1, 1).expand(-1, -1, -1, width)
    k_at = k.gather(2, flat).reshape(batch, heads, n, -1, width)
    v_at = v.gather(2, flat).reshape(batch, heads, n, -1, width)
    logits = torch.einsum("bhne,bhnke->bhnk", q, k_at) / math.sqrt(width) + bias
    return torch.einsum("bhnk,bhnke->bhne", torch.softmax(logits.masked_fill(~live, -math.inf), -1), v_at)


def operations(t, shape):
    heads = int(shape["heads"])
    q, k, v = queries_keys_values(t, shape)
    n = q.shape[2]
    x = t["x"].detach()  # truncated gradient
    lag_feature, column_feature = cross(x @ t["cross_a.weight"] + t["cross_a.bias"], x @ t["cross_b.weight"])
    lag_score, column_score = scores(t, "lag_head", lag_feature, heads), scores(t, "col_head", column_feature, heads)
    lags = chosen(lag_score, int(shape["lags"]), int(shape["window"]))
    columns = chosen(column_score, int(shape["columns"]), -1)
    index, live = keys_of_queries(lags, columns, n)
    bias = torch.cat([lag_score.gather(2, lags), column_score.gather(2, columns)], -1)[:, :, None, :]
    return output(t, gathered_attention(q, k, v, index, live, bias - bias.detach()))


WAYS = {"gathered keys": operations}
