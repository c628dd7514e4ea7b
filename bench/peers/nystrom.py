"""Nystrom attention as the official LRA code does it: scaled queries and keys, means of even segments, three stored softmax
kernels, six steps of the inverse, (F Z)(B V), and the convolution over the values; the same with fewer operations, F (Z (B V)) and the
convolution as products. N must be a multiple of the landmarks and of 32."""

import torch
import torch.nn.functional as F

from projections import output, queries_keys_values


def inverse(a, steps):
    """The start is per matrix (the authors' recommended choice)."""
    eye = torch.eye(a.shape[-1])
    z = a.transpose(-1, -2) / a.sum(-2).amax(-1)[..., None, None]
    for _ in range(steps):
        x = a @ z
        z = 0.25 * z @ (13 * eye - x @ (15 * eye - x @ (7 * eye - x)))
    return z


def conv2d(v, taps):
    """The official code's call. The gradient of the taps that oneDNN (PyTorch 2.15) gives is wrong by over 1 % from about N = 4096 on;
    compare.py then says so and times the other way alone."""
    return F.conv2d(v, taps[:, None, :, None], padding=(taps.shape[1] // 2, 0), groups=taps.shape[0])


def shifted_sums(v, taps):
    """The same, right, and about twice as fast."""
    n, half = v.shape[2], taps.shape[1] // 2
    padded = F.pad(v, (0, 0, half, half))
    return sum(taps[None, :, i, None, None] * padded[:, :, i:i + n] for i in range(taps.shape[1]))


def banded_products(v, taps):
    """The same as products: all blocks of 32 rows of a head share one band [32, 32 + K - 1] of taps, which meets the block and its neighbours."""
    block, (heads, count) = 32, taps.shape
    reach = block + count - 1
    rows = F.pad(v, (0, 0, count // 2, count // 2)).unfold(2, reach, block)  # [B, H, G, E, reach]
    band = F.pad(taps, (0, block)).repeat(1, block)[:, :block * reach].view(heads, 1, block, reach)  # each row one further to the right
    return (band @ rows.transpose(-1, -2)).flatten(2, 3)


def official(rows, inverse, columns, v):
    return (rows @ inverse) @ (columns @ v)


def right_to_left(rows, inverse, columns, v):
    return rows @ (inverse @ (columns @ v))


def attention(multiply, convolution):
    def forward(t, shape):
        q, k, v = queries_keys_values(t, shape)
        width, landmarks = q.shape[-1], int(shape["landmarks"])
        q, k = q * width**-0.25, k * width**-0.25
        q_mean, k_mean = (z.unflatten(2, (landmarks, -1)).mean(-2) for z in (q, k))
        rows = torch.softmax(q @ k_mean.transpose(-1, -2), -1)
        middle = torch.softmax(q_mean @ k_mean.transpose(-1, -2), -1)
        columns = torch.softmax(q_mean @ k.transpose(-1, -2), -1)
        mixed = multiply(rows, inverse(middle, int(shape["iterations"])), columns, v)
        return output(t, mixed + convolution(v, t["conv"]) if int(shape["conv"]) else mixed)

    return forward


CONVOLUTIONS = {"conv2d (official)": conv2d, "shifted sums": shifted_sums, "banded products": banded_products}
WAYS = {"official operations": attention(official, conv2d), "convolution as shifted sums": attention(official, shifted_sums),
        "F (Z (B V)), convolution as banded products": attention(right_to_left, banded_products)}
