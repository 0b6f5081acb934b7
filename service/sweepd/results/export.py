"""Exports a run's model: from its config and checkpoint to one verified ONNX file."""

import importlib.util
import json
import os
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
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
    from sweepd.results.proof import Proof

__all__ = [
    "CHECKPOINT",
    "MIN_AGREEMENT",
    "OPSET",
    "OPSETS",
    "PRECISIONS",
    "ExportReport",
    "ExportedFile",
    "export",
]

#: The run file that holds the weights.
CHECKPOINT = "checkpoint.pt"
#: The run file that the export becomes, whatever it is called here.
UPLOADED_AS = "model.onnx"
#: What a file can compute in; the others are made of the first and measured by it.
PRECISIONS = ("fp32", "fp16", "int8")
#: The versions of ONNX's operators that PyTorch exports, and the one that it does by itself.
OPSETS = range(18, 26)
OPSET = 20
#: The share of answers in which a smaller file must agree with fp32.
MIN_AGREEMENT = 0.99

Hook = Callable[[Mapping[str, Any], Path], Any]


@dataclass(frozen=True, kw_only=True)
class ExportedFile:
    """One file: where it is and what was proven."""

    precision: str  # fp32, fp16 or int8
    path: Path
    sha256: str
    size_bytes: int
    max_abs_diff: float  # from PyTorch
    agreement: float | None  # share of answers that are the fp32 file's; None: it is that file
    accuracy: float | None
    n_held_out: int
    latency_ms: Mapping[int, float]  # batch size -> median milliseconds on one CPU thread

    def as_json(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        return {
            "precision": self.precision,
            "path": str(self.path),
            "sha256": self.sha256,
            "size_bytes": self.size_bytes,
            "max_abs_diff": self.max_abs_diff,
            "agreement": self.agreement,
            "accuracy": self.accuracy,
            "n_held_out": self.n_held_out,
            "latency_ms": {str(size): ms for size, ms in self.latency_ms.items()},
        }


@dataclass(frozen=True, kw_only=True)
class ExportReport(ExportedFile):
    """The verified file in fp32, where it comes from, and what was made of it."""

    run: str
    smaller: tuple[ExportedFile, ...]
    refused: Mapping[str, str]  # precision -> why there is no such file
    metadata: Mapping[str, str]
    uploaded_as: str | None  # a file of the run; None: it was not uploaded
    warning: str | None  # the file is fine, the upload failed

    @property
    def files(self) -> tuple[ExportedFile, ...]:
        """Return every file that was written, fp32 first."""
        return (self, *self.smaller)

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

    def table(self) -> tuple[list[str], list[list[Any]]]:
        """Return what was proven of each file: the columns' names, and a row for each file."""
        sizes = list(self.latency_ms)
        head = ["precision", "file", "bytes", "accuracy", "as fp32", "differs by"]
        rows = [
            [
                file.precision,
                file.path.name,
                file.size_bytes,
                file.accuracy,
                None if file.agreement is None else f"{file.agreement:.2%}",
                f"{file.max_abs_diff:.1e}",
                *(file.latency_ms[size] for size in sizes),
            ]
            for file in self.files
        ]
        return [*head, *(f"ms for {size}" for size in sizes)], rows

    def as_json(self) -> dict[str, Any]:
        """Return the report as plain JSON values."""
        return {
            **super().as_json(),
            "run": self.run,
            "files": [ExportedFile.as_json(file) for file in self.files],
            "refused": dict(self.refused),
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
    precisions: Sequence[str] = ("fp32",),
    min_agreement: float = MIN_AGREEMENT,
    opset: int = OPSET,
    api: Any = None,
) -> ExportReport:
    """Export the best run of a selection, or one run, to `out` and add it to the run's files.

    The file holds everything: weights, normalisation, where it comes from. It is compared with
    PyTorch on real held-out batches before it gets its name. Smaller files stand beside it, as
    `model.int8.onnx` beside `model.onnx`, if they answer as it does.

    Args:
        source: a selection, or a run as `entity/project/id`.
        out: the file to write.
        model: `module:function` that rebuilds the model, called with the run's config and the
            path of its checkpoint; None leaves it to who wrote the checkpoint. Only a person's
            command line or code says this: nothing the server holds is ever imported.
        upload: whether to add the files to the run.
        precisions: of `PRECISIONS`; fp32 is always written, as the others are measured by it.
        min_agreement: the share of answers in which a smaller file must agree with fp32.
        opset: the version of ONNX's operators, in `OPSETS`.
        api: a `wandb.Api` to read through; None opens one.

    Raises:
        ExportError: in words: what is missing, damaged or different. Nothing is left at `out`.
        NotFound, Unauthorized, ServerUnreachable: the server's answer, in words.
        InvalidInput: `model` is not a module and a function of it; or there is no such precision,
            share or opset.
    """
    _check(precisions, min_agreement, opset)
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
        from sweepd.results import onnx_file, smaller

        rebuilt = _rebuild(hook or _own_hook(checkpoint), config, checkpoint)
    metadata = {
        **rebuilt.metadata,
        **_lineage(run, label, config, source),
        "weights_sha256": onnx_file.weights_sha256(rebuilt.model),
    }
    if "int8" in precisions:
        rebuilt = smaller.set_apart(rebuilt)
    proof = onnx_file.write(rebuilt, out, metadata=metadata, opset=opset)
    made, refused = _smaller_files(
        [name for name in PRECISIONS[1:] if name in precisions],
        out,
        rebuilt,
        reference=proof,
        min_agreement=min_agreement,
    )
    uploaded_as, warning = None, None
    if upload:
        paths = {"fp32": out, **{file.precision: file.path for file in made}}
        uploaded_as, warning = _upload(run, paths)
    return ExportReport(
        **_facts("fp32", out, proof, None),
        run=label,
        smaller=tuple(made),
        refused=refused,
        metadata=metadata,
        uploaded_as=uploaded_as,
        warning=warning,
    )


def _smaller_files(
    precisions: Sequence[str], out: Path, rebuilt: Any, *, reference: "Proof", min_agreement: float
) -> tuple[list[ExportedFile], dict[str, str]]:
    """Return the files that were written beside `out`, and why others were not."""
    from sweepd.results.smaller import write_smaller

    made, refused = [], {}
    for precision in precisions:
        beside = _beside(out, precision)
        try:
            of_it = write_smaller(
                precision, out, beside, rebuilt, reference=reference, min_agreement=min_agreement
            )
        except ExportError as error:
            refused[precision] = f"{beside} was not written: {error}"
        else:
            made.append(ExportedFile(**_facts(precision, beside, *of_it)))
    return made, refused


def _check(precisions: Sequence[str], min_agreement: float, opset: int) -> None:
    unknown = [name for name in precisions if name not in PRECISIONS]
    if unknown:
        raise InvalidInput(f"the precision {unknown[0]!r} is none of {', '.join(PRECISIONS)}")
    if not 0 <= min_agreement <= 1:
        raise InvalidInput(f"the agreement must be a share from 0 to 1, not {min_agreement}")
    if opset not in OPSETS:
        first, last = OPSETS[0], OPSETS[-1]
        raise InvalidInput(f"the opset must be from {first} to {last}, not {opset}")


def _beside(out: Path, precision: str) -> Path:
    """Return where a smaller file goes: model.int8.onnx for model.onnx."""
    suffix = out.suffix if out.suffix == ".onnx" else ""
    return out.with_name(f"{out.name.removesuffix(suffix)}.{precision}{suffix}")


def _facts(precision: str, path: Path, proof: "Proof", agreement: float | None) -> dict[str, Any]:
    return {
        "precision": precision,
        "path": path.resolve(),
        "agreement": agreement,
        "sha256": proof.sha256,
        "size_bytes": proof.size_bytes,
        "max_abs_diff": proof.max_abs_diff,
        "latency_ms": proof.latency_ms,
        "accuracy": proof.accuracy,
        "n_held_out": proof.n_held_out,
    }


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


def _upload(run: Any, paths: Mapping[str, Path]) -> tuple[str | None, str | None]:
    """Add the files to the run; a failure is a warning, the verified files stay.

    They go up under one name whatever they are called here, so that the next reader finds them.
    """
    import wandb

    with tempfile.TemporaryDirectory() as folder:
        for precision, path in paths.items():
            name = UPLOADED_AS if precision == "fp32" else _beside(Path(UPLOADED_AS), precision)
            copy = Path(folder) / name
            copy.symlink_to(path.resolve())
            try:
                run.upload_file(str(copy), root=folder)
            except (wandb.Error, OSError) as error:
                reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
                return None, f"the file was not uploaded: {reason}"
    return UPLOADED_AS, None
