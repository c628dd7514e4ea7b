#!/usr/bin/env python3
"""Draws kernels/cuda_*.svg, the pictures of kernels/cuda.md: who does what in the CUDA kernels.

Dark is what one block, warp or thread has; paper is what it leaves to others. Owners differ in lightness and carry their
number, so that the pictures can be read in black and white.
    python3 kernels/draw_cuda.py [FOLDER]       needs nothing but Python; writes beside itself, or into FOLDER
"""
import pathlib
import sys

INK, SOFT, PAPER, EDGE, WARM = "#222", "#555", "#f3f1ec", "#b9b4a8", "#b3541e"
SHADES = ["#123a68", "#3f78b5", "#97bfe4", "#dce9f6"]  # of four owners
FOLDER = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else pathlib.Path(__file__).parent


class Picture:
    def __init__(self, name, title, width, height):
        self.name = name
        self.parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
            f'font-family="Helvetica, Arial, sans-serif" font-size="12" fill="{INK}">',
            f"<title>{title}</title>",
            '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
            f'<path d="M0 0 8 4 0 8z" fill="{WARM}"/></marker></defs>',
            f'<rect width="{width}" height="{height}" rx="6" fill="#fff"/>',
        ]

    def box(self, x, y, w, h, fill=PAPER, edge=EDGE, thick=0.8):
        self.parts.append(f'<rect x="{x:g}" y="{y:g}" width="{w:g}" height="{h:g}" fill="{fill}" stroke="{edge}" '
                          f'stroke-width="{thick:g}"/>')

    def frame(self, x, y, w, h, thick=2.2):
        self.box(x, y, w, h, "none", WARM, thick)

    def words(self, x, y, text, size=11, fill=INK, anchor="start", bold=False):
        weight = ' font-weight="bold"' if bold else ""
        text = text.replace("&", "&amp;").replace("<", "&lt;")
        self.parts.append(f'<text x="{x:g}" y="{y:g}" font-size="{size:g}" fill="{fill}" text-anchor="{anchor}"{weight}>'
                          f"{text}</text>")

    def lines(self, x, y, texts, size=11, fill=SOFT, step=16):
        for i, text in enumerate(texts):
            self.words(x, y + i * step, text, size, fill)

    def head(self, x, y, text):
        self.words(x, y, text, 12.5, INK, bold=True)

    def owned(self, x, y, w, h, owner, label=""):
        """A part of owner number `owner`."""
        self.box(x, y, w, h, SHADES[owner % 4])
        if label != "":
            self.words(x + w / 2, y + h / 2 + 3.6, str(label), min(10.5, h * 0.8), "#fff" if owner % 4 < 2 else INK, "middle")

    def arrow(self, x1, y1, x2, y2):
        self.parts.append(f'<path d="M{x1:g} {y1:g} {x2:g} {y2:g}" stroke="{WARM}" stroke-width="1.6" fill="none" '
                          'marker-end="url(#tip)"/>')

    def line(self, x1, y1, x2, y2, color=EDGE, thick=1):
        self.parts.append(f'<path d="M{x1:g} {y1:g} {x2:g} {y2:g}" stroke="{color}" stroke-width="{thick:g}" fill="none"/>')

    def save(self):
        text = "\n".join(self.parts + ["</svg>"]) + "\n"
        (FOLDER / f"cuda_{self.name}.svg").write_text(text)


