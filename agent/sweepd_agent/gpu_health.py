"""Whether a GPU is fit for the next trial, as NVML tells.

Without NVML, or without a driver, nothing is known and nothing is found wrong.
"""

import contextlib
import os
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from sweepd_agent.nvml import find_module, handle_of, known_name, load
from sweepd_agent.processes import descendants

__all__ = ["GpuHealth", "why_unwatched"]

#: The driver's reports (Xid) after which a GPU computes nothing more, or nothing right, until it is
#: reset. Those that a program causes (13, 31, 43, 45, …) are not among them.
_XIDS = {
    48: "a double-bit error in its memory",
    62: "its internal controller has halted",
    64: "a broken row of its memory could not be retired",
    74: "an error on its NVLink",
    79: "it has fallen off the bus",
    95: "an uncontained error in its memory",
    119: "its system processor does not answer",
    120: "an error of its system processor",
}
_HELD_S, _PAUSE_S = 5.0, 0.2
_REMEMBERED = 64


class GpuHealth:
    """Watches the GPUs, or the MIG slice, that one slot works on; for that slot's thread.

    Args:
        names: what CUDA calls each that is watched, to what NVML does: a number, or a whole UUID.
        nvml: the module `pynvml`, initialised.
        is_group: whether the slot has several, so that a problem is to name the one that has it.
    """

    def __init__(self, names: Mapping[str, str], nvml: Any, *, is_group: bool) -> None:
        self._watches = {name: _Watch(known, nvml) for name, known in names.items()}
        self._is_group = is_group

    @classmethod
    def of(
        cls, names: Sequence[str], *, environ: Mapping[str, str] = os.environ
    ) -> "GpuHealth | None":
        """Return the watch over those of a slot's devices that NVML knows.

        None: it has none, or NVML is not to be had, or knows no such UUID, or may mean another by a
        number.

        Args:
            names: what CUDA_VISIBLE_DEVICES calls them: a number, or a UUID or the beginning of it.
            environ: the environment, for what orders CUDA's numbers.
        """
        nvml = load() if names else None
        if nvml is None:
            return None
        known = {name: known_name(name, nvml, environ) for name in names}
        watched = {name: found for name, found in known.items() if found is not None}
        return cls(watched, nvml, is_group=len(names) > 1) if watched else None

    def look(self, pid: int) -> None:
        """Note which of a trial's processes use the GPUs now: its own, and what it has started."""
        family = {pid, *descendants(pid)}
        for watch in self._watches.values():
            watch.look(family)

    def note_end(self, pid: int) -> None:
        """Note that a trial's process has ended: no GPU may hold anything of it.

        Nor of the others that were seen to be the trial's.
        """
        for watch in self._watches.values():
            watch.note_end(pid)

    def problem(self) -> str | None:
        """Return why the GPUs can run no trial, in words; None if nothing is wrong."""
        for name, watch in self._watches.items():
            problem = watch.problem()
            if problem is not None:
                return f"GPU {name}: {problem}" if self._is_group else problem
        return None


class _Watch:
    """One GPU, by what NVML calls it."""

    def __init__(self, name: str, nvml: Any) -> None:
        self._name, self._nvml = name, nvml
        self._users: set[int] = set()  # processes of the trial that runs
        self._ended: list[int] = []
        self._errors = self._count_errors()
        self._events = self._listen()

    def look(self, family: Collection[int]) -> None:
        self._users |= self._held().keys() & family

    def note_end(self, pid: int) -> None:
        self._ended = [*self._ended, *{pid, *self._users}][-_REMEMBERED:]
        self._users.clear()

    def problem(self) -> str | None:
        nvml = self._nvml
        try:
            self._handle()
        except nvml.NVMLError as error:
            return _lost(nvml, error)
        return self._xid() or self._new_errors() or self._held_by_the_dead()

    def _handle(self) -> Any:
        handle = handle_of(self._name, self._nvml)
        self._nvml.nvmlDeviceGetMemoryInfo(handle)  # a GPU that is lost may still have a handle
        return handle

    def _ask(self, question: Callable[[Any], Any], default: Any) -> Any:
        """Return the GPU's answer; `default` if it knows no such thing, as many do not."""
        with contextlib.suppress(self._nvml.NVMLError):
            return question(self._handle())
        return default

    def _count_errors(self) -> int:
        nvml = self._nvml
        return int(
            self._ask(
                lambda handle: nvml.nvmlDeviceGetTotalEccErrors(
                    handle, nvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, nvml.NVML_VOLATILE_ECC
                ),
                0,
            )
        )

    def _new_errors(self) -> str | None:
        n = self._count_errors() - self._errors
        if n <= 0:
            return None
        errors = "memory error" if n == 1 else "memory errors"
        return f"{n} uncorrectable {errors} (ECC) since the agent began"

    def _listen(self) -> Any:
        nvml = self._nvml

        def listen(handle: Any) -> Any:
            events = nvml.nvmlEventSetCreate()
            nvml.nvmlDeviceRegisterEvents(handle, nvml.nvmlEventTypeXidCriticalError, events)
            return events

        return self._ask(listen, None)

    def _xid(self) -> str | None:
        """Return what the driver has reported since the last time, if it is the GPU's fault."""
        while self._events is not None:
            try:
                event = self._nvml.nvmlEventSetWait(self._events, 0)
            except self._nvml.NVMLError:  # there is none
                return None
            words = _XIDS.get(int(event.eventData))
            if words is not None:
                return f"the driver reports Xid {int(event.eventData)}: {words}"
        return None

    def _held(self) -> dict[int, Any]:
        """Return what NVML tells of each process that uses the GPU, by its id."""
        running = self._ask(self._nvml.nvmlDeviceGetComputeRunningProcesses, ())
        return {process.pid: process for process in running}

    def _held_by_the_dead(self) -> str | None:
        """Return whose memory the GPU still holds although the process has ended for a while."""
        deadline = time.monotonic() + _HELD_S
        while True:
            held = {pid: found for pid, found in self._held().items() if pid in self._ended}
            if not held:
                self._ended.clear()
                return None
            if time.monotonic() > deadline:
                pid, process = next(iter(held.items()))
                size = f"{(process.usedGpuMemory or 0) / 2**20:.0f} MiB"
                return f"it still holds {size} of process {pid}, which has ended"
            time.sleep(_PAUSE_S)


def why_unwatched(names: Sequence[str]) -> str | None:
    """Return why no GPU of these is watched, in words; None if they can be, or there are none."""
    if not names or find_module() is not None:
        return None
    return (
        "no GPU is watched between trials for faults and leftover memory: the package "
        "nvidia-ml-py is missing; pip install 'sweepd[gpu]'"
    )


def _lost(nvml: Any, error: Exception) -> str | None:
    code = getattr(error, "value", None)
    if code == nvml.NVML_ERROR_GPU_IS_LOST:
        return "it has fallen off the bus"
    if code in (nvml.NVML_ERROR_NOT_FOUND, nvml.NVML_ERROR_INVALID_ARGUMENT):
        return "the driver does not know it any more"
    if code == nvml.NVML_ERROR_UNKNOWN:
        return f"the driver cannot read it: {error}"
    return None
