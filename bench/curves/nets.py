"""Trains many small nets of one shape and batch size at once, as one batched product.

The first layer sees squares of the image one by one, with the same weights, as a convolution does;
one square as large as the image makes it an ordinary layer.

M   nets of a group;  B   images of a batch;  P   squares of an image;  K   pixels of a square
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from curves.table import N_EPOCHS
from curves.tasks import Task, Taught, rate_factor

__all__ = ["Group", "losses", "train"]

_N_CLASSES = 10
_MOMENTUM, _BETA2, _EPSILON = 0.9, 0.999, 1e-8
#: A loss beyond this is as good as none.
_MOST = 1e4


class Group:
    """The nets of one shape: weights (M, in, out) and biases (M, 1, out) in turn, with their rates.

    Args:
        members: their configurations, those of one optimizer next to each other.
        squares: P and K.
        noise: source of the first weights, of variance 2 / inputs.
    """

    def __init__(
        self, members: Sequence[dict[str, Any]], squares: tuple[int, int], noise: torch.Generator
    ) -> None:
        width, depth = members[0]["width"], members[0].get("depth", 1)
        inputs = [squares[1], squares[0] * width, *[width] * (depth - 1)]
        self.weights: list[Tensor] = []
        for n_in, n_out in zip(inputs, [width] * depth + [_N_CLASSES], strict=True):
            drawn = torch.randn(len(members), n_in, n_out, generator=noise)
            self.weights += [drawn * (2.0 / n_in) ** 0.5, torch.zeros(len(members), 1, n_out)]
        for weight in self.weights:
            weight.requires_grad_()
        self.velocity = [torch.zeros_like(weight) for weight in self.weights]
        self.square = [torch.zeros_like(weight) for weight in self.weights]
        self.rate = torch.tensor([one["learning_rate"] for one in members])[:, None, None]
        self.decay = torch.tensor([one["weight_decay"] for one in members])[:, None, None]
        own = [one["optimizer"] for one in members]
        self.parts = {
            name: slice(own.index(name), own.index(name) + own.count(name)) for name in own
        }

    @property
    def n_features(self) -> int:
        """Return the inputs of the last layer."""
        return self.weights[-2].shape[1]

    def logits(self, squares: Tensor, kept: Tensor | None = None) -> Tensor:
        """Return the logits of every net for images (B, P, K): shape (M, B, 10).

        The last layer's inputs are multiplied by `kept`, (B, n_features): that is dropout.
        """
        m, b = len(self.rate), len(squares)
        hidden = squares.flatten(0, 1).expand(m, -1, -1)
        *inner, last = zip(self.weights[::2], self.weights[1::2], strict=True)
        for weight, bias in inner:
            hidden = torch.baddbmm(bias, hidden, weight).relu().reshape(m, b, -1)
        return torch.baddbmm(last[1], hidden if kept is None else hidden * kept, last[0])

    def step(self, number: int, factor: float) -> None:
        """Move every net by its own optimizer, its rate times a factor.

        Weight decay is decoupled from all of the optimizers.
        """
        rate = self.rate * factor
        keep = (1.0 - rate * self.decay).clamp(min=0.0)
        for weight, velocity, square in zip(self.weights, self.velocity, self.square, strict=True):
            assert weight.grad is not None
            weight.data.mul_(keep)
            for name, part in self.parts.items():
                move = _move(name, weight.grad[part], velocity[part], square[part], number)
                weight.data[part].sub_(rate[part] * move)
            weight.grad = None


def _move(name: str, grad: Tensor, velocity: Tensor, square: Tensor, number: int) -> Tensor:
    """Return what an optimizer takes from the weights at its step `number`, at rate 1."""
    if name == "sgd":
        return grad
    if name == "momentum":
        return velocity.mul_(_MOMENTUM).add_(grad)
    velocity.lerp_(grad, 1.0 - _MOMENTUM)
    square.mul_(_BETA2).addcmul_(grad, grad, value=1.0 - _BETA2)
    size = (square / (1.0 - _BETA2**number)).sqrt_().add_(_EPSILON)
    return velocity / size / (1.0 - _MOMENTUM**number)


def losses(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the mean cross entropy of each net, shape (M,)."""
    m, b, classes = logits.shape
    each = functional.cross_entropy(
        logits.reshape(m * b, classes), labels.repeat(m), reduction="none"
    )
    return each.reshape(m, b).mean(dim=1)


def train(
    task: Task, members: Sequence[dict[str, Any]], images: tuple[Taught, Taught], number: int
) -> np.ndarray:
    """Return the validation loss of each net of the group `number` after each epoch, (M, 27)."""
    seed = int(np.random.SeedSequence([task.seed, number]).generate_state(1)[0])
    noise, (shown, held) = torch.Generator().manual_seed(seed), images
    config, held_squares = members[0], task.patches(held.images)
    group = Group(members, (held_squares.shape[1], held_squares.shape[2]), noise)
    kinds = shown.shifted() if config.get("augment") else shown.images[None]
    batch, dropout, n_steps, curves = config["batch"], config.get("dropout", 0.0), 0, []
    for epoch in range(N_EPOCHS):
        factor = rate_factor(config, epoch)
        order = torch.randperm(len(shown.labels), generator=noise)
        for taken in order[: len(order) // batch * batch].split(batch):
            kind: int | Tensor = 0
            if len(kinds) > 1:
                kind = torch.randint(len(kinds), (batch,), generator=noise)
            kept = None
            if dropout:  # the same inputs in every net, drawn anew for every image
                drawn = torch.rand(batch, group.n_features, generator=noise)
                kept = (drawn >= dropout) / (1.0 - dropout)
            n_steps += 1
            logits = group.logits(task.patches(kinds[kind, taken]), kept)
            losses(logits, shown.labels[taken]).sum().backward()
            group.step(n_steps, factor)
        with torch.no_grad():
            curves.append(losses(group.logits(held_squares), held.labels))
    table = torch.stack(curves, dim=1).double().numpy()
    lost = ~(table < _MOST)  # NaN too
    return np.where(np.maximum.accumulate(lost, axis=1), np.nan, table)
