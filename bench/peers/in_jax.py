"""The same work in JAX, compiled by `jax.jit`: what peers in PyTorch are beside, on the same tensors. Not every op: those whose operations
JAX users would write in a few lines; Combiner's grids stand beside PyTorch alone.

JAX compiles forward and backward as one, so that is what is timed; forward alone is timed apart, backward is the difference.
"""

import math
import os
import time

import peer_process

# One thread, as the others have; vectors as wide as the processor's, where XLA alone would stay at half (bias and GELU: 0.29 ms, not 0.47).
FLAGS = ["--xla_cpu_multi_thread_eigen=false", *(["--xla_cpu_prefer_vector_width=512"] if peer_process.has_avx512() else [])]
os.environ["XLA_FLAGS"] = " ".join([*FLAGS, os.environ.get("XLA_FLAGS", "")]).strip()  # the last one counts: the user's

import jax
import jax.numpy as jnp
import numpy

softmax = jax.nn.softmax


def gelu(x):
    return jax.nn.gelu(x, approximate=False)


def linear(t, name, x):
    return x @ t[name + ".weight"] + t[name + ".bias"]


def queries_keys_values(t, shape):
    def heads_of(name):
        y = linear(t, name, t["x"])
        return y.reshape(*y.shape[:2], int(shape["heads"]), -1).swapaxes(1, 2)

    return [heads_of(name) for name in ("query", "key", "value")]


def output(t, mixed):
    batch, heads, n, width = mixed.shape
    return linear(t, "out", mixed.swapaxes(1, 2).reshape(batch, n, heads * width))


def attend(q, k, v, causal):
    logits = q @ k.swapaxes(-1, -2) / math.sqrt(q.shape[-1])
    if causal:
        n = q.shape[2]
        logits = jnp.where(jnp.tril(jnp.ones((n, n), bool)), logits, -jnp.inf)
    return softmax(logits, -1) @ v


def softmax_attention(t, shape):
    return output(t, attend(*queries_keys_values(t, shape), shape["causal"] == "true"))


def inverse(a, steps):
    eye = jnp.eye(a.shape[-1], dtype=a.dtype)
    z = a.swapaxes(-1, -2) / a.sum(-2).max(-1)[..., None, None]
    for _ in range(steps):
        x = a @ z
        z = 0.25 * z @ (13 * eye - x @ (15 * eye - x @ (7 * eye - x)))
    return z


def shifted_sums(v, taps):
    n, half = v.shape[2], taps.shape[1] // 2
    padded = jnp.pad(v, ((0, 0), (0, 0), (half, half), (0, 0)))
    return sum(taps[None, :, i, None, None] * padded[:, :, i:i + n] for i in range(taps.shape[1]))


