"""How a model does on held-out rows, added up on the device and read back once."""

import math
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from sweepd.errors import SweepdError
from sweepd_trainer.task import Score, Task

__all__ = ["EVALUATION_BATCH", "Diverged", "fewer_at_a_time", "read_score", "sums_of"]

#: Small batches stay in a CPU's cache; a GPU wants them large.
EVALUATION_BATCH = {"cpu": 128, "cuda": 4096}

_T = TypeVar("_T")


class Diverged(SweepdError):
    """The loss is no longer a finite number."""


def sums_of(task: Task, outputs: Tensor, targets: Tensor) -> Tensor:
    """Return what a batch of n rows adds to the totals, shape (3 + measures,).

    Those are the loss, the hits, the targets that could be hit, and each of the task's measures.
    """
    count = len(targets)
    loss = task.plain_loss(outputs, targets) * count
    found = None if task.hits is None else task.hits(outputs, targets)
    n_targets = (targets >= 0).sum() if found is not None else torch.zeros_like(loss)
    hits = torch.zeros_like(loss) if found is None else found
    own = [measure(outputs, targets) * count for measure in task.measures.values()]
    totals = (loss, hits, n_targets, *own)
    return torch.stack(
        [torch.as_tensor(t, dtype=torch.float32, device=targets.device) for t in totals]
    )


def read_score(task: Task, totals: Sequence[float], *, n_rows: int) -> Score:
    """Return the score that the sums over all n rows come to.

    Raises:
        Diverged: the loss is not a finite number.
    """
    loss, hits, n_targets, *own = totals
    if not math.isfinite(loss):
        raise Diverged(f"the loss is {loss} on held-out rows")
    return Score(
        loss / n_rows,
        hits / n_targets if n_targets else None,
        {name: total / n_rows for name, total in zip(task.measures, own, strict=True)},
    )


def fewer_at_a_time(
    device: torch.device, evaluate: Callable[[int], _T], *, n_models: int = 1
) -> _T:
    """Return what `evaluate` says of so many rows at a time; of fewer where memory is short.

    Args:
        device: where it computes.
        evaluate: is given a number of rows.
        n_models: that are evaluated at once.
    """
    size = max(1, EVALUATION_BATCH.get(device.type, 128) // n_models)
    while size > 1:
        try:
            return evaluate(size)
        except torch.OutOfMemoryError:
            size //= 4
        if device.type == "cuda":
            torch.cuda.empty_cache()
    return evaluate(1)
