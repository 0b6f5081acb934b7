"""Optimisers and learning-rate schedules."""

import inspect
import math
from functools import cache

import torch
from torch import nn

from sweepd_trainer.config import Config

__all__ = ["build_optimizer", "learning_rate_at", "set_learning_rate"]

_BETA2 = 0.999


def build_optimizer(model: nn.Module, config: Config) -> torch.optim.Optimizer:
    """Return the config's optimiser over the model's weights.

    All steps are fused: one call for all weights, on CPU as on CUDA. `momentum` is the first beta
    of adam and adamw. Weight decay is decoupled in adamw and part of the gradient elsewhere.
    """
    kinds = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
    first_moment = (
        {"momentum": config.momentum}
        if config.optimizer == "sgd"
        else {"betas": (config.momentum, _BETA2)}
    )
    return _without_compiler(kinds[config.optimizer])(
        model.parameters(),
        lr=config.learning_rate,
        weight_decay=config.weight_decay,
        fused=True,
        **first_moment,
    )


def learning_rate_at(step: int, n_steps: int, config: Config) -> float:
    """Return the learning rate of one optimiser step.

    constant: the peak; cosine: peak · (1 + cos(π · step / n_steps)) / 2.

    Args:
        step: the step about to be taken, from 0.
        n_steps: steps of the whole run.
        config: names the schedule and the peak.
    """
    if config.schedule == "cosine":
        return config.learning_rate * 0.5 * (1.0 + math.cos(math.pi * step / n_steps))
    return config.learning_rate


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of every group of weights."""
    for group in optimizer.param_groups:
        group["lr"] = rate


@cache
def _without_compiler(kind: type[torch.optim.Optimizer]) -> type[torch.optim.Optimizer]:
    """Return an optimiser class whose methods do not import torch's compiler.

    torch wraps them so that compiled code leaves them alone, and loads the compiler on their first
    call. That takes seconds, more than a short trial trains, and nothing is compiled here.
    """
    names = ("add_param_group", "load_state_dict", "state_dict", "zero_grad")
    plain = {name: inspect.unwrap(getattr(kind, name)) for name in names}
    plain["step"] = torch.no_grad()(inspect.unwrap(kind.step))
    return type(kind.__name__, (kind,), plain)
