"""Data in memory, split once and for all into train, validation and test; the images' data sets.

The validation rows are carved from the training rows by a fixed seed, the same for every run, so
that a sweep compares like with like; the test rows are only touched at the end of a run.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sweepd.errors import DataError
from sweepd.names import DATASETS
from sweepd.registry import Registry
from sweepd_trainer import idx

__all__ = [
    "Data",
    "DataSpec",
    "Rows",
    "Source",
    "digits",
    "fashion_mnist",
    "load",
    "mnist",
    "split",
]

#: One training row in six is kept for validation, drawn by this seed whatever the run's seed is.
VALIDATION_SHARE = 6
SPLIT_SEED = 20_240_501


@dataclass(frozen=True)
class DataSpec:
    """What a model and its exported file must know of a data set of images."""

    name: str
    classes: tuple[str, ...]
    shape: tuple[int, int, int]  # channels, height, width
    scale: float  # the largest pixel value
    mean: tuple[float, ...]  # of pixels divided by `scale`, one for each channel
    std: tuple[float, ...]


@dataclass(frozen=True)
class Rows:
    """Inputs and targets, first axis the rows. Images are uint8 (n, channels, height, width)."""

    inputs: Tensor
    targets: Tensor

    def __post_init__(self) -> None:
        """Refuse what does not go together.

        Raises:
            DataError: they are no tensors, there are no rows, or not one target for each input.
        """
        if not (isinstance(self.inputs, Tensor) and isinstance(self.targets, Tensor)):
            kinds = f"{type(self.inputs).__name__} and {type(self.targets).__name__}"
            raise DataError(f"inputs and targets must be tensors, not {kinds}")
        if self.inputs.ndim == 0 or self.targets.ndim == 0 or not len(self.inputs):
            raise DataError("data must have at least one row")
        if len(self.inputs) != len(self.targets):
            n_inputs, n_targets = len(self.inputs), len(self.targets)
            raise DataError(f"there are {n_inputs} inputs, but {n_targets} targets")

    def __len__(self) -> int:
        return len(self.targets)

    def take(self, index: Tensor) -> "Rows":
        """Return the rows at `index`, in its order."""
        return Rows(self.inputs[index], self.targets[index])

    def to(self, device: torch.device) -> "Rows":
        """Return the same on `device`."""
        return Rows(self.inputs.to(device), self.targets.to(device))


@dataclass(frozen=True)
class Source:
    """A data set of images as it is published: its training part and its test part."""

    spec: DataSpec
    train: Rows
    test: Rows


@dataclass(frozen=True)
class Data:
    """What a run trains on, chooses by, and is judged on once, at its end.

    Args:
        train: the rows that are learnt from.
        validation: those that decide which epoch is the best.
        test: those that are touched once, at the end; None if there are none.
        spec: of images; None for anything else.
    """

    train: Rows
    validation: Rows
    test: Rows | None = None
    spec: DataSpec | None = None

    def to(self, device: torch.device) -> "Data":
        """Return the same with every row on `device`."""
        parts = {name: getattr(self, name) for name in ("train", "validation", "test")}
        return replace(self, **{name: part and part.to(device) for name, part in parts.items()})


def split(train: Rows, test: Rows | None = None, *, spec: DataSpec | None = None) -> Data:
    """Return data with one training row in six, always the same ones, kept for validation."""
    if len(train) < 2:
        raise DataError("data must have at least two training rows, one of them for validation")
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(SPLIT_SEED))
    n_validation = max(1, len(train) // VALIDATION_SHARE)
    return Data(
        train=train.take(order[n_validation:].sort().values),
        validation=train.take(order[:n_validation].sort().values),
        test=test,
        spec=spec,
    )


def load(name: str, *, every: int = 1) -> Data:
    """Load a data set of images and split it.

    Args:
        name: a row of `DATASETS`, `npz:PATH`, or `folder:PATH`.
        every: keep each n-th training image; the test images are always whole.

    Raises:
        DataError: the data set is missing or damaged, in words.
        UnknownName: there is no such data set.
    """
    form, _, path = name.partition(":")
    if path:
        from sweepd_trainer import files

        source = files.FORMS[form](path)
    else:
        rows: Callable[[], Source] = Registry("dataset", DATASETS).load(name)
        source = rows()
    train = Rows(source.train.inputs[::every], source.train.targets[::every])
    return split(train, source.test, spec=source.spec)


def digits() -> Source:
    """Return scikit-learn's handwritten digits: 1,797 images of 8x8, a fifth of them for testing.

    The file is read straight from the installed package: importing scikit-learn takes seconds.

    Raises:
        DataError: scikit-learn is not installed.
    """
    table = idx.read_digits()
    order = np.random.default_rng(SPLIT_SEED).permutation(len(table))
    n_test = len(table) // 5
    pixels, labels = table[:, :-1].reshape(-1, 8, 8), table[:, -1]
    spec = DataSpec("digits", tuple("0123456789"), (1, 8, 8), 16.0, (0.3053,), (0.3760,))
    return Source(
        spec,
        train=_rows(pixels[order[n_test:]], labels[order[n_test:]]),
        test=_rows(pixels[order[:n_test]], labels[order[:n_test]]),
    )


def mnist() -> Source:
    """Return MNIST: 60,000 training and 10,000 test images of handwritten digits, 28x28.

    Raises:
        DataError: the files are missing and cannot be downloaded, or are damaged.
    """
    spec = DataSpec("mnist", tuple("0123456789"), (1, 28, 28), 255.0, (0.1307,), (0.3081,))
    return _idx_source(spec, folder="MNIST")


def fashion_mnist() -> Source:
    """Return Fashion-MNIST: 60,000 training and 10,000 test images of clothes, 28x28.

    Raises:
        DataError: the files are missing and cannot be downloaded, or are damaged.
    """
    classes = (
        *("t-shirt/top", "trouser", "pullover", "dress", "coat"),
        *("sandal", "shirt", "sneaker", "bag", "ankle boot"),
    )
    spec = DataSpec("fashion_mnist", classes, (1, 28, 28), 255.0, (0.2860,), (0.3530,))
    return _idx_source(spec, folder="FashionMNIST")


def _idx_source(spec: DataSpec, *, folder: str) -> Source:
    parts = idx.read_folder(spec.name, folder, n_classes=len(spec.classes))
    return Source(spec, train=_rows(*parts.train), test=_rows(*parts.test))


def _rows(pixels: NDArray[np.uint8], labels: NDArray[np.uint8]) -> Rows:
    return Rows(
        torch.from_numpy(pixels.copy()).unsqueeze(1),
        torch.from_numpy(labels.astype(np.int64)),
    )
