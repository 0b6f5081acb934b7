"""NVML, the library behind nvidia-smi: whether it is there, and what it calls CUDA's devices.

It comes with `nvidia-ml-py`, the extra `gpu`. Nothing here touches CUDA.
"""

import contextlib
import threading
from collections.abc import Mapping
from typing import Any

__all__ = ["find_module", "handle_of", "known_name", "load"]

_lock = threading.Lock()


def find_module() -> Any:
    """Return NVML's module, None if it is not installed."""
    try:
        import pynvml
    except ImportError:
        return None
    return pynvml


def load() -> Any:
    """Return NVML's module once it is initialised; None if there is none, or no driver."""
    pynvml = find_module()
    if pynvml is None:
        return None
    with _lock:
        try:
            pynvml.nvmlInit()
        except pynvml.NVMLError:
            return None
    return pynvml


def known_name(name: str, nvml: Any, environ: Mapping[str, str]) -> str | None:
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


def handle_of(name: str, nvml: Any) -> Any:
    """Return NVML's handle of a device, by what NVML calls it.

    Raises:
        nvml.NVMLError: it has none.
    """
    if name.isdecimal():
        return nvml.nvmlDeviceGetHandleByIndex(int(name))
    return nvml.nvmlDeviceGetHandleByUUID(name)


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
