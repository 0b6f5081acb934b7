"""Optimisers and schedules."""

import copy

import pytest
import torch
from torch import nn

from sweepd_trainer.config import OPTIMIZERS, read_config
from sweepd_trainer.optim import build_optimizer, learning_rate_at, set_learning_rate


def _steps(optimizer: torch.optim.Optimizer, model: nn.Module, *, count: int = 5) -> None:
    inputs = torch.linspace(-1, 1, 12).reshape(4, 3)
    for _ in range(count):
        optimizer.zero_grad()
        model(inputs).square().sum().backward()
        optimizer.step()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_fused_steps_equal_torchs_plain_ones(name):
    torch.manual_seed(0)
    ours, theirs = nn.Linear(3, 2), nn.Linear(3, 2)
    theirs.load_state_dict(copy.deepcopy(ours.state_dict()))
    values = {"optimizer": name, "learning_rate": 0.01, "momentum": 0.8, "weight_decay": 0.1}
    plain = {
        "sgd": lambda w: torch.optim.SGD(w, lr=0.01, momentum=0.8, weight_decay=0.1),
        "adam": lambda w: torch.optim.Adam(w, lr=0.01, betas=(0.8, 0.999), weight_decay=0.1),
        "adamw": lambda w: torch.optim.AdamW(w, lr=0.01, betas=(0.8, 0.999), weight_decay=0.1),
    }[name](theirs.parameters())

    _steps(build_optimizer(ours, read_config(values)), ours)
    _steps(plain, theirs)

    assert torch.allclose(ours.weight, theirs.weight, atol=1e-6)


def test_constant_schedule_never_changes():
    config = read_config({"schedule": "constant", "learning_rate": 0.1})

    assert {learning_rate_at(step, 10, config) for step in range(10)} == {0.1}


def test_cosine_schedule_falls_from_the_peak_to_zero():
    config = read_config({"schedule": "cosine", "learning_rate": 0.1})

    rates = [learning_rate_at(step, 10, config) for step in range(11)]

    assert rates[0] == 0.1
    assert rates[5] == pytest.approx(0.05)
    assert rates[10] == pytest.approx(0)
    assert rates == sorted(rates, reverse=True)


def test_the_rate_reaches_the_optimiser():
    model = nn.Linear(3, 2)
    optimizer = build_optimizer(model, read_config({"optimizer": "sgd", "momentum": 0}))
    before = model.weight.detach().clone()

    set_learning_rate(optimizer, 0.0)
    _steps(optimizer, model)

    assert torch.equal(model.weight, before)
