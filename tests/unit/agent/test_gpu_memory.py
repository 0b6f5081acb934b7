"""What NVML tells of a GPU's memory: all of it, and what a trial's processes have."""

import sys

import pytest
from fake_nvml import FakeNvml

from sweepd_agent.gpu_memory import GpuMemory, why_unknown


@pytest.fixture
def nvml(monkeypatch):
    fake = FakeNvml()
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    return fake


def test_memory_is_that_of_a_trial_and_all_that_it_has_started(nvml):
    nvml.gpus["0"].held = {1: 2 << 30, 2: 3 << 30, 3: 9 << 30}
    memory = GpuMemory.of("0")

    assert memory.bytes_of({1, 2, 77}) == 5 << 30
    assert memory.bytes_of({77}) is None
    assert (memory.used_bytes(), memory.total_bytes()) == (14 << 30, 80 << 30)


def test_gpu_that_has_fallen_off_the_bus_tells_nothing(nvml):
    memory = GpuMemory.of("0")
    nvml.gpus["0"].error = 15

    assert (memory.total_bytes(), memory.used_bytes()) == (None, None)


def test_gpus_of_another_model_or_size_are_not_alike(nvml):
    nvml.gpus["1"].total = 40 << 30
    nvml.gpus["2"].name = "NVIDIA H100"

    kinds = [GpuMemory.of(name, environ={}).kind for name in ("0", "1", "2")]

    assert len(set(kinds)) == 3


def test_gpu_that_nvml_has_no_name_for_is_not_known(nvml):
    assert GpuMemory.of("GPU-77") is None
    del nvml.gpus["0"]
    assert GpuMemory("0", nvml).kind is None
    assert GpuMemory("0", nvml).bytes_of({1}) is None


def test_trials_too_short_to_be_looked_at_are_told_apart_from_a_missing_package(nvml):
    assert why_unknown("0", environ={}) == (
        "NVML does not tell, or too late for trials that are so short"
    )


def test_missing_driver_is_said(nvml):
    nvml.has_driver = False

    assert why_unknown("0") == "NVML, the driver's library, cannot be used here"


def test_gpu_whose_number_is_in_doubt_is_said_with_what_mends_it(nvml):
    nvml.gpus["1"].name = "NVIDIA A100"

    assert why_unknown("0", environ={"CUDA_VISIBLE_DEVICES": "0,1"}) == (
        "NVML does not say for sure which GPU 0 is; set CUDA_DEVICE_ORDER=PCI_BUS_ID, or name GPUs "
        "by their UUID in CUDA_VISIBLE_DEVICES"
    )
