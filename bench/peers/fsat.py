"""FSAT, the reconstruction (there is no official code): its operations one after the other, with stored indices and gathers; the columns,
which are the same for every query, also as a product.

All positions are real, so that indices run modulo N.
"""

import math

import torch
import torch.nn.functional as F

from projections import index_select, output, queries_keys_values


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


def columns_reached(lags, columns, n):
    """[B, H, N, columns]: which columns a chosen lag reaches as well."""
    is_lag = torch.zeros(*lags.shape[:2], n, dtype=torch.bool).scatter(2, lags, True)
    distance = (columns[:, :, None, :] - torch.arange(n)[:, None]).remainder(n)
    return is_lag.gather(2, distance.flatten(2)).reshape(distance.shape)


def by_lags(lags, n):
    """[B, H, N, lags]: the keys of each query."""
    return (torch.arange(n)[:, None] + lags[:, :, None, :]).remainder(n)


def straight_through(score, chosen):
    """[B, H, 1, K]: 0, with the gradient of the scores that were chosen."""
    bias = score.gather(2, chosen)[:, :, None, :]
    return bias - bias.detach()


def gathered_keys(q, k, v, lags, columns, lag_score, column_score):
    """Every query gathers all of its keys."""
    batch, heads, n, width = q.shape
    index = torch.cat([by_lags(lags, n), columns[:, :, None, :].expand(-1, -1, n, -1)], -1)
    flat = index.reshape(batch, heads, -1, 1).expand(-1, -1, -1, width)
    k_at = k.gather(2, flat).reshape(batch, heads, n, -1, width)
    v_at = v.gather(2, flat).reshape(batch, heads, n, -1, width)
    bias = torch.cat([straight_through(lag_score, lags), straight_through(column_score, columns)], -1)
    logits = torch.einsum("bhne,bhnke->bhnk", q, k_at) / math.sqrt(width) + bias
    dropped = F.pad(columns_reached(lags, columns, n), (lags.shape[-1], 0))
    return torch.einsum("bhnk,bhnke->bhne", torch.softmax(logits.masked_fill(dropped, -math.inf), -1), v_at)


def column_products(q, k, v, lags, columns, lag_score, column_score):
    """Queries gather the keys of their lags alone; those of the columns stand in one small matrix."""
    n, width = q.shape[2:]
    q = q / math.sqrt(width)
    k_lag, v_lag = (index_select(x, by_lags(lags, n)) for x in (k, v))  # [B, H, N, lags, E]
    k_column, v_column = (x.gather(2, columns[..., None].expand(-1, -1, -1, width)) for x in (k, v))  # [B, H, columns, E]
    of_lags = torch.einsum("bhne,bhnke->bhnk", q, k_lag) + straight_through(lag_score, lags)
    of_columns = q @ k_column.transpose(-1, -2) + straight_through(column_score, columns)
    of_columns = of_columns.masked_fill(columns_reached(lags, columns, n), -math.inf)
    weights = torch.softmax(torch.cat([of_lags, of_columns], -1), -1).split([lags.shape[-1], columns.shape[-1]], -1)
    return torch.einsum("bhnk,bhnke->bhne", weights[0], v_lag) + weights[1] @ v_column


def operations(attend):
    def forward(t, shape):
        heads = int(shape["heads"])
        x = t["x"].detach()  # truncated gradient
        lag_feature, column_feature = cross(x @ t["cross_a.weight"] + t["cross_a.bias"], x @ t["cross_b.weight"])
        lag_score, column_score = scores(t, "lag_head", lag_feature, heads), scores(t, "col_head", column_feature, heads)
        lags = chosen(lag_score, int(shape["lags"]), int(shape["window"]))
        columns = chosen(column_score, int(shape["columns"]), -1)
        return output(t, attend(*queries_keys_values(t, shape), lags, columns, lag_score, column_score))

    return forward


ATTENDS = {"gathered keys": gathered_keys, "columns as products": column_products}
WAYS = {name: operations(attend) for name, attend in ATTENDS.items()}
