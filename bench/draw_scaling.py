#!/usr/bin/env python3
"""Draws how time grows with the number of positions as an SVG file (standard library only).

  draw_scaling.py growth.jsonl OUT.svg [--only REGEX] [--title TEXT]     what `bench_kernel --growth` printed
  draw_scaling.py peers.jsonl OUT.svg [--only REGEX] [--title TEXT]      what bench/peers/compare.py wrote

Both axes are logarithmic: a straight line of slope 1 is linear growth, the grey ones show slopes 1 and 2. Time is processor time of
forward and backward, in ms. Beside peers, ours is the full line and the fastest peer the dashed one of the same colour and marker.
"""

import argparse
import html
import json
import math
import pathlib
import re
import sys

WIDTH, HEIGHT = 760, 460
LEFT, RIGHT, TOP, BOTTOM = 64, 220, 44, 48
INK, GRID, SLOPE = "#333", "#ddd", "#999"
COLOURS = ["#1f5fa8", "#c2571a", "#2a8a4a", "#8a3fa0", "#b0213f", "#5f6b12", "#117a8b", "#7a5230"]
MARKERS = ["circle", "square", "triangle", "diamond"]  # so that lines differ without colours, too
ALWAYS = {"n", "d", "batch", "heads", "segment"}  # settings that all lines share, or that follow n


def total(record):
    return sum(record[name]["median_ms"] for name in ("forward", "backward") if name in record)


def name_of(record, defaults):
    shape = record["shape"]
    chosen = [value if key in ("pattern", "protocol") else f"{key} {value}" for key, value in shape.items()
              if key not in ALWAYS and defaults[record["op"]].get(key) != value]
    return " ".join([record["op"], *chosen])


def series_of(records):
    """{label: {"ours": [(n, ms)], "peer": [(n, ms)]}}, in the order of the file."""
    measured = [r for r in records if "n" in r.get("shape", {}) and ("forward" in r or "median_ms" in r)]
    defaults = {}
    for record in measured:
        defaults.setdefault(record["op"], record["shape"])  # a setting is named where it differs from the first line's
    series = {}
    for record in measured:
        lines = series.setdefault(name_of(record, defaults), {"ours": [], "peer": []})
        n = int(record["shape"]["n"])
        if "forward" in record:
            lines["ours"].append((n, total(record)))
        else:
            lines["ours"].append((n, record["median_ms"]["ours"]))
            lines["peer"].append((n, record["median_ms"][record["peer"]]))
    return {label: {name: sorted(points) for name, points in lines.items()} for label, lines in series.items() if len(lines["ours"]) > 1}


