"""Reads data set files: idx as MNIST has it, packed or not, and scikit-learn's digits.

A folder in torchvision's layout holds ROOT/MNIST/raw/train-images-idx3-ubyte, with or without .gz.
It may be on a read-only disk: nothing is written there. Only a data set that is found nowhere is
downloaded, by torchvision, into the user's cache folder, where large files are also kept unpacked.
"""

import gzip
import hashlib
import os
import shutil
import socket
import tempfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sweepd.errors import DataError
from sweepd_trainer.unpacked import unpacked

__all__ = ["Parts", "cache_folder", "read_digits", "read_folder", "read_idx"]

_Bytes = NDArray[np.uint8]

_PARTS = {"train": "train", "test": "t10k"}
_OFFICIAL_SIZES = {"train": 60_000, "test": 10_000}
_DOWNLOAD_TIMEOUT_S = 20.0

#: MD5 of each unpacked file as published. A smaller file, such as a subset, has none to compare.
_MD5: Mapping[str, Mapping[str, str]] = {
    "MNIST": {
        "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
        "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
        "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
        "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
    },
    "FashionMNIST": {
        "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
        "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
        "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
        "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
    },
}


@dataclass(frozen=True)
class Parts:
    """Images of shape (n, height, width) and labels of shape (n,), for training and for testing."""

    train: tuple[_Bytes, _Bytes]
    test: tuple[_Bytes, _Bytes]


def read_folder(name: str, folder: str, *, n_classes: int) -> Parts:
    """Read a data set of the MNIST family from `$SWEEP_DATA` or the cache, downloading if need be.

    Args:
        name: the data set as a definition spells it, for messages.
        folder: its folder in torchvision's layout.
        n_classes: labels are below this.

    Raises:
        DataError: in words: what is missing or damaged, and what to do.
    """
    raw = _find(name, folder)
    if raw is None:
        raw = _download(name, folder)
    read = {part: _read_part(raw, folder, part, n_classes) for part in _PARTS}
    return Parts(train=read["train"], test=read["test"])


def read_idx(path: Path, *, md5: str | None = None, official_size: int = 0) -> _Bytes:
    """Read one idx file of bytes, packed with gzip if its name says so.

    Args:
        path: the file.
        md5: of the unpacked bytes as published; compared if the file claims `official_size` items.
        official_size: items in the published file.

    Raises:
        DataError: the file cannot be read, is cut short or is not what it claims to be.
    """
    try:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    n_axes = content[3] if len(content) >= 4 else 0
    if content[:3] != b"\x00\x00\x08" or not 1 <= n_axes <= 3 or len(content) < 4 + 4 * n_axes:
        raise DataError(f"{path} is damaged: it is not an idx file of bytes")
    shape = tuple(int(n) for n in np.frombuffer(content, ">u4", n_axes, 4))
    wanted = 4 + 4 * n_axes + int(np.prod(shape, dtype=np.int64))
    if len(content) != wanted:
        raise DataError(f"{path} is damaged: it has {len(content)} bytes, its header says {wanted}")
    if md5 and shape[0] == official_size:
        found = hashlib.md5(content, usedforsecurity=False).hexdigest()
        if found != md5:
            raise DataError(f"{path} is damaged: its MD5 is {found}, published is {md5}")
    return np.frombuffer(content, np.uint8, offset=4 + 4 * n_axes).reshape(shape)


def read_digits() -> _Bytes:
    """Return scikit-learn's digits as a table: 64 pixels of 0 to 16 and the label, (1797, 65).

    Raises:
        DataError: scikit-learn is not installed, or its file is not as expected.
    """
    package = find_spec("sklearn")
    if package is None or package.origin is None:
        raise DataError("the data set digits comes with scikit-learn: pip install 'sweepd[train]'")
    path = Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz"
    try:
        with gzip.open(path, "rt") as lines:
            table = np.loadtxt(lines, delimiter=",", dtype=np.uint8)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    if table.ndim != 2 or table.shape[1] != 65:
        raise DataError(f"{path} has the shape {table.shape}, expected (1797, 65)")
    return table


def cache_folder() -> Path:
    """Return the folder that downloaded data sets go to."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "sweepd" / "data"


def _find(name: str, folder: str) -> Path | None:
    """Return the folder that holds all four files, or None.

    Raises:
        DataError: `$SWEEP_DATA` holds some of the files, but not all.
    """
    roots = [cache_folder()]
    if os.environ.get("SWEEP_DATA"):
        roots.insert(0, Path(os.environ["SWEEP_DATA"]))
    names = [stem for part in _PARTS for stem in _stems(part)]
    for root in roots:
        raw = root / folder / "raw"
        missing = [stem for stem in names if _existing(raw, stem) is None]
        if not missing:
            return raw
        if len(missing) < len(names):
            raise DataError(f"{name}: {raw} lacks {', '.join(missing)} (or the same with .gz)")
    return None


def _stems(part: str) -> tuple[str, str]:
    return f"{_PARTS[part]}-images-idx3-ubyte", f"{_PARTS[part]}-labels-idx1-ubyte"


def _existing(raw: Path, stem: str) -> Path | None:
    return next((path for path in (raw / stem, raw / f"{stem}.gz") if path.is_file()), None)


def _read_part(raw: Path, folder: str, part: str, n_classes: int) -> tuple[_Bytes, _Bytes]:
    read: list[_Bytes] = []
    for stem, n_axes in zip(_stems(part), (3, 1), strict=True):
        path = _existing(raw, stem) or raw / stem
        read_it = partial(
            read_idx, path, md5=_MD5[folder][stem], official_size=_OFFICIAL_SIZES[part]
        )
        items = unpacked(path, read_it, folder=cache_folder() / "unpacked")
        if items.ndim != n_axes or (n_axes == 3 and items.shape[1:] != (28, 28)):
            raise DataError(f"{path} is damaged: it holds items of the shape {items.shape[1:]}")
        read.append(items)
    images, labels = read
    if len(images) != len(labels) or not len(images):
        raise DataError(f"{raw}: {len(images)} {part} images, but {len(labels)} labels")
    if labels.max() >= n_classes:
        raise DataError(f"{raw}: the {part} labels reach {labels.max()}, expected < {n_classes}")
    return images, labels


def _download(name: str, folder: str) -> Path:
    """Download with torchvision into the cache; a half-finished download leaves nothing there."""
    target = cache_folder() / folder
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_DOWNLOAD_TIMEOUT_S)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
            from torchvision import datasets

            getattr(datasets, folder)(scratch, download=True)
            if not target.exists():
                shutil.move(Path(scratch) / folder, target)
    except (ImportError, OSError, RuntimeError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(
            f"{name} is not on this machine and could not be downloaded ({reason}); "
            f"set SWEEP_DATA to a folder that holds {folder}/raw/train-images-idx3-ubyte.gz and "
            "its three companions, or use the data set that needs no download: dataset: digits"
        ) from error
    finally:
        socket.setdefaulttimeout(before)
    return target / "raw"
