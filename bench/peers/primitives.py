"""The primitives of bench_kernel's table as they are written in PyTorch: the official code's operations where a paper has some, else
what a user would call. Lengths must be multiples of segments and landmarks.

A way takes the tensors that bench_kernel dumped and the row's shape, and gives the result, or the results in order.
"""

import torch
import torch.nn.functional as F

import combiner
import fsat
import nystrom
import paramixer
from fourier import WAYS as FOURIER
from projections import index_select


def attention_stored(t, shape):
    logits = t["q"] @ t["k"].transpose(-1, -2) / t["q"].shape[-1]**0.5
    return torch.softmax(logits, -1) @ t["v"]


def attention_fused(t, shape):
    return F.scaled_dot_product_attention(t["q"], t["k"], t["v"])


def gathered_attention(rows_of):
    def forward(t, shape):
        k, v = (rows_of(t[name], t["index"]) for name in ("k", "v"))  # [B, H, N, K, E]
        weights = torch.softmax(torch.einsum("bhne,bhnke->bhnk", t["q"], k) / k.shape[-1]**0.5, -1)
        return torch.einsum("bhnk,bhnke->bhne", weights, v)

    return forward


def gather(x, index):
    return x.gather(2, index.flatten(2)[..., None].expand(-1, -1, -1, x.shape[-1])).unflatten(2, index.shape[2:])


def lag_column(attend):
    return lambda t, shape: attend(*(t[name] for name in ("q", "k", "v", "lags", "columns", "lag_score", "col_score")))


def score_heads(t, shape):
    return fsat.scores({"." + name: tensor for name, tensor in t.items()}, "", t["feature"], int(shape["heads"]))


