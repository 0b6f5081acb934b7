"""The device and the seeds."""

import random

import numpy as np
import pytest
import torch

from sweepd.errors import InvalidInput
from sweepd_trainer.device import device_name, has_fast_bfloat16, pick_device, seed_everything


def test_omp_num_threads_counts_even_after_torch_was_loaded(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    pick_device()

    assert torch.get_num_threads() == 2
    assert device_name(torch.device("cpu")) == "CPU, 2 threads"

    torch.set_num_threads(1)
    monkeypatch.setenv("OMP_NUM_THREADS", "many")
    pick_device()

    assert device_name(torch.device("cpu")) == "CPU, 1 thread"


def test_bfloat16_is_used_only_where_the_processor_has_it(monkeypatch):
    for capabilities, wanted in (
        ({"avx512_bf16": True}, True),
        ({"amx_bf16": True}, True),
        ({"avx2": True}, False),
        ({}, False),
    ):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda told=capabilities: told)
        assert has_fast_bfloat16(torch.device("cpu")) is wanted


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
