"""Tiny data sets in the formats that real ones come in, for tests without a network."""

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


def write_npz(path: Path, *, n_train: int = 60, n_test: int = 20) -> None:
    """Write an .npz file of 32x32 colour images; the label of an image is its brightest tenth."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    arrays: dict[str, np.ndarray] = {"classes": np.array([f"kind {k}" for k in range(10)])}
    for part, count in (("train", n_train), ("test", n_test)):
        labels = np.arange(count) % 10
        images = rng.integers(0, 60, (count, 32, 32, 3)).astype(np.uint8)
        for image, label in zip(images, labels, strict=True):
            image[3 * label : 3 * label + 3] += 190
        arrays |= {f"x_{part}": images, f"y_{part}": labels}
    np.savez(path, **arrays)