def elementwise():
    p = Picture("elementwise", "Threads of an elementwise kernel take neighbouring packs of four elements", 760, 182)
    p.head(20, 26, "One pack of 16 bytes per thread")
    for i in range(32):
        p.owned(20 + 22 * i, 40, 22, 24, i // 4 % 4, i)
    p.words(20, 82, "element of out, float32", 11, SOFT)
    for t in range(8):
        p.words(20 + 88 * t + 44, 100, f"thread {t}", 11, INK, "middle")
    p.arrow(240, 112, 60, 112)
    p.arrow(240, 112, 690, 112)
    p.words(250, 130, "a warp reads 512 bytes side by side, and writes as many", 11, SOFT)
    p.head(20, 162, "What is left over")
    for i in range(3):
        p.owned(150 + 22 * i, 148, 22, 22, i, 32 + i)
    p.words(230, 163, "behind the last whole pack: one element each, for the threads behind the last pack", 11, SOFT)
    p.save()


def rows():
    p = Picture("rows", "A block of four warps has four rows; lanes of a warp share a row and add up by shuffles", 760, 262)
    p.head(20, 26, "WarpRow: a warp per row")
    for row in range(4):
        y = 40 + 26 * row
        for pack in range(16):
            p.owned(78 + 18 * pack, y, 18, 20, row, pack % 8)
        p.words(72, y + 14, f"warp {row}", 11, INK, "end")
    p.lines(20, 166, ["Numbers are lanes; 8 of the 32 are drawn.", "Lane l has the packs l, l + 32, ... of its row,",
                      "in registers: the row is read once."])
    p.owned(78, 222, 288, 20, 0, "BlockRow, for wide rows: 256 threads, one row")
    x0, step = 420, 32
    p.head(x0, 26, "A sum over the lanes")
    for level, distance in enumerate((0, 4, 2, 1)):
        y = 44 + 52 * level
        for lane in range(8):
            if distance:
                other = lane ^ distance
                p.line(x0 + 12 + step * other, y - 28, x0 + 12 + step * lane, y, EDGE if lane > other else WARM, 1.1)
        for lane in range(8):
            p.owned(x0 + step * lane, y, 24, 24, 3 if level < 3 else 0, lane)
        if distance:
            p.words(x0 + 8 * step + 4, y + 16, f"lane ^ {distance}", 11, SOFT)
    p.words(x0, 248, "32 lanes: five exchanges", 11, SOFT)
    p.save()


def sums():
    p = Picture("sums", "Rows of a matrix are cut into chunks; each block sums one, the chunks' sums are reduced again", 760, 244)
    p.head(20, 26, "[R, K] to [chunks, K]")
    for row in range(16):
        for column in range(8):
            p.owned(20 + 24 * column, 40 + 11 * row + 6 * (row // 8), 24, 11, row % 4, "")
        p.words(218, 49 + 11 * row + 6 * (row // 8), f"lane {row % 4}", 9, SOFT)
    p.frame(20, 40, 192, 88)
    p.words(266, 88, "block 0", 12, WARM)
    p.words(266, 182, "block 1", 11, SOFT)
    p.arrow(320, 84, 372, 100)
    p.arrow(320, 178, 372, 122)
    for chunk in range(2):
        for column in range(8):
            p.owned(380 + 24 * column, 92 + 22 * chunk, 24, 20, 3, "")
    p.arrow(476, 142, 476, 162)
    for column in range(8):
        p.owned(380 + 24 * column, 168, 24, 20, 0, "")
    p.words(584, 114, "the chunks' sums, and", 11, SOFT)
    p.words(584, 130, "the same once more", 11, SOFT)
    p.words(380, 60, "each column's lanes meet in shared memory", 11, SOFT)
    p.save()


def attention():
    p = Picture("attention", "A block of attention owns queries and walks over tiles of 32 keys, copying the next one", 760, 330)
    x, y, cell = 60, 66, 11
    p.head(20, 26, "A block owns 128 queries of a head")
    p.words(x + 8 * cell, 56, "keys, in tiles of 32", 11, SOFT, "middle")
    for i in range(16):
        for j in range(16):
            p.box(x + cell * j, y + cell * i, cell, cell, PAPER, EDGE, 0.4)
    for warp in range(4):
        for j in range(16):
            hidden = j >= 13
            if hidden:
                p.box(x + cell * j, y + cell * (4 + warp), cell, cell, "#fff", EDGE, 0.4)
            else:
                p.owned(x + cell * j, y + cell * (4 + warp), cell, cell, warp)
    p.frame(x, y + 4 * cell, 16 * cell, 4 * cell)
    p.frame(x + 6 * cell, y - 3, cell, 16 * cell + 6, 1.6)
    p.words(x - 6, y + 6 * cell + 4, "block", 11.5, WARM, "end")
    p.words(x + 6.5 * cell, y + 17.6 * cell, "the tile at work", 11.5, WARM, "middle")
    p.lines(20, 290, ["Shades: four warps. White: a tile", "without a real key is left out."])
    x0 = 310
    p.head(x0, 26, "The next tile is copied while this one is at work")
    for i in range(5):
        p.owned(x0 + 60 + 66 * i, 42, 62, 22, 3, f"k, v of {i}")
        if i < 4:
            p.owned(x0 + 126 + 66 * i, 68, 62, 22, 1, f"tile {i}")
    p.words(x0, 57, "copy", 11, SOFT)
    p.words(x0, 83, "multiply", 11, SOFT)
    p.words(x0, 110, "two stages in shared memory take turns", 11, SOFT)
    p.head(x0, 146, "What a warp does with a tile, all in registers")
    steps = [("s = q kᵀ", "logits, 16 x 32 at a time"),
             ("top' = max(top, s)", "the largest logit of each query so far"),
             ("p = e^(s - top')", "weights; 0 for keys not seen"),
             ("sum, out *= e^(top - top')", "what is there follows the new top"),
             ("sum += p;  out += p v", "p stays where the first product left it")]
    for i, (what, why) in enumerate(steps):
        p.owned(x0, 158 + 27 * i, 172, 23, 3, "")
        p.words(x0 + 8, 174 + 27 * i, what, 11.5)
        p.words(x0 + 184, 174 + 27 * i, why, 11, SOFT)
    p.words(x0, 312, "at the end: out / sum, lse = top + ln(sum)", 11, SOFT)
    p.save()


def owners():
    p = Picture("owners", "Backward of attention: one kernel owns queries, the other keys; nothing is added between blocks", 760, 232)
    cell = 11
    for x, title, owned_rows, what in ((40, "attention_backward_queries", True, "walks over keys, writes dq"),
                                       (300, "attention_backward_keys", False, "walks over queries, writes dk and dv")):
        p.head(x, 26, title)
        for i in range(12):
            for j in range(12):
                mine = 4 <= i < 8 if owned_rows else 4 <= j < 8
                shade = (i if owned_rows else j) - 4
                if mine:
                    p.owned(x + cell * j, 56 + cell * i, cell, cell, shade)
                else:
                    p.box(x + cell * j, 56 + cell * i, cell, cell, PAPER, EDGE, 0.4)
        if owned_rows:
            p.frame(x, 56 + 4 * cell, 12 * cell, 4 * cell)
            p.arrow(x + 4, 56 + 6 * cell, x + 11.6 * cell, 56 + 6 * cell)
            p.owned(x + 13 * cell, 56 + 4 * cell, 26, 4 * cell, 0, "dq")
        else:
            p.frame(x + 4 * cell, 56, 4 * cell, 12 * cell)
            p.arrow(x + 6 * cell, 60, x + 6 * cell, 56 + 11.6 * cell)
            p.owned(x + 13 * cell, 56, 26, 26, 0, "dk")
            p.owned(x + 13 * cell, 86, 26, 26, 1, "dv")
        p.words(x, 212, what, 11, SOFT)
    p.lines(530, 70, ["Both make the weights again:", "7 products in the place of 5.", "", "No block adds to what another", "writes: the same bits every time."])
    p.save()


def slots():
    p = Picture("slots", "Lag-column attention: 32 queries of a block walk over chosen diagonals and columns", 760, 300)
    n, cell, x, y = 24, 9, 50, 50
    lags, columns = (0, 1, -1, 6), (4, 15)
    p.head(20, 26, "Lags and columns of a head")
    for i in range(n):
        for j in range(n):
            mine = 8 <= i < 14
            if j in columns:
                p.owned(x + cell * j, y + cell * i, cell, cell, 1 if mine else 3)
            elif any((i + lag) % n == j for lag in lags):
                p.owned(x + cell * j, y + cell * i, cell, cell, 0 if mine else 2)
            else:
                p.box(x + cell * j, y + cell * i, cell, cell, PAPER, EDGE, 0.3)
    p.frame(x, y + 8 * cell, n * cell, 6 * cell)
    p.words(x - 5, y + 11 * cell + 4, "block", 11.5, WARM, "end")
    p.words(20, 288, "a block: 32 queries, eight lanes each", 11, SOFT)
    x0 = 300
    p.head(x0, 26, "Along a lag, neighbours read neighbours")
    for i in range(4):
        p.owned(x0, 42 + 22 * i, 84, 18, 3, f"query {20 + i}")
        p.arrow(x0 + 88, 51 + 22 * i, x0 + 146, 51 + 22 * i)
        p.owned(x0 + 150, 42 + 22 * i, 84, 18, 0, f"key {26 + i}")
    p.lines(x0 + 250, 58, ["lag 6: the rows that a", "warp reads lie side by side"])
    p.head(x0, 160, "In a column, all read the same")
    for i in range(4):
        p.owned(x0, 174 + 22 * i, 84, 18, 3, f"query {20 + i}")
        p.arrow(x0 + 88, 183 + 22 * i, x0 + 146, 216)
    p.owned(x0 + 150, 207, 84, 18, 1, "key 15")
    p.lines(x0 + 250, 206, ["one row for everybody,", "from the first-level cache"])
    p.words(x0, 284, "slots (a lag or a column each) come 64 at a time", 11, SOFT)
    p.save()


def chord():
    p = Picture("chord", "Paramixer's chain of factors: a block has a slice of the columns of a sample in shared memory twice", 760, 270)
    p.head(20, 26, "A block: a slice of V")
    n = 16
    for j in range(12):
        for i in range(n):
            (p.owned(20 + 14 * j, 42 + 11 * i, 14, 11, 1) if 4 <= j < 8 else
             p.box(20 + 14 * j, 42 + 11 * i, 14, 11, PAPER, EDGE, 0.4))
    p.frame(20 + 14 * 4, 42, 14 * 4, 11 * n)
    p.lines(20, 238, ["16 columns at a time, or 8, or 4:", "so many as fit twice"])
    x0 = 250
    p.head(x0, 26, "Factor by factor, without leaving the block")
    for f in range(4):
        x = x0 + 122 * f
        for i in range(n):
            p.owned(x, 62 + 8.5 * i, 44, 8.5, 1 if f % 2 == 0 else 2)
        p.words(x + 22, 54, f"V{f}", 12, INK, "middle")
        p.words(x + 22, 212, "first half" if f % 2 == 0 else "second half", 10.5, SOFT, "middle")
        if f == 3:
            continue
        reach = 2 ** f
        for target in (0, reach, 2 * reach):
            p.arrow(x + 46, 66.2 + 8.5 * (5 + target if 5 + target < n else 5 + target - n), x + 118, 66.2 + 8.5 * 5)
        p.words(x + 83, 188, f"factor {f + 1}", 11.5, WARM, "middle")
    p.words(x0, 240, "rows i, i + s, i + 2 s of one half make row i of the other (CDIL: s = 1, 2, 4); then a barrier", 11, SOFT)
    p.save()


def fft():
    p = Picture("fft", "Circular convolution of a sample in one block: transform, multiply, transform back in shared memory", 760, 216)
    p.head(20, 26, "A block: a sample and a few features")
    stages = [("load", "one sequence, zeros\nbehind; one continued", 3), ("forward", "radix 8, 4, ...:\na barrier each", 2),
              ("multiply", "number k of one\nby k of the other", 0), ("backward", "the same radices,\nlast to first", 2),
              ("store", "the first n", 3)]
    for s, (name, what, shade) in enumerate(stages):
        x = 20 + 148 * s
        p.owned(x, 44, 112, 34, shade, "")
        p.words(x + 56, 66, name, 13, "#fff" if shade < 2 else INK, "middle", True)
        for i, text in enumerate(what.split("\n")):
            p.words(x + 56, 96 + 15 * i, text, 11, SOFT, "middle")
        if s < 4:
            p.arrow(x + 114, 61, x + 144, 61)
    p.head(20, 138, "In shared")
    p.head(20, 154, "memory")
    for place in range(8):
        for lane in range(4):
            p.owned(150 + 66 * place + 15 * lane, 134, 15, 22, lane, "")
        p.words(150 + 66 * place + 30, 172, f"place {place}", 10.5, SOFT, "middle")
    p.words(20, 200, "a shade is a feature: neighbouring threads have neighbouring features of a place", 11, SOFT)
    p.save()


def pinv():
    p = Picture("pinv", "Pseudo-inverse: a block owns a matrix through all steps of the iteration", 760, 214)
    p.head(20, 26, "A block: a matrix")
    for i in range(4):
        for j in range(2):
            p.owned(20 + 68 * j, 42 + 34 * i, 68, 34, (i + 2 * j) % 4, f"warp {2 * i + j}")
    p.words(20, 200, "m = 64: a warp has 16 x 32", 11, SOFT)
    x0 = 200
    p.head(x0, 26, "Four products a step, all in shared memory")
    steps = ["X = A Z", "15 I - X (7 I - X)", "13 I - X (...)", "Z' = ¼ Z (...)"]
    for i, text in enumerate(steps):
        p.owned(x0 + 136 * i, 44, 112, 30, 3, "")
        p.words(x0 + 136 * i + 56, 64, text, 12.5, INK, "middle")
        if i < 3:
            p.arrow(x0 + 136 * i + 114, 59, x0 + 136 * i + 133, 59)
    p.line(x0 + 464, 76, x0 + 464, 96, WARM, 1.6)
    p.line(x0 + 464, 96, x0 + 56, 96, WARM, 1.6)
    p.arrow(x0 + 56, 96, x0 + 56, 78)
    p.words(x0 + 260, 112, "six times", 11.5, WARM, "middle")
    p.lines(x0, 150, ["a I - ... happens to a result in registers, before it is stored;", "A is read once, and each Z written once, for backward"])
    p.save()


def spans():
    p = Picture("spans", "Combiner's summaries: a warp per span, pieces of a long span join in order", 760, 176)
    p.head(20, 26, "Short spans: a warp each, four to a block")
    x = 20
    for s, width in enumerate((5, 5, 6, 4)):
        for i in range(width):
            p.owned(x, 42, 17, 24, s, "")
            x += 17
        p.words(x - width * 17 / 2, 84, f"span {s}", 11, SOFT, "middle")
        p.arrow(x - width * 17 / 2, 90, x - width * 17 / 2, 108)
        p.owned(x - width * 17 / 2 - 12, 112, 24, 20, s, s)
        x += 6
    p.words(20, 152, "tokens in, one summary out", 11, SOFT)
    x0 = 410
    p.head(x0, 26, "A long one: pieces, then a join")
    for piece in range(3):
        p.owned(x0 + 108 * piece, 42, 104, 24, 1 + piece, f"piece {piece}")
        p.arrow(x0 + 108 * piece + 52, 70, x0 + 108 * piece + 52, 88)
        p.owned(x0 + 108 * piece + 40, 92, 24, 20, 1 + piece, "")
        p.arrow(x0 + 108 * piece + 52, 114, x0 + 164, 134)
    p.owned(x0 + 148, 138, 28, 20, 0, "")
    p.words(x0 + 182, 153, "a thread a channel, in order", 11, SOFT)
    p.save()


def select():
    p = Picture("select", "top_k: a block finds the k-th largest of a row by its digits, then picks what lies above", 760, 200)
    p.head(20, 26, "The k-th largest without sorting")
    counts = [2, 5, 1, 9, 4, 12, 7, 3]
    for pass_number, (x, chosen, label) in enumerate(((20, 5, "highest 11 bits"), (270, 2, "next 11 bits"), (520, 6, "last 10 bits"))):
        shown = counts[pass_number:] + counts[:pass_number]
        for d, count in enumerate(shown):
            height = 6 * count
            p.owned(x + 24 * d, 126 - height, 20, height, 0 if d == chosen else 3 if d < chosen else 1, "")
        p.frame(x + 24 * chosen - 2, 50, 24, 80, 1.4)
        p.words(x, 146, label, 11, SOFT)
        if pass_number < 2:
            p.arrow(x + 200, 90, x + 238, 90)
    p.words(20, 172, "framed: the digit of the k-th largest, which the next pass looks into; keys right of it are chosen", 11, SOFT)
    p.save()


for draw in (elementwise, rows, sums, attention, owners, slots, chord, fft, pinv, spans, select):
    draw()
