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
#: Largest difference of an output from PyTorch's, relative to it where it is above one.
TOLERANCE = 1e-4
#: Values agree that differ by this much of the range of all of them.
_VALUES_AGREE = 0.01
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
        tolerance: how far an output may be from PyTorch's; None: as far as it likes, if it is a
            finite number.

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

        worst, latency = _probe(run, rebuilt, tolerance)
        said = answers(run, rebuilt)
    content = path.read_bytes()
    return Proof(
        sha256=hashlib.sha256(content).hexdigest(),
        size_bytes=len(content),
        max_abs_diff=worst,
        latency_ms={size: latency[size] for size in (PROBE_SIZES[0], PROBE_SIZES[-1])},
        accuracy=_accuracy(said, rebuilt.labels),
        n_held_out=len(rebuilt.inputs),
        answers=said,
    )


def answers(run: Callable[[Any], NDArray[Any]], rebuilt: Any) -> Answers:
    """Return what `run` says of every held-out input.

    Raises:
        ExportError: an output is not finite.
    """
    parts, are_classes = [], False
    for first in range(0, len(rebuilt.inputs), PROBE_SIZES[-1]):
        part = slice(first, first + PROBE_SIZES[-1])
        found = run(rebuilt.inputs[part])
        if not np.isfinite(found).all():
            raise ExportError("for a held-out input an output is not a finite number")
        labels = None if rebuilt.labels is None else rebuilt.labels[part]
        axis = _class_axis(found.shape, labels)
        are_classes = axis is not None
        parts.append(found if axis is None else found.argmax(axis))
    given = np.concatenate(parts)
    if rebuilt.labels is None or not are_classes:
        return Answers(are_classes, given)
    return Answers(are_classes, given, rebuilt.labels.numpy().reshape(given.shape) >= 0)


def agreement(found: Answers, wanted: Answers) -> float:
    """Return the share of answers that are the same.

    Classes are the same or not; values are if they differ by at most a hundredth of the range of
    all wanted ones.
    """
    if wanted.are_classes:
        return _share(found.given == wanted.given, wanted.counts)
    reach = _VALUES_AGREE * float(np.ptp(wanted.given))
    return float((np.abs(found.given - wanted.given) <= reach).mean())


def _class_axis(shape: tuple[int, ...], labels: Any) -> int | None:
    """Return the axis of the classes in outputs of a shape; None if they are values."""
    if labels is None:
        return -1 if len(shape) > 1 and shape[-1] > 1 else None
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


def _probe(
    run: Callable[[Any], NDArray[Any]], rebuilt: Any, tolerance: float | None
) -> tuple[float, dict[int, float]]:
    worst, latency = 0.0, {}
    for size in PROBE_SIZES:
        batch = rebuilt.inputs[torch.arange(size) % len(rebuilt.inputs)]
        with torch.inference_mode():
            wanted = rebuilt.model(batch).numpy()
        worst = max(worst, _difference(run(batch), wanted, size, tolerance))
        latency[size] = _time_ms(run, batch)
    return worst, latency


def _difference(
    found: NDArray[Any], wanted: NDArray[Any], size: int, tolerance: float | None
) -> float:
    """Return the largest difference of two outputs, or refuse them."""
    if found.shape != wanted.shape:
        raise ExportError(
            f"for a batch of {size} the file gives the shape {found.shape}, PyTorch {wanted.shape}"
        )
    if not (np.isfinite(found).all() and np.isfinite(wanted).all()):
        raise ExportError(f"for a batch of {size} an output is not a finite number")
    gap = np.abs(found.astype(np.float64) - wanted)
    if tolerance is not None and (gap > tolerance * np.maximum(1.0, np.abs(wanted))).any():
        raise ExportError(
            f"for a batch of {size} the file differs from PyTorch by {gap.max():.3g}, "
            f"allowed is {tolerance:g}"
        )
    return float(gap.max())


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
