"""Lets PyTorch use the fast kernels of its BLAS on processors of every maker."""

import os
import pathlib
import subprocess
import sys
import tempfile

SOURCE = pathlib.Path(__file__).with_suffix(".c")
TOLD = "SUBQUAD_PEER_MKL"


def of_intel():
    try:
        return "GenuineIntel" in pathlib.Path("/proc/cpuinfo").read_text()
    except OSError:
        return True


def allow():
    """Starts this program again with mkl_kernels.c loaded before PyTorch, where that is needed. To be called before anything has been
    computed. The answer says which kernels MKL takes: "as for Intel", or "its own choice" where there is no C compiler."""
    if TOLD in os.environ:
        return os.environ[TOLD]
    if of_intel():
        return "as for Intel"
    library = pathlib.Path(tempfile.mkdtemp(prefix="mkl_kernels")) / "libmkl_kernels.so"
    try:
        subprocess.run([os.environ.get("CC", "cc"), "-shared", "-fPIC", "-O1", "-o", str(library), str(SOURCE)], check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"PyTorch's MKL takes slow kernels on this processor, and mkl_kernels.c cannot be compiled: {error}", file=sys.stderr)
        return "its own choice"
    os.environ[TOLD] = "as for Intel"
    os.environ["LD_PRELOAD"] = ":".join(filter(None, [str(library), os.environ.get("LD_PRELOAD")]))
    os.execv(sys.executable, [sys.executable, *sys.argv])
