"""`fit`: trains any model on any data, with all that a trial of a sweep needs."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import wandb
from torch import nn

from sweepd.errors import InvalidInput
from sweepd_trainer.checkpoint import CHECKPOINT, Best
from sweepd_trainer.config import Training, read_training
from sweepd_trainer.data import Data
from sweepd_trainer.device import device_name, let_hurry, pick_device, seed_everything
from sweepd_trainer.flops import utilisation
from sweepd_trainer.loop import Diverged, Trainer
from sweepd_trainer.optim import build_optimizer
from sweepd_trainer.resume import Resumable
from sweepd_trainer.step import Augmentation, Problem
from sweepd_trainer.task import Loss, Score, as_floats, task_for
from sweepd_trainer.tracking import Log, Stop, Stopped, as_wandb, by_section, start
from sweepd_trainer.watch import Watcher

__all__ = ["Fitted", "Learner", "fit", "train"]

Values = Mapping[str, Any]


@dataclass(frozen=True)
class Fitted:
    """What came out.

    Args:
        model: with the weights of the best epoch, in evaluation mode, on its device.
        epoch: which was the best.
        validation: its score there.
        test: its score on the test rows; None if there are none.
        checkpoint: the file of its weights.
    """

    model: nn.Module
    epoch: int
    validation: Score
    test: Score | None
    checkpoint: Path


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
    learning_rate, optimizer and so on) say how to train; other names are yours. You get curves and
    the best epoch at the W&B server, its weights in the run's `checkpoint.pt`, a state to resume
    from when the process or the machine is lost, and on a GPU bfloat16 and captured steps.

    Args:
        config: values, or the defaults of a sweep's.
        data: `Data`, or a function of the values that returns it. Targets that are whole numbers
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
        InvalidInput: a value of the config is wrong, in words.
        DataError: the data are.
        Stopped: SIGTERM came; the state is saved.
        Diverged: the loss is no number any more.
    """
    if data is None or model is None:
        raise InvalidInput("fit needs data and a model, as in fit(config, data=data, model=build)")
    with start(dict(config or {})) as run, Stop().on_sigterm() as stop:
        values = dict(run.config.items())
        rows = _rows(data, values)
        learner = Learner(
            lambda: _build(model, values),
            loss=loss,
            measures=measures,
            metric=metric,
            header={"config": values},
        )
        return train(run, read_training(values), rows, learner, stop=stop, values=values)


def train(
    run: wandb.Run,
    config: Training,
    data: Data,
    learner: Learner,
    *,
    stop: Stop,
    values: Values,
) -> Fitted:
    """Do what `config` says, log it to `run`, and return what came out.

    Args:
        run: a run that has begun.
        config: how to train.
        data: on the CPU.
        learner: what.
        stop: turns true when the run is to stop.
        values: the whole config of the run, by which a saved state is recognised.

    Raises:
        Stopped, Diverged: as `fit`.
    """
    device = pick_device()
    let_hurry(device)
    order = seed_everything(config.seed)
    data = data.to(device)
    model = learner.build().to(device)
    if any(weight.ndim == 4 for weight in model.parameters()):
        model = model.to(memory_format=torch.channels_last)
    prepare = as_floats if learner.prepare is None else learner.prepare.to(device)
    task = task_for(
        data.train.targets,
        loss=learner.loss,
        measures=learner.measures,
        label_smoothing=config.label_smoothing,
    )
    rank = _rank_by(learner.metric, task.names)
    problem = Problem(data.train, task, prepare, learner.augment)
    trainer = Trainer(
        model,
        build_optimizer(model, config),
        problem,
        config=config,
        order=order,
        should_stop=stop,
    )
    log = Log(run, unit="images" if data.spec is not None else "samples")
    best = Best(Path(run.dir) / CHECKPOINT, header=learner.header or {}, rank=rank)
    saved = Resumable(run, trainer=trainer, best=best, log=log, config=config, values=values)
    if saved.take_up():
        print(f"resumed after {trainer.examples:,} examples")
    with _kept(run, best):
        used = utilisation(model, problem)
        _train(trainer, data, config, log=log, best=best, saved=saved, stop=stop, used=used)
    return _finish(run, trainer, data, log=log, best=best, saved=saved)


