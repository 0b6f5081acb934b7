"""The device a run trains on, and its random numbers."""

import os
import random
import sys

import numpy as np
import torch

from sweepd.errors import InvalidInput

__all__ = ["device_name", "has_fast_bfloat16", "let_hurry", "pick_device", "seed_everything"]


def pick_device() -> torch.device:
    """Return the first CUDA device that this process may see, else the CPU.

    `OMP_NUM_THREADS` sets the CPU threads, also where torch was loaded before it was set;
    `SWEEPD_MEMORY_FRACTION` how much of the device's memory torch may take, where an agent runs
    several trials on it.

    Raises:
        InvalidInput: if that fraction is none.
    """
    threads = os.environ.get("OMP_NUM_THREADS", "")
    if threads.isdecimal() and int(threads) > 0 and int(threads) != torch.get_num_threads():
        torch.set_num_threads(int(threads))
    if not torch.cuda.is_available():
        return torch.device("cpu")
    fraction = _memory_fraction()
    if fraction is not None:
        torch.cuda.set_per_process_memory_fraction(fraction, 0)
    return torch.device("cuda", 0)


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


def device_name(device: torch.device) -> str:
    """Return the name that people know a device by."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    threads = torch.get_num_threads()
    return f"CPU, {threads} thread{'s' if threads != 1 else ''}"


def has_fast_bfloat16(device: torch.device) -> bool:
    """Return whether the device computes in bfloat16 by itself, hence faster than in float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return sys.platform == "linux" and bool(
        capabilities.get("avx512_bf16") or capabilities.get("amx_bf16")
    )


def let_hurry(device: torch.device) -> None:
    """Let a CUDA device use TF32 where it computes in float32, and try which algorithm is best."""
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.allow_tf32 = True
        torch.backends.cudnn.benchmark = True


def seed_everything(seed: int) -> torch.Generator:
    """Seed python, numpy and torch; return a generator of its own for the order of the data."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    return torch.Generator().manual_seed(seed)
