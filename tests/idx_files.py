"""Tiny data sets in the layout and format of MNIST, for tests without a network."""

import gzip
from pathlib import Path

import numpy as np


def idx_bytes(items: np.ndarray) -> bytes:
    header = bytes([0, 0, 8, items.ndim]) + np.array(items.shape, ">u4").tobytes()
    return header + items.astype(np.uint8).tobytes()


def write_idx_folder(
    root: Path, folder: str, *, packed: bool, n_train: int = 60, n_test: int = 20
) -> Path:
    """Write four files under ROOT/FOLDER/raw; the label of an image is its brightest tenth."""
    raw = root / folder / "raw"
    raw.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for part, count in (("train", n_train), ("t10k", n_test)):
        labels = np.arange(count) % 10
        images = rng.integers(0, 60, (count, 28, 28))
        for image, label in zip(images, labels, strict=True):
            image[2 * label : 2 * label + 4, 4:24] += 190
        for name, items in (("images-idx3", images), ("labels-idx1", labels)):
            content = idx_bytes(items)
            path = raw / f"{part}-{name}-ubyte{'.gz' if packed else ''}"
            path.write_bytes(gzip.compress(content) if packed else content)
    return raw
