"""Data sets of images in a person's own files: an .npz of arrays, a folder of pictures, CIFAR."""

import os
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from sweepd.errors import DataError
from sweepd_trainer.data import SPLIT_SEED, DataSpec, Rows, Source
from sweepd_trainer.idx import cache_folder
from sweepd_trainer.whole_file import whole_file

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["FORMS", "cifar10", "cifar100", "read_folder", "read_npz"]

_Bytes = NDArray[np.uint8]

#: Names of the arrays in an .npz file, the usual ones first.
_NAMES = {
    "train": (("x_train", "y_train"), ("train_images", "train_labels"), ("images", "labels")),
    "test": (("x_test", "y_test"), ("test_images", "test_labels")),
}
_PICTURES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff"})
#: Images are held in memory, and on the device: more than this cannot be meant.
_MOST_BYTES = 16 << 30
_TEST_SHARE = 5
_MOST_CHANNELS = 4  # of pictures
_MOST_CLASSES = 1_000_000
_CIFAR_MEAN, _CIFAR_STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)


def read_npz(path: str) -> Source:
    """Return the images of an .npz file, with a fifth of them for testing if it has no test part.

    It holds `x_train`, `y_train`, `x_test`, `y_test` (or `images`, `labels`): uint8 images of shape
    (n, height, width) or (n, height, width, channels), whole-number labels of shape (n,), and
    maybe `classes`, their names. Nothing in it is run.

    Raises:
        DataError: in words: it is missing, damaged, or not of that form.
    """
    try:
        with Path(path).open("rb") as raw:
            if not zipfile.is_zipfile(raw):
                raise ValueError("it is no zip file")  # one array alone, say
            raw.seek(0)
            with np.load(raw, allow_pickle=False) as file:
                arrays = {name: np.asarray(file[name]) for name in file.files}
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist") from error
    except (
        *(OSError, EOFError, ValueError, NotImplementedError),
        *(zipfile.BadZipFile, zlib.error),
    ) as error:
        raise DataError(f"{path} is not an .npz file of plain arrays: {error}") from error
    train = _part(path, arrays, "train")
    test = _part(path, arrays, "test") if any(x in arrays for x, _ in _NAMES["test"]) else None
    if train is None:
        raise DataError(f"{path} has no x_train and y_train, only {', '.join(arrays) or 'nothing'}")
    n_classes = int(max(part[1].max() for part in (train, test) if part is not None)) + 1
    classes = [str(name) for name in arrays.get("classes", range(n_classes))]
    if len(classes) < n_classes:
        raise DataError(
            f"{path}: labels reach {n_classes - 1}, but it names {len(classes)} classes"
        )
    return _source(Path(path).stem, classes, train, test)


def read_folder(path: str) -> Source:
    """Return the pictures of a folder that has one folder for each class.

    PATH/train/CLASS/… and PATH/test/CLASS/…, as torchvision's ImageFolder reads them, or
    PATH/CLASS/…, a fifth of which is for testing. All are fitted to the size of the first one, or
    to a square of n pixels with `folder:PATH@n`; one that is not grey makes all of them RGB.

    Raises:
        DataError: in words: it is missing, has no pictures, or one of them cannot be read.
    """
    place, at, side = path.rpartition("@")
    root = Path(place if at and side.isdecimal() else path)
    size = (int(side), int(side)) if at and side.isdecimal() else None
    if size == (0, 0):
        raise DataError(f"pictures of {side} pixels cannot be")
    if not root.is_dir():
        raise DataError(f"{root} is not a folder")
    parts = {"train": root / "train", "test": root / "test"}
    has_parts = parts["train"].is_dir()
    listed = _list_pictures(parts["train"] if has_parts else root)
    classes = sorted(listed)
    tested = _list_pictures(parts["test"]) if has_parts and parts["test"].is_dir() else {}
    unknown = sorted(set(tested) - set(classes))
    if unknown:
        raise DataError(f"{parts['test']} has classes that {parts['train']} lacks: {unknown}")
    pictures = _Pictures(size, files=[*_flat(listed), *_flat(tested)])
    train = pictures.read(listed, classes)
    test = pictures.read(tested, classes) if tested else None
    return _source(root.name, classes, train, test)


