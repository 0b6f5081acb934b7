"""Exports a run's model: from its config and checkpoint to one verified ONNX file."""

import importlib.util
import json
import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from pickle import UnpicklingError
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from sweepd.errors import ExportError, InvalidInput, UnknownName
from sweepd.names import EXPORTERS
from sweepd.registry import Registry
from sweepd.results.select import Selection
from sweepd.results.server import download, in_words, open_api

if TYPE_CHECKING:
    from sweepd.results.onnx_file import Proof

__all__ = ["CHECKPOINT", "ExportReport", "export"]

#: The run file that holds the weights.
CHECKPOINT = "checkpoint.pt"
#: The run file that the export becomes, whatever it is called here.
UPLOADED_AS = "model.onnx"

Hook = Callable[[Mapping[str, Any], Path], Any]


@dataclass(frozen=True)
class ExportReport:
    """Where the verified file is and what was proven."""

    path: Path
    run: str
    sha256: str
    size_bytes: int
    max_abs_diff: float
    latency_ms: Mapping[int, float]  # batch size -> median milliseconds on one CPU thread
    accuracy: float | None
    n_held_out: int
    metadata: Mapping[str, str]
    uploaded_as: str | None  # a file of the run; None: it was not uploaded
    warning: str | None  # the file is fine, the upload failed

    def lines(self) -> list[str]:
        """Return the report as lines to print."""
        times = ", ".join(
            f"{ms:.2f} ms for {size} input{'s' if size > 1 else ''}"
            for size, ms in self.latency_ms.items()
        )
        lines = [
            f"from {self.run}",
            f"{self.size_bytes:,} bytes, sha256 {self.sha256}",
            f"differs from PyTorch by at most {self.max_abs_diff:.1e} on held-out data",
        ]
        if self.accuracy is not None:
            lines.append(f"{self.accuracy:.4f} accuracy on {self.n_held_out:,} held-out inputs")
        lines.append(f"onnxruntime takes {times} on one CPU thread")
        if self.uploaded_as:
            lines.append(f"uploaded to the run as {self.uploaded_as}")
        if self.warning:
            lines.append(f"warning: {self.warning}")
        return lines

    def as_json(self) -> dict[str, Any]:
        """Return the report as plain JSON values."""
        return {
            "path": str(self.path),
            "run": self.run,
            "sha256": self.sha256,
            "size_bytes": self.size_bytes,
            "max_abs_diff": self.max_abs_diff,
            "latency_ms": {str(size): ms for size, ms in self.latency_ms.items()},
            "accuracy": self.accuracy,
            "n_held_out": self.n_held_out,
            "metadata": dict(self.metadata),
            "uploaded_as": self.uploaded_as,
            "warning": self.warning,
        }


def export(
    source: Selection | str,
    *,
    out: Path,
    model: str | None = None,
    upload: bool = True,
    api: Any = None,
) -> ExportReport:
    """Export the best run of a selection, or one run, to `out` and add it to the run's files.

    The file holds everything: weights, normalisation, where it comes from. It is compared with
    PyTorch on real held-out batches before it gets its name.

    Args:
        source: a selection, or a run as `entity/project/id`.
        out: the file to write.
        model: `module:function` that rebuilds the model, called with the run's config and the
            path of its checkpoint; None leaves it to who wrote the checkpoint. Only a person's
            command line or code says this: nothing the server holds is ever imported.
        upload: whether to add the file to the run.
        api: a `wandb.Api` to read through; None opens one.

    Raises:
        ExportError: in words: what is missing, damaged or different. Nothing is left at `out`.
        NotFound, Unauthorized, ServerUnreachable: the server's answer, in words.
        InvalidInput: `model` is not a module and a function of it.
    """
    path = source.best.path if isinstance(source, Selection) else source
    hook = _user_hook(model) if model else None
    api = api or open_api()
    with in_words(f"the run {path}"):
        run = api.run(path)
        config = dict(run.config)
    label = "/".join(run.path)
    with tempfile.TemporaryDirectory() as folder:
        with in_words(f"the files of the run {label}"):
            checkpoint = download(run, CHECKPOINT, Path(folder))
        _require_onnx()
        from sweepd.results import onnx_file

        rebuilt = _rebuild(hook or _own_hook(checkpoint), config, checkpoint)
    metadata = {
        **rebuilt.metadata,
        **_lineage(run, label, config, source),
        "weights_sha256": onnx_file.weights_sha256(rebuilt.model),
    }
    proof = onnx_file.write(rebuilt, out, metadata=metadata)
    uploaded_as, warning = _upload(run, out) if upload else (None, None)
    return _report(out, label, proof, metadata, uploaded_as, warning)


