"""Writes a PyTorch model as one ONNX file that was proven before it got its name."""

import hashlib
import os
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from torch.export import Dim

from sweepd.errors import ExportError

__all__ = ["OPSET", "PROBE_SIZES", "TOLERANCE", "Proof", "weights_sha256", "write"]

OPSET = 20
#: Batch sizes that the file is compared at, and timed at the first and the last.
PROBE_SIZES = (1, 3, 256)
#: Largest difference of an output from PyTorch's, relative to it where it is above one.
TOLERANCE = 1e-4
#: ONNX's container holds this much; a larger model would need a second file.
_MAX_BYTES = 2**31 - 1
_TIMED_RUNS = 10


@dataclass(frozen=True)
class Proof:
    """What was found when the file was compared with PyTorch on held-out data."""

    sha256: str
    size_bytes: int
    max_abs_diff: float
    latency_ms: Mapping[int, float]  # batch size -> median milliseconds on one CPU thread
    accuracy: float | None  # share of all held-out inputs classified right, by the file itself
    n_held_out: int


def write(rebuilt: Any, out: Path, *, metadata: Mapping[str, str]) -> Proof:
    """Export `rebuilt.model` to `out`, checked; a file that fails any check never gets that name.

    Args:
        rebuilt: the model (in eval mode, float32, on the CPU), held-out inputs and their labels.
        out: where the file goes; written beside it first, then renamed.
        metadata: stored in the file, readable by onnx and onnxruntime.

    Raises:
        ExportError: in words: which step failed. What stood at `out` before is untouched.
    """
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=out.parent, prefix=f".{out.name}.", suffix=".tmp")
    except OSError as error:
        raise ExportError(f"{out} cannot be written: {error.strerror}") from error
    scratch = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(_to_onnx(rebuilt, metadata))
            file.flush()
            os.fsync(file.fileno())
        proof = _prove(scratch, rebuilt)
        scratch.chmod(0o644)
        scratch.replace(out)
    except OSError as error:
        raise ExportError(f"{out} cannot be written: {error.strerror}") from error
    finally:
        scratch.unlink(missing_ok=True)
    return proof


def weights_sha256(model: torch.nn.Module) -> str:
    """Return the SHA-256 of a model's weights: name, shape, type and bytes of each, by name."""
    digest = hashlib.sha256()
    for name, weight in sorted(model.state_dict().items()):
        plain = weight.detach().cpu().contiguous()
        digest.update(f"{name} {tuple(plain.shape)} {plain.dtype}\n".encode())
        digest.update(plain.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _to_onnx(rebuilt: Any, metadata: Mapping[str, str]) -> bytes:
    example = rebuilt.inputs[:2]
    try:
        program = torch.onnx.export(
            rebuilt.model,
            (example,),
            f=None,
            dynamo=True,
            input_names=[rebuilt.input_name],
            output_names=[rebuilt.output_name],
            dynamic_shapes=({0: Dim("batch", min=1, max=65536)},),
            opset_version=OPSET,
            verbose=False,
        )
        model = program.model_proto
    except (torch.onnx.OnnxExporterError, RuntimeError, TypeError, ValueError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ExportError(f"PyTorch cannot export this model to ONNX: {reason}") from error
    _strip(model)
    onnx.helper.set_model_props(model, dict(metadata))
    if model.ByteSize() > _MAX_BYTES:
        raise ExportError(
            f"the model takes {model.ByteSize()} bytes; one ONNX file holds {_MAX_BYTES}"
        )
    return bytes(model.SerializeToString())


def _strip(model: Any) -> None:
    """Drop the exporter's notes from every node and value: they hold this machine's paths."""
    graph = model.graph
    parts = (graph.node, graph.input, graph.output, graph.value_info, graph.initializer)
    for part in [graph, *(entry for entries in parts for entry in entries)]:
        del part.metadata_props[:]
        part.doc_string = ""


def _prove(path: Path, rebuilt: Any) -> Proof:
    try:
        onnx.checker.check_model(str(path), full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(f"the exported file is not valid ONNX: {error}") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        return _compare(session, path, rebuilt)
    except (RuntimeError, onnxruntime.capi.onnxruntime_pybind11_state.RuntimeException) as error:
        raise ExportError(f"onnxruntime cannot run the exported file: {error}") from error


def _compare(session: Any, path: Path, rebuilt: Any) -> Proof:
    worst, latency = 0.0, {}
    for size in PROBE_SIZES:
        batch = rebuilt.inputs[torch.arange(size) % len(rebuilt.inputs)]
        with torch.inference_mode():
            wanted = rebuilt.model(batch).numpy()
        given = {rebuilt.input_name: batch.numpy()}
        found = session.run([rebuilt.output_name], given)[0]
        worst = max(worst, _difference(found, wanted, size))
        latency[size] = _time_ms(session, rebuilt.output_name, given)
    content = path.read_bytes()
    return Proof(
        sha256=hashlib.sha256(content).hexdigest(),
        size_bytes=len(content),
        max_abs_diff=worst,
        latency_ms={size: latency[size] for size in (PROBE_SIZES[0], PROBE_SIZES[-1])},
        accuracy=_accuracy(session, rebuilt),
        n_held_out=len(rebuilt.inputs),
    )


def _difference(found: NDArray[Any], wanted: NDArray[Any], size: int) -> float:
    """Return the largest difference of two outputs, or refuse them."""
    if found.shape != wanted.shape:
        raise ExportError(
            f"for a batch of {size} the file gives the shape {found.shape}, PyTorch {wanted.shape}"
        )
    if not (np.isfinite(found).all() and np.isfinite(wanted).all()):
        raise ExportError(f"for a batch of {size} an output is not a finite number")
    gap = np.abs(found.astype(np.float64) - wanted)
    if (gap > TOLERANCE * np.maximum(1.0, np.abs(wanted))).any():
        raise ExportError(
            f"for a batch of {size} the file differs from PyTorch by {gap.max():.3g}, "
            f"allowed is {TOLERANCE:g}"
        )
    return float(gap.max())


def _time_ms(session: Any, output: str, given: Mapping[str, Any]) -> float:
    times = []
    for _ in range(_TIMED_RUNS):
        started = time.perf_counter()
        session.run([output], given)
        times.append(time.perf_counter() - started)
    return 1000 * median(times)


def _accuracy(session: Any, rebuilt: Any) -> float | None:
    if rebuilt.labels is None:
        return None
    hits, size = 0, PROBE_SIZES[-1]
    for first in range(0, len(rebuilt.inputs), size):
        part = slice(first, first + size)
        given = {rebuilt.input_name: rebuilt.inputs[part].numpy()}
        guess = session.run([rebuilt.output_name], given)[0].argmax(1)
        hits += int((guess == rebuilt.labels[part].numpy()).sum())
    return hits / len(rebuilt.inputs)