def cifar10() -> Source:
    """Return CIFAR-10: 50,000 training and 10,000 test images of ten kinds, 32x32.

    Raises:
        DataError: the files are missing and cannot be downloaded, or are damaged.
    """
    return _cifar("cifar10", "CIFAR10")


def cifar100() -> Source:
    """Return CIFAR-100: 50,000 training and 10,000 test images of a hundred kinds, 32x32.

    Raises:
        DataError: the files are missing and cannot be downloaded, or are damaged.
    """
    return _cifar("cifar100", "CIFAR100")


#: How a data set in a person's files is spelt: `npz:PATH`, `folder:PATH`.
FORMS: Mapping[str, Callable[[str], Source]] = {"npz": read_npz, "folder": read_folder}


class _Pictures:
    """Reads picture files into one array of one size and one number of channels."""

    def __init__(self, size: tuple[int, int] | None, *, files: list[Path]) -> None:
        from PIL import Image

        self._open, self._bomb = Image.open, Image.DecompressionBombError
        modes = set()
        for file in files:
            with self._opened(file) as picture:
                size = size or picture.size
                modes.add(picture.mode)
        self._mode = "L" if modes <= {"1", "L"} else "RGB"
        self._size = size or (1, 1)
        n_bytes = len(files) * self._size[0] * self._size[1] * len(self._mode)
        if n_bytes > _MOST_BYTES:
            width, height = self._size
            raise DataError(
                f"{len(files)} pictures of {width}x{height} are {n_bytes >> 30} GiB; "
                "say folder:PATH@64 for squares of 64 pixels"
            )

    def read(self, listed: Mapping[str, list[Path]], classes: list[str]) -> tuple[_Bytes, _Bytes]:
        """Return images (n, height, width, channels) and labels (n,)."""
        from PIL import ImageOps

        images, labels = [], []
        for label, name in enumerate(classes):
            for file in listed.get(name, []):
                with self._opened(file) as picture:
                    plain = picture.convert(self._mode)
                    if plain.size != self._size:
                        plain = ImageOps.fit(plain, self._size)
                    images.append(np.asarray(plain))
                labels.append(label)
        stacked = np.stack(images)
        return stacked if stacked.ndim == 4 else stacked[..., None], np.array(labels)

    def _opened(self, file: Path) -> "Image":
        try:
            picture: Image = self._open(file)
            picture.load()
        except (OSError, ValueError, SyntaxError, self._bomb) as error:
            raise DataError(f"{file} cannot be read as a picture: {error}") from error
        return _in_8_bits(picture) if picture.mode.startswith("I;16") else picture


def _in_8_bits(picture: "Image") -> "Image":
    """Return a grey picture of 16 bits in 8: PIL itself makes white of all but the darkest."""
    from PIL import Image

    return Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))


def _list_pictures(root: Path) -> dict[str, list[Path]]:
    folders = sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    found = {
        folder.name: sorted(f for f in folder.rglob("*") if f.suffix.lower() in _PICTURES)
        for folder in folders
    }
    empty = [name for name, files in found.items() if not files]
    if empty or not found:
        what = f"no pictures in {', '.join(empty)}" if empty else "no folder for each class"
        raise DataError(f"{root} has {what}; one folder for each class is expected there")
    return found


def _flat(listed: Mapping[str, list[Path]]) -> Iterable[Path]:
    return (file for files in listed.values() for file in files)


def _part(path: str, arrays: Mapping[str, Any], part: str) -> tuple[_Bytes, _Bytes] | None:
    for x, y in _NAMES[part]:
        if x not in arrays or y not in arrays:
            continue
        images, labels = arrays[x], np.atleast_1d(arrays[y])
        if labels.ndim == 2 and labels.shape[1] == 1:
            labels = labels[:, 0]
        if images.dtype != np.uint8 or images.ndim not in (3, 4):
            raise DataError(
                f"{path}: {x} must be uint8 of shape (n, height, width) or (n, height, width, "
                f"channels), not {images.dtype} {images.shape}"
            )
        if not np.issubdtype(labels.dtype, np.integer) or labels.ndim != 1:
            raise DataError(
                f"{path}: {y} must be whole numbers of shape (n,), not {labels.dtype} "
                f"{labels.shape}"
            )
        if not images.size:
            raise DataError(f"{path}: {x} is empty, {images.shape}")
        if images.ndim == 4 and images.shape[3] > _MOST_CHANNELS >= images.shape[1]:
            raise DataError(f"{path}: {x} must have the channels last, not {images.shape}")
        if len(labels) != len(images) or not len(labels) or labels.min() < 0:
            raise DataError(f"{path}: {x} and {y} must go together, labels from 0")
        if labels.max() >= _MOST_CLASSES:
            raise DataError(f"{path}: {y} reaches {labels.max()}; classes are counted from 0 on")
        return images if images.ndim == 4 else images[..., None], labels
    return None


