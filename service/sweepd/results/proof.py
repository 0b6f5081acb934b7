"""Runs an ONNX file on held-out data: whether it is right, how often and how fast.

n   held-out inputs;  t   further axes of the answers, such as the places of a text;  k   classes
"""

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray

from sweepd.errors import ExportError

__all__ = ["PROBE_SIZES", "TOLERANCE", "Answers", "Proof", "agreement", "answers", "prove"]

#: Batch sizes that a file is compared at, and timed at the first and the last.
PROBE_SIZES = (1, 3, 256)
#: Largest difference of an output from PyTorch's, relative to it where it is above one, else to the
#: largest of its column.
TOLERANCE = 1e-4
#: A column's largest output counts as at least so much of the largest of all: a column that is but
#: float noise is no reason to refuse.
_LEAST_COLUMN = 0.01
#: Values agree that differ by this much of the range of their column, without its ends.
_VALUES_AGREE = 0.01
_RANGE = (1, 99)  # percentiles
#: What is this much smaller than a column's own numbers, or than another column, is float noise.
_NOISE = 1e-6
_TIMED_RUNS = 10

_RUNTIME_ERRORS = (RuntimeError, onnxruntime.capi.onnxruntime_pybind11_state.RuntimeException)


@dataclass(frozen=True)
class Answers:
    """What a file says of every held-out input.

    Args:
        are_classes: whether it names classes; else it gives values.
        given: classes, int64 (n, t…), or the outputs themselves.
        counts: which of the classes have a label, (n, t…); None: all do.
    """

    are_classes: bool
    given: NDArray[Any]
    counts: NDArray[np.bool_] | None = None

    @property
    def n_counted(self) -> int:
        """Return how many answers are judged."""
        return int(self.given.size if self.counts is None else self.counts.sum())


@dataclass(frozen=True)
class Proof:
    """What was found when a file was compared with PyTorch on held-out data."""

    sha256: str
    size_bytes: int
    max_abs_diff: float
    latency_ms: Mapping[int, float]  # batch size -> median milliseconds on one CPU thread
    accuracy: float | None  # share of all held-out inputs classified right, by the file itself
    n_held_out: int
    answers: Answers


