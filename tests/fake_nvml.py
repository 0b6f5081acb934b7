"""NVML, the library behind nvidia-smi, as far as the agent asks it: for machines without a GPU."""

from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace


class NVMLError(Exception):
    def __init__(self, value):
        super().__init__(f"NVML error {value}")
        self.value = value


@dataclass
class Gpu:
    """What the driver says of one GPU."""

    error: int | None = None  # what every question is answered with
    ecc: int | None = 0  # uncorrectable errors; None: it has no such memory
    xids: list[int] = field(default_factory=list)
    held: dict[int, int] = field(default_factory=dict)  # bytes, by process
    total: int = 80 << 30  # bytes
    name: str = "NVIDIA H200"
    uuid: str = ""


class FakeNvml(ModuleType):
    """Stands in `sys.modules` for `pynvml`; `gpus` are by number, MIG slices by UUID."""

    NVMLError = NVMLError
    NVML_ERROR_INVALID_ARGUMENT, NVML_ERROR_NOT_SUPPORTED, NVML_ERROR_NOT_FOUND = 2, 3, 6
    NVML_ERROR_TIMEOUT, NVML_ERROR_GPU_IS_LOST, NVML_ERROR_UNKNOWN = 10, 15, 999
    NVML_MEMORY_ERROR_TYPE_UNCORRECTED, NVML_VOLATILE_ECC = 1, 0
    nvmlEventTypeXidCriticalError = 8

    def __init__(self):
        super().__init__("pynvml")
        uuids = ("GPU-5d5ba0d6-d33d", "GPU-5d5ba0d6-a77e", "GPU-11111111-d33d")
        self.gpus = {str(number): Gpu(uuid=uuid) for number, uuid in enumerate(uuids)}
        self.gpus["MIG-1234"] = Gpu()
        self.has_driver = True

    def nvmlInit(self):
        if not self.has_driver:
            raise NVMLError(12)

    def nvmlDeviceGetCount(self):
        return sum(name.isdecimal() for name in self.gpus)

    def nvmlDeviceGetHandleByIndex(self, number):
        return self._find(str(number))

    def nvmlDeviceGetHandleByUUID(self, uuid):
        return self._find(uuid)

    def nvmlDeviceGetUUID(self, gpu):
        return gpu.uuid

    def nvmlDeviceGetName(self, gpu):
        return gpu.name

    def _find(self, name):
        for number, gpu in self.gpus.items():
            if name in (number, gpu.uuid):
                return gpu
        raise NVMLError(self.NVML_ERROR_NOT_FOUND)

    def nvmlDeviceGetMemoryInfo(self, gpu):
        if gpu.error is not None:
            raise NVMLError(gpu.error)
        return SimpleNamespace(used=sum(gpu.held.values()), total=gpu.total)

    def nvmlDeviceGetTotalEccErrors(self, gpu, kind, counter):
        if gpu.ecc is None:
            raise NVMLError(self.NVML_ERROR_NOT_SUPPORTED)
        return gpu.ecc

    def nvmlEventSetCreate(self):
        return []

    def nvmlDeviceRegisterEvents(self, gpu, kinds, events):
        events.append(gpu)

    def nvmlEventSetWait(self, events, timeout_ms):
        if not events[0].xids:
            raise NVMLError(self.NVML_ERROR_TIMEOUT)
        return SimpleNamespace(eventData=events[0].xids.pop(0))

    def nvmlDeviceGetComputeRunningProcesses(self, gpu):
        return [SimpleNamespace(pid=pid, usedGpuMemory=size) for pid, size in gpu.held.items()]
