"""A pre-norm encoder layer around each attention, and the classifier whose training steps are timed, on the parameters of bench_kernel's
cases ..._layer and ..._step. `attention` is a way of the attention's own file."""

import torch
import torch.nn.functional as F


def under(t, prefix):
    return {name[len(prefix):]: tensor for name, tensor in t.items() if name.startswith(prefix)}


def linear(t, name, x):
    return x @ t[name + ".weight"] + t[name + ".bias"]


def norm(t, name, x):
    return F.layer_norm(x, x.shape[-1:], t[name + ".gamma"], t[name + ".beta"], 1e-5)


def drop(x, shape):
    probability = float(shape["dropout"])
    return F.dropout(x, probability) if probability > 0 else x


def encoder_layer(attention, t, x, shape):
    x = x + drop(attention({**under(t, "attention."), "x": norm(t, "norm1", x)}, shape), shape)
    hidden = drop(F.gelu(linear(t, "feed_forward.first", norm(t, "norm2", x))), shape)
    return x + drop(linear(t, "feed_forward.second", hidden), shape)


def layer(attention):
    return lambda t, shape: encoder_layer(attention, t, t["x"], shape)


def loss(attention):
    """Of a batch, before the step."""
    def forward(t, shape):
        encoder = under(t, "encoder.")
        x = F.embedding(t["tokens"], encoder["tokens.weight"]) + encoder["positions.weight"][:t["tokens"].shape[1]]
        x = drop(x, shape)
        for i in range(int(shape["layers"])):
            x = encoder_layer(attention, under(encoder, f"layers.{i}."), x, shape)
        pooled = norm(encoder, "norm", x).mean(1)
        hidden = F.relu(linear(t, "head.layers.0", pooled))
        return F.cross_entropy(linear(t, "head.layers.1", hidden).float(), t["labels"])

    return forward


def step_of(peer, forward):
    """What a training does with a batch: gradients, their norm, the update. The rate is 0, as ours."""
    leaves = [peer.inputs[name] for name in peer.names]
    on_gpu = leaves[0].is_cuda
    optimizer = torch.optim.AdamW(leaves, lr=0.0, weight_decay=0.01, fused=True, capturable=on_gpu)

    def step():
        optimizer.zero_grad(set_to_none=True)
        forward()[0].backward()
        torch.nn.utils.clip_grad_norm_(leaves, 1.0)
        optimizer.step()

    return step
