"""What training minimises and what evaluation reports.

b   rows of a batch;  t   further axes of the targets, such as the places of a text;  k   classes
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor
from torch.nn import functional

from sweepd.errors import InvalidInput

__all__ = ["Guess", "Score", "Task", "classification", "regression", "task_for"]

Loss = Callable[[Tensor, Tensor], Tensor]

#: A class that says "no target here", as torch's cross entropy has it.
IGNORED = -100
#: Rows by which the variance of values is judged.
_N_ROWS = 1 << 16


@dataclass(frozen=True)
class Guess:
    """What it costs to know nothing of the inputs: ln(classes), or the variance of values."""

    loss: float
    n_classes: int = 0

    @property
    def is_of_classes(self) -> bool:
        """Return whether it is a class that is guessed."""
        return self.n_classes > 0


@dataclass(frozen=True)
class Task:
    """The losses of a batch, each a mean over its targets, and how many targets it hits.

    Args:
        loss: of outputs and targets; training minimises it.
        plain_loss: what evaluation reports, such as the loss without label smoothing.
        hits: how many targets the outputs meet, or None if they name no classes; None where
            targets are no classes.
        uniform: the loss against all classes alike, which label smoothing mixes into the plain one;
            None: label smoothing does nothing here.
        summed: the plain loss summed over the targets, those of -100 left out; None: evaluation
            takes the mean over rows.
        measures: what else evaluation reports, each a mean over a batch, by name.
        guess: what the loss is of who knows nothing; None: that is not known.
    """

    loss: Loss
    plain_loss: Loss
    hits: Callable[[Tensor, Tensor], Tensor | None] | None = None
    uniform: Loss | None = None
    summed: Loss | None = None
    measures: Mapping[str, Loss] = field(default_factory=dict)
    guess: Guess | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Return what a score of this task may name."""
        return ("loss", *(() if self.hits is None else ("accuracy",)), *self.measures)


@dataclass(frozen=True)
class Score:
    """How a model does on a part of the data."""

    loss: float  # mean, in nats for a classification, without label smoothing
    accuracy: float | None = None  # None: the targets are no classes
    measures: Mapping[str, float] = field(default_factory=dict)

    @property
    def rank(self) -> tuple[float, float]:
        """Return what makes one score better than another: more accuracy, then less loss."""
        return (0.0 if self.accuracy is None else self.accuracy, -self.loss)

    def named(self, part: str) -> dict[str, float]:
        """Return its numbers as they are logged for a part of the data, such as `val_loss`."""
        accuracy = {} if self.accuracy is None else {"accuracy": self.accuracy}
        own = {"loss": self.loss, **accuracy, **self.measures}
        return {f"{part}_{name}": value for name, value in own.items()}


def task_for(
    targets: Tensor,
    *,
    held_out: Sequence[Tensor] = (),
    loss: Loss | None = None,
    measures: Mapping[str, Loss] | None = None,
    label_smoothing: float = 0.0,
) -> Task:
    """Return the task that targets suggest: classes if they are whole numbers, else values.

    Args:
        targets: of the training rows.
        held_out: targets of the others: the model must know their classes too.
        loss: a mean over a batch, in place of the usual one.
        measures: what else to report, by name.
        label_smoothing: of a classification with the usual loss.

    Raises:
        InvalidInput: a class is below zero, or a measure has the name of another number.
    """
    taken = sorted({"accuracy", "loss"} & set(measures or {}))
    if taken:
        raise InvalidInput(f"{taken[0]} is reported anyway: name the measure otherwise")
    is_classes = not (targets.is_floating_point() or targets.is_complex())
    n_classes = int(targets.max()) + 1 if is_classes else 0
    n_known = n_classes
    for part in (targets, *held_out) if is_classes and loss is None else ():
        wrong = part[(part < 0) & (part != IGNORED)]
        if len(wrong):
            raise InvalidInput(f"classes are whole numbers from 0 on, not {int(wrong[0])}")
        n_known = max(n_known, int(part.max()) + 1 if part.numel() else 0)
    usual = regression()
    if is_classes:
        has_ignored = bool((targets == IGNORED).any())
        usual = classification(label_smoothing, n_classes=n_known, has_ignored=has_ignored)
    own = dict(measures or {})
    if loss is not None:
        return Task(loss, loss, usual.hits, measures=own)
    return replace(usual, measures=own, guess=_guess(targets, n_classes))


