"""Epochs of training and passes of evaluation, from any step on to any step."""

import copy
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from sweepd.errors import DataError
from sweepd_trainer.config import Training
from sweepd_trainer.data import Rows
from sweepd_trainer.device import PeakMemory, exact_float32
from sweepd_trainer.divergence import bound_for, n_warm_up
from sweepd_trainer.evaluation import Diverged, Portions, read_score, sums_of
from sweepd_trainer.feed import Feed, Resident, Streamed
from sweepd_trainer.optim import learning_rate_at, load_state, set_learning_rate
from sweepd_trainer.step import Captured, Problem, Step
from sweepd_trainer.stopwatch import Stopwatch
from sweepd_trainer.task import Score

__all__ = ["Diverged", "Progress", "Trainer"]

#: Losses are summed on the device and read back once in so many steps.
STEPS_PER_REPORT = 25
REPORTS_PER_EPOCH = 20


@dataclass(frozen=True)
class Progress:
    """What training did since the last report."""

    epoch: float  # passes over the training rows so far
    examples: int  # training rows seen so far
    loss: float  # mean over the rows since the last report, in nats for a classification
    lr: float
    samples_per_s: float
    step_ms: float  # of one optimiser step, mean
    gpu_mem: float | None = None  # MiB that tensors took at most on the GPU; None on a CPU


@dataclass(frozen=True)
class _Reported:
    """When progress was told last, or the epoch began."""

    n_since: int  # rows of the next report that were learnt from before
    at_s: float
    step: int


