"""Data sets: uint8 images in memory, split once and for all into train, validation and test.

The validation images are carved from the training images by a fixed seed, the same for every run,
so that a sweep compares like with like; the test images are only touched at the end of a run.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sweepd.names import DATASETS
from sweepd.registry import Registry
from sweepd_trainer import idx

__all__ = ["Data", "DataSpec", "Images", "Source", "digits", "fashion_mnist", "load", "mnist"]

#: One training image in six is kept for validation, drawn by this seed whatever the run's seed is.
VALIDATION_SHARE = 6
SPLIT_SEED = 20_240_501


@dataclass(frozen=True)
class DataSpec:
    """What a model and its exported file must know of a data set."""

    name: str
    classes: tuple[str, ...]
    shape: tuple[int, int, int]  # channels, height, width
    scale: float  # the largest pixel value
    mean: float  # of pixels divided by `scale`
    std: float


@dataclass(frozen=True)
class Images:
    """Images, uint8 of shape (n, channels, height, width), and labels, int64 of shape (n,)."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, index: Tensor) -> "Images":
        """Return the images at `index`, in its order."""
        return Images(self.images[index], self.labels[index])

    def to(self, device: torch.device) -> "Images":
        """Return the same on `device`."""
        return Images(self.images.to(device), self.labels.to(device))


@dataclass(frozen=True)
class Source:
    """A data set as it is published: its training part and its test part."""

    spec: DataSpec
    train: Images
    test: Images


@dataclass(frozen=True)
class Data:
    """A data set as a run uses it."""

    spec: DataSpec
    train: Images
    validation: Images
    test: Images

    def to(self, device: torch.device) -> "Data":
        """Return the same with every image on `device`."""
        parts = {part: getattr(self, part).to(device) for part in ("train", "validation", "test")}
        return replace(self, **parts)


def load(name: str, *, every: int = 1) -> Data:
    """Load a data set and split it.

    Args:
        name: a row of `DATASETS`.
        every: keep each n-th training image; the test images are always whole.

    Raises:
        DataError: the data set is missing or damaged, in words.
        UnknownName: there is no such data set.
    """
    rows: Callable[[], Source] = Registry("dataset", DATASETS).load(name)
    source = rows()
    train = Images(source.train.images[::every], source.train.labels[::every])
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(SPLIT_SEED))
    n_validation = max(1, len(train) // VALIDATION_SHARE)
    return Data(
        source.spec,
        train=train.take(order[n_validation:].sort().values),
        validation=train.take(order[:n_validation].sort().values),
        test=source.test,
    )


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
    spec = DataSpec("digits", tuple("0123456789"), (1, 8, 8), 16.0, 0.3053, 0.3760)
    return Source(
        spec,
        train=_images(pixels[order[n_test:]], labels[order[n_test:]]),
        test=_images(pixels[order[:n_test]], labels[order[:n_test]]),
    )


def mnist() -> Source:
    """Return MNIST: 60,000 training and 10,000 test images of handwritten digits, 28x28.

    Raises:
        DataError: the files are missing and cannot be downloaded, or are damaged.
    """
    spec = DataSpec("mnist", tuple("0123456789"), (1, 28, 28), 255.0, 0.1307, 0.3081)
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
    spec = DataSpec("fashion_mnist", classes, (1, 28, 28), 255.0, 0.2860, 0.3530)
    return _idx_source(spec, folder="FashionMNIST")


def _idx_source(spec: DataSpec, *, folder: str) -> Source:
    parts = idx.read_folder(spec.name, folder, n_classes=len(spec.classes))
    return Source(spec, train=_images(*parts.train), test=_images(*parts.test))


def _images(pixels: NDArray[np.uint8], labels: NDArray[np.uint8]) -> Images:
    return Images(
        torch.from_numpy(pixels.copy()).unsqueeze(1),
        torch.from_numpy(labels.astype(np.int64)),
    )
