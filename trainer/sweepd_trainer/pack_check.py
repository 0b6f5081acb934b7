"""Which trials can be trained as a pack: what is found out before any of their runs begins."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import wandb
from torch import nn

from sweepd.errors import SweepdError
from sweepd.names import PACKABLE
from sweepd_trainer.data import Data
from sweepd_trainer.device import untuned
from sweepd_trainer.loop import Trainer
from sweepd_trainer.optim import build_optimizer
from sweepd_trainer.pack_optim import RULES
from sweepd_trainer.pack_step import PackedStep
from sweepd_trainer.step import Step

__all__ = ["Refused", "check_client", "check_trainers", "check_values"]

#: Rows of the step that is tried.
_N_ROWS = 8
#: What a model or a loss raises that cannot be stacked.
_WRONG = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)


class Refused(SweepdError):
    """These trials cannot be trained as a pack; each by itself can."""


def check_client() -> None:
    """Refuse a wandb that cannot hold several runs apart.

    Raises:
        Refused: it is too old.
    """
    if "stop_fn" not in wandb.Settings.model_fields:
        raise Refused(f"wandb {wandb.__version__} is too old for several runs in one process")


def check_values(configs: Sequence[Mapping[str, Any]]) -> None:
    """Refuse configs that differ in more than numbers of training.

    Raises:
        Refused: naming all in which they do.
    """
    first = configs[0]
    names = {name for config in configs for name in config if not name.startswith("_")}
    wrong = sorted(
        name
        for name in names - PACKABLE
        if any(name not in c or name not in first or c[name] != first[name] for c in configs)
    )
    if wrong:
        allowed = ", ".join(sorted(PACKABLE))
        raise Refused(f"trials of one pack may differ in {allowed}, not in {', '.join(wrong)}")


def check_trainers(trainers: Sequence[Trainer], data: Data) -> None:
    """Refuse models that cannot be stacked, by a step of copies of two of them on a few rows.

    Args:
        trainers: of the trials.
        data: of all of them, on their device.

    Raises:
        Refused: in words.
    """
    first, last = trainers[0], trainers[-1]
    name = first.config.optimizer
    if name not in RULES:
        raise Refused(f"the optimizer {name} cannot be packed, only {', '.join(sorted(RULES))}")
    if any(_form(trainer.model) != _form(first.model) for trainer in trainers):
        raise Refused("the models of one pack must have the same tensors, in names and shapes")
    kinds = {weight.dtype for weight in first.model.parameters() if weight.requires_grad}
    if len(kinds) > 1:
        raise Refused(f"the model has weights of several types: {', '.join(map(str, kinds))}")
    device = data.train.targets.device
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        _check_buffers(first)
        try:
            with untuned():
                _try([first, last], data)
        except _WRONG as error:
            raise Refused(f"the model cannot be packed: {_reason(error)}") from error


def _try(trainers: Sequence[Trainer], data: Data) -> None:
    """Take a step, and evaluate, with copies."""
    steps = []
    for trainer in trainers:
        model = copy.deepcopy(trainer.model).train()
        steps.append(
            Step(model, build_optimizer(model, trainer.config), trainer.problem, trainer.config)
        )
    packed = PackedStep(steps)
    n_rows = min(_N_ROWS, len(data.train))
    batch = torch.arange(n_rows, device=packed.device).expand(len(steps), -1)
    packed.run(batch, None)
    packed.sums(data.validation.inputs[:n_rows], data.validation.targets[:n_rows])


def _check_buffers(trainer: Trainer) -> None:
    """Refuse a model that changes more than its weights as it trains, as batch norms do."""
    model, rows = copy.deepcopy(trainer.model).train(), trainer.problem.rows
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    if not before:
        return
    with torch.no_grad():
        model(trainer.problem.prepare(rows.inputs[:_N_ROWS]))
    for name, buffer in model.named_buffers():
        if not torch.equal(buffer, before[name]):
            raise Refused(f"the model changes {name} as it trains, which a pack cannot")


def _form(model: nn.Module) -> list[tuple[str, torch.Size, torch.dtype, bool]]:
    weights = [(n, w.shape, w.dtype, w.requires_grad) for n, w in model.named_parameters()]
    return weights + [(n, b.shape, b.dtype, False) for n, b in model.named_buffers()]


def _reason(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
