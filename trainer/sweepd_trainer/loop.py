"""Epochs of training and passes of evaluation, from any step on to any step."""

import copy
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from sweepd.errors import DataError, SweepdError
from sweepd_trainer.config import Training
from sweepd_trainer.data import Rows
from sweepd_trainer.optim import learning_rate_at, set_learning_rate
from sweepd_trainer.step import Captured, Problem, Step
from sweepd_trainer.task import Score

__all__ = ["Diverged", "Progress", "Trainer"]

#: Losses are summed on the device and read back once in so many steps.
STEPS_PER_REPORT = 25
REPORTS_PER_EPOCH = 20
#: Small batches stay in a CPU's cache; a GPU wants them large.
EVALUATION_BATCH = {"cpu": 128, "cuda": 4096}


class Diverged(SweepdError):
    """The loss is no longer a finite number."""


@dataclass(frozen=True)
class Progress:
    """What training did since the last report."""

    epoch: float  # passes over the training rows so far
    examples: int  # training rows seen so far
    loss: float  # mean over the rows since the last report, in nats for a classification
    lr: float
    samples_per_s: float
    step_ms: float  # of one optimiser step, mean


class Trainer:
    """Trains one model on rows that lie on the model's device.

    Its state, at any step, is `state_dict()`: a trainer that loads it takes the very steps, in the
    very order, that this one would have taken.

    Args:
        model, optimizer: of one device.
        problem: what is learnt.
        config: how.
        order: decides the order of the rows and how each is augmented.
        should_stop: is asked after each step.
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
    ) -> None:
        self.model, self.optimizer, self.config = model, optimizer, config
        self._problem, self._order = problem, order
        self._should_stop = should_stop
        self._device = problem.rows.targets.device
        self.averaged = copy.deepcopy(model) if config.ema else None
        step = Step(model, optimizer, problem, config, averaged=self.averaged)
        self._step: Step | Captured = step
        if self._device.type == "cuda":
            self._step = Captured(step, size=config.batch_size)
        self._ends = _ends(len(problem.rows), config.batch_size)
        self.steps_per_epoch = len(self._ends)
        self.n_steps = config.epochs * self.steps_per_epoch
        self.step = self.examples = 0
        self.epoch_loss = math.nan  # mean training loss of the last whole epoch
        self._n_done = 0  # steps of this epoch
        self._order_before = order.get_state()  # as this epoch began
        self._epoch_sum, self._n_since = 0.0, 0

    @property
    def mode(self) -> str:
        """Return how steps run: `eager`, `cuda graph`, or either `in 2 parts`."""
        parts = self._step.n_parts
        return self._step.mode + (f" in {parts} parts" if parts > 1 else "")

    @property
    def measured(self) -> tuple[str, ...]:
        """Return what a score names: the loss, the accuracy of classes, measures of your own."""
        return self._problem.task.names

    @property
    def best_model(self) -> nn.Module:
        """Return the model to evaluate and keep: the averaged one, if weights are averaged."""
        if self.averaged is None:
            return self.model
        for ours, theirs in zip(self.averaged.buffers(), self.model.buffers(), strict=True):
            ours.copy_(theirs)
        return self.averaged

    def epoch(self) -> Iterator[Progress]:
        """Train on the rows of this epoch that are left, in its order; yield progress now and then.

        It ends before its time, after the step at hand, when `should_stop` says so.

        Raises:
            Diverged: the loss became NaN or infinite.
        """
        self.model.train()
        size, rows = self.config.batch_size, self._problem.rows
        every = max(STEPS_PER_REPORT, self.steps_per_epoch // REPORTS_PER_EPOCH)
        self._order_before = self._order.get_state()
        order = torch.randperm(len(rows), generator=self._order).to(self._device)
        augment = self._problem.augment
        drawn = augment.draw(rows.inputs, self._order) if augment is not None else None
        n_reported, started = self._n_since, time.perf_counter()
        first = self.step
        for number in range(self._n_done, self.steps_per_epoch):
            batch = order[number * size : self._ends[number]]
            lr = learning_rate_at(self.step, self.n_steps, self.config)
            set_learning_rate(self.optimizer, lr)
            self._step(batch, drawn)
            self._n_since += len(batch)
            self.step += 1
            self.examples += len(batch)
            self._n_done = number + 1
            if self._n_done == self.steps_per_epoch or self._n_done % every == 0:
                n_since, elapsed_s = self._n_since - n_reported, time.perf_counter() - started
                loss = self._read_loss()
                speed = n_since / max(elapsed_s, 1e-9)
                epoch = self.step / self.steps_per_epoch
                step_ms = 1000 * elapsed_s / (self.step - first)
                yield Progress(epoch, self.examples, loss, lr, speed, step_ms)
                if not math.isfinite(loss):
                    raise Diverged(f"the loss is {loss} after {self.examples} examples")
                n_reported, started, first = 0, time.perf_counter(), self.step
            if self._should_stop() and self._n_done < self.steps_per_epoch:
                return
        self.epoch_loss = self._epoch_sum / len(rows)

    def end_epoch(self) -> None:
        """Note that all of an epoch is done, its evaluation too: the next one begins."""
        self._n_done, self._epoch_sum = 0, 0.0
        self._order_before = self._order.get_state()

    @property
    def is_epoch_done(self) -> bool:
        """Return whether every row of this epoch has been trained on."""
        return self._n_done == self.steps_per_epoch

    def evaluate(self, rows: Rows) -> Score:
        """Return how the model does on `rows`, in float32 as in the exported file.

        It takes fewer rows at a time where many do not fit into the memory.

        Raises:
            Diverged: the loss is not a finite number.
        """
        size = EVALUATION_BATCH.get(self._device.type, 128)
        while size > 1:
            try:
                return self._evaluate(rows, size)
            except torch.OutOfMemoryError:
                size //= 4
            if self._device.type == "cuda":
                torch.cuda.empty_cache()
        return self._evaluate(rows, 1)

    def _evaluate(self, rows: Rows, size: int) -> Score:
        """Evaluate `size` rows at a time."""
        model, task = self.best_model.eval(), self._problem.task
        totals = torch.zeros(3, device=self._device)  # loss, hits, targets
        sums = torch.zeros(len(task.measures), device=self._device)
        with torch.no_grad():
            for first in range(0, len(rows), size):
                targets = rows.targets[first : first + size]
                outputs = model(self._problem.prepare(rows.inputs[first : first + size]))
                totals[0] += task.plain_loss(outputs, targets) * len(targets)
                for place, measure in enumerate(task.measures.values()):
                    sums[place] += measure(outputs, targets) * len(targets)
                found = None if task.hits is None else task.hits(outputs, targets)
                if found is not None:
                    totals[1] += found
                    totals[2] += (targets >= 0).sum()
        loss, hits, n_targets = totals.tolist()
        if not math.isfinite(loss):
            raise Diverged(f"the loss is {loss} on held-out rows")
        means = (sums / len(rows)).tolist()
        return Score(
            loss / len(rows),
            hits / n_targets if n_targets else None,
            dict(zip(task.measures, means, strict=True)),
        )

    def state_dict(self) -> dict[str, Any]:
        """Return all that another process needs to go on from here, as plain data and tensors."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "averaged": None if self.averaged is None else self.averaged.state_dict(),
            "order": self._order_before,
            "step": self.step,
            "examples": self.examples,
            "n_done": self._n_done,
            "n_since": self._n_since,
            "epoch_sum": self._epoch_sum,
            "loss_sum": self._step.loss_sum.item(),
            "n_rows": len(self._problem.rows),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from where `state_dict()` was taken, on whatever device that was.

        Raises:
            DataError: it is of other rows, of another model, or incomplete.
        """
        n_rows = len(self._problem.rows)
        if state.get("n_rows", n_rows) != n_rows:
            raise DataError(f"a state of {state['n_rows']} training rows, now there are {n_rows}")
        try:
            self._load(state)
        except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise DataError(f"a state that does not fit the model: {reason}") from error

    def _load(self, state: Mapping[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        ours = self.optimizer.state_dict()["param_groups"]  # the other one's suit its own device
        self.optimizer.load_state_dict({**state["optimizer"], "param_groups": ours})
        if self.averaged is not None:
            self.averaged.load_state_dict(state["averaged"])
        self._order_before = state["order"].cpu()
        self._order.set_state(self._order_before)
        self.step, self.examples = state["step"], state["examples"]
        self._n_done, self._n_since = state["n_done"], state["n_since"]
        self._epoch_sum = state["epoch_sum"]
        self._step.loss_sum.fill_(state["loss_sum"])

    def _read_loss(self) -> float:
        """Return the mean loss since the last report: the only wait for the device."""
        total = self._step.loss_sum.item()
        self._step.loss_sum.zero_()
        self._epoch_sum += total
        loss = total / self._n_since
        self._n_since = 0
        return float(loss)


def _ends(n_rows: int, size: int) -> list[int]:
    """Return where each batch of an epoch ends.

    A last row that would be alone joins the batch before: a norm over a batch cannot do with one.
    """
    ends = [*range(size, n_rows, size), n_rows]
    if size > 1 and len(ends) > 1 and ends[-1] - ends[-2] == 1:
        del ends[-2]
    return ends
