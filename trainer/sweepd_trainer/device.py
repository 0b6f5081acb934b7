"""The device a run trains on, and its random numbers."""

import ctypes
import os
import random
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from sweepd.errors import InvalidInput, NoDevice

__all__ = [
    "PeakMemory",
    "determinism",
    "device_name",
    "exact_float32",
    "has_fast_bfloat16",
    "has_lease",
    "let_hurry",
    "pick_device",
    "seed_everything",
]

#: Of glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
#: Is there where NVIDIA's driver is, in a container too.
_DRIVER = Path("/dev/nvidiactl")
#: What CUDA_VISIBLE_DEVICES names no device with.
_NO_DEVICE = frozenset({"", "-1", "none", "NoDevFiles", "void"})

#: cuBLAS gives the same bits with workspaces of one of these sizes.
_WORKSPACES, _SAME_BITS = "CUBLAS_WORKSPACE_CONFIG", (":4096:8", ":16:8")


def pick_device() -> torch.device:
    """Return the first CUDA device that this process may see, else the CPU.

    `OMP_NUM_THREADS` sets the CPU threads, also where torch was loaded before it was set;
    `SWEEPD_MEMORY_FRACTION` how much of the device's memory torch may take, where an agent runs
    several trials on it.

    Raises:
        InvalidInput: if that fraction is none.
        NoDevice: if the agent gave this trial a GPU, and torch cannot use it.
    """
    threads = os.environ.get("OMP_NUM_THREADS", "")
    if threads.isdecimal() and int(threads) > 0 and int(threads) != torch.get_num_threads():
        torch.set_num_threads(int(threads))
    if not torch.cuda.is_available():
        _check_no_gpu(os.environ)
        return torch.device("cpu")
    fraction = _memory_fraction()
    if fraction is not None:
        torch.cuda.set_per_process_memory_fraction(fraction, 0)
    return torch.device("cuda", 0)


