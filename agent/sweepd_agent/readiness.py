"""Whether a process may be forked: what it has imported, and what torch has done in it."""

import contextlib
import ctypes
import gc
import importlib
import os
import signal
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sweepd_agent.devices import count_cores
from sweepd_agent.processes import fork

__all__ = ["find_libraries", "import_ahead", "reseed", "set_threads", "unsafe_to_fork"]

#: What CUDA's driver answers before `cuInit`: CUDA_ERROR_NOT_INITIALIZED.
_NOT_INITIALIZED = 3
#: By libraries that heed a variable of their own before OpenMP's: which that is.
_OWN_VARIABLES = {
    "openblas": "OPENBLAS_NUM_THREADS",
    "mkl": "MKL_NUM_THREADS",
    "blis": "BLIS_NUM_THREADS",
}
_THREADS = "OMP_NUM_THREADS"


def import_ahead(names: Iterable[str]) -> list[str]:
    """Import modules; return those that could not be. A trial meets the error, and shows it."""
    failed = []
    for name in names:
        try:
            importlib.import_module(name)
        except BaseException as error:
            failed.append(name)
            print(f"not imported ahead: {name}: {error!r}", file=sys.stderr, flush=True)
    _pin_torch(1)
    gc.collect()
    gc.freeze()  # children share what is loaded: the collector must not write to it
    return failed


def unsafe_to_fork(*, threads: int, timeout_s: float) -> str | None:
    """Return why a child of this process could misbehave, or None.

    Args:
        threads: what a child's torch may use.
        timeout_s: for a canary, a child that runs a parallel operation, to come back.
    """
    with contextlib.suppress(OSError):
        others = len(os.listdir("/proc/self/task")) - 1
        if others > 0:
            return f"what the program imports has started {others} thread(s)"
    if _has_begun_cuda():
        return "what the program imports has opened the GPU"
    if "torch" in sys.modules and not _canary_lives(max(2, threads), timeout_s):
        return "a forked child hangs in its first parallel operation"
    return None


def _has_begun_cuda() -> bool:
    """Return whether CUDA is initialised here: a child could not use it then.

    `cuInit` opens /dev/nvidia-uvm, and after it the driver answers, which before says that it is
    not initialised. NVML, which `torch.cuda.device_count` and nvidia-ml-py ask, opens
    /dev/nvidiactl and the GPUs and no more: by torch's word a child can use CUDA after it.
    """
    with contextlib.suppress(OSError):
        for fd in os.listdir("/proc/self/fd"):
            with contextlib.suppress(OSError):
                if os.readlink(f"/proc/self/fd/{fd}") == "/dev/nvidia-uvm":
                    return True
        driver = ctypes.CDLL("libcuda.so.1", mode=os.RTLD_NOLOAD)  # if it is loaded already
        return bool(driver.cuDeviceGetCount(ctypes.byref(ctypes.c_int())) != _NOT_INITIALIZED)
    return False


def find_libraries() -> list[Any]:
    """Return the numerical libraries that are loaded besides torch: numpy's BLAS and the like."""
    if "numpy" not in sys.modules:
        return []
    from threadpoolctl import ThreadpoolController

    return list(ThreadpoolController().lib_controllers)


def set_threads(environ: Mapping[str, str], libraries: Sequence[Any]) -> None:
    """Let libraries that are loaded use as many threads as an environment says.

    They read theirs as they were loaded, in the warm parent, and look at no other.

    Args:
        environ: of a trial.
        libraries: those that `find_libraries` found in this process; torch is set besides.
    """
    _pin_torch(_count_threads(environ))
    for library in libraries:
        own = _OWN_VARIABLES.get(library.internal_api, _THREADS)
        threads = _count_threads(environ, own)
        if library.num_threads != threads:
            library.set_num_threads(threads)


def _count_threads(environ: Mapping[str, str], own: str = _THREADS) -> int:
    """Return how many threads an environment gives a library; each core one if it does not say."""
    for name in (own, _THREADS):
        first = environ.get(name, "").partition(",")[0].strip()  # the rest are of nested teams
        if first.isdecimal() and int(first) > 0:
            return int(first)
    return count_cores()


def reseed() -> None:
    """Give numpy its own random numbers: every child would have the parent's."""
    if "numpy" in sys.modules:
        import numpy as np

        np.random.seed()


def _pin_torch(threads: int) -> None:
    if "torch" in sys.modules:
        import torch

        torch.set_num_threads(threads)


def _canary_lives(threads: int, timeout_s: float) -> bool:
    pid = fork()
    if pid == 0:
        _run_parallel_operation(threads)
        os._exit(0)
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return status == 0
        time.sleep(0.005)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return False


def _run_parallel_operation(threads: int) -> None:
    """Run one torch operation that is large enough to be shared among threads."""
    import torch

    torch.set_num_threads(threads)
    torch.ones(1 << 20).add_(1).sum().item()