def _guess(targets: Tensor, n_classes: int) -> Guess | None:
    if not (targets.is_floating_point() or targets.is_complex()):
        n_classes = max(n_classes, 2)
        return Guess(math.log(n_classes), n_classes)
    if targets.is_complex():
        return None
    variance = targets[:_N_ROWS].float().var(correction=0).item()
    return Guess(variance) if math.isfinite(variance) else None


def classification(
    label_smoothing: float = 0.0, *, n_classes: int = 0, has_ignored: bool = False
) -> Task:
    """Return the task of naming classes: logits (b, t…, k) against whole numbers (b, t…).

    Args:
        label_smoothing: share of a target that is spread evenly over the classes, in training.
        n_classes: k must not be below it.
        has_ignored: whether targets may be -100, maybe all of a batch.
    """

    def checked(logits: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
        if not _are_logits(logits, classes):
            raise InvalidInput(
                f"targets of whole numbers, {_form(classes)}, are classes: the model must return "
                f"logits, last axis the classes, not {_form(logits)}"
            )
        if logits.shape[-1] < n_classes:
            raise InvalidInput(
                f"the targets have classes up to {n_classes - 1}, the model has {logits.shape[-1]}"
            )
        return logits.float().reshape(-1, logits.shape[-1]), classes.reshape(-1).long()

    def mean(logits: Tensor, classes: Tensor, smoothing: float) -> Tensor:
        rows, wanted = checked(logits, classes)
        if not has_ignored:
            return functional.cross_entropy(rows, wanted, label_smoothing=smoothing)
        total = functional.cross_entropy(rows, wanted, label_smoothing=smoothing, reduction="sum")
        return total / (wanted != IGNORED).sum().clamp(min=1)  # 0 where there is no target

    def smoothed(logits: Tensor, classes: Tensor) -> Tensor:
        return mean(logits, classes, label_smoothing)

    def plain(logits: Tensor, classes: Tensor) -> Tensor:
        return mean(logits, classes, 0.0)

    def uniform(logits: Tensor, classes: Tensor) -> Tensor:
        return mean(logits, classes, 1.0)

    def summed(logits: Tensor, classes: Tensor) -> Tensor:
        return functional.cross_entropy(*checked(logits, classes), reduction="sum")

    def hits(logits: Tensor, classes: Tensor) -> Tensor | None:
        if not _are_logits(logits, classes):
            return None
        return (logits.argmax(-1).reshape(classes.shape) == classes).sum()

    return Task(smoothed, plain, hits, uniform, summed)


def _column_dropped(classes: Tensor) -> Tensor:
    """Return targets (b, 1) as (b,), others as they are."""
    return classes[:, 0] if classes.ndim == 2 and classes.shape[1] == 1 else classes


def _are_logits(outputs: object, classes: Tensor) -> bool:
    """Return whether outputs have a last axis of two classes at least, for each of the targets."""
    if not isinstance(outputs, Tensor) or outputs.ndim == 0 or outputs.shape[-1] < 2:
        return False
    return outputs.shape[:-1] in (classes.shape, _column_dropped(classes).shape)


def _form(outputs: object) -> str:
    return str(tuple(outputs.shape)) if isinstance(outputs, Tensor) else type(outputs).__name__


def regression() -> Task:
    """Return the task of meeting values: outputs and targets of one shape, squared error."""

    def squared(outputs: Tensor, values: Tensor) -> Tensor:
        if not isinstance(outputs, Tensor):
            raise InvalidInput(
                f"the model returns a {_form(outputs)}, which only a loss of your own can take"
            )
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
