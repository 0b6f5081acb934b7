"""The device and the seeds."""

import random

import numpy as np
import torch

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
