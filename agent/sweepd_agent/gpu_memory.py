"""How much of a GPU's memory trials take, as NVML tells."""

import contextlib
import os
from collections.abc import Collection, Mapping
from typing import Any

from sweepd_agent.nvml import find_module, handle_of, known_name, load

__all__ = ["GpuMemory", "why_unknown"]

#: Which processes use the GPU; of those that use it by way of MPS, older drivers say it apart.
_QUESTIONS = ("nvmlDeviceGetComputeRunningProcesses", "nvmlDeviceGetMPSComputeRunningProcesses")


class GpuMemory:
    """The memory of one GPU, or MIG slice.

    Args:
        name: what NVML calls it: a number, or a whole UUID.
        nvml: the module `pynvml`, initialised.
    """

    def __init__(self, name: str, nvml: Any) -> None:
        self._name, self._nvml = name, nvml

    @classmethod
    def of(cls, name: str, *, environ: Mapping[str, str] = os.environ) -> "GpuMemory | None":
        """Return the memory of a device of CUDA's; None if NVML is not to be had, or in doubt."""
        nvml = load()
        known = known_name(name, nvml, environ) if nvml is not None else None
        return cls(known, nvml) if known is not None else None

    @property
    def kind(self) -> str | None:
        """Return what devices that are alike have in common; None if it cannot be told."""
        with contextlib.suppress(self._nvml.NVMLError):
            handle = handle_of(self._name, self._nvml)
            return f"{self._nvml.nvmlDeviceGetName(handle)}, {self.total_bytes()}"
        return None

    def total_bytes(self) -> int | None:
        """Return how much there is."""
        return self._info("total")

    def used_bytes(self) -> int | None:
        """Return how much is taken, whoever has it."""
        return self._info("used")

    def _info(self, what: str) -> int | None:
        with contextlib.suppress(self._nvml.NVMLError):
            handle = handle_of(self._name, self._nvml)
            return int(getattr(self._nvml.nvmlDeviceGetMemoryInfo(handle), what))
        return None

    def bytes_of(self, pids: Collection[int]) -> int | None:
        """Return how much processes have together; None if none of them is seen to have any.

        In a container that has process ids of its own NVML's are others.
        """
        found: dict[int, int] = {}
        for question in _QUESTIONS:
            with contextlib.suppress(self._nvml.NVMLError, AttributeError):
                handle = handle_of(self._name, self._nvml)
                for process in getattr(self._nvml, question)(handle):
                    if process.pid in pids and process.usedGpuMemory:
                        found[process.pid] = int(process.usedGpuMemory)
        return sum(found.values()) or None


def why_unknown(name: str, *, environ: Mapping[str, str] = os.environ) -> str:
    """Return why no trial's memory is known where neither NVML nor the program tells, in words.

    Args:
        name: of the device, as CUDA calls it.
        environ: of the agent.
    """
    if find_module() is None:
        return "the package nvidia-ml-py is missing; pip install 'sweepd[gpu]'"
    nvml = load()
    if nvml is None:
        return "NVML, the driver's library, cannot be used here"
    if known_name(name, nvml, environ) is None:
        return (
            f"NVML does not say for sure which GPU {name} is; set CUDA_DEVICE_ORDER=PCI_BUS_ID, or "
            "name GPUs by their UUID in CUDA_VISIBLE_DEVICES"
        )
    return "NVML does not tell, or too late for trials that are so short"
