"""A process in which PyTorch and JAX run as fast as they can: their BLAS takes its fast kernels on processors of every maker, and malloc
keeps what it is given back. By default glibc returns large blocks to the system, which hands them out again zeroed, page by page: results
of some MB then cost more page faults than arithmetic. It asks for huge pages, as ours does."""

import ctypes
import os
import pathlib
import platform
import resource
import shutil
import subprocess
import sys
import tempfile

KERNELS = pathlib.Path(__file__).with_name("mkl_kernels.c")
TOLD, FOLDER = "SUBQUAD_PEER_MKL", "SUBQUAD_PEER_FOLDER"
KEEPING = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**35), "MALLOC_TOP_PAD_": str(2**28)}
TUNABLES, HUGE_PAGES = "GLIBC_TUNABLES", "glibc.malloc.hugetlb=1"  # as our allocator asks for them


def processor():
    """What Linux says of it; nothing elsewhere."""
    try:
        return pathlib.Path("/proc/cpuinfo").read_text()
    except OSError:
        return ""


def takes_fast_kernels():
    return not processor() or "GenuineIntel" in processor()


def has_avx512():
    return " avx512f " in processor()


def of_glibc():
    return platform.libc_ver()[0] == "glibc"


def start():
    """Starts this program again with malloc's settings and, where MKL needs it, with mkl_kernels.c loaded before PyTorch. To be called
    before anything has been computed. The second time it answers with what the records say of this process, and takes the settings away
    from the environment, so that processes which this one starts, ours among them, run without."""
    if TOLD in os.environ:
        forget()
        return {"mkl": os.environ.pop(TOLD), "malloc": "keeps its memory, in huge pages" if of_glibc() else "its own choice"}
    os.environ[TOLD] = "as for Intel" if takes_fast_kernels() or load_kernels() else "its own choice"
    if of_glibc():
        os.environ.update(KEEPING)
        os.environ[TUNABLES] = ":".join(filter(None, [os.environ.get(TUNABLES), HUGE_PAGES]))
    os.execv(sys.executable, [sys.executable, *sys.argv])


def load_kernels():
    """Into the next program that is started; False where there is no C compiler."""
    folder = tempfile.mkdtemp(prefix="mkl_kernels")
    library = os.path.join(folder, "libmkl_kernels.so")
    try:
        subprocess.run([os.environ.get("CC", "cc"), "-shared", "-fPIC", "-O1", "-o", library, str(KERNELS)], check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"PyTorch's MKL takes slow kernels on this processor, and mkl_kernels.c cannot be compiled: {error}", file=sys.stderr)
        shutil.rmtree(folder)
        return False
    os.environ[FOLDER] = folder
    os.environ["LD_PRELOAD"] = ":".join(filter(None, [library, os.environ.get("LD_PRELOAD")]))
    return True


def forget():
    for name in KEEPING:
        os.environ.pop(name, None)
    tunables = os.environ.pop(TUNABLES, "").removesuffix(HUGE_PAGES).removesuffix(":")
    if tunables:
        os.environ[TUNABLES] = tunables
    folder = os.environ.pop(FOLDER, None)
    if folder:
        os.environ["LD_PRELOAD"] = os.environ["LD_PRELOAD"].partition(":")[2]
        shutil.rmtree(folder, ignore_errors=True)


def limit_memory(share=0.9):
    """To what the system can give now, so that a way that asks for more fails by itself, and is named, where the system would end the whole
    comparison. Processes that this one starts have the same limit, each for itself."""
    try:
        lines = pathlib.Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return
    available = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    limit = int(share * available)
    resource.setrlimit(resource.RLIMIT_DATA, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))


def release():
    """Gives the system what malloc keeps, so that one row's memory is not another's lack of it."""
    if of_glibc():
        ctypes.CDLL(None).malloc_trim(0)
