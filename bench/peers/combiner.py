"""Combiner as the official JAX layers do it: segments, blocks or a grid as axes, maxima as summaries (fixed: or another pool of the
TensorFlow code), one softmax over direct tokens and summaries, all logits stored. N must be a multiple of the segment (logsparse: a
power of two)."""

import math

import torch
import torch.nn.functional as F

from projections import output, queries_keys_values

NEVER = -1e10  # what masks, as in the official code


def scaled(t, shape):
    q, k, v = queries_keys_values(t, shape)
    return q / math.sqrt(q.shape[-1]), k, v


def largest(x, name):
    return x.amax(-2)


def chosen_pool(t, shape):
    """What `fixed` summarises queries and keys by: max, mean or sum, of the tokens, or of relu of them or of a layer over them."""
    before, _, how = shape.get("pool", "max").rpartition("_")

    def pool(x, name):
        if before:
            x = F.relu(x @ t["pool." + name] if before == "deepset" else x)
        return {"max": x.amax, "mean": x.mean, "sum": x.sum}[how](-2)

    return pool


def summary_of(q, k, v, pool=largest):
    """Key and value that stand for the tokens of an axis: [..., T, E] -> [..., E]."""
    weights = torch.softmax(torch.einsum("...d,...jd->...j", pool(q, "query"), k), -1)
    return pool(k, "key"), torch.einsum("...j,...jd->...d", weights, v)


def fixed(t, shape):
    q, k, v = scaled(t, shape)
    n, size = q.shape[2], int(shape["segment"])
    count = n // size
    q, k, v = (z.unflatten(2, (count, size)) for z in (q, k, v))
    k_span, v_span = summary_of(q, k, v, chosen_pool(t, shape))
    direct = torch.einsum("bhgid,bhgjd->bhgij", q, k)
    spans = torch.einsum("bhgid,bhsd->bhgis", q, k_span)
    if shape["causal"] == "true":
        direct = direct + NEVER * torch.ones(size, size).triu(1)
        spans = spans + NEVER * torch.ones(count, count).triu()[:, None, :]
    else:
        spans = spans + NEVER * torch.eye(count)[:, None, :]
    weights = torch.softmax(torch.cat([direct, spans], -1), -1)
    mixed = torch.einsum("bhgij,bhgjd->bhgid", weights[..., :size], v)
    mixed = mixed + torch.einsum("bhgis,bhsd->bhgid", weights[..., size:], v_span)
    return output(t, mixed.flatten(2, 3))


