#!/usr/bin/env python3
"""Draws accuracy over training steps from the metrics.jsonl of one or more runs as one SVG file (standard library only).

  draw_curve.py RUN/metrics.jsonl [RUN/metrics.jsonl ...] OUT.svg [--baseline "majority 0.170" ...] [--title TEXT]
                [--lowest 0.4]

Lines with dots: the whole validation set, for several runs in the colour of each, named by the attention, or by the
folder where two have the same one. For a single run also, in grey, its training batches, a mean over 10 records.
Dashed: baselines. The axis begins at 0, or at the tenth that --lowest says.
"""
import argparse
import html
import json
import os

WIDTH, HEIGHT = 720, 360
LEFT, RIGHT, TOP, BOTTOM = 56, 150, 40, 44
INK, GRID, TRAIN, BASELINE = "#333", "#ddd", "#aaa", "#999"
RUNS = ["#1f5fa8", "#c2571a", "#2a8a4a", "#8a3fa0", "#b0213f"]  # in turn
SMOOTHING = 10  # records


def read_records(path):
    with open(path, encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def accuracies(records, kind):
    return [(r["step"], r["accuracy"]) for r in records if r["kind"] == kind]


def smooth(points):
    """Means of runs of SMOOTHING points, at the middle step of each."""
    groups = [points[i:i + SMOOTHING] for i in range(0, len(points), SMOOTHING)]
    return [(sum(s for s, _ in g) / len(g), sum(a for _, a in g) / len(g)) for g in groups]


class Plot:
    def __init__(self, last_step, lowest, highest):
        self.last_step, self.lowest, self.highest = last_step, lowest, highest
        self.parts = []

    def x(self, step):
        return LEFT + (WIDTH - LEFT - RIGHT) * step / self.last_step

    def y(self, accuracy):
        share = (accuracy - self.lowest) / (self.highest - self.lowest)
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share

    def line(self, x1, y1, x2, y2, colour, extra=""):
        self.parts.append(f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" {extra}/>')

    def text(self, x, y, text, anchor="start", colour=INK, size=12):
        self.parts.append(f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}" font-size="{size}">'
                          f'{html.escape(text)}</text>')

    def axes(self):
        for tenth in range(round(self.lowest * 10), int(self.highest * 10 + 1e-9) + 1):
            y = self.y(tenth / 10)
            self.line(LEFT, y, WIDTH - RIGHT, y, GRID)
            self.text(LEFT - 8, y + 4, f"{tenth * 10} %", "end")
        for fifth in range(6):
            step = self.last_step * fifth / 5
            self.text(self.x(step), HEIGHT - BOTTOM + 18, f"{step:.0f}", "middle")
        self.text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, "training steps", "middle")

    def curve(self, points, colour, label, dots=False):
        path = " ".join(f"{self.x(s):.1f},{self.y(a):.1f}" for s, a in points)
        self.parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        if dots:
            for s, a in points:
                self.parts.append(f'<circle cx="{self.x(s):.1f}" cy="{self.y(a):.1f}" r="3.5" fill="{colour}"/>')
        return (points[-1][1], label, colour)

    def labels(self, labels):
        """At the right edge, beside the end of each line, moved apart where they would touch."""
        floor = None
        for value, label, colour in sorted(labels, reverse=True):
            y = self.y(value) + 4
            if floor is not None:
                y = max(y, floor)
            floor = y + 15
            self.text(WIDTH - RIGHT + 8, y, label, colour=colour)

    def svg(self, title):
        head = (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" '
                f'height="{HEIGHT}" font-family="sans-serif" role="img">')
        return "\n".join([head, f"<title>{html.escape(title)}</title>",
                          f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
                          f'<text x="{LEFT}" y="22" fill="{INK}" font-size="14">{html.escape(title)}</text>',
                          *self.parts, "</svg>", ""])


def names(paths, runs):
    attentions = [records[0]["attention"] for records in runs]
    if len(set(attentions)) == len(runs):
        return attentions
    return [os.path.basename(os.path.dirname(os.path.abspath(path))) for path in paths]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("metrics", nargs="+")
    parser.add_argument("out")
    parser.add_argument("--baseline", action="append", default=[], help='name and accuracy: "majority 0.170"')
    parser.add_argument("--title", default="Accuracy")
    parser.add_argument("--lowest", type=float, default=0, help="where the axis begins, in tenths")
    options = parser.parse_args()

    runs = [read_records(path) for path in options.metrics]
    validation = [accuracies(records, "validation") for records in runs]
    train = smooth(accuracies(runs[0], "train")) if len(runs) == 1 else []
    baselines = [(float(value), name) for name, value in (b.rsplit(" ", 1) for b in options.baseline)]
    points = train + [point for run in validation for point in run]
    highest = max([a for _, a in points] + [value for value, _ in baselines])
    plot = Plot(max(s for s, _ in points), options.lowest, highest + 0.05)
    plot.axes()
    labels = []
    for value, name in baselines:
        plot.line(LEFT, plot.y(value), WIDTH - RIGHT, plot.y(value), BASELINE, 'stroke-dasharray="6 4"')
        labels.append((value, f"{name} {100 * value:.1f} %", BASELINE))
    if train:
        labels.append(plot.curve(train, TRAIN, "training batches"))
    for i, (name, run) in enumerate(zip(names(options.metrics, runs), validation)):
        name = "validation" if len(runs) == 1 else name
        labels.append(plot.curve(run, RUNS[i % len(RUNS)], f"{name} {100 * run[-1][1]:.1f} %", dots=True))
    plot.labels(labels)
    with open(options.out, "w", encoding="utf-8") as out:
        out.write(plot.svg(options.title))


if __name__ == "__main__":
    main()
