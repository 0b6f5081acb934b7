"""What the tables are of: the grid of a small net's parameters, and the images it learns."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby, product
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from curves.table import N_EPOCHS, Grid
from sweepd_trainer.data import DataSpec, Rows, load

__all__ = ["TASKS", "Task", "Taught", "rate_factor"]

#: What the learning rate is multiplied by once so large a share of the training is over.
_SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": lambda share: 1.0,
    "step": lambda share: 1.0 if share < 2 / 3 else 0.1,
    "cosine": lambda share: 0.5 + 0.5 * math.cos(math.pi * share),
}


@dataclass(frozen=True)
class Taught:
    """Images as a net sees them, (n, height, width), and their labels, (n,)."""

    images: Tensor
    labels: Tensor

    def shifted(self) -> Tensor:
        """Return the images moved by up to a pixel, mirrored or not: (18, n, height, width)."""
        _, height, width = self.images.shape
        wide = functional.pad(self.images[None], (1, 1, 1, 1), mode="replicate")[0]
        moved = [wide[:, y : y + height, x : x + width] for y in range(3) for x in range(3)]
        return torch.stack([*moved, *(image.flip(2) for image in moved)])


@dataclass(frozen=True)
class Task:
    """A table to be: every net of a grid, on some images.

    Args:
        dataset: the trainer's name for the images.
        grid: parameters in the order of the table's axes. Numbers are ordinal to a search.
        shared: how many of them, from the first, the nets that are trained together share.
        patch: side of the square, in pixels, that the first layer sees at once.
        seed: of all weights and orders.
        every: keep each n-th image of the data set.
        pool: so many pixels, squared, become one.
        stride: pixels from one square to the next.
        precision: steps of the file to a factor e in the loss.
    """

    dataset: str
    grid: Grid
    shared: int
    patch: int
    seed: int
    every: int = 1
    pool: int = 1
    stride: int = 1
    precision: int = 200

    def rows(self) -> list[dict[str, Any]]:
        """Return the configurations in the order of the table's rows."""
        return [
            dict(zip(self.grid, values, strict=True)) for values in product(*self.grid.values())
        ]

    def groups(self) -> Iterator[tuple[int, list[dict[str, Any]]]]:
        """Yield the nets that are trained together, in the order of the rows, with a number."""
        by_shape = groupby(self.rows(), key=lambda row: list(row.values())[: self.shared])
        for number, (_, members) in enumerate(by_shape):
            yield number, list(members)

    def images(self) -> tuple[Taught, Taught]:
        """Return what is learnt, and what is held for validation.

        Raises:
            DataError: the data are not there; in words.
        """
        data = load(self.dataset, every=self.every)
        return self._seen(data.train, data.spec), self._seen(data.validation, data.spec)

    def _seen(self, part: Rows, spec: DataSpec) -> Taught:
        scaled = (part.inputs.float() / spec.scale - spec.mean[0]) / spec.std[0]
        return Taught(functional.avg_pool2d(scaled, self.pool)[:, 0], part.targets)

    def patches(self, images: Tensor) -> Tensor:
        """Return the squares of images (B, height, width), one after another: (B, P, K)."""
        squares = images.unfold(1, self.patch, self.stride).unfold(2, self.patch, self.stride)
        return squares.reshape(len(images), -1, self.patch**2)


def rate_factor(config: dict[str, Any], epoch: int) -> float:
    """Return what the learning rate is multiplied by in an epoch, counted from 0."""
    schedule = _SCHEDULES[config.get("schedule", "constant")]
    return float(schedule(epoch / N_EPOCHS) * config.get("rate_decay", 1.0) ** epoch)


TASKS = {
    "digits": Task(
        "digits",
        {
            "batch": [16, 64, 256],
            "width": [16, 32, 64],
            "depth": [1, 3],
            "rate_decay": [1.0, 0.95, 0.85],  # the rate is multiplied by it after each epoch
            "optimizer": ["sgd", "momentum", "adam"],
            "learning_rate": [float(f"{10 ** (k / 3 - 11 / 3):.2g}") for k in range(12)],  # to 1.0
            "weight_decay": [1e-3, 1e-1, 1.0],
        },
        shared=4,
        patch=8,  # all of the image
        seed=20_261_128,
    ),
    "fashion": Task(
        "fashion_mnist",
        {
            "batch": [32, 128],
            "width": [6, 12, 24],  # channels
            "augment": [False, True],
            "schedule": ["constant", "step", "cosine"],
            "dropout": [0.0, 0.2, 0.5],
            "optimizer": ["momentum", "adam"],
            "learning_rate": [float(f"{10 ** (k / 2 - 4):.2g}") for k in range(8)],  # to 0.32
            "weight_decay": [1e-3, 3e-2, 3e-1],
        },
        shared=5,
        patch=6,
        seed=20_261_129,
        every=30,
        pool=2,
        stride=4,
        precision=2_000,
    ),
}
