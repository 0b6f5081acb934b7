"""How a model does on held-out rows, added up on the device and read back once."""

import math
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from sweepd.errors import SweepdError
from sweepd_trainer.task import Score, Task

__all__ = ["EVALUATION_BATCH", "Diverged", "Portions", "read_score", "sums_of"]

#: Small batches stay in a CPU's cache; a GPU wants them large.
EVALUATION_BATCH = {"cpu": 128, "cuda": 4096}
#: Rows of all models together: of a pack on a GPU, whose many small operations the host would bind.
_PACK_BATCH = {"cpu": 128, "cuda": 16384}

_T = TypeVar("_T")


class Diverged(SweepdError):
    """The loss is no longer a finite number, or is far above what training can come back from."""


def sums_of(task: Task, outputs: Tensor, targets: Tensor) -> Tensor:
    """Return what a batch of n rows adds to the totals, shape (3 + measures,).

    Those are the loss, the hits, the targets that could be hit, and each of the task's measures.
    """
    count = len(targets)
    if task.summed is None:
        loss = task.plain_loss(outputs, targets) * count
    else:
        loss = task.summed(outputs, targets)
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
    n_losses = n_rows if task.summed is None else n_targets
    loss = loss / n_losses if n_losses else math.nan
    if not math.isfinite(loss):
        raise Diverged(f"the loss is {loss} on held-out rows")
    return Score(
        loss,
        hits / n_targets if n_targets else None,
        {name: total / n_rows for name, total in zip(task.measures, own, strict=True)},
    )


class Portions:
    """Evaluates so many rows at a time; fewer from then on where memory was short once.

    Args:
        device: where it is computed.
        n_models: that are evaluated at once.
    """

    def __init__(self, device: torch.device, *, n_models: int = 1) -> None:
        self._device = device
        alone, together = (sizes.get(device.type, 128) for sizes in (EVALUATION_BATCH, _PACK_BATCH))
        self._size = max(1, min(alone, together // n_models))

    def __call__(self, evaluate: Callable[[int], _T]) -> _T:
        """Return what `evaluate` says, which is given a number of rows.

        Raises:
            torch.OutOfMemoryError: a single row does not fit.
        """
        while self._size > 1:
            try:
                return evaluate(self._size)
            except torch.OutOfMemoryError:
                self._size = max(1, self._size // 4)
            if self._device.type == "cuda":
                torch.cuda.empty_cache()
        return evaluate(1)
