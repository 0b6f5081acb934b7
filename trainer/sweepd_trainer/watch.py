"""Histograms of weights and gradients under wandb.watch's own keys, at a fraction of its cost.

wandb.watch reads every tensor back several times, each a wait for the device. Here all weights and
gradients are binned together and one small tensor is read back: one wait for all.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

__all__ = ["Histogram", "Watcher"]

#: Numbers that are looked at at a time, each about 100 bytes; fewer where memory is short.
_SIZES = (1 << 22, 1 << 17)


@dataclass(frozen=True)
class Histogram:
    """Counts, shape (bins,), and edges, shape (bins + 1,), as `wandb.Histogram(np_histogram=…)`."""

    counts: NDArray[np.int64]
    edges: NDArray[np.float64]


class Watcher:
    """Takes histograms of models' weights and of the gradients that their last step left.

    It needs up to a few hundred MB of the device for a moment. Where they are not to be had there
    are no histograms that time, which is told once.

    Args:
        models: those of `histograms`.
        n_bins: of each.
        tell: is told in words.
    """

    def __init__(
        self, *models: nn.Module, n_bins: int = 64, tell: Callable[[str], None] = print
    ) -> None:
        self._models, self._n_bins, self._tell = models, n_bins, tell
        self._has_told = False

    def histograms(self) -> dict[str, Histogram]:
        """Return `parameters/<name>` and, where a gradient is there, `gradients/<name>`.

        Bins are even between a tensor's smallest and largest finite value; what is not finite is
        left out, as wandb.watch does. A tensor without a finite value has no histogram.
        """
        return self.of(self._models)[0]

    def of(self, models: Sequence[nn.Module]) -> list[dict[str, Histogram]]:
        """Return the histograms of each of several models: one wait for all of them."""
        for size in _SIZES:
            try:
                return _histograms_of(models, self._n_bins, size)
            except torch.OutOfMemoryError as error:
                reason = str(error).strip().splitlines()[0]
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
        if not self._has_told:
            self._has_told = True
            self._tell(f"no histograms where memory is short: {reason}")
        return [{} for _ in models]


def _histograms_of(
    models: Sequence[nn.Module], n_bins: int, size: int
) -> list[dict[str, Histogram]]:
    named: list[tuple[int, str, Tensor]] = []
    for place, model in enumerate(models):
        weights = [(n, w) for n, w in model.named_parameters() if w.requires_grad]
        named += [(place, f"parameters/{name}", weight.detach()) for name, weight in weights]
        named += [
            (place, f"gradients/{name}", weight.grad)
            for name, weight in weights
            if weight.grad is not None
        ]
    found: list[dict[str, Histogram]] = [{} for _ in models]
    if named:
        with torch.no_grad():
            made = _fused([tensor for *_, tensor in named], n_bins, size)
        for (place, name, _), histogram in zip(named, made, strict=True):
            if histogram is not None:
                found[place][name] = histogram
    return found


def _fused(tensors: Sequence[Tensor], n_bins: int, size: int) -> list[Histogram | None]:
    """Return the histogram of each tensor; `size` numbers are looked at at a time."""
    n, device = len(tensors), tensors[0].device
    low = torch.full((n,), torch.inf, device=device)
    high = torch.full((n,), -torch.inf, device=device)
    is_one = sum(tensor.numel() for tensor in tensors) <= size
    once = list(_portions(tensors, size)) if is_one else None
    for values, segment in once or _portions(tensors, size):
        is_finite = values.isfinite()
        low.scatter_reduce_(0, segment, values.where(is_finite, torch.inf), "amin")
        high.scatter_reduce_(0, segment, values.where(is_finite, -torch.inf), "amax")
    width = (high - low).clamp_min(torch.finfo(low.dtype).tiny)
    counts = torch.zeros(n * n_bins, dtype=torch.float64, device=device)
    for values, segment in once or _portions(tensors, size):
        is_finite = values.isfinite()
        share = (values.where(is_finite, 0.0) - low[segment]) / width[segment]
        bins = (share * n_bins).nan_to_num(0.0).long().clamp_(0, n_bins - 1)
        counts.scatter_add_(0, segment * n_bins + bins, is_finite.to(torch.float64))
    packed = torch.cat([low.double(), high.double(), counts]).cpu().numpy()  # the one wait
    lows, highs = packed[:n], packed[n : 2 * n]
    table = packed[2 * n :].reshape(n, n_bins).astype(np.int64)
    return [
        _histogram(table[row], lows[row], highs[row], n_bins) if np.isfinite(lows[row]) else None
        for row in range(n)
    ]


def _portions(tensors: Sequence[Tensor], size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield numbers of tensors, `size` at most, and of which tensor each is, both (m,)."""
    pieces: list[tuple[int, Tensor]] = []
    left = size
    for row, tensor in enumerate(tensors):
        for piece in tensor.reshape(-1).split(size):
            if len(piece) > left:
                yield _joined(pieces)
                pieces, left = [], size
            pieces.append((row, piece))
            left -= len(piece)
    yield _joined(pieces)


def _joined(pieces: Sequence[tuple[int, Tensor]]) -> tuple[Tensor, Tensor]:
    values = torch.cat([piece.float() for _, piece in pieces])
    table = torch.tensor([(row, len(piece)) for row, piece in pieces])
    rows, sizes = table.to(values.device, non_blocking=True).unbind(1)
    return values, torch.repeat_interleave(rows, sizes, output_size=len(values))


def _histogram(counts: NDArray[np.int64], low: float, high: float, n_bins: int) -> Histogram:
    if low == high:  # as wandb.watch: all values are equal, one bin says so
        return Histogram(counts.sum(keepdims=True), np.array([low, high]))
    return Histogram(counts, np.linspace(low, high, n_bins + 1))
