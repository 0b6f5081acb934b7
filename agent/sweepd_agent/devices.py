"""What there is to run trials on: GPUs, their MIG slices, or the CPU, cut into slots."""

import os
import re
import subprocess
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sweepd.errors import InvalidInput, NoDevice

__all__ = ["Slot", "count_cores", "deal_gpus", "even_part", "find_gpus", "make_slots"]

_NONE = frozenset({"", "-1", "none", "NoDevFiles", "void"})
_CPU_SLOTS = 4
_CONTEXTS = 0.1  # of a GPU's memory: what CUDA and its libraries take beside torch's own
_GPU_ROW = re.compile(r"^GPU (\d+): .*\(UUID: ([\w-]+)\)")
_MIG_ROW = re.compile(r"^\s+MIG .*\(UUID: ([\w/-]+)\)")
_NO_MIG_ROW = re.compile(r"^\s+No MIG devices", re.IGNORECASE)


@dataclass(frozen=True)
class Slot:
    """One trial at a time: its number, its device, and how many threads each process may use.

    `visible` is the value of CUDA_VISIBLE_DEVICES; None leaves it as it is. `share` is how many
    slots there are on its GPU, `memory_fraction` its part of that GPU's memory, None for all of it.
    A slot of several GPUs has them for itself.
    """

    number: int
    device: str
    visible: str | None
    threads: int
    share: int = 1
    memory_fraction: float | None = None

    @property
    def gpus(self) -> tuple[str, ...]:
        """Return the GPUs, or the MIG slice, that it works on; none on a CPU."""
        return tuple((self.visible or "").split(",")) if self.device != "cpu" else ()

    @property
    def place(self) -> str:
        """Return the name under which our service counts what fails here: GPUs, a slot of the CPU.

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
    gpus_per_trial: int = 1,
    notice: Callable[[str], None] | None = None,
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
        gpus_per_trial: of each slot, which has them for itself if it is more than one.
        notice: told of GPUs that are left idle, since they make no whole slot.

    Raises:
        InvalidInput: if `gpus` cannot be read, a number is out of bounds, or they contradict.
        NoDevice: if a GPU is asked for by number and is not there, or there are too few.
    """
    numbers = (("--per-gpu", per_gpu), ("--slots", slots), ("--gpus-per-trial", gpus_per_trial))
    for name, value in numbers:
        if value is not None and value < 1:
            raise InvalidInput(f"{name} must be at least 1, not {value}")
    if memory_fraction is not None and not 0 < memory_fraction <= 1:
        raise InvalidInput(
            f"--memory-fraction must be above 0 and at most 1, not {memory_fraction:g}"
        )
    found = find_gpus(environ) if gpus != "none" else []
    chosen = found if gpus in {"all", "none"} else [found[n] for n in _choose(gpus, found)]
    cores = count_cores()
    if gpus_per_trial > 1:
        _check_unshared(gpus_per_trial, per_gpu=per_gpu, memory_fraction=memory_fraction)
        groups = _group(chosen, gpus_per_trial, slots=slots, notice=notice)
        threads = max(1, cores // (len(groups) * gpus_per_trial))
        return tuple(Slot(i, f"gpus {name}", name, threads) for i, name in enumerate(groups))
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
                memory_fraction=memory_fraction or even_part(shares[name]),
            )
            for i, name in enumerate(dealt)
        )
    hidden = "" if gpus == "none" else None
    return tuple(Slot(i, "cpu", hidden, threads) for i in range(n_slots))


def _check_unshared(size: int, *, per_gpu: int | None, memory_fraction: float | None) -> None:
    """Refuse what is for trials that share a GPU where each has several for itself."""
    for name, value in (("--per-gpu", per_gpu), ("--memory-fraction", memory_fraction)):
        if value is not None and value != 1:
            raise InvalidInput(
                f"{name} {value:g} is for trials that share a GPU, and --gpus-per-trial {size} "
                "gives each trial several for itself; leave one of the two out"
            )


def _group(
    chosen: Sequence[str], size: int, *, slots: int | None, notice: Callable[[str], None] | None
) -> list[str]:
    """Return values of CUDA_VISIBLE_DEVICES that name `size` GPUs each, one for every slot."""
    slices = [name for name in chosen if name.startswith("MIG")]
    if slices:
        raise InvalidInput(
            f"--gpus-per-trial must be 1 with MIG slices, not {size}: CUDA gives a process one of "
            f"them, and there is {slices[0]}"
        )
    if len(chosen) < size:
        raise NoDevice(
            f"--gpus-per-trial {size} takes {size} GPUs; there are here: {len(chosen) or 'none'}"
        )
    whole = len(chosen) // size
    if slots is not None and slots > whole:
        raise InvalidInput(
            f"--slots must be at most {whole}, not {slots}: {len(chosen)} GPUs are {whole} times "
            f"--gpus-per-trial {size}"
        )
    idle = chosen[whole * size :]
    if idle and notice is not None:
        words = "GPU is" if len(idle) == 1 else "GPUs are"
        notice(
            f"{len(idle)} {words} left idle ({', '.join(idle)}): {len(chosen)} GPUs make {whole} "
            f"slot{'s' if whole > 1 else ''} of {size}"
        )
    groups = [",".join(chosen[i * size : (i + 1) * size]) for i in range(whole)]
    return groups[:slots]


def even_part(share: int) -> float | None:
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


def deal_gpus(gpus: str, found: Sequence[str], n_agents: int, *, size: int = 1) -> list[str]:
    """Return what each of several agents on one machine is told of GPUs, so that it has its own.

    Agents know nothing of each other: two on a GPU would each give its trials all of its memory.

    Args:
        gpus: `all`, or numbers into `found`.
        found: the GPUs that each of the agents sees; without any there is nothing to deal out.
        n_agents: how many.
        size: GPUs of each trial, which are dealt out together.

    Raises:
        InvalidInput: if `gpus` cannot be read.
        NoDevice: if a number is not there, or an agent would get no trial's GPUs.
    """
    numbers = list(range(len(found))) if gpus == "all" else _choose(gpus, found)
    if not numbers:
        return [gpus] * n_agents
    distinct = list(dict.fromkeys(numbers))
    if len(distinct) < n_agents * size:
        each = f" with --gpus-per-trial {size}" if size > 1 else ""
        more = ", with --per-gpu several at once on each" if size == 1 else ""
        raise NoDevice(
            f"{n_agents} agents on one machine{each} take {n_agents * size} GPUs, and no two the "
            f"same; there are: {len(distinct)}; one agent (leave --agents out) runs trials on all "
            f"of them{more}"
        )
    owners = {number: place // size % n_agents for place, number in enumerate(distinct)}
    return [
        ",".join(str(number) for number in numbers if owners[number] == agent)
        for agent in range(n_agents)
    ]


def _choose(gpus: str, found: Sequence[str]) -> list[int]:
    """Return the numbers, into what was found, that `gpus` names."""
    try:
        numbers = [int(part) for part in gpus.split(",")]
    except ValueError:
        raise InvalidInput(f"--gpus must be all, none, or numbers like 0,1, not {gpus!r}") from None
    missing = [number for number in numbers if not 0 <= number < len(found)]
    if missing:
        there = f"0 to {len(found) - 1}" if found else "none"
        raise NoDevice(f"there is no GPU {missing[0]} on this machine; there are: {there}")
    return numbers


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
