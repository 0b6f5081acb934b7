"""Histograms of weights and gradients under wandb.watch's own keys, at a fraction of its cost.

wandb.watch reads every tensor back several times, each a wait for the device. Here all weights and
gradients are binned together and one small tensor is read back: one wait for all.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

__all__ = ["Histogram", "Watcher", "histograms_of"]


@dataclass(frozen=True)
class Histogram:
    """Counts, shape (bins,), and edges, shape (bins + 1,), as `wandb.Histogram(np_histogram=…)`."""

    counts: NDArray[np.int64]
    edges: NDArray[np.float64]


class Watcher:
    """Takes histograms of a model's weights and of the gradients that its last step left."""

    def __init__(self, model: nn.Module, *, n_bins: int = 64) -> None:
        self._model, self._n_bins = model, n_bins

    def histograms(self) -> dict[str, Histogram]:
        """Return `parameters/<name>` and, where a gradient is there, `gradients/<name>`.

        Bins are even between a tensor's smallest and largest finite value; what is not finite is
        left out, as wandb.watch does. A tensor without a finite value has no histogram.
        """
        return histograms_of([self._model], n_bins=self._n_bins)[0]


def histograms_of(models: Sequence[nn.Module], *, n_bins: int = 64) -> list[dict[str, Histogram]]:
    """Return the histograms of each of several models: one wait for the device for all of them."""
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
            made = _fused([tensor for *_, tensor in named], n_bins)
        for (place, name, _), histogram in zip(named, made, strict=True):
            if histogram is not None:
                found[place][name] = histogram
    return found


def _fused(tensors: Sequence[Tensor], n_bins: int) -> list[Histogram | None]:
    device = tensors[0].device
    values = torch.cat([tensor.reshape(-1).float() for tensor in tensors])
    sizes = torch.tensor([tensor.numel() for tensor in tensors], device=device)
    segment = torch.repeat_interleave(
        torch.arange(len(tensors), device=device), sizes, output_size=len(values)
    )
    is_finite = values.isfinite()
    low = values.new_full((len(tensors),), torch.inf).scatter_reduce_(
        0, segment, values.where(is_finite, torch.inf), "amin"
    )
    high = values.new_full((len(tensors),), -torch.inf).scatter_reduce_(
        0, segment, values.where(is_finite, -torch.inf), "amax"
    )
    width = (high - low).clamp_min(torch.finfo(values.dtype).tiny)
    share = (values.where(is_finite, 0.0) - low[segment]) / width[segment]
    bins = (share * n_bins).nan_to_num(0.0).long().clamp_(0, n_bins - 1)
    counts = torch.zeros(len(tensors) * n_bins, dtype=torch.float64, device=device)
    counts.scatter_add_(0, segment * n_bins + bins, is_finite.to(torch.float64))
    packed = torch.cat([low.double(), high.double(), counts]).cpu().numpy()  # the one wait
    lows, highs = packed[: len(tensors)], packed[len(tensors) : 2 * len(tensors)]
    table = packed[2 * len(tensors) :].reshape(len(tensors), n_bins).astype(np.int64)
    return [
        _histogram(table[row], lows[row], highs[row], n_bins) if np.isfinite(lows[row]) else None
        for row in range(len(tensors))
    ]


def _histogram(counts: NDArray[np.int64], low: float, high: float, n_bins: int) -> Histogram:
    if low == high:  # as wandb.watch: all values are equal, one bin says so
        return Histogram(counts.sum(keepdims=True), np.array([low, high]))
    return Histogram(counts, np.linspace(low, high, n_bins + 1))