class Trainer:
    """Trains one model on rows that lie on the model's device, or come to it as they are needed.

    Its state, at any step, is `state_dict()`: a trainer that loads it takes the very steps, in the
    very order, that this one would have taken.

    Args:
        model, optimizer: of one device.
        problem: what is learnt.
        config: how.
        order: decides the order of the rows and how each is augmented.
        should_stop: is asked after each step.
        streams_to: the device of the model, where the rows stay on the host; None: they lie there.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        problem: Problem,
        *,
        config: Training,
        order: torch.Generator,
        should_stop: Callable[[], bool] = lambda: False,
        streams_to: torch.device | None = None,
    ) -> None:
        self.model, self.optimizer, self.config = model, optimizer, config
        self._rows, self._order = problem.rows, order
        self._should_stop = should_stop
        self._ends = _ends(self.n_rows, config.batch_size)
        self._feed: Feed = Resident(self._rows)
        if streams_to is not None:
            size = min(config.batch_size + 1, self.n_rows)
            self._feed = Streamed(self._rows, streams_to, size=size)
        self._problem = problem = replace(problem, rows=self._feed.rows)
        self._device = problem.rows.targets.device
        self._portions, self.memory = Portions(self._device), PeakMemory(self._device)
        self.averaged = copy.deepcopy(model) if config.ema else None
        self.plain_step = Step(model, optimizer, problem, config, averaged=self.averaged)
        self._step = Captured.where_it_pays(self.plain_step, config, size=self.whole_batch)
        self.steps_per_epoch = len(self._ends)
        self.n_steps = config.epochs * self.steps_per_epoch
        self.step = self.examples = 0
        self.stopwatch = Stopwatch()  # goes from the beginning of an epoch to its end
        self.epoch_loss = math.nan  # mean training loss of the last whole epoch
        self._n_done = 0  # steps of this epoch
        self._order_before = order.get_state()  # as this epoch began
        self._epoch_sum, self._n_since = 0.0, 0
        self._reported = _Reported(0, 0.0, 0)
        self._first_loss: float | None = None  # of the first report
        self._n_warm_up = n_warm_up(self.n_steps, config)
        self._is_warm = False  # whether the last report was of steps after that alone

    @property
    def problem(self) -> Problem:
        """Return what is learnt, with rows of the model's device: those that lie there now."""
        return self._problem

    @property
    def n_rows(self) -> int:
        """Return how many rows an epoch has."""
        return len(self._rows)

    @property
    def mode(self) -> str:
        """Return how steps run: `eager` or `cuda graph`, maybe `in 2 parts`, `, rows streamed`."""
        parts = f" in {self._step.n_parts} parts" if self._step.n_parts > 1 else ""
        streamed = ", rows streamed" if isinstance(self._feed, Streamed) else ""
        return self._step.mode + parts + streamed

    @property
    def measured(self) -> tuple[str, ...]:
        """Return what a score names: the loss, the accuracy of classes, measures of your own."""
        return self._problem.task.names

    @property
    def best_model(self) -> nn.Module:
        """Return the model to evaluate and keep: the averaged one, if weights are averaged."""
        return self.model if self.averaged is None else self.averaged

    def renew_buffers(self) -> None:
        """Give the averaged model what the trained one keeps beside its weights, as norms do."""
        if self.averaged is not None:
            for ours, theirs in zip(self.averaged.buffers(), self.model.buffers(), strict=True):
                ours.copy_(theirs)

    def epoch(self) -> Iterator[Progress]:
        """Train on the rows of this epoch that are left, in its order; yield progress now and then.

        It ends before its time, after the step at hand, when `should_stop` says so.

        Raises:
            Diverged: the loss became NaN or infinite, or left all bounds.
        """
        order, drawn = self.begin_epoch()
        places = [self._place(number) for number in range(self._n_done, self.steps_per_epoch)]
        for batch, changes in self._feed.batches(order, drawn, places):
            set_learning_rate(self.optimizer, self.lr)
            self._step(batch, changes)
            self.count_step()
            if self.is_report_due:
                total = self._step.loss_sum.item()  # the only wait for the device
                self._step.loss_sum.zero_()
                progress = self.report(total, gpu_mem=self.memory.take(self._step.mode))
                yield progress
                self.check(progress)
            if self._should_stop() and not self.is_epoch_done:
                return
        self.renew_buffers()

    def begin_epoch(self) -> tuple[Tensor, Tensor | None]:
        """Return the order of the rows, (n,), on the CPU, and how each is augmented."""
        self.model.train()
        self.stopwatch.start()
        rows, augment = self._rows, self._problem.augment
        self._order_before = self._order.get_state()
        order = torch.randperm(len(rows), generator=self._order)
        drawn = augment.draw(rows.inputs, self._order) if augment is not None else None
        self._reported = _Reported(self._n_since, time.perf_counter(), self.step)
        return order, drawn

    @property
    def place(self) -> slice:
        """Return where in the order of an epoch the next batch lies."""
        return self._place(self._n_done)

    def _place(self, number: int) -> slice:
        return slice(number * self.config.batch_size, self._ends[number])

    @property
    def whole_batch(self) -> int:
        """Return the rows of a whole batch: those of the first one, which may be the only one."""
        return self._ends[0]

    @property
    def lr(self) -> float:
        """Return the learning rate of the next step."""
        return learning_rate_at(self.step, self.n_steps, self.config)

    def count_step(self) -> None:
        """Note that the next batch has been learnt from."""
        n_rows = self._ends[self._n_done] - self._n_done * self.config.batch_size
        self._n_since += n_rows
        self.examples += n_rows
        self.step += 1
        self._n_done += 1

    @property
    def is_report_due(self) -> bool:
        """Return whether the step at hand is one after which progress is told."""
        every = max(STEPS_PER_REPORT, self.steps_per_epoch // REPORTS_PER_EPOCH)
        return self.is_epoch_done or self._n_done % every == 0

    def report(self, total: float, *, gpu_mem: float | None = None) -> Progress:
        """Return what was done since the last report.

        Args:
            total: sum of the losses of the rows since then.
            gpu_mem: most MiB of the GPU that tensors took at once.
        """
        before, now = self._reported, time.perf_counter()
        elapsed_s = now - before.at_s
        progress = Progress(
            epoch=self.step / self.steps_per_epoch,
            examples=self.examples,
            loss=total / self._n_since,
            lr=learning_rate_at(self.step - 1, self.n_steps, self.config),
            samples_per_s=(self._n_since - before.n_since) / max(elapsed_s, 1e-9),
            step_ms=1000 * elapsed_s / (self.step - before.step),
            gpu_mem=gpu_mem,
        )
        self._epoch_sum += total
        self._n_since = 0
        self._first_loss = progress.loss if self._first_loss is None else self._first_loss
        self._is_warm = before.step >= self._n_warm_up
        if self.is_epoch_done:
            self.epoch_loss = self._epoch_sum / self.n_rows
        self._reported = _Reported(0, now, self.step)
        return progress

    def check(self, progress: Progress) -> None:
        """Do nothing while training goes on as it may.

        Args:
            progress: the last report.

        Raises:
            Diverged: the loss is no number; or, after the first steps, above all bounds.
        """
        loss, after = progress.loss, f"after {progress.examples} examples"
        if not math.isfinite(loss):
            raise Diverged(f"the loss is {loss} {after}")
        if not self.config.stop_diverged or not self._is_warm or self._first_loss is None:
            return
        bound = bound_for(self._first_loss, self._problem.task.guess)
        if bound is not None and loss > bound.loss:
            raise Diverged(
                f"the loss is {loss:.4g} {after}, above {bound.loss:.4g}: {bound.reason}; "
                "stop_diverged: false lets such a run go on"
            )

    def end_epoch(self) -> None:
        """Note that all of an epoch is done, its evaluation too: the next one begins."""
        self.stopwatch.pause()
        self._n_done, self._epoch_sum = 0, 0.0
        self._order_before = self._order.get_state()

    @property
    def is_epoch_done(self) -> bool:
        """Return whether every row of this epoch has been trained on."""
        return self._n_done == self.steps_per_epoch

    @property
    def is_between_epochs(self) -> bool:
        """Return whether no row of this epoch has been trained on."""
        return self._n_done == 0

    @property
    def position(self) -> tuple[int, bool]:
        """Return the number of steps, and whether the last of them ended an epoch."""
        return self.step, self.is_epoch_done

    def evaluate(self, rows: Rows) -> Score:
        """Return how the model does on `rows`, in float32 as in the exported file.

        It takes fewer rows at a time where many do not fit into the memory.

        Raises:
            Diverged: the loss is not a finite number.
        """
        with exact_float32():
            return self._portions(lambda size: self._evaluate(rows, size))

    def _evaluate(self, rows: Rows, size: int) -> Score:
        """Evaluate `size` rows at a time."""
        model, task = self.best_model.eval(), self._problem.task
        totals = torch.zeros(3 + len(task.measures), device=self._device)
        with torch.no_grad():
            for first in range(0, len(rows), size):
                part = slice(first, first + size)
                inputs, targets = (t[part].to(self._device) for t in (rows.inputs, rows.targets))
                totals += sums_of(task, model(self._problem.prepare(inputs)), targets)
        return read_score(task, totals.tolist(), n_rows=len(rows))

    def state_dict(self) -> dict[str, Any]:
        """Return all that another process needs to go on from here, as plain data and tensors."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "averaged": None if self.averaged is None else self.averaged.state_dict(),
            "order": self._order_before,
            "step": self.step,
            "examples": self.examples,
            "seconds": self.stopwatch.seconds,
            "first_loss": self._first_loss,
            "n_done": self._n_done,
            "n_since": self._n_since,
            "epoch_sum": self._epoch_sum,
            "loss_sum": self._step.loss_sum.item(),
            "n_rows": self.n_rows,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from where `state_dict()` was taken, on whatever device that was.

        Raises:
            DataError: it is of other rows, of another model, or incomplete.
        """
        n_rows = state.get("n_rows", self.n_rows)
        if n_rows != self.n_rows:
            raise DataError(f"a state of {n_rows} training rows, now there are {self.n_rows}")
        try:
            self._load(state)
        except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise DataError(f"a state that does not fit the model: {reason}") from error

    def _load(self, state: Mapping[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        load_state(self.optimizer, state["optimizer"])
        if self.averaged is not None:
            self.averaged.load_state_dict(state["averaged"])
        self._order_before = state["order"].cpu()
        self._order.set_state(self._order_before)
        self.step, self.examples = state["step"], state["examples"]
        self._n_done, self._n_since = state["n_done"], state["n_since"]
        self._epoch_sum = state["epoch_sum"]
        self.stopwatch.go_on_from(state.get("seconds", 0.0))
        self._first_loss = state.get("first_loss", math.nan)
        if self.is_epoch_done:
            self.epoch_loss = self._epoch_sum / self.n_rows
        self._step.loss_sum.fill_(state["loss_sum"])


def _ends(n_rows: int, size: int) -> list[int]:
    """Return where each batch of an epoch ends.

    A last row that would be alone joins the batch before: a norm over a batch cannot do with one.
    """
    ends = [*range(size, n_rows, size), n_rows]
    if size > 1 and len(ends) > 1 and ends[-1] - ends[-2] == 1:
        del ends[-2]
    return ends
