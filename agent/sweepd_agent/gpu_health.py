"""Whether a GPU is fit for the next trial, as NVML tells: the library behind nvidia-smi.

NVML comes with `nvidia-ml-py`, the extra `gpu`; without it, or without a driver, nothing is known
and nothing is found wrong. Nothing here touches CUDA.
"""

import contextlib
import os
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["GpuHealth"]

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
_REMEMBERED = 8


class GpuHealth:
    """Watches the GPU, or the MIG slice, that one slot works on; for that slot's thread.

    Args:
        name: what NVML calls it: a number, or a whole UUID.
        nvml: the module `pynvml`, initialised.
    """

    def __init__(self, name: str, nvml: Any) -> None:
        self._name, self._nvml = name, nvml
        self._ended: list[int] = []
        self._errors = self._count_errors()
        self._events = self._listen()

    @classmethod
    def of(cls, name: str | None, *, environ: Mapping[str, str] = os.environ) -> "GpuHealth | None":
        """Return the watch over a device.

        None: a CPU, or NVML is not to be had, has no such UUID, or may mean another by a number.

        Args:
            name: what CUDA_VISIBLE_DEVICES calls it: a number, or a UUID or the beginning of one.
            environ: the environment, for what orders CUDA's numbers.
        """
        nvml = _load() if name else None
        known = _known(name, nvml, environ) if name and nvml is not None else None
        return None if known is None else cls(known, nvml)

    def note_end(self, pid: int) -> None:
        """Note the process of a trial that has ended: the GPU must not hold anything of it."""
        self._ended = [*self._ended, pid][-_REMEMBERED:]

    def problem(self) -> str | None:
        """Return why the GPU can run no trial, in words; None if nothing is wrong."""
        nvml = self._nvml
        try:
            self._handle()
        except nvml.NVMLError as error:
            return _lost(nvml, error)
        return self._xid() or self._new_errors() or self._held_by_the_dead()

    def _handle(self) -> Any:
        if self._name.isdecimal():
            handle = self._nvml.nvmlDeviceGetHandleByIndex(int(self._name))
        else:
            handle = self._nvml.nvmlDeviceGetHandleByUUID(self._name)
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

    def _held_by_the_dead(self) -> str | None:
        """Return whose memory the GPU still holds although the process has ended for a while."""
        nvml = self._nvml
        deadline = time.monotonic() + _HELD_S
        while True:
            running = self._ask(nvml.nvmlDeviceGetComputeRunningProcesses, ())
            held = {process.pid: process for process in running if process.pid in self._ended}
            if not held:
                self._ended.clear()
                return None
            if time.monotonic() > deadline:
                pid, process = next(iter(held.items()))
                size = f"{(process.usedGpuMemory or 0) / 2**20:.0f} MiB"
                return f"it still holds {size} of process {pid}, which has ended"
            time.sleep(_PAUSE_S)


_lock = threading.Lock()


def _load() -> Any:
    """Return NVML's module once it is initialised; None if there is none, or no driver."""
    try:
        import pynvml
    except ImportError:
        return None
    with _lock:
        try:
            pynvml.nvmlInit()
        except pynvml.NVMLError:
            return None
    return pynvml


def _known(name: str, nvml: Any, environ: Mapping[str, str]) -> str | None:
    """Return what NVML calls the device of CUDA's name; None if it has none or there is doubt."""
    if name.isdecimal():
        is_sure = _has_nvmls_numbers(environ) or len(set(_each(nvml, "nvmlDeviceGetName"))) < 2
        return name if is_sure else None
    try:
        nvml.nvmlDeviceGetHandleByUUID(name)
    except nvml.NVMLError as error:
        code = getattr(error, "value", None)
        if code not in (nvml.NVML_ERROR_NOT_FOUND, nvml.NVML_ERROR_INVALID_ARGUMENT):
            return name  # it is there, and lost
        uuids = _each(nvml, "nvmlDeviceGetUUID") if name.startswith("GPU-") else []
        found = [uuid for uuid in uuids if uuid.startswith(name)]
        return found[0] if len(found) == 1 else None
    return name


def _each(nvml: Any, question: str) -> list[str]:
    """Return each GPU's answer, of those that answer."""
    answers: list[str] = []
    with contextlib.suppress(nvml.NVMLError):
        for number in range(nvml.nvmlDeviceGetCount()):
            with contextlib.suppress(nvml.NVMLError):
                answers.append(getattr(nvml, question)(nvml.nvmlDeviceGetHandleByIndex(number)))
    return answers


def _has_nvmls_numbers(environ: Mapping[str, str]) -> bool:
    """Return whether a trial's CUDA numbers GPUs by their place on the bus, as NVML does.

    By itself it begins with the fastest. Where the agent has found the GPUs, it says that order.
    """
    usual = "FASTEST_FIRST" if "CUDA_VISIBLE_DEVICES" in environ else "PCI_BUS_ID"
    return environ.get("CUDA_DEVICE_ORDER", usual) == "PCI_BUS_ID"


def _lost(nvml: Any, error: Exception) -> str | None:
    code = getattr(error, "value", None)
    if code == nvml.NVML_ERROR_GPU_IS_LOST:
        return "it has fallen off the bus"
    if code in (nvml.NVML_ERROR_NOT_FOUND, nvml.NVML_ERROR_INVALID_ARGUMENT):
        return "the driver does not know it any more"
    if code == nvml.NVML_ERROR_UNKNOWN:
        return f"the driver cannot read it: {error}"
    return None
