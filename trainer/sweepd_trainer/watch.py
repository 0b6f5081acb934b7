"""Histograms of weights and gradients under wandb.watch's own keys, at a fraction of its cost.

wandb.watch reads every tensor back several times, each a wait for the device. Here all weights and
gradients are binned together and one small tensor is read back: one wait for all.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

__all__ = ["Histogram", "Watcher"]


@dataclass(frozen=True)
class Histogram:
    """Counts, shape (bins,), and edges, shape (bins + 1,), as `wandb.Histogram(np_histogram=…)`."""

    counts: NDArray[np.int64]
    edges: NDArray[np.float64]


class Watcher:
    """Takes histograms of a model's weights and of the gradients that its last step left."""

    def __init__(self, model: nn.Module, *, n_bins: int = 64) -> None:
        self._weights = [w for w in model.named_parameters() if w[1].requires_grad]
        self._n_bins = n_bins

    def histograms(self) -> dict[str, Histogram]:
        """Return `parameters/<name>` and, where a gradient is there, `gradients/<name>`.

        Bins are even between a tensor's smallest and largest finite value; what is not finite is
        left out, as wandb.watch does. A tensor without a finite value has no histogram.
        """
        named = [(f"parameters/{name}", weight.detach()) for name, weight in self._weights]
        named += [
            (f"gradients/{name}", weight.grad)
            for name, weight in self._weights
            if weight.grad is not None
        ]
        if not named:
            return {}
        with torch.no_grad():
            return _fused(
                [name for name, _ in named], [tensor for _, tensor in named], self._n_bins
            )


def _fused(names: list[str], tensors: list[Tensor], n_bins: int) -> dict[str, Histogram]:
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
    return {
        name: _histogram(table[row], lows[row], highs[row], n_bins)
        for row, name in enumerate(names)
        if np.isfinite(lows[row])
    }


def _histogram(counts: NDArray[np.int64], low: float, high: float, n_bins: int) -> Histogram:
    if low == high:  # as wandb.watch: all values are equal, one bin says so
        return Histogram(counts.sum(keepdims=True), np.array([low, high]))
    return Histogram(counts, np.linspace(low, high, n_bins + 1))
