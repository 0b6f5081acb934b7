"""What there is to run trials on: GPUs, their MIG slices, or the CPU, cut into slots."""

import os
import re
import subprocess
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sweepd.errors import InvalidInput, NoDevice

__all__ = ["Slot", "count_cores", "find_gpus", "make_slots"]

_NONE = frozenset({"", "-1", "none", "NoDevFiles", "void"})
_CPU_SLOTS = 4
_CONTEXTS = 0.1  # of a GPU's memory: what CUDA and its libraries take beside torch's own
_GPU_ROW = re.compile(r"^GPU (\d+): .*\(UUID: ([\w-]+)\)")
_MIG_ROW = re.compile(r"^\s+MIG .*\(UUID: ([\w/-]+)\)")
_NO_MIG_ROW = re.compile(r"^\s+No MIG devices", re.IGNORECASE)


@dataclass(frozen=True)
class Slot:
    """One trial at a time: its number, its device, and how many threads it may use.

    `visible` is the value of CUDA_VISIBLE_DEVICES; None leaves it as it is. `share` is how many
    slots there are on its GPU, `memory_fraction` its part of that GPU's memory, None for all of it.
    """

    number: int
    device: str
    visible: str | None
    threads: int
    share: int = 1
    memory_fraction: float | None = None

    @property
    def gpu(self) -> str | None:
        """Return the GPU or MIG slice that it works on; None on a CPU."""
        return self.visible if self.device != "cpu" else None

    @property
    def place(self) -> str:
        """Return the name under which our service counts what fails here: a GPU, a slot of the CPU.

        Slots that share a GPU share its name; what fails on a CPU is rarely the CPU's fault.
        """
        return f"{self.device} {self.number}" if self.device == "cpu" else self.device


def make_slots(
    gpus: str,
    *,
    per_gpu: int | None,
    slots: int | None,
    environ: Mapping[str, str],
    memory_fraction: float | None = None,
) -> tuple[Slot, ...]:
    """Return the slots of this machine.

    Without a GPU, the CPU is the one device; unless told otherwise it gets a slot per core, four at
    most. Cores are shared out evenly, at least one thread a slot.

    Args:
        gpus: `all`, `none`, or numbers into the GPUs that are visible here, as `0,1`.
        per_gpu: trials at once on each device; 1 on a GPU if None.
        slots: trials at once in all, dealt out over the devices; takes the place of `per_gpu`.
        environ: the environment, for CUDA_VISIBLE_DEVICES.
        memory_fraction: of a GPU's memory for each of its slots; None shares out what is not kept
            for the CUDA contexts, where there are several.

    Raises:
        InvalidInput: if `gpus` cannot be read, or a number is out of bounds.
        NoDevice: if a GPU is asked for by number and is not there.
    """
    for name, value in (("--per-gpu", per_gpu), ("--slots", slots)):
        if value is not None and value < 1:
            raise InvalidInput(f"{name} must be at least 1, not {value}")
    if memory_fraction is not None and not 0 < memory_fraction <= 1:
        raise InvalidInput(
            f"--memory-fraction must be above 0 and at most 1, not {memory_fraction:g}"
        )
    found = find_gpus(environ) if gpus != "none" else []
    chosen = found if gpus in {"all", "none"} else _choose(gpus, found)
    cores = count_cores()
    usual = 1 if chosen else min(cores, _CPU_SLOTS)
    n_slots = slots or (per_gpu or usual) * max(1, len(chosen))
    threads = max(1, cores // n_slots)
    if chosen:
        dealt = [chosen[number % len(chosen)] for number in range(n_slots)]
        shares = Counter(dealt)
        return tuple(
            Slot(
                i,
                f"gpu {name}",
                name,
                threads,
                share=shares[name],
                memory_fraction=memory_fraction or _even_part(shares[name]),
            )
            for i, name in enumerate(dealt)
        )
    hidden = "" if gpus == "none" else None
    return tuple(Slot(i, "cpu", hidden, threads) for i in range(n_slots))


def _even_part(share: int) -> float | None:
    """Return a slot's part of a GPU's memory; None for the only one, which may have it all."""
    return None if share == 1 else round((1 - _CONTEXTS) / share, 3)


def find_gpus(environ: Mapping[str, str]) -> list[str]:
    """Return what CUDA_VISIBLE_DEVICES may hold here, in order: numbers, or UUIDs of MIG slices."""
    visible = environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        names = [name.strip() for name in visible.split(",")]
        return [name for name in names if name not in _NONE]
    try:
        listing = subprocess.run(
            ["nvidia-smi", "-L"], capture_output=True, text=True, timeout=20, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        folder = Path("/proc/driver/nvidia/gpus")
        return [str(i) for i, _ in enumerate(folder.iterdir())] if folder.is_dir() else []
    return _parse_listing(listing)


def _parse_listing(listing: str) -> list[str]:
    """Return the devices of `nvidia-smi -L`: a GPU that is cut into MIG slices counts as these.

    One that is to be cut and has no slices yet, where the listing says so, is none: CUDA sees none.
    """
    devices: list[tuple[str, list[str]]] = []
    for row in listing.splitlines():
        if match := _GPU_ROW.match(row):
            devices.append((match[1], []))
        elif devices and (match := _MIG_ROW.match(row)):
            devices[-1][1].append(match[1])
        elif devices and _NO_MIG_ROW.match(row):
            devices.pop()
    return [name for number, slices in devices for name in (slices or [number])]


def _choose(gpus: str, found: list[str]) -> list[str]:
    try:
        numbers = [int(part) for part in gpus.split(",")]
    except ValueError:
        raise InvalidInput(f"--gpus must be all, none, or numbers like 0,1, not {gpus!r}") from None
    missing = [number for number in numbers if not 0 <= number < len(found)]
    if missing:
        there = f"0 to {len(found) - 1}" if found else "none"
        raise NoDevice(f"there is no GPU {missing[0]} on this machine; there are: {there}")
    return [found[number] for number in numbers]


def count_cores() -> int:
    """Return the cores that this process may use, after CPU affinity and the container's limit."""
    has_affinity = hasattr(os, "sched_getaffinity")
    cores = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        cores = min(cores, max(1, round(int(quota) / int(period))))
    except (OSError, ValueError):
        pass
    return cores