def _train(
    trainer: Trainer,
    data: Data,
    config: Training,
    *,
    log: Log,
    best: Best,
    saved: Resumable,
    stop: Stop,
    used: float | None,  # of the device's peak, at one row a second
) -> None:
    """Train the epochs that are left, and keep the best."""
    watcher = Watcher(trainer.model)
    while trainer.step < trainer.n_steps or trainer.is_epoch_done:
        try:
            for progress in trainer.epoch():
                mfu = {} if used is None else {"mfu": used * progress.samples_per_s}
                log({**asdict(progress), **mfu})
                saved.save_if_due()
            if not trainer.is_epoch_done:
                epoch = trainer.step // trainer.steps_per_epoch + 1
                raise Stopped(f"stopped by SIGTERM in epoch {epoch} of {config.epochs}")
            epoch = trainer.step // trainer.steps_per_epoch
            score = trainer.evaluate(data.validation)
        except Diverged:
            lost = {f"val_{name}": math.nan for name in trainer.measured}
            log({"examples": trainer.examples, **lost})
            raise
        except Stopped:
            saved.save()
            raise
        best.offer(trainer.best_model, epoch=epoch, score=score)
        log(
            {
                "epoch": epoch,
                "examples": trainer.examples,
                "train_loss": trainer.epoch_loss,
                **score.named("val"),
                **as_wandb(watcher.histograms()),
            }
        )
        trainer.end_epoch()
        print(f"epoch {epoch}: train_loss {trainer.epoch_loss:.4f}, {_in_words('val', score)}")
        if config.patience and epoch - best.epoch >= config.patience:
            print(f"no better epoch in {config.patience}: the run ends early")
            return
        if stop() and epoch < config.epochs:
            saved.save()
            raise Stopped(f"stopped by SIGTERM after epoch {epoch} of {config.epochs}")
        saved.save_if_due()


def _finish(
    run: wandb.Run, trainer: Trainer, data: Data, *, log: Log, best: Best, saved: Resumable
) -> Fitted:
    """Test the best epoch, once, and sum the run up."""
    best.restore(trainer.best_model)
    test = trainer.evaluate(data.test) if data.test is not None else None
    if test is not None:
        log({"examples": trainer.examples, **test.named("test")})
    run.summary.update(
        {
            "best_epoch": best.epoch,
            **by_section(best.score.named("val")),  # the best epoch's, as the checkpoint is
            "device": device_name(pick_device()),
            "mode": trainer.mode,
        }
    )
    saved.clear()
    said = f", {_in_words('test', test)}" if test is not None else ""
    print(f"best epoch {best.epoch}: {_in_words('val', best.score)}{said}")
    return Fitted(trainer.best_model, best.epoch, best.score, test, best.path)


@contextmanager
def _kept(run: wandb.Run, best: Best) -> Iterator[None]:
    """Make the best epoch's checkpoint a file of the run, however training ends."""
    try:
        yield
    finally:
        if best.epoch:
            run.save(str(best.path), base_path=run.dir, policy="now")


def _in_words(part: str, score: Score) -> str:
    return ", ".join(f"{name} {value:.4f}" for name, value in score.named(part).items())


def _rank_by(
    metric: Mapping[str, str] | None, measured: Sequence[str]
) -> Callable[[Score], tuple[float, ...]]:
    """Return what is larger for a better score, by a metric as a definition has it.

    Raises:
        InvalidInput: no score has a number of that name, or the goal is no goal.
    """
    if metric is None:
        return lambda score: score.rank
    known = [f"val_{name}" for name in measured]
    name, goal = metric.get("name"), metric.get("goal", "minimize")
    if name not in known:
        raise InvalidInput(f"metric: name must be one of {', '.join(known)}, not {name!r}")
    if goal not in ("minimize", "maximize"):
        raise InvalidInput(f"metric: goal must be minimize or maximize, not {goal!r}")
    sign = 1.0 if goal == "maximize" else -1.0
    return lambda score: (sign * score.named("val").get(str(name), math.nan),)


def _rows(data: Any, values: Values) -> Data:
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
