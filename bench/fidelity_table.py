"""Train every configuration of a small net on the digits once, and record its learning curve.

    python bench/fidelity_table.py            # bench/results/digits_curves.npz, resumable
    python bench/fidelity_table.py --check    # trains the last of its nets again and compares

The space is a grid, so that a search over it is a search of a finite space: what a method suggests
is a row of the table, and nothing need be rounded to one. Each row is the validation loss after
each of 27 epochs; a net that diverged has NaN from there on.

Nets of one shape and batch size are trained together, as one batched product:

M   nets of a group;  B   images of a batch;  w   width
"""

import argparse
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import groupby, pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from curves.table import TABLE, Grid, Table, save
from sweepd_trainer.data import Data, Images, load

SEED = 20_261_128
N_EPOCHS = 27
#: The grid, parameters in the order of the table's axes. Numbers in order are ordinal to a search.
GRID: Grid = {
    "batch": [16, 64, 256],
    "width": [16, 32, 64],
    "depth": [1, 3],
    "rate_decay": [1.0, 0.95, 0.85],  # the rate is multiplied by it after each epoch
    "optimizer": ["sgd", "momentum", "adam"],
    "learning_rate": [float(f"{10 ** (k / 3 - 11 / 3):.2g}") for k in range(12)],  # to 1.0
    "weight_decay": [1e-3, 1e-1, 1.0],
}
#: Parameters that the nets of a group share.
_SHAPE = ("batch", "width", "depth", "rate_decay")
_MOMENTUM, _BETA2, _EPSILON = 0.9, 0.999, 1e-8
#: A loss beyond this is as good as none.
_MOST = 1e4


def rows() -> list[dict[str, Any]]:
    """Return the configurations in the order of the table's rows."""
    return [dict(zip(GRID, values, strict=True)) for values in product(*GRID.values())]


class Group:
    """The nets of one shape: weights (M, in, out) and biases (M, 1, out) in turn, with their rates.

    Args:
        members: their configurations, those of one optimizer next to each other.
        noise: source of the first weights, of variance 2 / inputs.
    """

    def __init__(self, members: Sequence[dict[str, Any]], noise: torch.Generator) -> None:
        self.weights: list[Tensor] = []
        for n_in, n_out in pairwise([64, *[members[0]["width"]] * members[0]["depth"], 10]):
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

    def logits(self, images: Tensor) -> Tensor:
        """Return the logits of every net for images (B, 64): shape (M, B, 10)."""
        hidden = images.expand(len(self.rate), *images.shape)
        *inner, last = zip(self.weights[::2], self.weights[1::2], strict=True)
        for weight, bias in inner:
            hidden = torch.baddbmm(bias, hidden, weight).relu()
        return torch.baddbmm(last[1], hidden, last[0])

    def step(self, number: int) -> None:
        """Move every net by its own optimizer; weight decay is decoupled from all of them."""
        keep = (1.0 - self.rate * self.decay).clamp(min=0.0)
        for weight, velocity, square in zip(self.weights, self.velocity, self.square, strict=True):
            assert weight.grad is not None
            weight.data.mul_(keep)
            for name, part in self.parts.items():
                move = _move(name, weight.grad[part], velocity[part], square[part], number)
                weight.data[part].sub_(self.rate[part] * move)
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


def train(members: Sequence[dict[str, Any]], data: Data, seed: Sequence[int]) -> np.ndarray:
    """Return the validation loss of each net after each epoch, shape (M, 27)."""
    noise = torch.Generator().manual_seed(int(np.random.SeedSequence(seed).generate_state(1)[0]))
    group, batch = Group(members, noise), int(members[0]["batch"])
    images, labels = _flat(data.train, data)
    held_images, held_labels = _flat(data.validation, data)
    curves, number = [], 0
    for _ in range(N_EPOCHS):
        order = torch.randperm(len(images), generator=noise)
        for taken in order[: len(order) // batch * batch].split(batch):
            number += 1
            losses(group.logits(images[taken]), labels[taken]).sum().backward()
            group.step(number)
        group.rate *= members[0]["rate_decay"]
        with torch.no_grad():
            curves.append(losses(group.logits(held_images), held_labels))
    table = torch.stack(curves, dim=1).double().numpy()
    lost = ~(table < _MOST)  # NaN too
    return np.where(np.maximum.accumulate(lost, axis=1), np.nan, table)


def _flat(images: Images, data: Data) -> tuple[Tensor, Tensor]:
    scaled = images.images.float().reshape(len(images), -1) / data.spec.scale
    return (scaled - data.spec.mean) / data.spec.std, images.labels


def groups() -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """Yield the nets of each shape, in the order of the rows, with the group's number."""
    by_shape = groupby(rows(), key=lambda row: [row[name] for name in _SHAPE])
    for number, (_, members) in enumerate(by_shape):
        yield number, list(members)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the table, or check it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--table", type=Path, default=TABLE)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--backwards", action="store_true", help="from the end: a second process")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    return (
        check(options.table) if options.check else make(options.table, backwards=options.backwards)
    )


def make(path: Path, *, backwards: bool) -> int:
    """Train what is not in the folder of parts yet; write the table once all is."""
    parts = path.with_suffix(".parts")
    parts.mkdir(parents=True, exist_ok=True)
    data, started, all_groups = load("digits"), time.process_time(), list(groups())
    for number, members in reversed(all_groups) if backwards else all_groups:
        part = parts / f"{number}.npy"
        if not part.exists():
            np.save(part, train(members, data, [SEED, number]))
            print(f"part {number}, {time.process_time() - started:.0f} s of CPU", flush=True)
    table = np.concatenate([np.load(parts / f"{number}.npy") for number, _ in all_groups])
    save(path, table, grid=GRID, seed=SEED)
    shutil.rmtree(parts, ignore_errors=True)
    size, n_lost = path.stat().st_size, int(np.isnan(table[:, -1]).sum())
    print(f"{path}: {len(table)} nets, {n_lost} of them lost, {size} bytes")
    return 0


def check(path: Path) -> int:
    """Return 0 if the last group's nets come out as recorded, 1 if not."""
    number, members = list(groups())[-1]
    found = train(members, load("digits"), [SEED, number])
    same = np.isclose(Table(path).loss[-len(found) :], found, rtol=6e-3, equal_nan=True).mean()
    print(f"{100 * same:.1f} % of the last {len(found)} nets' losses are as recorded")
    return 0 if same > 0.95 else 1


if __name__ == "__main__":
    sys.exit(main())
