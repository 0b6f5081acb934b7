"""Whether a process has begun with CUDA, so that its children could not."""

import os
from types import SimpleNamespace

import pytest

from sweepd_agent import readiness

OUT_OF_MEMORY = 2


@pytest.fixture
def opened(monkeypatch):
    """Let a file that this process has opened have another name."""
    own, other = os.pipe()
    os.close(other)
    whole = os.readlink

    def let(name):
        def readlink(path):
            return name if path.endswith(f"/{own}") else whole(path)

        monkeypatch.setattr(readiness.os, "readlink", readlink)

    yield let
    os.close(own)


@pytest.mark.parametrize(
    ("name", "has_begun"),
    [
        pytest.param("/dev/nvidia-uvm", True, id="CUDA"),
        pytest.param("/dev/nvidiactl", False, id="NVML"),
        pytest.param("/dev/nvidia0", False, id="NVML of a GPU"),
        pytest.param("/dev/nvidia-uvm-tools", False, id="a profiler"),
    ],
)
def test_cuda_is_told_from_nvml_by_what_it_opens(opened, name, has_begun):
    opened(name)

    assert readiness._has_begun_cuda() is has_begun


@pytest.mark.parametrize(("answer", "has_begun"), [(0, True), (3, False), (OUT_OF_MEMORY, True)])
def test_driver_that_is_loaded_says_whether_it_is_initialised(monkeypatch, answer, has_begun):
    def load(name, *, mode):
        assert (name, mode) == ("libcuda.so.1", os.RTLD_NOLOAD)
        return SimpleNamespace(cuDeviceGetCount=lambda count: answer)

    monkeypatch.setattr(readiness.ctypes, "CDLL", load)

    assert readiness._has_begun_cuda() is has_begun


def test_process_without_cuda_has_not_begun_with_it():
    assert not readiness._has_begun_cuda()


def test_process_that_has_begun_with_cuda_is_not_forked(monkeypatch):
    monkeypatch.setattr(readiness, "_has_begun_cuda", lambda: True)
    monkeypatch.setattr(readiness.os, "listdir", lambda path: ["1"])  # one thread

    found = readiness.unsafe_to_fork(threads=1, timeout_s=1)

    assert found == "what the program imports has opened the GPU"
