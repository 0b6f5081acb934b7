"""What training minimises and what evaluation reports.

b   rows of a batch;  t   further axes of the targets, such as the places of a text;  k   classes
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from sweepd.errors import InvalidInput

__all__ = ["Score", "Task", "classification", "regression", "task_for"]

Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Task:
    """The losses of a batch, each a mean over its targets, and how many targets it hits.

    Args:
        loss: of outputs and targets; training minimises it.
        plain_loss: what evaluation reports, such as the loss without label smoothing.
        hits: how many targets the outputs meet; None where there is no such thing.
    """

    loss: Loss
    plain_loss: Loss
    hits: Callable[[Tensor, Tensor], Tensor] | None = None


@dataclass(frozen=True)
class Score:
    """How a model does on a part of the data."""

    loss: float  # mean, in nats for a classification, without label smoothing
    accuracy: float | None = None  # None: the targets are no classes

    @property
    def rank(self) -> tuple[float, float]:
        """Return what makes one score better than another: more accuracy, then less loss."""
        return (0.0 if self.accuracy is None else self.accuracy, -self.loss)


def task_for(targets: Tensor, *, loss: Loss | None = None, label_smoothing: float = 0.0) -> Task:
    """Return the task that targets suggest: classes if they are whole numbers, else values.

    Args:
        targets: of the training rows.
        loss: a mean over a batch, in place of the usual one.
        label_smoothing: of a classification with the usual loss.
    """
    is_classes = not (targets.is_floating_point() or targets.is_complex())
    usual = classification(label_smoothing) if is_classes else regression()
    return usual if loss is None else Task(loss, loss, usual.hits)


def classification(label_smoothing: float = 0.0) -> Task:
    """Return the task of naming classes: logits (b, t…, k) against whole numbers (b, t…)."""

    def smoothed(logits: Tensor, classes: Tensor) -> Tensor:
        flat = logits.float().reshape(-1, logits.shape[-1])
        return functional.cross_entropy(
            flat, classes.reshape(-1).long(), label_smoothing=label_smoothing
        )

    def plain(logits: Tensor, classes: Tensor) -> Tensor:
        flat = logits.float().reshape(-1, logits.shape[-1])
        return functional.cross_entropy(flat, classes.reshape(-1).long())

    def hits(logits: Tensor, classes: Tensor) -> Tensor:
        return (logits.argmax(-1) == classes).sum()

    return Task(smoothed, plain, hits)


def regression() -> Task:
    """Return the task of meeting values: outputs and targets of one shape, squared error."""

    def squared(outputs: Tensor, values: Tensor) -> Tensor:
        if outputs.shape != values.shape and outputs.numel() == values.numel():
            outputs = outputs.reshape(values.shape)  # (b, 1) for (b,)
        if outputs.shape != values.shape:
            raise InvalidInput(
                f"the model's outputs are {tuple(outputs.shape)}, the targets {tuple(values.shape)}"
            )
        return functional.mse_loss(outputs.float(), values.float())

    return Task(squared, squared)


def as_floats(inputs: Tensor) -> Tensor:
    """Return inputs as a model takes them when nobody says how: whole numbers stay such."""
    return inputs.float() if inputs.dtype in (torch.float64, torch.float16) else inputs
