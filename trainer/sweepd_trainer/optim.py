"""Optimisers and learning-rate schedules."""

import inspect
import math
from collections.abc import Mapping
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from sweepd.errors import InvalidInput
from sweepd_trainer.config import Training

__all__ = [
    "BETA2",
    "build_optimizer",
    "learning_rate_at",
    "load_state",
    "n_rising",
    "set_learning_rate",
]

#: Of adam and adamw.
BETA2 = 0.999
#: onecycle rises for this share of the steps unless `warmup` is larger.
_RISE = 0.3


def build_optimizer(model: nn.Module, config: Training) -> torch.optim.Optimizer:
    """Return the config's optimiser over the model's weights.

    Steps are fused where torch can: one call for all weights, on CPU as on CUDA. Weight decay is
    decoupled in adamw and muon and part of the gradient elsewhere. On CUDA the learning rate is a
    tensor there, so that a captured step reads the rate of the day.

    Raises:
        InvalidInput: no weight of the model is to be trained.
    """
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    if not weights:
        raise InvalidInput("the model has no weights to train: none of them wants a gradient")
    is_cuda = weights[0].is_cuda
    lr: float | Tensor = config.learning_rate
    if is_cuda:
        lr = torch.tensor(lr, device=weights[0].device)
    common: dict[str, Any] = {"lr": lr, "weight_decay": config.weight_decay}
    if config.optimizer == "muon":
        from sweepd_trainer.muon import Muon

        return _without_compiler(Muon)(
            model, momentum=config.momentum, nesterov=config.nesterov, **common
        )
    if config.optimizer == "sgd":
        nesterov = config.nesterov and config.momentum > 0
        more = {"momentum": config.momentum, "nesterov": nesterov, "fused": True}
        return _without_compiler(torch.optim.SGD)(weights, **common, **more)
    if config.optimizer == "rmsprop":
        more = {"momentum": config.momentum, "foreach": True, "capturable": is_cuda}
        return _quiet(_without_compiler(torch.optim.RMSprop)(weights, **common, **more))
    betas: dict[str, Any] = {"betas": (config.momentum, BETA2)}
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[config.optimizer]
    return _quiet(
        _without_compiler(kind)(weights, **common, **betas, fused=True, capturable=is_cuda)
    )


def load_state(optimizer: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
    """Give an optimiser what was kept of each weight, in tensors of its own, laid out as its own.

    A pack keeps a weight's numbers in the order of its axes, and one count of steps for all weights
    of a model. Fused steps take the numbers to lie as the weight does, channels last perhaps, and
    count at each weight.

    Args:
        optimizer: whose learning rate and the like stay, which suit its device.
        state: an optimiser's `state_dict()`, of whatever device.
    """
    ours = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({**state, "param_groups": ours})
    for weight, kept in optimizer.state.items():
        for name, value in kept.items():
            if isinstance(value, Tensor):
                like = weight if value.shape == weight.shape else value
                own = torch.empty_like(like, dtype=value.dtype, device=value.device)
                kept[name] = own.copy_(value)


def learning_rate_at(step: int, n_steps: int, config: Training) -> float:
    """Return the learning rate of one optimiser step.

    constant: the peak. cosine: peak · (1 + cos(π · step / n_steps)) / 2. warmup_linear: from zero
    to the peak over the share `warmup` of the steps, then along a line to zero. onecycle: to the
    peak over 30 % of the steps (or `warmup`, if larger), then along a cosine to zero.

    Args:
        step: the step about to be taken, from 0.
        n_steps: steps of the whole run.
        config: names the schedule, the peak and `warmup`.
    """
    peak = config.learning_rate
    if config.schedule == "constant":
        return peak
    if config.schedule == "cosine":
        return peak * _half_cosine(step / n_steps)
    n_first = n_rising(n_steps, config)
    if step < n_first:
        return peak * (step + 1) / n_first
    share = (step - n_first) / max(1, n_steps - n_first)
    return peak * (_half_cosine(share) if config.schedule == "onecycle" else 1.0 - share)


def n_rising(n_steps: int, config: Training) -> int:
    """Return in how many of a run's steps, the first, the schedule raises the learning rate."""
    if config.schedule == "onecycle":
        return round(max(config.warmup, _RISE) * n_steps)
    return round(config.warmup * n_steps) if config.schedule == "warmup_linear" else 0


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of every group of weights; a rate that is a tensor stays that one."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


def _half_cosine(share: float) -> float:
    return 0.5 * (1.0 + math.cos(math.pi * share))


def _quiet(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """Return an optimiser that does not warn of steps before the one that is captured."""
    optimizer._warned_capturable_if_run_uncaptured = True
    return optimizer


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
