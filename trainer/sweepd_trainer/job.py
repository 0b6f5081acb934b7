"""What a run is to do, and the trainer that does it; it knows nothing of W&B."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from sweepd_trainer.config import Training
from sweepd_trainer.data import Data
from sweepd_trainer.device import seed_everything
from sweepd_trainer.loop import Trainer
from sweepd_trainer.optim import build_optimizer
from sweepd_trainer.step import Augmentation, Problem
from sweepd_trainer.task import Loss, as_floats, task_for

__all__ = ["Job", "Learner", "build_trainer"]


@dataclass(frozen=True)
class Learner:
    """A model to be made, and how its inputs come to it.

    Args:
        build: makes the model, with fresh weights.
        loss: a mean over a batch; None is the usual one for the targets.
        measures: what else is reported of held-out rows, each a mean over a batch, by name.
        metric: decides which epoch is the best: `name` and `goal`; None is the usual way.
        prepare: inputs as they are stored -> what the model takes.
        augment: changes training inputs, another way each epoch.
        header: what a checkpoint says besides the weights.
    """

    build: Callable[[], nn.Module]
    loss: Loss | None = None
    measures: Mapping[str, Loss] | None = None
    metric: Mapping[str, str] | None = None
    prepare: nn.Module | None = None
    augment: Augmentation | None = None
    header: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Job:
    """What the config of a run says is to be done.

    Args:
        config: how to train.
        data: on the CPU.
        learner: what.
        values: the whole config, by which a saved state is recognised.
        unasked: returns a sentence on those of the values that nothing has asked for, if any.
    """

    config: Training
    data: Data
    learner: Learner
    values: Mapping[str, Any]
    unasked: Callable[[], str | None] = lambda: None


def build_trainer(
    job: Job,
    data: Data,
    *,
    should_stop: Callable[[], bool] = lambda: False,
    streams_to: torch.device | None = None,
) -> Trainer:
    """Return a job's trainer, at its first step.

    Args:
        job: what to do.
        data: its data, on the device that is to train.
        should_stop: is asked after each step.
        streams_to: the device that is to train, where the data stay on the host.
    """
    config, learner = job.config, job.learner
    device = streams_to or data.train.targets.device
    order = seed_everything(config.seed)
    model = learner.build().to(device)
    if any(weight.ndim == 4 for weight in model.parameters()):
        model = model.to(memory_format=torch.channels_last)
    prepare = as_floats if learner.prepare is None else learner.prepare.to(device)
    task = task_for(
        data.train.targets,
        held_out=[rows.targets for rows in (data.validation, data.test) if rows is not None],
        loss=learner.loss,
        measures=learner.measures,
        label_smoothing=config.label_smoothing,
    )
    return Trainer(
        model,
        build_optimizer(model, config),
        Problem(data.train, task, prepare, learner.augment),
        config=config,
        order=order,
        should_stop=should_stop,
        streams_to=streams_to,
    )