def _report(
    out: Path,
    run: str,
    proof: "Proof",
    metadata: Mapping[str, str],
    uploaded_as: str | None,
    warning: str | None,
) -> ExportReport:
    return ExportReport(
        path=out.resolve(),
        run=run,
        sha256=proof.sha256,
        size_bytes=proof.size_bytes,
        max_abs_diff=proof.max_abs_diff,
        latency_ms=proof.latency_ms,
        accuracy=proof.accuracy,
        n_held_out=proof.n_held_out,
        metadata=metadata,
        uploaded_as=uploaded_as,
        warning=warning,
    )


def _require_onnx() -> None:
    for name in ("torch", "onnx", "onnxscript", "onnxruntime"):
        if importlib.util.find_spec(name) is None:
            raise ExportError(f"an export needs {name}: pip install 'sweepd[train,onnx]'")


def _user_hook(text: str) -> Hook:
    """Import `module:function`, also from the folder that the command was given in."""
    module, _, name = text.partition(":")
    if not module or not name:
        raise InvalidInput(f"the model must be given as module:function, not {text!r}")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        hook = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise InvalidInput(f"{text} cannot be imported: {error}") from error
    if not callable(hook):
        raise InvalidInput(f"{text} is not a function")
    return hook  # type: ignore[no-any-return]


def _own_hook(checkpoint: Path) -> Hook:
    """Return the hook of whoever wrote the checkpoint; only names in our table count."""
    import torch

    advice = "say how to rebuild its model with --model module:function"
    try:
        content = torch.load(checkpoint, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        raise ExportError(
            f"{checkpoint.name} is damaged, or holds more than plain data; if it is sound, {advice}"
        ) from error
    except (OSError, EOFError, RuntimeError, ValueError) as error:
        raise ExportError(f"{checkpoint.name} is damaged or cut short") from error
    name = content.get("exporter") if isinstance(content, dict) else None
    try:
        return Registry("exporter", EXPORTERS).load(str(name))  # type: ignore[no-any-return]
    except UnknownName:
        raise ExportError(
            f"{checkpoint.name} was not written by the shared trainer; {advice}"
        ) from None


def _rebuild(hook: Hook, config: Mapping[str, Any], checkpoint: Path) -> Any:
    """Call the hook; take what our own return, or a pair of model and held-out inputs."""
    rebuilt = hook(config, checkpoint)
    if isinstance(rebuilt, tuple) and len(rebuilt) == 2:
        model, inputs = rebuilt
        rebuilt = SimpleNamespace(
            model=model.float().cpu().eval(),
            inputs=inputs.cpu(),
            labels=None,
            input_name="input",
            output_name="output",
            metadata={},
        )
    wanted = ("model", "inputs", "labels", "input_name", "output_name", "metadata")
    missing = [name for name in wanted if not hasattr(rebuilt, name)]
    if missing:
        raise ExportError(
            "the model's function must return (model, held-out inputs); "
            f"what it returned lacks {', '.join(missing)}"
        )
    if len(rebuilt.inputs) < 2:
        raise ExportError("the model's function must return at least two held-out inputs")
    return rebuilt


def _lineage(
    run: Any, label: str, config: Mapping[str, Any], source: Selection | str
) -> dict[str, str]:
    """Return where the model comes from: run, sweep, config, metric, git, versions."""
    facts: dict[str, Any] = {
        "run": label,
        "run_name": run.name,
        "run_url": run.url,
        "config": json.dumps(config, sort_keys=True),
        **{f"version.{name}": version(name) for name in ("onnx", "onnxruntime", "wandb")},
    }
    if isinstance(source, Selection):
        facts |= {
            "sweep": source.sweep,
            "metric": source.metric,
            "goal": source.goal,
            "rule": source.rule,
            "value": source.best.value,
        }
    git = (run.metadata or {}).get("git") or {}
    facts |= {f"git.{key}": git[key] for key in ("remote", "commit") if git.get(key)}
    return {key: str(value) for key, value in facts.items()}


def _upload(run: Any, out: Path) -> tuple[str | None, str | None]:
    """Add the file to the run; a failure is a warning, the verified file stays.

    It goes up under one name whatever it is called here, so that the next reader finds it.
    """
    import wandb

    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / UPLOADED_AS
        copy.symlink_to(out.resolve())
        try:
            run.upload_file(str(copy), root=folder)
        except (wandb.Error, OSError) as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            return None, f"the file was not uploaded: {reason}"
    return UPLOADED_AS, None
