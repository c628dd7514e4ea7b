#!/usr/bin/env python3
"""Draws nn/attention/attentions.svg: which entries of the N x N attention matrix each of the five mechanisms computes.

All panels share the same 16 queries and keys, so that the pictures can be compared; dark is a large weight.
    python3 nn/attention/draw_attentions.py        needs nothing but Python
"""
import math
import pathlib
import random

N = 16
BLOCK = 4  # Combiner's spans, and how many positions one landmark of Nystroem stands for
SIDE = 160  # of a panel, in pixels
GAP = 34
TOP = 16

draw = random.Random(5)


def smooth_rows(count, width):
    """Random features that change slowly along the sequence, as those of words and pixels do."""
    rows = [[draw.gauss(0, 1) for _ in range(width)] for _ in range(count)]
    for i in range(1, count):
        rows[i] = [0.6 * before + 0.8 * fresh for before, fresh in zip(rows[i - 1], rows[i])]
    return rows


queries, keys = smooth_rows(N, 6), smooth_rows(N, 6)


def block_means(rows):
    return [[sum(column) / BLOCK for column in zip(*rows[b : b + BLOCK])] for b in range(0, N, BLOCK)]


def scores(left, right):
    return [[math.exp(0.6 * sum(x * y for x, y in zip(a, b))) for b in right] for a in left]


def normalised(rows):
    return [[x / sum(row) for x in row] for row in rows]


def softmax():
    return normalised(scores(queries, keys))


def fsat():
    lags, columns = (0, 1, 5), (3, 10)
    exact = scores(queries, keys)
    return normalised([[exact[i][j] if j in columns or abs(i - j) in lags else 0 for j in range(N)] for i in range(N)])


def combiner():
    exact, spans = scores(queries, keys), scores(queries, block_means(keys))
    rows = []
    for i in range(N):
        own = i // BLOCK
        direct = [exact[i][j] if j // BLOCK == own else 0 for j in range(N)]
        abstract = [0 if j // BLOCK == own else spans[i][j // BLOCK] / BLOCK for j in range(N)]
        rows.append([a + b for a, b in zip(direct, abstract)])
    return normalised(rows)


def chord_factor():
    links = {0, 1, 2, 4, 8}
    return [[draw.uniform(0.05, 0.4) if (j - i) % N in links else 0 for j in range(N)] for i in range(N)]


def matrix(rows, x, y, cell):
    """Cells as squares; an entry that is not computed is left as paper."""
    height, width = len(rows) * cell, len(rows[0]) * cell
    out = [f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" class="paper"/>']
    largest = max(map(max, rows))
    for i, row in enumerate(rows):
        for j, value in enumerate(row):
            if value > 0:
                shade = 0.12 + 0.88 * math.sqrt(value / largest)
                out.append(f'<rect x="{x + j * cell:.1f}" y="{y + i * cell:.1f}" width="{cell:.1f}" '
                           f'height="{cell:.1f}" fill-opacity="{shade:.2f}"/>')
    return out


def one_matrix(rows):
    return lambda x: matrix(rows, x, TOP, SIDE / N)


def nystrom(x):
    landmarks_q, landmarks_k = block_means(queries), block_means(keys)
    m = N // BLOCK
    cell = SIDE / (N + 2 * m + 3)
    y = TOP + (SIDE - N * cell) / 2
    middle = y + (N - m) / 2 * cell
    return (matrix(normalised(scores(queries, landmarks_k)), x, y, cell) +
            matrix(normalised(scores(landmarks_q, landmarks_k)), x + (m + 1.5) * cell, middle, cell) +
            matrix(normalised(scores(landmarks_q, keys)), x + (2 * m + 3) * cell, middle, cell))


def paramixer(x):
    half = SIDE / 2 - 4
    corners = [(0, 0), (half + 8, 0), (0, half + 8), (half + 8, half + 8)]
    return [part for dx, dy in corners for part in matrix(chord_factor(), x + dx, TOP + dy, half / N)]


PANELS = [
    ("softmax", "all N×N, never stored", one_matrix(softmax())),
    ("Nyströmformer", "N×m · m×m · m×N", nystrom),
    ("FSAT", "predicted lags and columns", one_matrix(fsat())),
    ("Paramixer", "product of log₂N sparse factors", paramixer),
    ("Combiner", "own block, others as wholes", one_matrix(combiner())),
]

width = len(PANELS) * SIDE + (len(PANELS) + 1) * GAP
height = TOP + SIDE + 54
parts = [
    f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
    'font-family="Helvetica, Arial, sans-serif" text-anchor="middle" fill="#1b4f8a">',
    '<title>Which entries of the attention matrix each of the five mechanisms computes</title>',
    '<style>.paper{fill:#f3f1ec} .name{font-size:15px;font-weight:bold;fill:#222} .what{font-size:11.5px;fill:#555}</style>',
    f'<rect width="{width}" height="{height}" rx="6" fill="#fff"/>',
]
for index, (name, what, panel) in enumerate(PANELS):
    x = GAP + index * (SIDE + GAP)
    parts += panel(x)
    parts.append(f'<text x="{x + SIDE / 2}" y="{TOP + SIDE + 24}" class="name">{name}</text>')
    parts.append(f'<text x="{x + SIDE / 2}" y="{TOP + SIDE + 42}" class="what">{what}</text>')
parts.append("</svg>")
pathlib.Path(__file__).with_name("attentions.svg").write_text("\n".join(parts) + "\n")