class Plot:
    def __init__(self, points):
        self.parts = []
        self.n = [math.log2(min(n for n, _ in points)), math.log2(max(n for n, _ in points))]
        self.ms = [math.floor(math.log10(min(ms for _, ms in points))), math.ceil(math.log10(max(ms for _, ms in points)))]
        if self.ms[0] == self.ms[1]:
            self.ms[1] += 1

    def x(self, n):
        return LEFT + (WIDTH - LEFT - RIGHT) * (math.log2(n) - self.n[0]) / (self.n[1] - self.n[0])

    def y(self, ms):
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (math.log10(ms) - self.ms[0]) / (self.ms[1] - self.ms[0])

    def line(self, x1, y1, x2, y2, colour, extra=""):
        self.parts.append(f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" {extra}/>')

    def text(self, x, y, text, anchor="start", colour=INK, size=12):
        self.parts.append(f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}" font-size="{size}">'
                          f"{html.escape(text)}</text>")

    def axes(self):
        for power in range(self.ms[0], self.ms[1] + 1):
            y = self.y(10.0**power)
            self.line(LEFT, y, WIDTH - RIGHT, y, GRID)
            self.text(LEFT - 8, y + 4, f"{10.0**power:g}", "end")
        for power in range(math.ceil(self.n[0]), math.floor(self.n[1]) + 1):
            x = self.x(2**power)
            self.line(x, TOP, x, HEIGHT - BOTTOM, GRID)
            self.text(x, HEIGHT - BOTTOM + 18, f"{2**power:,}".replace(",", " "), "middle", size=11)
        self.text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, "positions N", "middle")
        self.text(14, TOP - 10, "ms")

    def slopes(self):
        """From the left end, over a decade of time at most."""
        first, start = 2**self.n[0], 10.0**self.ms[0] * 2
        for slope in (1, 2):
            n = min(2**self.n[1], first * (10.0**self.ms[1] / start)**(1 / slope))
            self.line(self.x(first), self.y(start), self.x(n), self.y(start * (n / first)**slope), SLOPE, 'stroke-dasharray="2 4"')
            middle = (first * n)**0.5
            self.text(self.x(middle) + 6, self.y(start * (middle / first)**slope) + 12, f"slope {slope}", colour=SLOPE, size=10)

    def marker(self, kind, x, y, colour):
        shapes = {"circle": f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5"',
                  "square": f'<rect x="{x - 3.2:.1f}" y="{y - 3.2:.1f}" width="6.4" height="6.4"',
                  "triangle": f'<polygon points="{x:.1f},{y - 4.2:.1f} {x - 4:.1f},{y + 3.2:.1f} {x + 4:.1f},{y + 3.2:.1f}"',
                  "diamond": f'<polygon points="{x:.1f},{y - 4.6:.1f} {x - 4:.1f},{y:.1f} {x:.1f},{y + 4.6:.1f} {x + 4:.1f},{y:.1f}"'}
        self.parts.append(f'{shapes[kind]} fill="{colour}"/>')

    def curve(self, points, colour, marker, dashed=False):
        path = " ".join(f"{self.x(n):.1f},{self.y(ms):.1f}" for n, ms in points)
        extra = ' stroke-dasharray="6 4"' if dashed else ""
        self.parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{1.4 if dashed else 2}"{extra}/>')
        for n, ms in points:
            self.marker(marker, self.x(n), self.y(ms), colour)

    def labels(self, labels):
        """Of lines that end early at their ends; of the others at the right edge, by height, moved apart where they would touch."""
        floor = None
        for ms, n, label, colour, marker in sorted(labels, reverse=True):
            if n < 2**self.n[1]:
                self.text(self.x(n) + 8, self.y(ms) + 4, label, colour=colour)
                continue
            y = self.y(ms) if floor is None else max(self.y(ms), floor)
            floor = y + 15
            self.marker(marker, WIDTH - RIGHT + 14, y, colour)
            self.text(WIDTH - RIGHT + 24, y + 4, label, colour=colour)

    def svg(self, title):
        head = (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
                'font-family="sans-serif" role="img">')
        return "\n".join([head, f"<title>{html.escape(title)}</title>", f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
                          f'<text x="{LEFT}" y="22" fill="{INK}" font-size="14">{html.escape(title)}</text>', *self.parts, "</svg>", ""])


def draw(series, title):
    plot = Plot([point for lines in series.values() for points in lines.values() for point in points])
    plot.axes()
    plot.slopes()
    labels = []
    for i, (label, lines) in enumerate(series.items()):
        colour, marker = COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)]
        plot.curve(lines["ours"], colour, marker)
        if lines["peer"]:
            plot.curve(lines["peer"], colour, marker, dashed=True)
        n, ms = lines["ours"][-1]
        labels.append((ms, n, label.replace("fsat", "fsat, our reconstruction"), colour, marker))
    plot.labels(labels)
    return plot.svg(title)


def records_of(path):
    try:
        return [json.loads(line) for line in pathlib.Path(path).read_text().splitlines()]
    except OSError as error:
        sys.exit(f"draw_scaling: {path}: {error.strerror}")
    except ValueError as error:
        sys.exit(f"draw_scaling: {path}: {error}")


def pattern(text):
    try:
        return re.compile(text)
    except re.error as error:
        raise argparse.ArgumentTypeError(f"'{text}' is no regular expression: {error}") from error


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("records")
    parser.add_argument("out")
    parser.add_argument("--only", default="", type=pattern, help="lines whose label matches this regular expression")
    parser.add_argument("--title", default="Forward and backward, one thread")
    options = parser.parse_args()
    series = {label: lines for label, lines in series_of(records_of(options.records)).items() if options.only.search(label)}
    if not series:
        parser.exit(1, "draw_scaling: no line of two lengths or more matches\n")
    beside = "; dashed: the fastest peer" if any(lines["peer"] for lines in series.values()) else ""
    pathlib.Path(options.out).write_text(draw(series, options.title + beside))


if __name__ == "__main__":
    main()
