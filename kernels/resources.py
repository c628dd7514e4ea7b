#!/usr/bin/env python3
"""What ptxas makes of every CUDA kernel: registers, spills, stack, and whether 16-byte loads and tensor cores are used.
A kernel that spills registers fails the build already, where warnings are errors; this tells how near each one is.

  python3 kernels/resources.py            prints one line per kernel
  python3 kernels/resources.py --write    remakes kernels/resources.md
  python3 kernels/resources.py softmax    only rooms whose name contains the word

Needs nvcc, no GPU. Ends with status 1 when a kernel spills registers. Instructions are read from the PTX and, where cuobjdump
is on PATH or named by the environment variable CUOBJDUMP, from the machine code (SASS) as well.
"""

import argparse
import collections
import concurrent.futures
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
ARCHITECTURES = ("sm_80", "sm_90")
FLAGS = ["-std=c++20", "--expt-relaxed-constexpr", "-lineinfo", "-Wno-deprecated-gpu-targets"]
# Per source of instructions: a load of 16 bytes (by the thread, or asynchronously into shared memory), and a product on
# tensor cores.
INSTRUCTIONS = {
    "ptx": (r"ld\.global(\.\w+)*\.v(4\.\w32|2\.\w64)|cp\.async\.cg\.shared\.global.*, 16", r"mma\.sync"),
    "sass": (r"LDG\.E\S*\.128|LDGSTS\.E\S*\.128", r"HMMA"),
}


class Kernel:
    """One kernel as compiled for one architecture; `name` is its template with arguments."""

    def __init__(self, room, name):
        self.room, self.name = room, name
        self.registers = self.stack = self.spills = 0
        self.wide, self.tensor = set(), set()  # of "ptx" and "sass"


def run(command):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"resources: {' '.join(map(str, command))} failed:\n{done.stderr}")
    return done.stdout + done.stderr


def readable(mangled):
    """Mangled names -> "softmax_rows<float, 4>"."""
    lines = run(["c++filt", *mangled]).splitlines() if mangled else []
    names = {}
    for symbol, line in zip(mangled, lines):
        line = re.sub(r"\(anonymous namespace\)::|subquad::(kernels::|cuda::)*|std::", "", line)
        line = re.sub(r"^void ", "", line)
        depth = 0
        for i, c in enumerate(line):  # the argument list begins at the first "(" outside of <>
            depth += (c == "<") - (c == ">")
            if c == "(" and depth == 0:
                line = line[:i]
                break
        names[symbol] = line
    return names


def entries(text, begin):
    """Splits a listing into {symbol: its lines} at lines that match `begin`."""
    bodies, current = collections.defaultdict(list), None
    for line in text.splitlines():
        match = re.search(begin, line)
        if match:
            current = match.group(1)
        elif current:
            bodies[current].append(line)
    return {symbol: "\n".join(lines) for symbol, lines in bodies.items()}


def compile_file(source, architecture, include, cuobjdump):
    """The kernels of one .cu file."""
    room = str(source.parent.relative_to(ROOT)).removeprefix("kernels/")
    with tempfile.TemporaryDirectory() as folder:
        cubin = pathlib.Path(folder) / "kernels.cubin"
        log = run(["nvcc", *FLAGS, f"-arch={architecture}", f"-I{include}", "-Xptxas", "-v", "-keep", "-keep-dir", folder,
                   "-cubin", "-o", cubin, source])
        listings = {"ptx": entries(next(pathlib.Path(folder).glob("*.ptx")).read_text(), r"\.entry (\w+)\(")}
        if cuobjdump:
            listings["sass"] = entries(run([cuobjdump, "-sass", cubin]), r"Function : (\w+)")
    infos = entries(log, r"Compiling entry function '(\w+)'")
    names = readable(list(infos))
    kernels = []
    for symbol, info in infos.items():
        kernel = Kernel(room, names[symbol])
        kernel.registers = int(re.search(r"Used (\d+) registers", info).group(1))
        stack, stores, loads = map(int, re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads",
                                                  info).groups())
        kernel.stack, kernel.spills = stack, stores + loads
        for kind, bodies in listings.items():
            wide, tensor = INSTRUCTIONS[kind]
            if re.search(wide, bodies.get(symbol, "")):
                kernel.wide.add(kind)
            if re.search(tensor, bodies.get(symbol, "")):
                kernel.tensor.add(kind)
        kernels.append(kernel)
    return kernels


def compile_all(word, cuobjdump):
    """{architecture: kernels}, each list in the same order."""
    sources = sorted(path for floor in ("core", "kernels") for path in (ROOT / floor).rglob("*.cu") if word in path.parent.name)
    with tempfile.TemporaryDirectory() as include, concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        (pathlib.Path(include) / "subquad").symlink_to(ROOT)
        futures = {a: [pool.submit(compile_file, source, a, include, cuobjdump) for source in sources] for a in ARCHITECTURES}
        return {a: [kernel for future in futures[a] for kernel in future.result()] for a in ARCHITECTURES}


def seen(kinds):
    return " and ".join(sorted(kinds)) if kinds else "–"


def table(kernels):
    """A Markdown table with one row per kernel template: the most that any of its instantiations takes."""
    groups = collections.defaultdict(lambda: {a: [] for a in ARCHITECTURES})
    for architecture in ARCHITECTURES:
        for kernel in kernels[architecture]:
            groups[kernel.room, kernel.name.split("<")[0]][architecture].append(kernel)
    rows = [f"| room | kernel | variants | registers {', '.join(ARCHITECTURES)} | spills, stack (bytes) | 16-byte loads | tensor cores |",
            "|---|---|---|---|---|---|---|"]
    for (room, name), group in sorted(groups.items()):
        every = [kernel for architecture in ARCHITECTURES for kernel in group[architecture]]
        registers = ", ".join(str(max((k.registers for k in group[a]), default=0)) for a in ARCHITECTURES)
        wide, tensor = (set().union(*(getattr(k, what) for k in every)) for what in ("wide", "tensor"))
        rows.append(f"| {room} | `{name}` | {len(group[ARCHITECTURES[0]])} | {registers} | {max(k.spills for k in every)}, "
                    f"{max(k.stack for k in every)} | {seen(wide)} | {seen(tensor)} |")
    return rows


def write_table(rows, compiler):
    page = ROOT / "kernels" / "resources.md"
    page.write_text("\n".join([
        "# What ptxas makes of the CUDA kernels", "",
        f"{compiler}; the most over the variants of a kernel (dtypes, widths, precisions). A kernel that spills registers fails the build where",
        "warnings are errors. Instructions as seen in the PTX and in the machine code (SASS). Made by `python3 kernels/resources.py --write`.", "",
        *rows]) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("room", nargs="?", default="", help="only rooms whose name contains this")
    parser.add_argument("--write", action="store_true", help="remake kernels/resources.md")
    options = parser.parse_args()
    if not shutil.which("nvcc"):
        sys.exit("resources: no nvcc on PATH")
    kernels = compile_all(options.room, os.environ.get("CUOBJDUMP") or shutil.which("cuobjdump"))
    print("\n".join(table(kernels)))
    if options.write:
        write_table(table(kernels), run(["nvcc", "--version"]).splitlines()[-2].strip())
    bad = [f"{k.room}: {k.name} spills {k.spills} bytes on {a}" for a in ARCHITECTURES for k in kernels[a] if k.spills]
    print("\n".join(bad) or "no kernel spills", file=sys.stderr)
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
