"""The device and the seeds."""

import os
import platform
import random
import subprocess
import sys

import numpy as np
import pytest
import torch
from fake_cuda import FakeCuda

from sweepd.errors import InvalidInput, NoDevice
from sweepd_trainer import device
from sweepd_trainer.device import (
    PeakMemory,
    _cpu_vendor,
    determinism,
    device_name,
    exact_float32,
    has_fast_bfloat16,
    pick_device,
    seed_everything,
)


def test_omp_num_threads_counts_even_after_torch_was_loaded(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    pick_device()

    assert torch.get_num_threads() == 2
    assert device_name(torch.device("cpu")) == "CPU, 2 threads"

    torch.set_num_threads(1)
    monkeypatch.setenv("OMP_NUM_THREADS", "many")
    pick_device()

    assert device_name(torch.device("cpu")) == "CPU, 1 thread"


@pytest.mark.parametrize(
    ("vendor", "capabilities", "wanted"),
    [
        ("AuthenticAMD", {"avx512_bf16": True}, True),
        ("GenuineIntel", {"avx512_bf16": True}, False),
        ("", {"avx512_bf16": True}, False),
        ("GenuineIntel", {"avx512_bf16": True, "amx_bf16": True}, True),
        ("AuthenticAMD", {"avx2": True}, False),
        ("AuthenticAMD", {}, False),
    ],
)
def test_bfloat16_is_used_only_where_the_processor_is_faster_with_it(
    monkeypatch, vendor, capabilities, wanted
):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    monkeypatch.setattr("sweepd_trainer.device._cpu_vendor", lambda: vendor)

    assert has_fast_bfloat16(torch.device("cpu")) is wanted


@pytest.mark.skipif(sys.platform != "linux", reason="of Linux")
def test_the_maker_of_the_processor_is_read_from_the_kernel(tmp_path):
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nvendor_id\t: AuthenticAMD\nmodel\t: 1\n")

    assert _cpu_vendor(tmp_path / "cpuinfo") == "AuthenticAMD"
    assert _cpu_vendor(tmp_path / "none") == ""


#: Prints how many page faults ten rounds of three tensors take, after others.
ROUNDS = """
import resource, sys, torch
from sweepd_trainer.device import let_hurry

let_hurry(torch.device("cpu"))
for number in range(40):
    if number == 30:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    kept = [torch.ones(4_000_000) for _ in range(3)]
    del kept
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif("glibc" not in platform.libc_ver(), reason="of glibc")
def test_the_memory_of_one_round_serves_the_next():
    done = subprocess.run([sys.executable, "-c", ROUNDS], check=True, capture_output=True)

    n_pages_of_one_tensor = 16_000_000 // 4096
    assert int(done.stdout) < n_pages_of_one_tensor


def test_the_seed_reaches_every_generator():
    def draw():
        order = seed_everything(5)
        return (
            random.random(),
            np.random.rand(),
            torch.rand(1).item(),
            torch.rand(1, generator=order).item(),
        )

    assert draw() == draw()


@pytest.mark.parametrize(
    ("before", "wanted"), [(None, ":4096:8"), (":0:0", ":4096:8"), (":16:8", ":16:8")]
)
def test_only_algorithms_that_repeat_their_bits_are_used_meanwhile(monkeypatch, before, wanted):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", before or "")
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)

    with determinism(is_wanted=True):
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == wanted
        assert torch.are_deterministic_algorithms_enabled()
        assert not torch.backends.cudnn.benchmark

    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.backends.cudnn.benchmark


def test_nothing_changes_where_determinism_is_not_wanted(monkeypatch):
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)

    with determinism(is_wanted=False):
        assert not torch.are_deterministic_algorithms_enabled()

    assert "CUBLAS_WORKSPACE_CONFIG" not in os.environ


def test_what_does_not_repeat_its_bits_is_named():
    said = "deterministic must be false here: histc_cuda does not have a deterministic impl"
    with pytest.raises(InvalidInput, match=said), determinism(is_wanted=True):
        raise RuntimeError(
            "histc_cuda does not have a deterministic implementation, but you set it. You can turn"
        )
    with pytest.raises(RuntimeError, match="shapes"), determinism(is_wanted=True):
        raise RuntimeError("shapes differ")


def test_precisions_that_torchs_older_names_cannot_say_stay():
    cudnn = torch.backends.cudnn
    cudnn.conv.fp32_precision, cudnn.rnn.fp32_precision = "ieee", "tf32"
    try:
        with exact_float32():
            within = cudnn.conv.fp32_precision, cudnn.rnn.fp32_precision
        after = cudnn.conv.fp32_precision, cudnn.rnn.fp32_precision
    finally:
        cudnn.allow_tf32 = True  # as it is at first

    assert within == after == ("ieee", "tf32")


@pytest.fixture
def cuda(monkeypatch):
    fake = FakeCuda()
    fake.put_in(monkeypatch)
    return fake


def test_memory_is_told_in_mib_at_most_since_the_last_time(cuda):
    memory = PeakMemory(torch.device("cuda"))
    cuda.allocated, cuda.reserved = 3 << 20, 8 << 20

    assert memory.take("eager") == 3.0
    assert cuda.n_resets == 1

    cuda.reserved = 5 << 20
    assert memory.reserved() == 8 << 20


def test_the_peak_of_a_step_that_is_replayed_stays(cuda):
    memory = PeakMemory(torch.device("cuda"))
    cuda.allocated = 3 << 20

    assert memory.take("cuda graph") == memory.take("cuda graph") == 3.0
    assert cuda.n_resets == 0


def test_nothing_is_told_of_a_cpus_memory():
    memory = PeakMemory(torch.device("cpu"))

    assert memory.take("eager") is None
    assert memory.reserved() is None


@pytest.fixture
def gpu(monkeypatch):
    """A CUDA device that is there; what torch is told of its memory is noted."""
    told = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(
        torch.cuda, "set_per_process_memory_fraction", lambda *values: told.append(values)
    )
    return told


@pytest.mark.parametrize(("text", "told"), [("0.45", [(0.45, 0)]), ("1", [(1.0, 0)]), ("", [])])
def test_part_of_the_memory_that_the_agent_names_is_kept(gpu, monkeypatch, text, told):
    monkeypatch.setenv("SWEEPD_MEMORY_FRACTION", text)

    assert pick_device() == torch.device("cuda", 0)
    assert gpu == told


@pytest.mark.parametrize("text", ["half", "0", "1.5", "nan"])
def test_part_of_the_memory_that_is_none_is_refused_in_words(gpu, monkeypatch, text):
    monkeypatch.setenv("SWEEPD_MEMORY_FRACTION", text)

    with pytest.raises(InvalidInput, match=f"above 0 and at most 1, not '{text}'"):
        pick_device()


LEASE = {"WANDB_X_EXTRA_HTTP_HEADERS": '{"X-Sweepd-Lease": "r1;1;token"}'}


@pytest.fixture
def no_cuda(monkeypatch, tmp_path):
    """A driver is there, and torch cannot use it; variables of the environment are set."""

    def init():
        raise RuntimeError("The NVIDIA driver on your system is too old (found version 11040).\n!")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "init", init)
    monkeypatch.setattr(device, "_DRIVER", tmp_path)
    for name in ("CUDA_VISIBLE_DEVICES", "SWEEPD_MEMORY_FRACTION", *LEASE):
        monkeypatch.delenv(name, raising=False)

    def give(**variables):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return give


@pytest.mark.parametrize("of_agent", [LEASE, {"SWEEPD_MEMORY_FRACTION": "0.45"}])
def test_a_trial_in_a_slot_of_a_gpu_does_not_train_on_the_cpu(no_cuda, of_agent):
    no_cuda(CUDA_VISIBLE_DEVICES="3", **of_agent)

    with pytest.raises(NoDevice, match=r"the GPU 3, .* cannot use: .* \(found version 11040\)\.;"):
        pick_device()


@pytest.mark.parametrize(
    "variables",
    [
        pytest.param({"CUDA_VISIBLE_DEVICES": "0"}, id="by another tool"),
        pytest.param({"CUDA_VISIBLE_DEVICES": "", **LEASE}, id="a slot of the CPU"),
        pytest.param({"CUDA_VISIBLE_DEVICES": "-1", **LEASE}, id="hidden"),
        pytest.param(LEASE, id="not said"),
    ],
)
def test_who_was_given_no_gpu_trains_on_the_cpu(no_cuda, variables):
    no_cuda(**variables)

    assert pick_device() == torch.device("cpu")


def test_a_machine_without_a_driver_trains_on_the_cpu(no_cuda, monkeypatch, tmp_path):
    monkeypatch.setattr(device, "_DRIVER", tmp_path / "none")
    no_cuda(CUDA_VISIBLE_DEVICES="0", **LEASE)

    assert pick_device() == torch.device("cpu")