def _check_no_gpu(environ: Mapping[str, str]) -> None:
    """Refuse to train on a CPU in a slot of a GPU, which takes far longer and looks like a success.

    Only the agent's trials have a lease, or a part of a GPU's memory. Where others have set
    CUDA_VISIBLE_DEVICES on a machine without a driver, the agent believes them, and is wrong.
    """
    gpu = environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0].strip()
    is_of_agent = "SWEEPD_MEMORY_FRACTION" in environ or has_lease(environ)
    if gpu in _NO_DEVICE or not is_of_agent or not _DRIVER.exists():
        return
    try:
        torch.cuda.init()
        reason = "no device is found"
    except (AssertionError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
    raise NoDevice(
        f"the agent gave this trial the GPU {gpu}, which torch {torch.__version__} cannot use: "
        f"{reason}; `sweep agent --gpus none` trains on the CPU"
    )


def has_lease(environ: Mapping[str, str]) -> bool:
    """Return whether our agent runs this trial, at our service: its requests carry a lease."""
    return "X-Sweepd-Lease" in environ.get("WANDB_X_EXTRA_HTTP_HEADERS", "")


def _memory_fraction() -> float | None:
    text = os.environ.get("SWEEPD_MEMORY_FRACTION", "")
    if not text:
        return None
    try:
        fraction = float(text)
    except ValueError:
        fraction = 0.0
    if not 0 < fraction <= 1:
        raise InvalidInput(
            f"SWEEPD_MEMORY_FRACTION must be above 0 and at most 1, not {text[:100]!r}"
        )
    return fraction


class PeakMemory:
    """Says how much of a CUDA device's memory is taken at most; of a CPU nothing.

    Args:
        device: whose.
    """

    def __init__(self, device: torch.device) -> None:
        self._device, self._reserved = device, 0

    def take(self, mode: str) -> float | None:
        """Return the most MiB that tensors took at once since the last time.

        Args:
            mode: how steps run. Those that a CUDA graph replays take what the one took that was
                recorded, which torch counts no second time: that peak stays.
        """
        if self._device.type != "cuda":
            return None
        known = torch.cuda.memory_stats_as_nested_dict(self._device)  # the flat ones are sorted
        if mode != "cuda graph":
            self._reserved = max(self._reserved, known["reserved_bytes"]["all"]["peak"])
            torch.cuda.reset_peak_memory_stats(self._device)
        return float(known["allocated_bytes"]["all"]["peak"] / (1 << 20))

    def reserved(self) -> int | None:
        """Return the most bytes that torch held at once, for tensors and in reserve."""
        if self._device.type != "cuda":
            return None
        return max(self._reserved, int(torch.cuda.max_memory_reserved(self._device)))

    def total(self) -> int | None:
        """Return the bytes that the device has in all."""
        if self._device.type != "cuda":
            return None
        return int(torch.cuda.get_device_properties(self._device).total_memory)


def device_name(device: torch.device) -> str:
    """Return the name that people know a device by."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    threads = torch.get_num_threads()
    return f"CPU, {threads} thread{'s' if threads != 1 else ''}"


def has_fast_bfloat16(device: torch.device) -> bool:
    """Return whether the device computes faster in bfloat16 than in float32.

    A CPU does with AMX. AVX512-BF16 alone pays on AMD's, but not on Intel's: our models train more
    slowly with it there.
    """
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if sys.platform != "linux":
        return False
    capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    if capabilities.get("amx_bf16"):
        return True
    return bool(capabilities.get("avx512_bf16")) and _cpu_vendor() == "AuthenticAMD"


def _cpu_vendor(file: Path = Path("/proc/cpuinfo")) -> str:
    """Return who made the processor, in its own word, or "" where the kernel does not say."""
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return ""
    return next((line.split(":")[1].strip() for line in lines if line.startswith("vendor_id")), "")


@contextmanager
def determinism(*, is_wanted: bool) -> Iterator[None]:
    """Have torch use none but algorithms that give the same bits each time, meanwhile, if wanted.

    It begins before CUDA does: cuBLAS reads the environment once.

    Raises:
        InvalidInput: something that is computed has no such algorithm, or CUDA was in use already.
    """
    if not is_wanted:
        yield
        return
    if os.environ.get(_WORKSPACES) not in _SAME_BITS:
        os.environ[_WORKSPACES] = _SAME_BITS[0]
    cudnn = torch.backends.cudnn
    benchmark = cudnn.benchmark
    before = torch.are_deterministic_algorithms_enabled()
    warns = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True)
    cudnn.benchmark = False
    try:
        yield
    except RuntimeError as error:
        reason = str(error).strip().split("\n")[0].split(". ")[0]
        if "deterministic" not in reason.lower():
            raise
        raise InvalidInput(f"deterministic must be false here: {reason}") from error
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warns)
        cudnn.benchmark = benchmark


def let_hurry(device: torch.device) -> None:
    """Let a CUDA device use TF32 where it computes in float32, and try which algorithm is best.

    Evaluation uses none, by `exact_float32`. Where only `determinism` is allowed nothing is tried.
    On a CPU let the process keep the memory that it frees, up to 1 GiB.
    """
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.allow_tf32 = True
        torch.backends.cudnn.benchmark = not torch.are_deterministic_algorithms_enabled()
    else:
        _keep_freed_memory()


@contextmanager
def untuned() -> Iterator[None]:
    """Compute meanwhile without trying which algorithm is best: for shapes that come once."""
    cudnn = torch.backends.cudnn
    before, cudnn.benchmark = cudnn.benchmark, False
    try:
        yield
    finally:
        cudnn.benchmark = before


@contextmanager
def exact_float32() -> Iterator[None]:
    """Compute in float32 meanwhile as a CPU does, without TF32.

    Where a program has set precisions by torch's newer names, in ways that the older ones cannot
    say, they stay as they are.
    """
    cudnn = torch.backends.cudnn
    try:
        before = torch.get_float32_matmul_precision(), cudnn.allow_tf32
    except RuntimeError:
        before = None
    if before is None:
        yield
        return
    torch.set_float32_matmul_precision("highest")
    cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before[0])
        cudnn.allow_tf32 = before[1]


def _keep_freed_memory() -> None:
    """Have glibc give the tensors of a step the memory that those of the last one had.

    By itself it hands large ones back to the kernel, which has to clear every page anew: thousands
    in each step of the convnet. What others put in glibc's place (jemalloc, tcmalloc, musl) keeps
    memory already, or does not know these settings.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, 32 << 20)  # the largest that it takes
        mallopt(_M_TRIM_THRESHOLD, 1 << 30)


def seed_everything(seed: int) -> torch.Generator:
    """Seed python, numpy and torch; return a generator of its own for the order of the data."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    return torch.Generator().manual_seed(seed)
