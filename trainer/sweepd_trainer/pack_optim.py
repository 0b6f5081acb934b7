"""Optimisers of several models at once, one row of numbers for each.

K   models;  P   weights of one model, all its tensors laid end to end
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sweepd_trainer.config import Training
from sweepd_trainer.optim import BETA2

__all__ = ["RULES", "PackedOptimizer", "Rule"]

_EPS = 1e-8
_ALPHA = 0.99


class PackedOptimizer:
    """Takes, for each of K models, the steps that torch's optimiser of that model would take.

    Args:
        weights: shape (K, P); they are changed in place.
        configs: of the models; all name one optimiser.
        kept: what that keeps of each weight, by torch's names, each (K, P).
        n_steps: steps that were taken before, shape (K,).
    """

    def __init__(
        self,
        weights: Tensor,
        configs: Sequence[Training],
        *,
        kept: Mapping[str, Tensor],
        n_steps: Tensor,
    ) -> None:
        self._weights, self._kept, self._n_steps = weights, kept, n_steps
        self._take = RULES[configs[0].optimizer].take
        self.nesterov = configs[0].nesterov
        self.lr = self._column([config.learning_rate for config in configs])
        self.momentum = self._column([config.momentum for config in configs])
        self.decay = self._column([config.weight_decay for config in configs])

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def step(self, gradients: Tensor) -> None:
        """Take one step of every model with gradients of shape (K, P)."""
        self._n_steps += 1
        self._take(self, self._weights, gradients, **self._kept)

    def correction(self, beta: Tensor | float) -> Tensor:
        """Return 1 - betaᵗ for the t steps of each model, shape (K, 1)."""
        return 1 - beta ** self._n_steps.to(self._weights.dtype)[:, None]

    def _column(self, values: Sequence[float]) -> Tensor:
        return self._weights.new_tensor(values)[:, None]


@dataclass(frozen=True)
class Rule:
    """How an optimiser steps, and what it keeps of each weight, by torch's names."""

    take: Callable[..., None]
    kept: tuple[str, ...]
    counts: bool = True  # whether torch keeps the number of steps


def _sgd(o: PackedOptimizer, w: Tensor, g: Tensor, *, momentum_buffer: Tensor) -> None:
    g = torch.addcmul(g, o.decay, w)
    momentum_buffer.mul_(o.momentum).add_(g)
    update = torch.addcmul(g, o.momentum, momentum_buffer) if o.nesterov else momentum_buffer
    w.addcmul_(o.lr, update, value=-1)


def _adam(o: PackedOptimizer, w: Tensor, g: Tensor, *, exp_avg: Tensor, exp_avg_sq: Tensor) -> None:
    _move(o, w, torch.addcmul(g, o.decay, w), exp_avg, exp_avg_sq)


def _adamw(
    o: PackedOptimizer, w: Tensor, g: Tensor, *, exp_avg: Tensor, exp_avg_sq: Tensor
) -> None:
    w.mul_(1 - o.lr * o.decay)
    _move(o, w, g, exp_avg, exp_avg_sq)


def _move(o: PackedOptimizer, w: Tensor, g: Tensor, mean: Tensor, square: Tensor) -> None:
    """Move weights along the mean of gradients over the root of their mean square."""
    mean.lerp_(g, 1 - o.momentum)
    square.mul_(BETA2).addcmul_(g, g, value=1 - BETA2)
    root = (square.sqrt() / o.correction(BETA2).sqrt()).add_(_EPS)
    w.sub_(o.lr / o.correction(o.momentum) * mean / root)


def _rmsprop(
    o: PackedOptimizer, w: Tensor, g: Tensor, *, square_avg: Tensor, momentum_buffer: Tensor
) -> None:
    g = torch.addcmul(g, o.decay, w)
    square_avg.mul_(_ALPHA).addcmul_(g, g, value=1 - _ALPHA)
    momentum_buffer.mul_(o.momentum).addcdiv_(g, square_avg.sqrt().add_(_EPS))
    w.addcmul_(o.lr, momentum_buffer, value=-1)


#: By the name in a config. What is absent cannot be packed.
RULES: Mapping[str, Rule] = {
    "adam": Rule(_adam, ("exp_avg", "exp_avg_sq")),
    "adamw": Rule(_adamw, ("exp_avg", "exp_avg_sq")),
    "rmsprop": Rule(_rmsprop, ("square_avg", "momentum_buffer")),
    "sgd": Rule(_sgd, ("momentum_buffer",), counts=False),
}
