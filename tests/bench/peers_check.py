"""Which peers bench/peers/compare.py takes for right where float32 results differ. Prints "no PyTorch" where there is none."""

import pathlib
import subprocess
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "bench" / "peers"))

try:
    import torch
except ImportError:
    sys.exit("no PyTorch")

import compare
import exact

TOLERANCE = 2e-4
N, D = 8192, 4  # positions of each of two samples: a bias' gradient may be off by 16384 / 2 roundings, 4.9e-4


def affine(t, shape):
    return t["x"] @ t["weight"] + t["bias"]


def largest_position(t, shape):
    """A maximum whose gradient goes to one position."""
    return t["x"].max(1).values * t["weight"]


class Off(torch.autograd.Function):
    """The identity; its gradient in float32 is off by so much."""

    @staticmethod
    def forward(ctx, x, factor):
        ctx.factor = factor
        return x.clone()

    @staticmethod
    def backward(ctx, g):
        return (g * (1 + ctx.factor) if g.dtype == torch.float32 else g), None


def off_in(name, factor):
    return lambda t, shape: affine({**t, name: Off.apply(t[name], factor)}, shape)


def by_ours(function, inputs, upstream_shape, seed=0):
    """What bench_kernel would dump: inputs, the result, what comes from above, gradients."""
    torch.manual_seed(seed)
    tensors = {**inputs, "upstream": torch.ones(upstream_shape), **{"grad." + name: t for name, t in inputs.items()}}
    tensors["out"] = torch.zeros(upstream_shape)
    return {**tensors, **compare.Peer(function, tensors, {}).results()}


def affine_case():
    torch.manual_seed(0)
    inputs = {"x": torch.randn(2, N, D), "weight": torch.randn(D, D), "bias": torch.randn(D)}
    return by_ours(affine, inputs, (2, N, D))


def tied_case():
    """Positions 3 and 7 of the first sample hold equal maxima; ours gives the gradient to the one that PyTorch does not."""
    torch.manual_seed(0)
    x = torch.rand(2, 16, D)
    x[0, 3] = x[0, 7] = 2.0
    tensors = by_ours(largest_position, {"x": x, "weight": torch.rand(D) + 1}, (2, D))
    to = tensors["grad.x"]
    to[0, 3], to[0, 7] = to[0, 7].clone(), to[0, 3].clone()
    return tensors


def enter(tensors, function, family="attentions"):
    contest = compare.Contest({"title": "a row", "shape": {}, "family": family}, tensors, tensors, TOLERANCE)
    contest.enter("a peer", compare.Peer, function)
    return contest


class Accepted(unittest.TestCase):
    def check(self, contest, accepted, settled=False):
        self.assertEqual(("a peer" in contest.peers, "a peer" in contest.settled), (accepted, settled), contest.unequal)
        self.assertEqual("a peer" in contest.unequal, not accepted)
        self.assertFalse(contest.failed)

    def test_equal_results_need_no_float64(self):
        contest = enter(affine_case(), affine)
        self.check(contest, True)
        self.assertFalse(contest.exact)

    def test_the_other_one_of_two_equal_positions_is_right(self):
        contest = enter(tied_case(), largest_position)
        self.check(contest, True, settled=True)
        self.assertGreater(contest.differences["a peer"], 0.5)
        self.assertLess(contest.settled["a peer"]["ours"], 1e-6)

    def test_a_third_position_is_wrong(self):
        tensors = tied_case()
        tensors["grad.x"][0, 11] = tensors["grad.x"][0, 3] + tensors["grad.x"][0, 7]
        tensors["grad.x"][0, 3] = tensors["grad.x"][0, 7] = 0
        self.check(enter(tensors, largest_position), False)

    def test_both_positions_are_wrong(self):
        tensors = tied_case()
        tensors["grad.x"][0, 3] = tensors["grad.x"][0, 7] = 1.5 * (tensors["grad.x"][0, 3] + tensors["grad.x"][0, 7])
        self.check(enter(tensors, largest_position), False)

    def test_a_peer_may_sum_a_bias_one_row_after_the_other(self):
        self.check(enter(affine_case(), off_in("bias", 4e-4)), True, settled=True)
        self.check(enter(affine_case(), off_in("bias", 6e-4)), False)

    def test_what_is_no_plain_sum_has_no_such_allowance(self):
        self.check(enter(affine_case(), off_in("weight", 4e-4)), False)

    def test_ours_has_no_such_allowance(self):
        tensors = affine_case()
        tensors["grad.bias"] *= 1 + 4e-4
        contest = enter(tensors, affine)
        self.check(contest, False)
        self.assertIn("from float64 ours by 0.0004 in grad.bias", contest.unequal["a peer"])

    def test_another_function_is_wrong_in_float64_too(self):
        self.check(enter(affine_case(), lambda t, shape: affine(t, shape) * 1.001), False)

    def test_what_is_not_a_number_is_wrong(self):
        tensors = affine_case()
        tensors["grad.x"][1, 5, 2] = float("nan")
        self.check(enter(tensors, affine), False)

    def test_a_peer_without_a_gradient_is_wrong(self):
        self.check(enter(affine_case(), lambda t, shape: t["x"] @ t["weight"] + t["bias"].detach()), False)


class Float64(unittest.TestCase):
    def check_samples(self, function, tensors, family):
        """Sample by sample it is what the whole is."""
        answers = exact.Exact(lambda t: compare.Peer(function, t, {}).results(), tensors, family)
        answers.ask()
        whole = compare.Peer(function, answers.tensors, {}).results()
        self.assertEqual(set(whole), set(answers.low))
        for name, t in whole.items():
            self.assertEqual(t.dtype, torch.float64)
            torch.testing.assert_close(answers.low[name], t, rtol=1e-12, atol=1e-12)

    def test_an_attention_comes_sample_by_sample(self):
        self.check_samples(affine, affine_case(), "attentions")

    def test_a_primitive_comes_whole(self):
        self.check_samples(affine, affine_case(), "primitives")

    def test_a_step_is_the_mean_of_its_samples(self):
        def loss(t, shape):
            return torch.nn.functional.cross_entropy(t["table"][t["tokens"]].mean(1), t["labels"])

        torch.manual_seed(0)
        table = torch.randn(5, 3)
        tensors = {"tokens": torch.randint(5, (4, 7)), "labels": torch.randint(3, (4,)), "table": table, "grad.table": table,
                   "upstream": torch.ones(()), "out": torch.zeros(())}
        self.check_samples(loss, tensors, "training")


class Memory(unittest.TestCase):
    def test_a_way_that_asks_for_too_much_fails_and_the_next_one_runs(self):
        program = ("import peer_process, resource, torch; peer_process.limit_memory(0.5)\n"
                   "limit = resource.getrlimit(resource.RLIMIT_DATA)[0]; assert limit > 0\n"
                   "try: torch.empty(limit, dtype=torch.uint8)\n"
                   "except RuntimeError: print(torch.ones(1000).sum().item())")
        folder = pathlib.Path(compare.__file__).parent
        said = subprocess.run([sys.executable, "-c", program], cwd=folder, stdout=subprocess.PIPE, text=True)
        self.assertEqual((said.returncode, said.stdout), (0, "1000.0\n"))


if __name__ == "__main__":
    unittest.main()
