"""One run of a trainer: what is logged, kept and saved of it, and how it ends.

A trial that is trained alone and one of a pack take the same course.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import wandb
from torch import nn

from sweepd.errors import InvalidInput
from sweepd_trainer.checkpoint import CHECKPOINT, Best
from sweepd_trainer.data import Rows
from sweepd_trainer.device import device_name, pick_device
from sweepd_trainer.job import Job
from sweepd_trainer.loop import Progress, Trainer
from sweepd_trainer.resume import Resumable
from sweepd_trainer.task import Score
from sweepd_trainer.tracking import Log, Stopped, as_wandb, by_section
from sweepd_trainer.watch import Histogram

__all__ = ["Course", "Fitted"]


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


class Course:
    """Takes a run from where its trainer stands to its end.

    Args:
        run: a run that has begun.
        job: what it is to do.
        trainer: of that job.
        tell: is told in words how it goes.

    Attributes:
        used: part of the device's peak that one row a second uses; None where that is not known.
    """

    def __init__(
        self,
        run: wandb.Run,
        job: Job,
        trainer: Trainer,
        *,
        tell: Callable[[str], None] = print,
    ) -> None:
        self.run, self.trainer = run, trainer
        self._unasked: Callable[[], str | None] = job.unasked
        self._config, self._metric, self._tell = job.config, job.learner.metric, tell
        rank = _rank_by(job.learner.metric, trainer.measured)
        self._log = Log(run, unit="images" if job.data.spec is not None else "samples")
        self._best = Best(Path(run.dir) / CHECKPOINT, header=job.learner.header or {}, rank=rank)
        self.saved = Resumable(
            run,
            trainer=trainer,
            best=self._best,
            log=self._log,
            config=job.config,
            data=job.data,
            values=job.values,
        )
        self.used: float | None = None

    def take_up(self) -> None:
        """Go on from the state that an earlier attempt left, if there is one."""
        if self.saved.take_up():
            self._tell(f"resumed after {self.trainer.examples:,} examples")

    @property
    def epoch(self) -> int:
        """Return how many epochs have been trained whole."""
        return self.trainer.step // self.trainer.steps_per_epoch

    def is_over(self) -> bool:
        """Return whether no epoch is left, or `patience` is out."""
        if self.trainer.is_epoch_done:  # and not evaluated yet
            return False
        is_out = bool(self._config.patience) and self.epoch - self._best.epoch >= (
            self._config.patience
        )
        return is_out or self.trainer.step >= self.trainer.n_steps

    def report(self, progress: Progress) -> None:
        """Log progress; save the state if it is due."""
        known = {name: value for name, value in asdict(progress).items() if value is not None}
        mfu = {} if self.used is None else {"mfu": self.used * progress.samples_per_s}
        self._log({**known, **mfu})
        self.saved.save_if_due()

    def end_epoch(self, score: Score, histograms: Mapping[str, Histogram]) -> None:
        """Log a whole epoch, and keep it if it is the best."""
        trainer, epoch = self.trainer, self.epoch
        self._best.offer(trainer.best_model, epoch=epoch, score=score)
        self._log(
            {
                "epoch": epoch,
                "examples": trainer.examples,
                "train_loss": trainer.epoch_loss,
                **score.named("val"),
                **as_wandb(histograms),
            }
        )
        trainer.end_epoch()
        self._sum_up()
        said = _in_words("val", score)
        self._tell(f"epoch {epoch}: train_loss {trainer.epoch_loss:.4f}, {said}")
        if (words := self._unasked()) is not None:  # said once
            self._tell(words)
        self._unasked = _nothing
        if self.is_over() and trainer.step < trainer.n_steps:
            self._tell(f"no better epoch in {self._config.patience}: the run ends early")

    def lose(self) -> None:
        """Log that the run diverged, so that the search sees it."""
        lost = {f"val_{name}": math.nan for name in self.trainer.measured}
        self._log({"examples": self.trainer.examples, **lost})
        self._sum_up()

    def halt(self, why: str) -> Stopped:
        """Save the state to go on from; return the error that says so."""
        self.saved.save()
        self._sum_up()
        epochs = self._config.epochs
        if self.trainer.is_between_epochs:
            return Stopped(f"{why} after epoch {self.epoch} of {epochs}")
        return Stopped(f"{why} in epoch {self.epoch + 1} of {epochs}")

    def finish(self, test_rows: Rows | None, *, mode: str | None = None) -> Fitted:
        """Test the best epoch, once, and sum the run up.

        Args:
            test_rows: on the trainer's device.
            mode: how the steps ran; None is as the trainer says.
        """
        trainer, best = self.trainer, self._best
        best.restore(trainer.best_model)
        test = trainer.evaluate(test_rows) if test_rows is not None else None
        if test is not None:
            self._log({"examples": trainer.examples, **test.named("test")})
        self._sum_up()
        self.run.summary.update(
            {
                **by_section(best.score.named("val")),  # the best epoch's, as the checkpoint is
                "device": device_name(pick_device()),
                "mode": trainer.mode if mode is None else mode,
            }
        )
        self.saved.clear()
        said = f", {_in_words('test', test)}" if test is not None else ""
        self._tell(f"best epoch {best.epoch}: {_in_words('val', best.score)}{said}")
        return Fitted(trainer.best_model, best.epoch, best.score, test, best.path)

    def _sum_up(self) -> None:
        """Write down what is the best so far, when it was reached, and how long it all took."""
        best = self._best
        found: dict[str, Any] = {"total_s": round(self.trainer.stopwatch.seconds, 3)}
        if best.epoch:
            found["best_epoch"] = best.epoch
            found["best_examples"] = best.epoch * self.trainer.n_rows
            name = _decided_by(self._metric, best.score)
            found[f"best_{name}"] = best.score.named("val").get(name, math.nan)
        self.run.summary.update(found)

    def keep(self) -> None:
        """Make the best epoch's checkpoint a file of the run, if there is one."""
        if self._best.epoch:
            self.run.save(str(self._best.path), base_path=self.run.dir, policy="now")

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Keep the best epoch's checkpoint, however training ends."""
        try:
            yield
        finally:
            self.keep()


def _nothing() -> None:
    """Return that nothing is to be said."""


def _in_words(part: str, score: Score) -> str:
    return ", ".join(f"{name} {value:.4f}" for name, value in score.named(part).items())


def _decided_by(metric: Mapping[str, str] | None, score: Score) -> str:
    """Return the name of the number by which an epoch is the best."""
    if metric is not None:
        return metric["name"]
    return "val_loss" if score.accuracy is None else "val_accuracy"


def _rank_by(
    metric: Mapping[str, str] | None, measured: Sequence[str]
) -> Callable[[Score], tuple[float, ...]]:
    """Return what is larger for a better score, by a metric as a definition has it.

    A metric that is no number is worse than any.

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

    def rank(score: Score) -> tuple[float, ...]:
        value = sign * score.named("val").get(str(name), math.nan)
        return (-math.inf if math.isnan(value) else value,)

    return rank