def _source(
    name: str,
    classes: list[str],
    train: tuple[_Bytes, _Bytes],
    test: tuple[_Bytes, _Bytes] | None,
) -> Source:
    if test is None:
        order = np.random.default_rng(SPLIT_SEED).permutation(len(train[1]))
        n_test = max(1, len(order) // _TEST_SHARE)
        test = train[0][order[:n_test]], train[1][order[:n_test]]
        train = train[0][order[n_test:]], train[1][order[n_test:]]
    if train[0].shape[1:] != test[0].shape[1:]:
        raise DataError(
            f"training images are {train[0].shape[1:]}, test images {test[0].shape[1:]}"
        )
    _, height, width, channels = train[0].shape
    counts = [np.bincount(train[0][..., c].ravel(), minlength=256) for c in range(channels)]
    levels = np.arange(256) / 255
    means = [float((count * levels).sum() / count.sum()) for count in counts]
    stds = [
        float((count * (levels - mean) ** 2).sum() / count.sum()) ** 0.5
        for count, mean in zip(counts, means, strict=True)
    ]
    spec = DataSpec(
        name,
        tuple(classes),
        (channels, height, width),
        255.0,
        tuple(round(mean, 4) for mean in means),
        tuple(max(round(std, 4), 1e-3) for std in stds),
    )
    return Source(spec, train=_rows(*train), test=_rows(*test))


def _rows(images: _Bytes, labels: _Bytes) -> Rows:
    """Return images, (n, height, width, channels), as rows with the channels first."""
    return Rows(
        torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))),
        torch.from_numpy(labels.astype(np.int64)),
    )


def _cifar(name: str, kind: str) -> Source:
    """Return a CIFAR: from our own copy, from torchvision's files, or downloaded by it.

    Torchvision compares each file's MD5 before it reads it. What it read is kept as an .npz file in
    the cache: that opens in a moment, and without torchvision.
    """
    kept = cache_folder() / f"{name}.npz"
    if not kept.is_file():
        _keep(kept, _torchvision_cifar(name, kind))
    source = read_npz(str(kept))
    spec = DataSpec(name, source.spec.classes, (3, 32, 32), 255.0, _CIFAR_MEAN, _CIFAR_STD)
    return Source(spec, train=source.train, test=source.test)


def _torchvision_cifar(name: str, kind: str) -> dict[str, NDArray[Any]]:
    given = os.environ.get("SWEEP_DATA")
    problem = ""
    try:
        from torchvision import datasets

        for root, download in ((given, False), (str(cache_folder()), True)):
            if root is None or (not download and not Path(root).is_dir()):
                continue
            try:
                train, test = (
                    getattr(datasets, kind)(root, train=is_train, download=download)
                    for is_train in (True, False)
                )
            except RuntimeError as error:
                problem = str(error).strip().splitlines()[0]
                continue
            return {
                "x_train": train.data,
                "y_train": np.array(train.targets),
                "x_test": test.data,
                "y_test": np.array(test.targets),
                "classes": np.array(train.classes),
            }
    except (ImportError, OSError) as error:
        problem = str(error).strip().splitlines()[0]
    raise DataError(
        f"{name} is not on this machine and could not be downloaded ({problem}); set SWEEP_DATA to "
        "a folder that torchvision has downloaded it to, or use dataset: digits, which needs none"
    )


def _keep(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    with whole_file(path, prefix=".unpacked-") as file:
        np.savez(file, allow_pickle=False, **arrays)
