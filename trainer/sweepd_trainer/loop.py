"""One epoch of training, one pass of evaluation. No host work inside a step, on CPU as on CUDA."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, pad

from sweepd.errors import SweepdError
from sweepd_trainer.config import Config
from sweepd_trainer.data import DataSpec, Images
from sweepd_trainer.device import has_fast_bfloat16
from sweepd_trainer.optim import learning_rate_at, set_learning_rate

__all__ = ["Diverged", "Progress", "Score", "Trainer", "normalise"]

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

    epoch: float  # passes over the training images so far
    examples: int  # training images seen so far
    loss: float  # mean over the images since the last report, in nats
    lr: float
    samples_per_s: float


@dataclass(frozen=True)
class Score:
    """How a model does on a part of the data."""

    loss: float  # mean cross entropy, in nats, without label smoothing
    accuracy: float


def normalise(images: Tensor, spec: DataSpec) -> Tensor:
    """Return uint8 images as floats of about zero mean and unit variance, channels last."""
    floats = images.float().div_(spec.scale).sub_(spec.mean).div_(spec.std)
    return floats.contiguous(memory_format=torch.channels_last)


class Trainer:
    """Trains one model on one set of images that lies on the model's device."""

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        images: Images,
        spec: DataSpec,
        config: Config,
        order: torch.Generator,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self.model, self.optimizer = model, optimizer
        self.images, self.spec, self.config = images, spec, config
        self._order, self._should_stop = order, should_stop
        self._device = images.labels.device
        self._is_bfloat16 = has_fast_bfloat16(self._device)
        self.steps_per_epoch = math.ceil(len(images) / config.batch_size)
        self.n_steps = config.epochs * self.steps_per_epoch
        self.step = self.examples = 0
        self.epoch_loss = math.nan  # mean training loss of the last whole epoch

    def epoch(self) -> Iterator[Progress]:
        """Train on every image once, in a new order; yield progress now and then.

        It ends before its time, after the step at hand, when `should_stop` says so.

        Raises:
            Diverged: the loss became NaN or infinite.
        """
        self.model.train()
        every = max(STEPS_PER_REPORT, self.steps_per_epoch // REPORTS_PER_EPOCH)
        order = torch.randperm(len(self.images), generator=self._order).to(self._device)
        moves = self._draw_moves()
        loss_sum = torch.zeros((), device=self._device)
        epoch_sum, n_since, started = 0.0, 0, time.perf_counter()
        for number in range(self.steps_per_epoch):
            batch = order[number * self.config.batch_size :][: self.config.batch_size]
            lr = learning_rate_at(self.step, self.n_steps, self.config)
            loss_sum += self._step(batch, moves, lr) * len(batch)
            n_since += len(batch)
            self.step += 1
            self.examples += len(batch)
            is_last = number + 1 == self.steps_per_epoch
            is_stopping = self._should_stop()
            if not (is_last or is_stopping or (number + 1) % every == 0):
                continue
            total = loss_sum.item()  # the only wait for the device
            epoch_sum += total
            loss = total / n_since
            elapsed_s = max(time.perf_counter() - started, 1e-9)
            epoch = self.step / self.steps_per_epoch
            yield Progress(epoch, self.examples, loss, lr, n_since / elapsed_s)
            if not math.isfinite(loss):
                raise Diverged(f"the loss is {loss} after {self.examples} examples")
            if is_stopping:
                return
            loss_sum.zero_()
            n_since, started = 0, time.perf_counter()
        self.epoch_loss = epoch_sum / len(self.images)

    def evaluate(self, images: Images) -> Score:
        """Return loss and accuracy on `images`, in float32 as in the exported file.

        Raises:
            Diverged: the loss is not a finite number.
        """
        self.model.eval()
        size = EVALUATION_BATCH.get(self._device.type, 128)
        totals = torch.zeros(2, device=self._device)  # loss, hits
        with torch.no_grad():
            for first in range(0, len(images), size):
                labels = images.labels[first : first + size]
                logits = self.model(normalise(images.images[first : first + size], self.spec))
                totals[0] += cross_entropy(logits, labels, reduction="sum")
                totals[1] += (logits.argmax(1) == labels).sum()
        loss, hits = totals.tolist()
        if not math.isfinite(loss):
            raise Diverged(f"the loss is {loss} on held-out images")
        return Score(loss / len(images), hits / len(images))

    def _step(self, batch: Tensor, moves: Tensor | None, lr: float) -> Tensor:
        images = self.images.images[batch]
        if moves is not None:
            images = _move(images, moves[:, batch], self.config.shift)
        set_learning_rate(self.optimizer, lr)
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._is_bfloat16):
            logits = self.model(normalise(images, self.spec))
        loss = cross_entropy(
            logits.float(),
            self.images.labels[batch],
            label_smoothing=self.config.label_smoothing,
        )
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def _draw_moves(self) -> Tensor | None:
        """Return how far each image moves in this epoch, down and right, shape (2, n), or None."""
        if not self.config.shift:
            return None
        size = (2, len(self.images))
        moves = torch.randint(0, 2 * self.config.shift + 1, size, generator=self._order)
        return moves.to(self._device)


def _move(images: Tensor, moves: Tensor, furthest: int) -> Tensor:
    """Return each image moved by its own offset, zeros moving in.

    Args:
        images: uint8, shape (b, c, h, w).
        moves: first row and column to keep of the padded image, 0 to 2 · furthest, shape (2, b).
        furthest: padding on each side, in pixels.
    """
    count, channels, height, width = images.shape
    padded = pad(images, (furthest, furthest, furthest, furthest))
    rows = moves[0][:, None] + torch.arange(height, device=images.device)  # (b, h)
    columns = moves[1][:, None] + torch.arange(width, device=images.device)  # (b, w)
    of_image = torch.arange(count, device=images.device)[:, None, None, None]
    of_channel = torch.arange(channels, device=images.device)[None, :, None, None]
    return padded[of_image, of_channel, rows[:, None, :, None], columns[:, None, None, :]]
