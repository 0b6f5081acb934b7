"""Epochs of several trainers at once, each on rows in an order of its own.

K   trainers;  n   rows;  b   rows of a batch
"""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from sweepd_trainer.data import Rows
from sweepd_trainer.device import PeakMemory, exact_float32
from sweepd_trainer.evaluation import Diverged, Portions, read_score
from sweepd_trainer.loop import Progress, Trainer
from sweepd_trainer.optim import learning_rate_at
from sweepd_trainer.pack_step import PackedStep
from sweepd_trainer.step import Captured
from sweepd_trainer.task import Score

__all__ = ["Pack"]


class Pack:
    """Trains K trainers that stand at the same step, until one of them is to be left out.

    The trainers stay whole: the state of each is what it would be alone. A loss that is no number
    in one of them does not touch the others.

    Args:
        trainers: of the same rows, shapes, optimiser, batches and epochs.
        should_stop: is asked after each step.
    """

    def __init__(
        self, trainers: Sequence[Trainer], *, should_stop: Callable[[], bool] = lambda: False
    ) -> None:
        self.trainers, self._should_stop = list(trainers), should_stop
        self._packed = PackedStep([trainer.plain_step for trainer in trainers])
        self._device = self._packed.device
        self._portions = Portions(self._device, n_models=len(trainers))
        self.memory = PeakMemory(self._device)
        lead = trainers[0]
        self._step = Captured.where_it_pays(self._packed, lead.config, size=lead.whole_batch)

    @property
    def mode(self) -> str:
        """Return how steps run, such as `cuda graph, pack of 8`."""
        parts = f" in {self._step.n_parts} parts" if self._step.n_parts > 1 else ""
        return f"{self._step.mode}{parts}, pack of {len(self.trainers)}"

    def epoch(self) -> Iterator[list[Progress]]:
        """Train on the rows of this epoch that are left; yield each one's progress now and then.

        It ends before its time, after the step at hand, when `should_stop` says so.
        """
        lead = self.trainers[0]
        order, drawn = self._begin_epoch()
        rates = self._rates_of_epoch()
        for number in range(len(rates)):
            self._packed.optimizer.lr.copy_(rates[number])
            self._step(order[:, lead.place], drawn)
            for trainer in self.trainers:
                trainer.count_step()
            if lead.is_report_due:
                totals = self._step.loss_sum.tolist()  # the only wait for the device
                self._step.loss_sum.zero_()
                pairs = zip(self.trainers, totals, strict=True)
                gpu_mem = self.memory.take(self._step.mode)
                yield [trainer.report(total, gpu_mem=gpu_mem) for trainer, total in pairs]
            if self._should_stop() and not lead.is_epoch_done:
                return

    def evaluate(self, rows: Rows) -> list[Score | Diverged]:
        """Return how each model does on `rows`, in float32, or why there is no telling."""
        with exact_float32():
            totals = self._portions(lambda size: self._totals(rows, size))
        task, scores = self.trainers[0].problem.task, list[Score | Diverged]()
        for own in totals:
            try:
                scores.append(read_score(task, own, n_rows=len(rows)))
            except Diverged as error:
                scores.append(error)
        return scores

    def _begin_epoch(self) -> tuple[Tensor, Tensor | None]:
        """Return the order of each one's rows, (K, n), and how they are augmented, (K, n, …)."""
        begun = [trainer.begin_epoch() for trainer in self.trainers]
        order = torch.stack([order for order, _ in begun]).to(self._device)
        drawn = [one for _, one in begun if one is not None]
        return order, torch.stack(drawn) if drawn else None

    def _rates_of_epoch(self) -> Tensor:
        """Return the learning rates of the steps that are left of this epoch, (steps, K, 1)."""
        lead = self.trainers[0]
        ends = (lead.step // lead.steps_per_epoch + 1) * lead.steps_per_epoch
        steps = range(lead.step, lead.step if lead.is_epoch_done else ends)
        rates = [
            [learning_rate_at(step, one.n_steps, one.config) for one in self.trainers]
            for step in steps
        ]
        lr = self._packed.optimizer.lr
        return lr.new_tensor(rates).reshape(len(steps), *lr.shape)

    def _totals(self, rows: Rows, size: int) -> list[list[float]]:
        totals = torch.zeros((), device=self._device)
        for first in range(0, len(rows), size):
            inputs, targets = rows.inputs[first : first + size], rows.targets[first : first + size]
            totals = totals + self._packed.sums(inputs, targets)
        found: list[list[float]] = totals.tolist()
        return found
