#!/usr/bin/env python3
"""Ours beside the same work in PyTorch and in JAX, on the CPU: results and gradients compared first, then both timed turn by turn.

  python3 bench/peers/compare.py --bench build/release/bin/bench_kernel [--only REGEX] [--n 1024,4096] [--json FILE]

The rows are those of `bench_kernel --rows`. Each peer is a file of this folder: the operations of the official code of its paper,
written anew from the paper, on the inputs and parameters that bench_kernel drew; JAX's, where it is installed, stand in in_jax.py.
The ways of PyTorch are taken as they are (eager), those within three times the fastest also through torch.compile, whose dropout is
PyTorch's own, which takes as long as its compiler's. PyTorch's BLAS is made to take its fast kernels on every processor, and malloc to keep its memory, in huge pages
(peer_process.py); ours runs with malloc as it is. XLA takes vectors of 512 bits where the processor has them.

One thread; processor time; medians of runs that alternate, so that what else the machine does meets both alike. Below 0.1 ms a peer's time
is mostly Python's. Results are compared without dropout, whose masks are everyone's own. Where one differs from ours by more than
--tolerance, its function in float64 judges both (exact.py; "settled" in the record). Where that finds more than float32 explains, in it or in
ours, the way is named and not timed. One that takes more than three times as long as the fastest is timed no further; one that fails,
or that the compiler refuses, is named in the record ("failed"), and its row then has no verdict of `met`; a row without any way that agrees
ends the program with status 1.

What torch.compile makes lies in a new folder that is removed at the end, or in --cache DIR, or in TORCHINDUCTOR_CACHE_DIR, and stays there:
`--seconds 0 --cache DIR` compiles and checks everything and times it once, a second run with the same folder then need not compile.
"""

import argparse
import contextlib
import json
import logging
import math
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time
import warnings

import peer_process

if __name__ == "__main__" and hasattr(os, "sched_setaffinity"):
    # The process' clock learns of a thread that runs on another processor once in a tick, 4 ms here: JAX's worker seemed to make three
    # products of 64 matrices in less time than one of them, and than a core can.
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})

PROCESS = peer_process.start() if __name__ == "__main__" else {}  # before PyTorch is loaded

import torch

import encoder
import exact
import safetensors_file
from ways import ways_of

try:
    import in_jax
except ImportError:
    in_jax = None


TURN = 4e-3  # seconds of a turn at least, by ours
SPREAD = 0.2  # of the quartiles, relative to the median: beyond it turns go on, for three times as long at most


