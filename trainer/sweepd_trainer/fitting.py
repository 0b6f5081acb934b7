"""`fit`: trains any model on any data, with all that a trial of a sweep needs."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import wandb
from torch import nn

from sweepd.errors import DataError, InvalidInput
from sweepd_trainer.asking import Asking
from sweepd_trainer.config import TRAINING, read_training
from sweepd_trainer.course import Course, Fitted
from sweepd_trainer.data import SPLIT_SEED, Data, Rows
from sweepd_trainer.device import determinism, let_hurry, pick_device, seed_everything
from sweepd_trainer.evaluation import Diverged
from sweepd_trainer.feed import has_room
from sweepd_trainer.flops import utilisation
from sweepd_trainer.job import Job, Learner, build_trainer
from sweepd_trainer.measuring import Measuring
from sweepd_trainer.pack_folder import PACK
from sweepd_trainer.task import Loss
from sweepd_trainer.tracking import Stop, Stopped, ask_for_another_machine, start
from sweepd_trainer.watch import Watcher

__all__ = ["Fitted", "Job", "Learner", "fit", "run_trial", "train"]

Values = Mapping[str, Any]


def fit(
    config: Values | None = None,
    data: Data | Callable[[Values], Data] | None = None,
    model: nn.Module | Callable[[Values], nn.Module] | None = None,
    *,
    loss: Loss | None = None,
    measures: Mapping[str, Loss] | None = None,
    metric: Mapping[str, str] | None = None,
) -> Fitted:
    """Train a model as a trial of a sweep, or by itself, and return its best epoch.

    In a sweep the trial's values win over `config`. The fields of `Training` (epochs, batch_size,
    learning_rate, optimizer and so on) say how to train; other names are yours, and one that
    neither `data` nor `model` asks for is told of in the log. You get curves and the best
    epoch at the W&B server, its weights in the run's `checkpoint.pt`, a state to resume from when
    the process or the machine is lost, and on a GPU bfloat16 and captured steps.

    Args:
        config: values, or the defaults of a sweep's.
        data: `Data`, or a function of the values that returns it, called with python, numpy and
            torch seeded, the same way whatever the `seed`. Targets that are whole numbers
            are classes: the model returns logits, last axis the classes. Others are values, in the
            shape of the model's outputs.
        model: a function of the values that returns the model, with fresh weights; or a module.
        loss: of outputs and targets, a mean; cross entropy or squared error if not given.
        measures: what else to report of validation and test rows: each, by name, a mean of outputs
            and targets over a batch. `{"bits": …}` is logged as `val_bits` and `test_bits`.
        metric: the definition's, such as `{"name": "val_bits", "goal": "minimize"}`: the best
            epoch, which is kept, is the best by it. The usual is the highest `val_accuracy`, of
            equals the lowest `val_loss`; without classes the lowest `val_loss`.

    Raises:
        InvalidInput: a value of the config is wrong, or torchrun has started several processes.
        DataError: the data are.
        Stopped: SIGTERM came; the state is saved.
        Diverged: the loss is no number any more, or has left all bounds.
    """
    if data is None or model is None:
        raise InvalidInput("fit needs data and a model, as in fit(config, data=data, model=build)")

    is_sure = callable(data) and not isinstance(model, nn.Module)  # who could ask, is asked
    is_sure = is_sure and loss is None and not measures and wandb.run is None

    def read(values: Values, shared: Data | None) -> Job:
        asking, kept = Asking(values), dict(values)
        rows = _rows(data, asking)
        kept.update(asking.plain())

        def build() -> nn.Module:
            made = _build(model, asking)
            kept.update(asking.plain())
            return made

        learner = Learner(
            build,
            loss=loss,
            measures=measures,
            metric=metric,
            header={"config": kept},
        )
        if shared is not None:
            _check_same(rows, shared)
        return Job(
            read_training(kept),
            shared or rows,
            learner,
            kept,
            unasked=lambda: asking.without_effect(known=TRAINING, is_sure=is_sure),
        )

    return run_trial(dict(config or {}), read)


def run_trial(values: Values, read: Callable[[Values, Data | None], Job]) -> Fitted:
    """Train a trial as a run of its own; or all trials of a pack, and return the first one's best.

    Args:
        values: the config, as far as no sweep says otherwise.
        read: returns what a config says is to be done; the data, where it is given them, are those
            of a trial that this one is packed with.

    Raises:
        InvalidInput: this process is one of several that train together, as torchrun starts them.
        SystemExit: a pack was refused, or its first trial has not been trained to its end.
    """
    _check_alone(os.environ)
    pack = os.environ.get(PACK)
    if pack:
        from sweepd_trainer.packing import train_pack

        return train_pack(Path(pack), values, read)
    with start(values) as run, Stop().on_sigterm() as stop:
        return train(run, read(dict(run.config.items()), None), stop=stop)


def train(run: wandb.Run, job: Job, *, stop: Stop, room_bytes: int | None = None) -> Fitted:
    """Do a job, log it to `run`, and return what came out.

    Args:
        run: a run that has begun.
        job: what to do.
        stop: turns true when the run is to stop.
        room_bytes: that the data may take on the device; None is 30 % of what is free.

    Raises:
        Stopped, Diverged: as `fit`.
    """
    with determinism(is_wanted=job.config.deterministic):
        device = pick_device()
        let_hurry(device)
        is_streamed = not has_room(job.data, device, room_bytes=room_bytes)
        data = job.data if is_streamed else job.data.to(device)
        streams_to = device if is_streamed else None
        trainer = build_trainer(job, data, should_stop=stop, streams_to=streams_to)
        course = Course(run, job, trainer)
        course.take_up()
        with course.kept():
            course.used = utilisation(
                trainer.model, trainer.problem, batch_size=job.config.batch_size
            )
            _train(course, data, stop=stop)
        return course.finish(data.test)


def _train(course: Course, data: Data, *, stop: Stop) -> None:
    """Train the epochs that are left, and keep the best."""
    trainer, watcher = course.trainer, Watcher(course.trainer.model)
    measuring = Measuring(trainer, os.environ)
    while not course.is_over():
        measuring.begin()
        try:
            for progress in trainer.epoch():
                course.report(progress)
            if not trainer.is_epoch_done:
                raise _halted(course)
            measuring.end()
            taken = watcher.take()  # counted by the time that the evaluation has been waited for
            score = trainer.evaluate(data.validation)
        except Diverged:
            course.lose()
            raise
        course.end_epoch(score, taken.read()[0])
        if course.is_over():
            return
        if stop():
            raise _halted(course)
        course.saved.save_if_due()


def _check_alone(environ: Mapping[str, str]) -> None:
    """Refuse to train the same model once more in every process that torchrun has started."""
    size = environ.get("WORLD_SIZE", "")
    if size.isdecimal() and int(size) > 1:
        raise InvalidInput(
            f"the training function trains in one process, on one GPU, and WORLD_SIZE is {size}: "
            "leave torchrun out, and use the other GPUs for more trials at once"
        )


def _halted(course: Course) -> Stopped:
    """Save the state; return the error that says so, once it is known that the run will end."""
    stopped = course.halt("stopped by SIGTERM")
    ask_for_another_machine(course.run)
    return stopped


def _rows(data: Any, values: Values) -> Data:
    seed_everything(SPLIT_SEED)  # a split that is drawn is the same in each trial and attempt
    made = data(values) if callable(data) else data
    if not isinstance(made, Data):
        raise InvalidInput(
            f"the data must be Data(train, validation) or split(rows), not {type(made).__name__}"
        )
    return made


def _build(model: Any, values: Values) -> nn.Module:
    made = model if isinstance(model, nn.Module) else model(values)
    if not isinstance(made, nn.Module):
        raise InvalidInput(f"the model must be a torch module, not {type(made).__name__}")
    return made


def _check_same(rows: Data, others: Data) -> None:
    """Refuse data that are not those of the trials that they are packed with."""
    for part in ("train", "validation", "test"):
        one, two = getattr(rows, part), getattr(others, part)
        if one is not two and not _is_equal(one, two):
            raise DataError(f"trials of one pack must have the same data: their {part} rows differ")


def _is_equal(one: Rows | None, two: Rows | None) -> bool:
    if one is None or two is None:
        return one is two
    pairs = ((one.inputs, two.inputs), (one.targets, two.targets))
    return all(torch.equal(mine, other) for mine, other in pairs)