def levels(q, k, v, causal):
    """Each token sees itself and, of each level, what stands for the block beside its own. q is scaled."""
    n = q.shape[2]
    logits, values = [(q * k).sum(-1)], [v]
    for level in range((n - 1).bit_length()):
        blocks = n >> level
        k_span, v_span = summary_of(*(z.unflatten(2, (blocks, 1 << level)) for z in (q, k, v)))
        k_other, v_other = (z.unflatten(2, (blocks // 2, 2)).flip(3).flatten(2, 3).repeat_interleave(1 << level, 2)
                            for z in (k_span, v_span))
        logit = (q * k_other).sum(-1)
        if causal:  # the other block lies before this one where the block's number is odd
            logit = logit + NEVER * (1 - (torch.arange(n) >> level) % 2)
        logits.append(logit)
        values.append(v_other)
    weights = torch.softmax(torch.stack(logits, -1), -1)
    return sum(weights[..., i, None] * value for i, value in enumerate(values))


def logsparse(t, shape):
    return output(t, levels(*scaled(t, shape), shape["causal"] == "true"))


def running(q, k, v, backward):
    """What stands for the tokens before (backward: behind) each one along the last axis but one; anything for the first."""
    if backward:
        q, k, v = q.flip(-2), k.flip(-2), v.flip(-2)
    before = lambda z: torch.cat([torch.zeros_like(z[..., :1, :]), z.cummax(-2).values[..., :-1, :]], -2)
    size = k.shape[-2]
    weights = torch.softmax(before(q) @ k.transpose(-1, -2) + NEVER * torch.ones(size, size).triu(), -1)
    k_run, v_run = before(k), weights @ v
    return (k_run.flip(-2), v_run.flip(-2)) if backward else (k_run, v_run)


def along_lines(q, k, v, shape, pattern):
    columns, causal = int(shape["segment"]), shape["causal"] == "true"
    rows = q.shape[2] // columns
    q, k, v = (z.unflatten(2, (rows, columns)) for z in (q, k, v))  # [B, H, R, C, E]
    r, c = torch.arange(rows), torch.arange(columns)
    by_row, by_column = "bhrcd,bhrxd->bhrcx", "bhrcd,bhxcd->bhrcx"
    row, other_row, column, other_column = r[:, None, None], r[None, None, :], c[None, :, None], c[None, None, :]
    terms = [(by_row, k, v, other_column <= column if causal else other_column >= 0),
             (by_column, k, v, other_row < row if causal else other_row != row)]
    if pattern in ("vertical", "mixture"):
        for backward in (False,) if causal else (False, True):
            k_run, v_run = (z.transpose(2, 3) for z in running(*(z.transpose(2, 3) for z in (q, k, v)), backward))
            terms.append((by_row, k_run, v_run, (other_column != column) & (row < rows - 1 if backward else row > 0)))
    if pattern in ("horizontal", "mixture"):
        for backward in (False, True):
            k_run, v_run = running(q, k, v, backward)
            alive = column < columns - 1 if backward else column > 0
            terms.append((by_column, k_run, v_run, (other_row < row if causal else other_row != row) & alive))
    logits = [torch.einsum(how, q, keys) + NEVER * ~seen for how, keys, _, seen in terms]
    weights = torch.softmax(torch.cat(logits, -1), -1).split([z.shape[-1] for z in logits], -1)
    mixed = sum(torch.einsum("bhrcx,bhrxd->bhrcd" if how == by_row else "bhrcx,bhxcd->bhrcd", w, values)
                for w, (how, _, values, _) in zip(weights, terms))
    return mixed.flatten(2, 3)


def axial(t, shape):
    return output(t, along_lines(*scaled(t, shape), shape, shape["pattern"]))


def average(t, shape):
    """The paper's mixture: the mean of two whole attentions."""
    heads = scaled(t, shape)
    return output(t, (along_lines(*heads, shape, "vertical") + along_lines(*heads, shape, "horizontal")) / 2)


def rowmajor(t, shape):
    """A row is summarised by its token in the query's column: that token's attention over the row, and a key made of it."""
    q, k, v = scaled(t, shape)
    columns, causal = int(shape["segment"]), shape["causal"] == "true"
    rows = q.shape[2] // columns
    q, k, v = (z.unflatten(2, (rows, columns)) for z in (q, k, v))
    row_logits = torch.einsum("bhrcd,bhrxd->bhrcx", q, k)
    v_span = torch.softmax(row_logits, -1) @ v
    merged = v_span.permute(0, 2, 3, 1, 4).flatten(3)  # [B, R, C, H E]
    x = t["x"].unflatten(1, (rows, columns))
    normed = F.layer_norm(merged @ t["summary.out"] + x, x.shape[-1:], t["summary.gamma"], t["summary.beta"], 1e-6)
    k_span = (normed @ t["summary.key"]).unflatten(-1, (q.shape[1], -1)).permute(0, 3, 1, 2, 4)
    r, c = torch.arange(rows), torch.arange(columns)
    row, other_row = r[:, None, None], r[None, None, :]
    direct = row_logits + NEVER * (c[None, :] > c[:, None]) if causal else row_logits
    spans = torch.einsum("bhrcd,bhxcd->bhrcx", q, k_span) + NEVER * (other_row >= row if causal else other_row == row)
    weights = torch.softmax(torch.cat([direct, spans], -1), -1)
    mixed = weights[..., :columns] @ v + torch.einsum("bhrcx,bhxcd->bhrcd", weights[..., columns:], v_span)
    return output(t, mixed.flatten(2, 3))


PATTERNS = {"fixed": fixed, "rowmajor": rowmajor, "logsparse": logsparse, "vertical": axial, "horizontal": axial, "mixture": axial,
            "average": average}
WAYS = {"official operations": lambda t, shape: PATTERNS[shape["pattern"]](t, shape)}