def rows_of(program):
    """The table of sizes, each as a dictionary: family, op, title, shape (every setting, as text), where there
    is one its length n, and its target."""
    lines = subprocess.run([program, "--rows"], stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()
    return [json.loads(line) for line in lines]


class Ours:
    """bench_kernel as a process that runs whenever it is asked to."""

    def __init__(self, program, op, settings, file):
        words = [w for name, value in settings.items() for w in ("--" + name, str(value))]
        self.process = subprocess.Popen([program, op, *words, "--threads", "1", "--dump", file, "--turns"],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.run()  # the file is there once this has been answered
        self.shape = dict(settings)

    def run(self, runs=1):
        """Mean seconds of forward and of backward."""
        try:
            self.process.stdin.write(f"{runs}\n")
            self.process.stdin.flush()
            answer = self.process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            raise RuntimeError(f"bench_kernel ended with status {self.process.wait()}")
        times = json.loads(answer)
        return times["forward"], times["backward"]

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def numbered(name, tensors):
    """NAME, NAME.1, ... as far as there are such tensors."""
    return [n for n in [name, *(f"{name}.{i}" for i in range(1, len(tensors)))] if n in tensors]


class Peer:
    """One way to do the work in PyTorch: `function(tensors, shape)` gives the result, or several."""

    def __init__(self, function, tensors, shape):
        self.function, self.shape = function, shape
        self.names = [name[len("grad."):] for name in tensors if name.startswith("grad.")]
        self.outs, upstream = numbered("out", tensors), numbered("upstream", tensors)
        self.inputs = {name: t.detach().clone() for name, t in tensors.items() if name not in self.outs and not name.startswith("grad.")}
        for name in self.names:
            self.inputs[name].requires_grad_()
        self.upstream = [self.inputs[name] for name in upstream]

    def forward(self):
        out = self.function(self.inputs, self.shape)
        return out if isinstance(out, tuple) else (out,)

    def backward(self, outs):
        leaves = [self.inputs[name] for name in self.names]
        return torch.autograd.grad(outs, leaves, [u.to(out.dtype) for u, out in zip(self.upstream, outs)], allow_unused=True)

    def results(self):
        outs = self.forward()
        grads = self.backward(outs) if self.names else ()
        named = {name: out.detach() for name, out in zip(self.outs, outs, strict=True)}
        return {**named, **{"grad." + n: g for n, g in zip(self.names, grads) if g is not None}}

    def run(self):
        start = time.process_time()
        outs = self.forward()
        middle = time.process_time()
        grads = self.backward(outs) if self.names else ()
        end = time.process_time()
        del grads
        return middle - start, end - middle


class Step(Peer):
    """A whole step of training around a way to compute its loss: the optimiser, too."""

    def __init__(self, function, tensors, shape):
        super().__init__(function, tensors, shape)
        self.step = encoder.step_of(self, self.forward)

    def run(self):
        start = time.process_time()
        self.step()
        return time.process_time() - start, 0.0


def turn(runner, runs):
    """Mean seconds of forward and of backward. Where a turn has several runs, one more comes first: caches belonged to another."""
    if runs > 1:
        runner.run()
    if isinstance(runner, Ours):
        return runner.run(runs)
    times = [runner.run() for _ in range(runs)]
    return tuple(sum(each) / runs for each in zip(*times))


def peer_of(op):
    return Step if op.endswith("_step") else Peer


def largest_difference(peer, tensors, scale_of):
    """Of any result or gradient, relative to the largest element of its kind, and where it is. One that is missing, or NaN on one side,
    differs infinitely."""
    results, worst, where = {name: torch.as_tensor(value) for name, value in peer.results().items()}, 0.0, "nothing"
    for name in peer.outs + ["grad." + n for n in peer.names]:
        if name not in results:
            return math.inf, f"{name}, which is missing"
        ours, theirs = tensors[name].double(), results[name].double()
        difference = (ours - theirs).abs().max().item() / max(scale_of(name, ours), 1e-30) if ours.numel() else 0.0
        if math.isnan(difference):
            return math.inf, f"{name}, which is not a number"
        if difference > worst:
            worst, where = difference, name
    return worst, where


def scales(tensors):
    """Of results: the largest element. Of gradients: the largest of any gradient of a parameter or input of the same rank, since some, such
    as that of a bias of the keys, are zero but for rounding."""
    largest = {}
    for name, t in tensors.items():
        if name.startswith("grad."):
            largest[t.dim()] = max(largest.get(t.dim(), 0.0), t.abs().max().item())
    return lambda name, t: largest[t.dim()] if name.startswith("grad.") else t.abs().max().item()


def median(values):
    return sorted(values)[len(values) // 2]


def quartiles(values):
    ordered = sorted(values)
    return [ordered[i * (len(ordered) - 1) // 4] for i in (1, 3)]


def spread(times):
    """Of forward and backward together: the distance of the quartiles, relative to the median."""
    total = [f + b for f, b in times]
    low, high = quartiles(total)
    return (high - low) / median(total)


def prepare_compiler():
    warnings.filterwarnings("ignore", module="torch._inductor")  # that it leaves complex numbers to the eager way
    warnings.filterwarnings("ignore", message="Dynamo detected a call to a `functools.lru_cache`")
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # that there is no GPU
    torch._inductor.config.fallback_random = True  # dropout's masks: within 2 % of the compiler's own where malloc keeps its memory
    torch._dynamo.config.recompile_limit = 64  # of functions from one line of code, with dropout and without,
    torch._dynamo.config.fail_on_recompile_limit_hit = True  # and one more would fail, not silently stay as it is


@contextlib.contextmanager
def compiler_cache(folder):
    """Where torch.compile keeps what it makes: the folder, else the environment's, else a new one that is removed in the end. Its own
    default belongs to every program of a user: a file that another one left half written fails to load."""
    folder = folder or os.environ.get("TORCHINDUCTOR_CACHE_DIR")
    with contextlib.nullcontext(folder) if folder else tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = os.path.abspath(folder)
        yield


def without_dropout(settings):
    return {**settings, "dropout": "0"} if "dropout" in settings else settings


def reason_of(error):
    """The first line, and that of the compiler's complaint where there is one."""
    first, *others = (str(error) or type(error).__name__).splitlines()
    complaint = next((line.strip() for line in others if re.search("error|Killed|terminated", line)), "")
    return ": ".join(filter(None, [first, complaint]))


class Contest:
    """The ways of one row that give our results, on its own settings, and how long each takes at first; why others failed or differ."""

    def __init__(self, row, checked, tensors, tolerance):
        self.row, self.checked, self.tensors, self.tolerance = row, checked, tensors, tolerance
        self.ways, self.peers, self.differences, self.first = {}, {}, {}, {}
        self.failed, self.unequal, self.settled, self.exact = {}, {}, {}, {}

    def refuse(self, name, reasons, reason):
        reasons[name] = reason
        print(f"{self.row['title']}: {name} {reason}", file=sys.stderr)

    def enter(self, name, make, function, eager=None):
        """Adds make(function, tensors, settings), unless it differs or cannot be run: that is said. `eager`: the same in plain PyTorch, where
        `function` is not."""
        settings = self.row["shape"]
        try:
            difference = self.difference_of(name, make(function, self.checked, without_dropout(settings)), eager or function)
            if difference is None:
                return
            peer = make(function, self.tensors, settings)
            peer.run()  # caches, pages, compilers
            self.first[name] = min(sum(peer.run()) for _ in range(2))  # a step's second run is compiled anew
        except Exception as error:  # a way that does not do this row, not in this memory, or that a compiler refuses
            return self.refuse(name, self.failed, f"failed: {reason_of(error)}")
        self.ways[name], self.peers[name], self.differences[name] = function, peer, difference

    def difference_of(self, name, peer, eager):
        """From ours; None where it is more than float32 explains."""
        difference, where = largest_difference(peer, self.checked, scales(self.checked))
        if difference <= self.tolerance:
            return difference
        said = f"differs by {difference:.2g} in {where}"
        if not math.isinf(difference):
            judged = self.judge(peer.results(), eager)
            said += f", from float64 ours by {judged['ours']:.2g} in {judged['ours_in']}, it by {judged['peer']:.2g} in {judged['peer_in']}"
            if judged["both"]:
                print(f"{self.row['title']}: {name} {said}", file=sys.stderr)
                self.settled[name] = judged
                return difference
        return self.refuse(name, self.unequal, f"{said}: not timed")

    def judge(self, results, eager):
        if eager not in self.exact:
            settings = without_dropout(self.row["shape"])
            self.exact[eager] = exact.Exact(lambda tensors: Peer(eager, tensors, settings).results(), self.checked, self.row["family"])
        return exact.judge(self.exact[eager], self.checked, results, scales(self.checked), self.tolerance)

    def close_ones(self):
        """Ways that might be the fastest in the end."""
        least = min(self.first.values())
        return {name: peer for name, peer in self.peers.items() if self.first[name] <= 3 * least}


def enter_all(contest, op, eager):
    for name, function in ways_of(op).items():
        contest.enter(name, peer_of(op), function)
    if contest.peers and not eager:
        torch._dynamo.reset()  # of what other rows compiled
        for name in contest.close_ones():
            contest.enter(f"{name}, compiled", peer_of(op), torch.compile(contest.ways[name], dynamic=False), contest.ways[name])
    enter_jax(contest, op)


def enter_jax(contest, op):
    way = in_jax and in_jax.way_of(op, contest.row["shape"])
    if way and contest.peers:
        name, like = next(iter(contest.peers.items()))
        upstream = numbered("upstream", contest.tensors)
        peer = in_jax.Step if op.endswith("_step") else in_jax.Peer
        peer_process.release()  # the memory that PyTorch and float64 took
        contest.enter("JAX (jit)", lambda *of: peer(*of, like.names, like.outs, upstream), way, contest.ways[name])


def alternate(ours, peers, seconds, repetitions):
    """Times of ours and of each peer, who take turns: one run, or as many as take ours a few milliseconds; for no seconds, one turn."""
    runners = {"ours": ours, **peers}
    for runner in runners.values():  # caches, pages
        runner.run()
    runs = min(max(int(TURN / sum(ours.run())), 1), 100)
    times = {name: [] for name in runners}
    start = time.monotonic()
    turns = repetitions if seconds > 0 else 1

    def go_on():
        done, passed = len(times["ours"]), time.monotonic() - start
        if done < turns or passed < seconds:
            return True
        return seconds > 0 and done < 3 * turns and passed < 3 * seconds and max(map(spread, times.values())) > SPREAD

    while go_on():
        for name, runner in runners.items():
            times[name].append(turn(runner, runs))
    return times, runs


def drawn(options, op, settings, folder):
    """bench_kernel on these settings, and what it drew and computed at first."""
    file = str(pathlib.Path(folder) / "case.safetensors")
    ours = Ours(options.bench, op, settings, file)
    return ours, safetensors_file.read(file)


def compare_row(options, row, folder):
    """The record of one row, or None when results differ."""
    op, settings = row["op"], row["shape"]
    ours, tensors = drawn(options, op, settings, folder)
    checked = tensors
    try:
        if without_dropout(settings) != settings:
            other, checked = drawn(options, op, without_dropout(settings), folder)
            other.close()
        contest = Contest(row, checked, tensors, options.tolerance)
        enter_all(contest, op, options.eager)
        if not contest.peers:
            return None
        times, runs = alternate(ours, contest.close_ones(), options.seconds, options.repetitions)
    finally:
        ours.close()
    total = {name: median([f + b for f, b in runs]) for name, runs in times.items()}
    best = min((name for name in total if name != "ours"), key=total.get)
    return {**row, "differences": contest.differences, "failed": contest.failed, "unequal": contest.unequal, "settled": contest.settled,
            "once_ms": {name: t * 1e3 for name, t in contest.first.items() if name not in total},
            "median_ms": {name: t * 1e3 for name, t in total.items()},
            "forward_ms": {name: median([f for f, _ in runs]) * 1e3 for name, runs in times.items()},
            "backward_ms": {name: median([b for _, b in runs]) * 1e3 for name, runs in times.items()},
            "quartiles_ms": {name: [t * 1e3 for t in quartiles(f + b for f, b in runs)] for name, runs in times.items()},
            "min_ms": {name: min(f + b for f, b in runs) * 1e3 for name, runs in times.items()},
            "reps": len(times["ours"]), "runs_each": runs, "peer": best, "ratio": total[best] / total["ours"]}


def pattern(text):
    try:
        return re.compile(text)
    except re.error as error:
        raise argparse.ArgumentTypeError(f"'{text}' is no regular expression: {error}") from error


def program(path):
    if not (os.path.isfile(path) and os.access(path, os.X_OK)):
        raise argparse.ArgumentTypeError(f"there is no program {path}")
    return path


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bench", required=True, type=program, help="the program bench_kernel")
    parser.add_argument("--family", choices=["", "primitives", "attentions", "layers", "training"], default="", help="rows of this family")
    parser.add_argument("--only", default="", type=pattern, help="rows whose title matches this regular expression")
    parser.add_argument("--n", default="1024,2048,4096,16384", help="lengths, with commas between")
    parser.add_argument("--seconds", type=float, default=5, help="at least so long for each row; 0: every way once")
    parser.add_argument("--repetitions", type=int, default=5, help="and so often")
    parser.add_argument("--tolerance", type=float, default=2e-4, help="of a difference, relative to the largest element")
    parser.add_argument("--eager", action="store_true", help="without torch.compile, which takes 10 to 60 seconds for each way")
    parser.add_argument("--cache", help="the folder where torch.compile looks for what it made before, and leaves what it makes")
    parser.add_argument("--json", help="append records to this file")
    options = parser.parse_args()
    options.rows = wanted_rows(options)
    options.provenance = provenance(options.bench)
    if not options.rows:
        parser.error(f"no row of the table matches --only '{options.only.pattern}' --family '{options.family}' --n {options.n}")
    return options


def wanted_rows(options):
    lengths = options.n.split(",")
    return [row for row in rows_of(options.bench) if ("length" not in row or str(row["length"]) in lengths)
            and options.family in ("", row["family"]) and options.only.search(row["title"])]


def provenance(program):
    """What bench_kernel says of itself and of this machine: commit, compiler, flags, SIMD target, BLAS, processor, clock."""
    words = [program, "adamw", "--size", "64", "--repetitions", "1", "--seconds", "0", "--threads", "1"]
    record = json.loads(subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True).stdout)
    return {name: record[name] for name in ("commit", "compiler", "flags", "simd", "blas", "blas_core", "cpu", "clock_mhz")}


def surroundings(options):
    """What a record says of the peers' programs and settings, and of the machine."""
    return {**options.provenance, "torch": torch.__version__, "jax": in_jax and in_jax.jax.__version__, "xla_flags": in_jax and os.environ["XLA_FLAGS"],
            **PROCESS, "dropout_compiled": "PyTorch's own", "eager": options.eager, "threads": 1, "cpu_count": os.cpu_count(),
            "load": os.getloadavg()[0]}


def print_head(options):
    about = surroundings(options)
    beside = f"JAX {about['jax']} ({about['xla_flags']})" if in_jax else "no JAX"
    print(f"PyTorch {torch.__version__}{' (eager)' if options.eager else ''}, {torch.backends.cpu.get_cpu_capability()}, MKL's kernels "
          f"{about['mkl']}, malloc {about['malloc']}, {beside}; one thread, processor time, forward + backward")
    print(f"| {'case':58} | {'ours ms':>9} | {'peer ms':>9} | {'ratio':>6} | {'differ':>7} | fastest peer |")
    print("|---|---|---|---|---|---|")


def print_record(record):
    failed = "".join(f"; failed: {name}" for name in record["failed"])
    print(f"| {record['title']:58} | {record['median_ms']['ours']:9.2f} | {record['median_ms'][record['peer']]:9.2f} "
          f"| {record['ratio']:6.2f} | {record['differences'][record['peer']]:7.1e} | {record['peer']}{failed} |", flush=True)


def main():
    options = arguments()
    prepare_compiler()
    peer_process.limit_memory()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)  # as ours does
    wrong = 0
    print_head(options)
    with compiler_cache(options.cache):
        for row in options.rows:
            with tempfile.TemporaryDirectory() as folder:
                record = compare_row(options, row, folder)
            peer_process.release()
            if record is None:
                wrong += 1
                continue
            print_record(record)
            if options.json:
                with open(options.json, "a") as file:
                    file.write(json.dumps({**record, **surroundings(options)}) + "\n")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