def banded_products(v, taps):
    """As nystrom.py's."""
    block, (heads, count) = 32, taps.shape
    batch, _, n, width = v.shape
    reach = block + count - 1
    at = jnp.arange(0, n, block)[:, None] + jnp.arange(reach)  # [G, reach]
    rows = jnp.pad(v, ((0, 0), (0, 0), (count // 2, count // 2), (0, 0)))[:, :, at]  # [B, H, G, reach, E]
    band = jnp.tile(jnp.pad(taps, ((0, 0), (0, block))), (1, block))[:, :block * reach].reshape(heads, block, reach)
    return jnp.einsum("hrj,bhgje->bhgre", band, rows).reshape(batch, heads, n, width)


def nystrom(t, shape):
    q, k, v = queries_keys_values(t, shape)
    landmarks = int(shape["landmarks"])
    q, k = q * q.shape[-1]**-0.25, k * k.shape[-1]**-0.25
    q_mean, k_mean = (z.reshape(*z.shape[:2], landmarks, -1, z.shape[-1]).mean(-2) for z in (q, k))
    rows = softmax(q @ k_mean.swapaxes(-1, -2), -1)
    middle = softmax(q_mean @ k_mean.swapaxes(-1, -2), -1)
    columns = softmax(q_mean @ k.swapaxes(-1, -2), -1)
    mixed = rows @ (inverse(middle, int(shape["iterations"])) @ (columns @ v))
    return output(t, mixed + banded_products(v, t["conv"]) if int(shape["conv"]) else mixed)


def mlp(x, first, first_bias, second, second_bias):
    return gelu(x @ first + first_bias) @ second + second_bias


def offsets_of(protocol, m, factors):
    """Of factor m; None where links are i XOR 2^m."""
    if protocol == "chord":
        return [0] + [2**k for k in range(factors)]
    if protocol == "butterfly":
        return None
    return [0] + [k * 2**m for k in range(1, 5)] + [-k * 2**m for k in range(1, 5)]  # cdil


def flip(v, distance):
    return v.reshape(v.shape[0], -1, 2, distance, v.shape[-1])[:, :, ::-1].reshape(v.shape)


def factor(w, v, offsets, m):
    copies = [v, flip(v, 2**m)] if offsets is None else [jnp.roll(v, -o, 1) for o in offsets]
    return sum(w[..., k:k + 1] * copy for k, copy in enumerate(copies))


def paramixer(t, shape):
    def layers(name):
        return list(zip(*(t[f"{name}.{layer}.{kind}"] for layer in ("first", "second") for kind in ("weight", "bias"))))

    v = mlp(t["x"], *layers("g")[0])
    links = layers("f")
    for m, link_layers in enumerate(links):
        v = factor(mlp(t["x"], *link_layers), v, offsets_of(shape["protocol"], m, len(links)), m) + v
    return v


def factors_of(n):
    return max(1, (n - 1).bit_length())


def chord_matmul(t, shape):
    count = factors_of(t["values"].shape[1])
    return factor(t["weights"], t["values"], offsets_of(shape["protocol"], count - 1, count), count - 1)


def chord_chain(t, shape):
    v, count = t["values"], len(t["weights"])
    for m in range(count):
        v = factor(t["weights"][m], v, offsets_of(shape["protocol"], m, count), m) + v
    return v


def butterfly_matmul(t, shape):
    return t["weights"][..., :1] * t["values"] + t["weights"][..., 1:] * flip(t["values"], int(shape["distance"]))


def factor_mlp(t, shape):
    def one(first, first_bias, second, second_bias):
        return mlp(t["x"], first, first_bias, second, second_bias)

    return jax.vmap(one)(t["first"], t["first_bias"], t["second"], t["second_bias"])


def combiner(t, shape):
    """The pattern `fixed`, maxima as summaries."""
    q, k, v = queries_keys_values(t, shape)
    q = q / math.sqrt(q.shape[-1])
    size = int(shape["segment"])
    count = q.shape[2] // size
    q, k, v = (z.reshape(*z.shape[:2], count, size, -1) for z in (q, k, v))
    weights = softmax(jnp.einsum("bhsd,bhsjd->bhsj", q.max(3), k), -1)
    k_span, v_span = k.max(3), jnp.einsum("bhsj,bhsjd->bhsd", weights, v)
    direct = jnp.einsum("bhgid,bhgjd->bhgij", q, k)
    spans = jnp.einsum("bhgid,bhsd->bhgis", q, k_span)
    if shape["causal"] == "true":
        direct = direct - 1e10 * jnp.triu(jnp.ones((size, size)), 1)
        spans = spans - 1e10 * jnp.triu(jnp.ones((count, count)))[:, None, :]
    else:
        spans = spans - 1e10 * jnp.eye(count)[:, None, :]
    weights = softmax(jnp.concatenate([direct, spans], -1), -1)
    mixed = jnp.einsum("bhgij,bhgjd->bhgid", weights[..., :size], v) + jnp.einsum("bhgis,bhsd->bhgid", weights[..., size:], v_span)
    return output(t, mixed.reshape(*mixed.shape[:2], count * size, -1))


def rows_at(x, index):
    batch, heads = x.shape[:2]
    return x[jnp.arange(batch)[:, None, None, None], jnp.arange(heads)[None, :, None, None], index]


def gathered_attention(t, shape):
    k, v = (rows_at(t[name], t["index"]) for name in ("k", "v"))
    weights = softmax(jnp.einsum("bhne,bhnke->bhnk", t["q"], k) / math.sqrt(k.shape[-1]), -1)
    return jnp.einsum("bhnk,bhnke->bhne", weights, v)


def straight_through(score, chosen):
    bias = jnp.take_along_axis(score, chosen, 2)[:, :, None, :]
    return bias - jax.lax.stop_gradient(bias)


def lag_column(q, k, v, lags, columns, lag_score, column_score):
    """As fsat.column_products."""
    batch, heads, n, width = q.shape
    q = q / math.sqrt(width)
    positions = jnp.arange(n)[:, None]
    k_lag, v_lag = (rows_at(x, (positions + lags[:, :, None, :]) % n) for x in (k, v))  # [B, H, N, lags, E]
    k_column, v_column = (jnp.take_along_axis(x, columns[..., None], 2) for x in (k, v))  # [B, H, columns, E]
    is_lag = (jnp.arange(n) == lags[..., None]).any(2)  # [B, H, N]
    distance = (columns[:, :, None, :] - positions) % n  # [B, H, N, columns]
    reached = jnp.take_along_axis(is_lag, distance.reshape(batch, heads, -1), 2).reshape(distance.shape)
    of_lags = jnp.einsum("bhne,bhnke->bhnk", q, k_lag) + straight_through(lag_score, lags)
    of_columns = q @ k_column.swapaxes(-1, -2) + straight_through(column_score, columns)
    weights = softmax(jnp.concatenate([of_lags, jnp.where(reached, -jnp.inf, of_columns)], -1), -1)
    to_lags, to_columns = weights[..., :lags.shape[-1]], weights[..., lags.shape[-1]:]
    return jnp.einsum("bhnk,bhnke->bhne", to_lags, v_lag) + to_columns @ v_column


def lag_column_attention(t, shape):
    return lag_column(*(t[name] for name in ("q", "k", "v", "lags", "columns", "lag_score", "col_score")))


def cross(a, b):
    """Of a power of two positions, as fsat.py's."""
    n = a.shape[1]
    mean = a.mean(1, keepdims=True)
    a, b = a - mean, b - b.mean(1, keepdims=True)
    return jnp.fft.irfft(jnp.fft.rfft(a, axis=1).conj() * jnp.fft.rfft(b, axis=1), n, axis=1) / n, mean * b


def scores(t, name, feature, heads):
    f = feature.reshape(*feature.shape[:2], heads, -1)  # [B, N, H, R]
    hidden = gelu(jnp.einsum("bnhr,hrm->bnhm", f, t[name + ".w1"]) + t[name + ".b1"])
    s = jnp.einsum("bnhr,hr->bnh", f, t[name + ".u"]) + jnp.einsum("bnhm,hm->bnh", hidden, t[name + ".w2"])
    return s.swapaxes(1, 2)


def chosen(keys, count, window):
    n = keys.shape[-1]
    if window >= 0:
        keys = keys.at[..., jnp.arange(-window, window + 1) % n].set(jnp.inf)
    return jnp.sort(jax.lax.top_k(jax.lax.stop_gradient(keys), min(count, n))[1], -1)


def fsat(t, shape):
    heads = int(shape["heads"])
    x = jax.lax.stop_gradient(t["x"])
    lag_feature, column_feature = cross(x @ t["cross_a.weight"] + t["cross_a.bias"], x @ t["cross_b.weight"])
    lag_score, column_score = scores(t, "lag_head", lag_feature, heads), scores(t, "col_head", column_feature, heads)
    lags = chosen(lag_score, int(shape["lags"]), int(shape["window"]))
    columns = chosen(column_score, int(shape["columns"]), -1)
    return output(t, lag_column(*queries_keys_values(t, shape), lags, columns, lag_score, column_score))


def norm(x, gamma, beta):
    centred = x - x.mean(-1, keepdims=True)
    return centred * jax.lax.rsqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * gamma + beta


def layer_norm(t, shape):
    return norm(t["x"], t["gamma"], t["beta"])


def drop(t, x, shape, place):
    probability = float(shape["dropout"])
    if probability == 0:
        return x
    kept = jax.random.bernoulli(jax.random.fold_in(t["random"], place), 1 - probability, x.shape)
    return jnp.where(kept, x / (1 - probability), 0)


def under(t, prefix):
    return {name[len(prefix):]: array for name, array in t.items() if name.startswith(prefix)} | {"random": t["random"]}


def encoder_layer(attention, t, x, shape, place=0):
    normed = [lambda y, name=name: norm(y, t[name + ".gamma"], t[name + ".beta"]) for name in ("norm1", "norm2")]
    x = x + drop(t, attention({**under(t, "attention."), "x": normed[0](x)}, shape), shape, place)
    hidden = drop(t, gelu(linear(t, "feed_forward.first", normed[1](x))), shape, place + 1)
    return x + drop(t, linear(t, "feed_forward.second", hidden), shape, place + 2)


def layer(attention):
    return lambda t, shape: encoder_layer(attention, t, t["x"], shape)


def loss(attention):
    """As encoder.py's."""
    def forward(t, shape):
        encoder = under(t, "encoder.")
        x = encoder["tokens.weight"][t["tokens"]] + encoder["positions.weight"][:t["tokens"].shape[1]]
        x = drop(t, x, shape, 0)
        for i in range(int(shape["layers"])):
            x = encoder_layer(attention, under(encoder, f"layers.{i}."), x, shape, 1 + 3 * i)
        pooled = norm(x, encoder["norm.gamma"], encoder["norm.beta"]).mean(1)
        logits = linear(t, "head.layers.1", jax.nn.relu(linear(t, "head.layers.0", pooled)))
        return cross_entropy({"logits": logits, "labels": t["labels"]}, shape)

    return forward


def cross_entropy(t, shape):
    return -jnp.take_along_axis(jax.nn.log_softmax(t["logits"], -1), t["labels"][:, None], 1).mean()


def adamw(t, shape):
    """The first step; its number does not change the work."""
    m, v = 0.9 * t["m"] + 0.1 * t["grad"], 0.999 * t["v"] + 0.001 * t["grad"]**2
    update = (m / 0.1) / (jnp.sqrt(v / 0.001) + 1e-8)
    return t["param"] * (1 - 1e-5) - 1e-3 * update, m, v


def pairs(z):
    return jnp.stack([z.real, z.imag], -1)


def complex_of(x):
    return jax.lax.complex(x[..., 0], x[..., 1])


def cyclic(conjugate):
    def forward(t, shape):
        a, b = (jnp.fft.rfft(t[name], axis=1) for name in ("a", "b"))
        return jnp.fft.irfft((a.conj() if conjugate else a) * b, t["a"].shape[1], axis=1)

    return forward


WAYS = {
    "softmax": softmax_attention,
    "nystrom": nystrom,
    "paramixer": paramixer,
    "combiner": combiner,
    "fsat": fsat,
    "matmul": lambda t, shape: t["a"] @ t["b"],
    "linear": lambda t, shape: t["x"] @ t["weight"] + t["bias"],
    "attention": lambda t, shape: attend(t["q"], t["k"], t["v"], shape["causal"] == "true"),
    "row_softmax": lambda t, shape: softmax(t["x"], -1),
    "layer_norm": layer_norm,
    "cross_entropy": cross_entropy,
    "adamw": adamw,
    "bias_gelu": lambda t, shape: gelu(t["x"] + t["bias"]),
    "gathered_attention": gathered_attention,
    "lag_column_attention": lag_column_attention,
    "conv1d": lambda t, shape: banded_products(t["x"], t["filter"]),
    "pinv": lambda t, shape: inverse(t["a"], int(shape["iterations"])),
    "chord_matmul": chord_matmul,
    "chord_chain": chord_chain,
    "butterfly_matmul": butterfly_matmul,
    "factor_mlp": factor_mlp,
    "fft": lambda t, shape: pairs(jnp.fft.fft(complex_of(t["x"]), axis=int(shape["axis"]))),
    "rfft": lambda t, shape: pairs(jnp.fft.rfft(t["x"], axis=int(shape["axis"]))),
    "irfft": lambda t, shape: jnp.fft.irfft(complex_of(t["x"]), int(shape["n"]), axis=int(shape["axis"])),
    "circular_convolve": cyclic(False),
    "circular_correlate": cyclic(True),
    "top_k": lambda t, shape: jax.lax.top_k(t["x"], min(int(shape["k"]), t["x"].shape[-1]))[0],
}


def way_of(op, shape):
    """None where there is none for this row."""
    attention, _, around = op.partition("_")
    if attention == "combiner" and (shape["pattern"] != "fixed" or shape.get("pool", "max") != "max"):
        return None
    if around in ("layer", "step") and attention in WAYS:
        return {"layer": layer, "step": loss}[around](WAYS[attention])
    return WAYS.get(op)


class Peer:
    """As compare.Peer: `function(tensors, shape)` gives the result; tensors are PyTorch's."""

    def __init__(self, function, tensors, shape, names, outs, upstream):
        arrays = {name: jnp.asarray(t.detach().numpy()) for name, t in tensors.items()}
        self.names, self.outs = names, outs
        self.leaves = {name: arrays[name] for name in names}
        self.upstream = tuple(arrays[name] for name in upstream)
        self.rest = {name: a for name, a in arrays.items() if name not in names}
        self.rest["random"] = jax.random.key(0)  # for dropout, of the fastest of JAX's generators

        def forward(leaves, rest):
            out = function({**rest, **leaves}, shape)
            return out if isinstance(out, tuple) else (out,)

        def both(leaves, rest, upstream):
            if not names:  # an op without a backward
                return forward(leaves, rest), {}
            outs, backward = jax.vjp(lambda x: forward(x, rest), leaves)
            return outs, backward(upstream)[0]

        self.gradients = both
        self.forward, self.both = jax.jit(forward), jax.jit(both)

    def results(self):
        """Numpy arrays by the names that bench_kernel gave them."""
        outs, grads = self.both(self.leaves, self.rest, self.upstream)
        return {**{name: numpy.array(out) for name, out in zip(self.outs, outs, strict=True)},
                **{"grad." + name: numpy.array(grad) for name, grad in grads.items()}}

    def run(self):
        start = time.process_time()
        jax.block_until_ready(self.forward(self.leaves, self.rest))
        middle = time.process_time()
        jax.block_until_ready(self.both(self.leaves, self.rest, self.upstream))
        end = time.process_time()
        return middle - start, (end - middle) - (middle - start)


class Step(Peer):
    """As compare.Step: gradients, their norm, AdamW's update, all in one program that writes in place. The rate is 0, as ours."""

    def __init__(self, function, tensors, shape, names, outs, upstream):
        super().__init__(function, tensors, shape, names, outs, upstream)
        zeros = lambda: jax.tree.map(jnp.zeros_like, self.leaves)
        self.state = (jax.tree.map(jnp.copy, self.leaves), zeros(), zeros(), jnp.zeros(()))
        self.step = jax.jit(self.updated, donate_argnums=0)

    def updated(self, state, rate, rest):
        leaves, m, v, count = state
        grads = self.gradients(leaves, rest, (jnp.ones(()),))[1]
        length = jnp.sqrt(sum((g**2).sum() for g in grads.values()))
        grads = jax.tree.map(lambda g: g * jnp.minimum(1, 1 / (length + 1e-6)), grads)
        count = count + 1
        m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, grads)
        v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g**2, v, grads)
        update = lambda p, m, v: p * (1 - 0.01 * rate) - rate * (m / (1 - 0.9**count)) / (jnp.sqrt(v / (1 - 0.999**count)) + 1e-8)
        return jax.tree.map(update, leaves, m, v), m, v, count

    def run(self):
        start = time.process_time()
        self.state = jax.block_until_ready(self.step(self.state, 0.0, self.rest))
        return time.process_time() - start, 0.0
