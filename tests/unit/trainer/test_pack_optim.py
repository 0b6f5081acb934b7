"""Optimisers of several models at once, against torch's own of each."""

import pytest
import torch
from torch import Tensor

from sweepd_trainer.config import Training
from sweepd_trainer.pack_optim import RULES, PackedOptimizer

CONFIGS = [
    {"learning_rate": 0.01, "momentum": 0.9, "weight_decay": 0.0},
    {"learning_rate": 0.05, "momentum": 0.5, "weight_decay": 0.1},
    {"learning_rate": 0.001, "momentum": 0.0, "weight_decay": 0.02},
]
N_STEPS = 7


def of_torch(name: str, weight: Tensor, config: Training) -> torch.optim.Optimizer:
    common = {"lr": config.learning_rate, "weight_decay": config.weight_decay}
    momentum = config.momentum
    return {
        "sgd": lambda: torch.optim.SGD(
            [weight], **common, momentum=momentum, nesterov=config.nesterov and momentum > 0
        ),
        "adam": lambda: torch.optim.Adam([weight], **common, betas=(momentum, 0.999)),
        "adamw": lambda: torch.optim.AdamW([weight], **common, betas=(momentum, 0.999)),
        "rmsprop": lambda: torch.optim.RMSprop([weight], **common, momentum=momentum),
    }[name]()


@pytest.mark.parametrize(
    ("name", "nesterov"), [*((name, False) for name in sorted(RULES)), ("sgd", True)]
)
def test_every_model_takes_the_steps_of_torchs_optimiser(name, nesterov):
    generator = torch.Generator().manual_seed(0)
    configs = [Training(optimizer=name, nesterov=nesterov, **values) for values in CONFIGS]
    weights = torch.randn(3, 11, generator=generator, dtype=torch.float64)
    gradients = torch.randn(N_STEPS, 3, 11, generator=generator, dtype=torch.float64)
    alone = [row.clone().requires_grad_() for row in weights]
    theirs = [of_torch(name, w, c) for w, c in zip(alone, configs, strict=True)]
    kept = {kind: torch.zeros_like(weights) for kind in RULES[name].kept}
    ours = PackedOptimizer(weights, configs, kept=kept, n_steps=torch.zeros(3))

    for gradient in gradients:
        ours.step(gradient)
        for weight, optimizer, row in zip(alone, theirs, gradient, strict=True):
            weight.grad = row.clone()
            optimizer.step()

    for row, weight in zip(weights, alone, strict=True):
        torch.testing.assert_close(row, weight.detach(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", sorted(RULES))
def test_it_keeps_what_torch_keeps_under_torchs_names(name):
    config = Training(optimizer=name, momentum=0.9)
    weight = torch.ones(3, requires_grad=True)
    optimizer = of_torch(name, weight, config)
    weight.grad = torch.ones(3)
    optimizer.step()

    names = {*RULES[name].kept} | ({"step"} if RULES[name].counts else set())
    assert names == optimizer.state[weight].keys()