def prove(path: Path, rebuilt: Any, *, tolerance: float | None = TOLERANCE) -> Proof:
    """Check a file in full, compare it with the model in every batch size, and judge it.

    Args:
        path: the file.
        rebuilt: the model, held-out inputs and their labels.
        tolerance: how far an output may be from PyTorch's, on all held-out inputs and in every
            batch size; None: as far as it likes, if it is a finite number.

    Raises:
        ExportError: in words: it is not valid, does not run, or differs.
    """
    try:
        onnx.checker.check_model(str(path), full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(f"the exported file is not valid ONNX: {_first_line(error)}") from error
    with _runtime_in_words():
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

        def run(batch: Any) -> NDArray[Any]:
            given = {rebuilt.input_name: batch.numpy()}
            return session.run([rebuilt.output_name], given)[0]  # type: ignore[no-any-return]

        gaps = _Gaps(rebuilt.model)
        latency = {size: _probe(run, rebuilt, size, gaps) for size in PROBE_SIZES}
        said = answers(lambda batch: gaps.seen(run(batch), batch), rebuilt)
        gaps.check(tolerance)
    content = path.read_bytes()
    return Proof(
        sha256=hashlib.sha256(content).hexdigest(),
        size_bytes=len(content),
        max_abs_diff=gaps.largest,
        latency_ms={size: latency[size] for size in (PROBE_SIZES[0], PROBE_SIZES[-1])},
        accuracy=_accuracy(said, rebuilt.labels),
        n_held_out=len(rebuilt.inputs),
        answers=said,
    )


def answers(run: Callable[[Any], NDArray[Any]], rebuilt: Any) -> Answers:
    """Return what `run` says of every held-out input.

    Raises:
        ExportError: an output is not finite, or can name no class though it is said to.
    """
    parts, are_classes = [], False
    for first in range(0, len(rebuilt.inputs), PROBE_SIZES[-1]):
        part = slice(first, first + PROBE_SIZES[-1])
        found = run(rebuilt.inputs[part])
        if not np.isfinite(found).all():
            raise ExportError("for a held-out input an output is not a finite number")
        labels = None if rebuilt.labels is None else rebuilt.labels[part]
        axis = _class_axis(found.shape, labels, getattr(rebuilt, "outputs", None))
        are_classes = axis is not None
        parts.append(found if axis is None else found.argmax(axis))
    given = np.concatenate(parts)
    if rebuilt.labels is None or not are_classes:
        return Answers(are_classes, given)
    return Answers(are_classes, given, rebuilt.labels.numpy().reshape(given.shape) >= 0)


def agreement(found: Answers, wanted: Answers) -> float:
    """Return the share of answers that are the same.

    Classes are the same or not; values are if they differ by at most a hundredth of the range that
    the wanted ones of their column have. Of several columns the least share.
    """
    if wanted.are_classes:
        return _share(found.given == wanted.given, wanted.counts)
    given = _columns(wanted.given.astype(np.float64))
    gaps = np.abs(_columns(found.given.astype(np.float64)) - given)
    return float((gaps <= _VALUES_AGREE * _ranges(given)).mean(axis=0).min())


def _ranges(given: NDArray[Any]) -> NDArray[Any]:
    """Return what a hundredth is taken of in each column, (columns,), of values (m, columns).

    The range between percentiles, so that a few outliers do not stretch it. Of a column that is one
    number nearly throughout it is that number; if that is zero, the range with the outliers; and of
    a column of zeros what is usual in the others.
    """
    low, high = np.percentile(given, _RANGE, axis=0)
    ranges, middle = high - low, np.abs(np.median(given, axis=0))
    noise = _NOISE * np.maximum(middle, ranges.max())
    for wider in (middle, np.ptp(given, axis=0)):
        ranges = np.where(ranges > noise, ranges, wider)
    usual = np.median(ranges[ranges > noise]) if (ranges > noise).any() else 0.0
    return np.where(ranges > noise, ranges, usual)


def _class_axis(shape: tuple[int, ...], labels: Any, kind: str | None) -> int | None:
    """Return the axis of the classes in outputs of a shape; None if they are values.

    Args:
        shape: of the outputs.
        labels: their labels, if there are any.
        kind: "classes" or "values", as whoever rebuilt the model says; None: the labels tell, and
            without any nothing says that they are classes.
    """
    if kind == "values":
        return None
    if labels is None:
        if kind is None:
            return None
        if len(shape) > 1 and shape[-1] > 1:
            return -1
        raise ExportError(
            "the model's function says that its outputs are classes; that takes two columns or "
            f"more, and they have the shape {shape}"
        )
    if labels.is_floating_point() or labels.is_complex():
        return None
    wanted = [list(labels.shape)]
    if labels.ndim == 2 and labels.shape[1] == 1:
        wanted.append([len(labels)])  # a column of labels
    for axis in (-1, 1):
        if len(shape) > 1 and shape[axis] > 1 and np.delete(shape, axis).tolist() in wanted:
            return axis
    return None


def _accuracy(said: Answers, labels: Any) -> float | None:
    if labels is None or not said.are_classes:
        return None
    if not said.n_counted:
        return None
    return _share(said.given == labels.numpy().reshape(said.given.shape), said.counts)


def _share(are_so: NDArray[np.bool_], counts: NDArray[np.bool_] | None) -> float:
    """Return the share of those that count; all are so where none does."""
    judged = are_so if counts is None else are_so[counts]
    return float(judged.mean()) if judged.size else 1.0


class _Gaps:
    """How far a file's outputs are from PyTorch's, batch after batch."""

    def __init__(self, model: torch.nn.Module) -> None:
        self._model = model
        self.largest = 0.0
        self._relative = (0.0, 0.0)  # of outputs above one: gap / output, gap
        self._below_one = self._sizes = np.zeros(1)  # (columns,) largest gap; largest output

    def seen(self, found: NDArray[Any], batch: Any) -> NDArray[Any]:
        """Compare what a file gives for a batch with what PyTorch does, and return it.

        Raises:
            ExportError: the shapes differ, or an output is not finite.
        """
        with torch.inference_mode():
            wanted = self._model(batch).numpy()
        if found.shape != wanted.shape:
            raise ExportError(
                f"for a batch of {len(batch)} the file gives the shape {found.shape}, "
                f"PyTorch {wanted.shape}"
            )
        if not (np.isfinite(found).all() and np.isfinite(wanted).all()):
            raise ExportError(f"for a batch of {len(batch)} an output is not a finite number")
        sizes = _columns(np.abs(wanted.astype(np.float64)))
        gaps = _columns(np.abs(found.astype(np.float64) - wanted))
        is_large = sizes >= 1
        shares = np.where(is_large, gaps / np.maximum(sizes, 1), 0)
        place = np.unravel_index(shares.argmax(), shares.shape)
        self.largest = max(self.largest, float(gaps.max()))
        self._relative = max(self._relative, (float(shares[place]), float(gaps[place])))
        below_one = np.where(is_large, 0, gaps).max(axis=0)
        self._below_one = np.maximum(self._below_one, below_one)
        self._sizes = np.maximum(self._sizes, sizes.max(axis=0))
        return found

    def check(self, tolerance: float | None) -> None:
        """Refuse outputs that are too far from PyTorch's."""
        if tolerance is None:
            return
        share, gap = self._relative
        allowed = tolerance * gap / share if share else 0.0
        if share <= tolerance:
            sizes = np.maximum(self._sizes, _LEAST_COLUMN * self._sizes.max())
            limits = tolerance * np.minimum(1, sizes)
            worst = (self._below_one - limits).argmax()
            gap, allowed = float(self._below_one[worst]), float(limits[worst])
            if gap <= allowed:
                return
        raise ExportError(
            f"on held-out inputs the file differs from PyTorch by {gap:.3g}, "
            f"allowed is {allowed:.3g}"
        )


def _columns(outputs: NDArray[Any]) -> NDArray[Any]:
    """Return outputs of any shape as (m, columns): the last axis, or the channels of images."""
    if outputs.ndim < 2:
        return outputs.reshape(-1, 1)
    apart = np.moveaxis(outputs, 1, -1) if outputs.ndim > 3 else outputs
    return apart.reshape(-1, apart.shape[-1])


def _probe(run: Callable[[Any], NDArray[Any]], rebuilt: Any, size: int, gaps: _Gaps) -> float:
    """Compare a batch of a size, which may hold an input several times; return how long it took."""
    batch = rebuilt.inputs[torch.arange(size) % len(rebuilt.inputs)]
    gaps.seen(run(batch), batch)
    return _time_ms(run, batch)


def _time_ms(run: Callable[[Any], NDArray[Any]], batch: Any) -> float:
    times = []
    for _ in range(_TIMED_RUNS):
        started = time.perf_counter()
        run(batch)
        times.append(time.perf_counter() - started)
    return 1000 * median(times)


@contextmanager
def _runtime_in_words() -> Iterator[None]:
    try:
        yield
    except _RUNTIME_ERRORS as error:
        raise ExportError(f"onnxruntime cannot run the exported file: {error}") from error


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
