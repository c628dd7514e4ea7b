"""Who is off where two float32 results differ: the peer's function in float64, on the inputs and on others that float32 cannot tell from them.

Two right programs may differ by more than a few roundings. Where two positions are as good as equal, a maximum takes either, and the whole
gradient goes there: so float64 is asked several times, about inputs moved by as much as float32 products gather, and a result may lie
anywhere between the answers. And a sum of n equal numbers, one added after the other, loses up to n / 2 roundings, since each addition rounds
what has gathered by then: so does PyTorch's layer norm sum its parameters' gradients over all rows. A peer is allowed that in
gradients of rank 1; ours is not."""

import math

import torch

ROUNDING = 2.0**-24  # of one float32 operation, relative
MOVE = 8 * ROUNDING  # a product of 64 terms, the width of the rows, gathers about the root of 64 roundings
ANSWERS = 16  # at most


def positions(tensors):
    """Of all samples: the terms of a bias' gradient."""
    tokens, x = tensors.get("tokens"), tensors.get("x")
    return tokens.numel() if tokens is not None else 1 if x is None else math.prod(x.shape[:-1])


class Samples:
    """The tensors of an attention, a layer or a step sample by sample, so that float64 takes less memory than float32 did; others whole."""

    OWN = ("x", "out", "grad.x", "upstream", "tokens", "labels")  # of each sample

    def __init__(self, tensors, family):
        self.tensors, self.mean = tensors, "tokens" in tensors  # a step's loss is the mean of the samples'
        first = None if family == "primitives" else tensors.get("tokens", tensors.get("x"))
        self.count = 1 if first is None else first.shape[0]

    def own(self, name, t):
        return self.count > 1 and name in self.OWN and t.dim() > 0

    def each(self):
        for i in range(self.count):
            yield {name: t[i:i + 1] if self.own(name, t) else t for name, t in self.tensors.items()}

    def together(self, name, parts):
        return torch.cat(parts) if self.own(name, parts[0]) else sum(parts) / (self.count if self.mean else 1)


class Exact:
    """Results and gradients by name, in float64: `results_of(tensors)` lies between `low` and `high`."""

    def __init__(self, results_of, tensors, family):
        self.results_of, self.family, self.answers = results_of, family, 0
        self.tensors = {name: t.double() if t.is_floating_point() else t for name, t in tensors.items()}
        self.generator = torch.Generator().manual_seed(1)

    def ask(self):
        """At first about the inputs themselves."""
        got = self.of(self.moved() if self.answers else self.tensors)
        self.low = {name: torch.minimum(self.low[name], t) for name, t in got.items()} if self.answers else got
        self.high = {name: torch.maximum(self.high[name], t) for name, t in got.items()} if self.answers else got
        self.answers += 1

    def of(self, tensors):
        samples = Samples(tensors, self.family)
        each = [self.results_of(t) for t in samples.each()]
        return {name: samples.together(name, [one[name] for one in each]) for name in each[0]}

    def moved(self):
        def move(t):
            return t * (1 + MOVE * (2 * torch.rand(t.shape, generator=self.generator, dtype=t.dtype) - 1))

        return {name: move(t) if t.is_floating_point() and not name.startswith("upstream") else t for name, t in self.tensors.items()}

    def distance(self, results, scale_of, tolerance_of):
        """How far results lie outside: (in tolerances, relative to the scale, name) of the worst."""
        worst = (0.0, 0.0, "nothing")
        for name, low in self.low.items():
            t = torch.as_tensor(results[name]).double() if name in results else torch.full_like(low, math.nan)
            outside = torch.maximum(low - t, t - self.high[name]).clamp(min=0)  # NaN stays
            far = outside.max().item() / max(scale_of(name, low), 1e-30) if t.numel() else 0.0
            far = math.inf if math.isnan(far) else far
            worst = max(worst, (far / tolerance_of(name, low), far, name))
        return worst


def judge(exact, ours, theirs, scale_of, tolerance):
    """How far ours and theirs are from float64, and where; `both`: neither is further than it may be."""
    sums = max(tolerance, positions(ours) * ROUNDING / 2)

    def of_peer(name, t):
        return sums if name.startswith("grad.") and t.dim() == 1 else tolerance

    while True:
        if exact.answers == 0:
            exact.ask()
        (mine, my_distance, my_name), (its, its_distance, its_name) = (
            exact.distance(ours, scale_of, lambda name, t: tolerance), exact.distance(theirs, scale_of, of_peer))
        both = max(mine, its) <= 1
        if both or exact.answers >= ANSWERS:
            return {"both": both, "ours": my_distance, "ours_in": my_name, "peer": its_distance, "peer_in": its_name,
                    "answers": exact.answers}
        exact.ask()
