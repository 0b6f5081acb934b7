"""Writes a PyTorch model as one ONNX file that was proven before it got its name."""

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import onnx
import torch
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from torch.export import Dim

from sweepd.errors import ExportError
from sweepd.results.proof import PROBE_SIZES, TOLERANCE, Proof, prove

__all__ = [
    "PROBE_SIZES",
    "TOLERANCE",
    "Proof",
    "is_of_an_export",
    "place",
    "staged",
    "weights_sha256",
    "write",
]

#: ONNX's container holds this much; a larger model would need a second file.
_MAX_BYTES = 2**31 - 1

T = TypeVar("T")


def write(rebuilt: Any, out: Path, *, metadata: Mapping[str, str], opset: int = 20) -> Proof:
    """Export `rebuilt.model` to `out`, checked; a file that fails any check never gets that name.

    Args:
        rebuilt: the model (in eval mode, float32, on the CPU), held-out inputs and their labels.
        out: where the file goes; written beside it first, then renamed.
        metadata: stored in the file, readable by onnx and onnxruntime.
        opset: the version of ONNX's operators.

    Raises:
        ExportError: in words: which step failed. What stood at `out` before is untouched.
    """
    return place(out, _to_onnx(rebuilt, metadata, opset), check=lambda path: prove(path, rebuilt))


def place(out: Path, content: bytes, *, check: Callable[[Path], T]) -> T:
    """Write `content` to a file beside `out`, check it, and only then give it that name.

    Raises:
        ExportError: it cannot be written; or what `check` raises. `out` is as it was.
    """
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=out.parent, prefix=f".{out.name}.", suffix=".tmp")
    except OSError as error:
        raise ExportError(f"{out} cannot be written: {error.strerror}") from error
    scratch = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        found = check(scratch)
        scratch.chmod(0o644)
        scratch.replace(out)
    except OSError as error:
        raise ExportError(f"{out} cannot be written: {error.strerror}") from error
    finally:
        scratch.unlink(missing_ok=True)
    return found


@contextmanager
def staged(out: Path) -> Iterator[Path]:
    """Yield a folder beside `out`, in which files are made that get their places together.

    Raises:
        ExportError: there can be none.
    """
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        folder = tempfile.TemporaryDirectory(
            dir=out.parent, prefix=f".{out.name}.", suffix=".tmp", ignore_cleanup_errors=True
        )
    except OSError as error:
        raise ExportError(f"{out} cannot be written: {error.strerror}") from error
    with folder as name:
        yield Path(name)


def is_of_an_export(path: Path, precision: str) -> bool:
    """Return whether a file is a smaller one that an export made, by what it says of itself."""
    try:
        model = onnx.load(path, load_external_data=False)
    except (OSError, DecodeError):
        return False
    told = {entry.key: entry.value for entry in model.metadata_props}
    return told.get("precision") == precision and "weights_sha256" in told


def weights_sha256(model: torch.nn.Module) -> str:
    """Return the SHA-256 of a model's weights: name, shape, type and bytes of each, by name."""
    digest = hashlib.sha256()
    for name, weight in sorted(model.state_dict().items()):
        plain = weight.detach().cpu().contiguous()
        digest.update(f"{name} {tuple(plain.shape)} {plain.dtype}\n".encode())
        digest.update(plain.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _to_onnx(rebuilt: Any, metadata: Mapping[str, str], opset: int) -> bytes:
    example = rebuilt.inputs[:2]
    try:
        _check_outputs(rebuilt.model, example)
        program = torch.onnx.export(
            rebuilt.model,
            (example,),
            f=None,
            dynamo=True,
            input_names=[rebuilt.input_name],
            output_names=[rebuilt.output_name],
            dynamic_shapes=({0: Dim("batch", min=1, max=65536)},),
            opset_version=opset,
            verbose=False,
        )
        model = program.model_proto
    except (torch.onnx.OnnxExporterError, RuntimeError, TypeError, ValueError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ExportError(f"PyTorch cannot export this model to ONNX: {reason}") from error
    made = next(entry.version for entry in model.opset_import if not entry.domain)
    if made != opset:
        raise ExportError(f"PyTorch exports this model with opset {made}, not {opset}")
    _strip(model)
    onnx.helper.set_model_props(model, dict(metadata))
    if model.ByteSize() > _MAX_BYTES:
        raise ExportError(
            f"the model takes {model.ByteSize()} bytes; one ONNX file holds {_MAX_BYTES}"
        )
    return bytes(model.SerializeToString())


def _check_outputs(model: torch.nn.Module, example: torch.Tensor) -> None:
    """Refuse a model that returns anything but one tensor."""
    with torch.no_grad():
        outputs = model(example)
    if not isinstance(outputs, torch.Tensor):
        raise ExportError(
            f"the model returns a {type(outputs).__name__}, and an exported file gives one tensor: "
            "name a function with --model whose model returns the one that you need"
        )


def _strip(model: Any) -> None:
    """Drop the exporter's notes from every node and value: they hold this machine's paths."""
    graph = model.graph
    parts = (graph.node, graph.input, graph.output, graph.value_info, graph.initializer)
    for part in [graph, *(entry for entries in parts for entry in entries)]:
        del part.metadata_props[:]
        part.doc_string = ""