def segment_of(shape):
    return int(shape["segment"]) or 1 << (int(shape["n"]).bit_length() // 2)


def segments(t, shape, axis, name="x"):
    return t[name].unflatten(axis, (-1, segment_of(shape)))


def span_pool(t, shape):
    x = segments(t, shape, 1)
    return {"max": x.amax, "mean": x.mean, "sum": x.sum, "log_sum_exp": x.logsumexp}[shape["pool"]](2)


def running_max(t, shape):
    axis = 2 if shape["along"] == "row" else 1
    largest = segments(t, shape, 1).cummax(axis).values  # [B, rows, columns, C]
    before = largest.narrow(axis, 0, largest.shape[axis] - 1)
    return torch.cat([torch.zeros_like(largest.narrow(axis, 0, 1)), before], axis).flatten(1, 2)


def span_attention(t, shape):
    k, v = segments(t, shape, 2, "k"), segments(t, shape, 2, "v")
    weights = torch.softmax(torch.einsum("bhse,bhsje->bhsj", t["q"], k) / k.shape[-1]**0.5, -1)
    return torch.einsum("bhsj,bhsje->bhse", weights, v)


def tokens_and_summaries(q, k, v, k_span, v_span):
    """[B, H, S, T, E] and [B, H, S, E]: each token sees its own segment, and the summaries of all others."""
    q = q / q.shape[-1]**0.5
    direct = torch.einsum("bhgid,bhgjd->bhgij", q, k)
    spans = torch.einsum("bhgid,bhsd->bhgis", q, k_span) - 1e10 * torch.eye(q.shape[2])[:, None, :]
    weights = torch.softmax(torch.cat([direct, spans], -1), -1).split([direct.shape[-1], spans.shape[-1]], -1)
    mixed = torch.einsum("bhgij,bhgjd->bhgid", weights[0], v)
    return (mixed + torch.einsum("bhgis,bhsd->bhgid", weights[1], v_span)).flatten(2, 3)


def block_attention(t, shape):
    if shape["pattern"] != "fixed" or shape["causal"] == "true":
        raise ValueError("only the pattern `fixed`, not causal, is written here")
    return tokens_and_summaries(*(segments(t, shape, 2, name) for name in ("q", "k", "v")), t["summary.0.k"], t["summary.0.v"])


def summary_attention(t, shape):
    q, k, v = (segments(t, shape, 2, name) for name in ("q", "k", "v"))
    weights = torch.softmax(torch.einsum("bhsd,bhsjd->bhsj", q.amax(3), k) / q.shape[-1]**0.5, -1)
    return tokens_and_summaries(q, k, v, k.amax(3), torch.einsum("bhsj,bhsjd->bhsd", weights, v))


def level_attention(t, shape):
    return combiner.levels(t["q"] / t["q"].shape[-1]**0.5, t["k"], t["v"], shape["causal"] == "true")


def compact(t, shape):
    """The real rows in front, in their order; zeros behind."""
    order = torch.argsort(~t["real"], dim=1, stable=True)
    moved = t["x"].gather(1, order[..., None].expand_as(t["x"]))
    return moved * t["real"].gather(1, order)[..., None]


def factors_of(n):
    return max(1, (n - 1).bit_length())


def factor(product):
    def forward(t, shape):
        count = factors_of(t["values"].shape[1])
        return product(t["weights"], t["values"], paramixer.links_of(shape["protocol"], count - 1, count))

    return forward


def chain(product):
    def forward(t, shape):
        v, count = t["values"], len(t["weights"])
        for m, weights in enumerate(t["weights"].unbind(0)):
            v = product(weights, v, paramixer.links_of(shape["protocol"], m, count)) + v
        return v

    return forward


def butterfly(product):
    return lambda t, shape: product(t["weights"], t["values"], paramixer.Flip(int(shape["distance"])))


PRODUCTS = {"gather, scatter_add (official)": paramixer.gather_and_scatter, "gather, einsum": paramixer.gather_and_sum,
            "moved copies": paramixer.moved}


def perceptrons(t, shape):
    """One after the other, as the official modules."""
    parts = zip(*(t[name].unbind(0) for name in ("first", "first_bias", "second", "second_bias")))
    return torch.stack([paramixer.mlp(t["x"], *part) for part in parts])


def perceptrons_at_once(t, shape):
    x = t["x"].flatten(0, 1).expand(len(t["first"]), -1, -1)
    hidden = F.gelu(torch.baddbmm(t["first_bias"][:, None], x, t["first"]))
    return torch.baddbmm(t["second_bias"][:, None], hidden, t["second"]).unflatten(1, t["x"].shape[:2])


def convolution(sums):
    return lambda t, shape: sums(t["x"], t["filter"])


def layer_norm(t, shape):
    return F.layer_norm(t["x"], t["gamma"].shape, t["gamma"], t["beta"], 1e-5)


def adamw(**how):
    """Steps of an optimiser that lives as long as the tensors do; param is cut into a model's many tensors."""
    def forward(t, shape):
        if "optimizer" not in t:
            t["params"] = [torch.nn.Parameter(p.clone()) for p in t["param"].chunk(int(shape["tensors"]))]
            t["optimizer"] = torch.optim.AdamW(t["params"], lr=1e-3, weight_decay=0.01, **how)
            parts = (t[name].clone().chunk(int(shape["tensors"])) for name in ("grad", "m", "v"))
            for param, grad, m, v in zip(t["params"], *parts):
                param.grad = grad
                t["optimizer"].state[param] = {"step": torch.tensor(0.0), "exp_avg": m, "exp_avg_sq": v}
        t["optimizer"].step()
        return OptimizerState(t["params"], t["optimizer"].state)

    return forward


class OptimizerState(tuple):
    """(param, m, v), each one tensor; put together when somebody looks, which is after the time was taken."""
    def __new__(cls, params, state):
        return super().__new__(cls, (lambda: torch.cat([p.detach() for p in params]),
                                     *(lambda name=name: torch.cat([state[p][name] for p in params]) for name in ("exp_avg", "exp_avg_sq"))))

    def __iter__(self):
        return (join() for join in super().__iter__())


WAYS = {
    **FOURIER,
    "matmul": {"@": lambda t, shape: t["a"] @ t["b"]},
    "linear": {"linear": lambda t, shape: F.linear(t["x"], t["weight"].t(), t["bias"])},
    "row_softmax": {"softmax": lambda t, shape: torch.softmax(t["x"], -1)},
    "layer_norm": {"layer_norm": layer_norm},
    "bias_gelu": {"gelu": lambda t, shape: F.gelu(t["x"] + t["bias"])},
    "cross_entropy": {"cross_entropy": lambda t, shape: F.cross_entropy(t["logits"], t["labels"])},
    # foreach first: PyTorch 2.15 does not compile it after fused ("Expected scalars to be on CPU, got meta")
    "adamw": {"foreach": adamw(foreach=True), "fused": adamw(fused=True), "one by one": adamw(foreach=False)},
    "attention": {"stored logits": attention_stored, "scaled_dot_product_attention": attention_fused},
    "gathered_attention": {"gather": gathered_attention(gather), "index_select": gathered_attention(index_select)},
    "lag_column_attention": {name: lag_column(attend) for name, attend in fsat.ATTENDS.items()},
    "hidden_cross": {"rfft, irfft": lambda t, shape: fsat.cross(t["a"], t["b"])},
    "score_heads": {"einsum": score_heads},
    "top_k": {"topk": lambda t, shape: torch.topk(t["x"], min(int(shape["k"]), t["x"].shape[-1])).values},
    "span_pool": {"of segments": span_pool},
    "running_max": {"cummax": running_max},
    "span_attention": {"einsum": span_attention},
    "summary_attention": {"stored logits (official)": summary_attention},
    "level_attention": {"stored logits (official)": level_attention},
    "block_attention": {"stored logits (official)": block_attention},
    "chord_matmul": {name: factor(product) for name, product in PRODUCTS.items()},
    "chord_chain": {name: chain(product) for name, product in PRODUCTS.items()},
    "butterfly_matmul": {name: butterfly(product) for name, product in PRODUCTS.items()},
    "factor_mlp": {"one by one (official)": perceptrons, "baddbmm": perceptrons_at_once},
    "embedding": {"embedding": lambda t, shape: F.embedding(t["ids"], t["table"])},
    "compact": {"argsort, gather": compact},
    "gumbel_noise": {},  # random numbers of another generator, which cannot be compared with ours
    "landmark_softmax": {"softmax": lambda t, shape: torch.softmax(t["x"], -1)},
    "segment_mean": {"mean": lambda t, shape: t["x"].unflatten(2, (int(shape["landmarks"]), -1)).mean(3)},
    "conv1d": {name: convolution(sums) for name, sums in nystrom.CONVOLUTIONS.items()},
    "pinv": {"official operations": lambda t, shape: nystrom.inverse(t["a"], int(shape["iterations"]))},
}
