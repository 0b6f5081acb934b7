"""Exports a run's model: from its config and checkpoint to one verified ONNX file."""

import importlib.util
import json
import math
import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweepd.errors import ExportError, InvalidInput, SweepdError
from sweepd.results.card import Curve, card, card_path, is_card
from sweepd.results.exported import ExportedFile, ExportReport
from sweepd.results.hooks import Hook, hook_of, import_hook, rebuild
from sweepd.results.registering import register
from sweepd.results.select import Selection
from sweepd.results.server import CLIENT_FAILURES, download, in_words, open_api

if TYPE_CHECKING:
    from sweepd.results.proof import Proof

__all__ = [
    "CHECKPOINT",
    "MIN_AGREEMENT",
    "OPSET",
    "OPSETS",
    "PRECISIONS",
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

#: What a run that nobody chose says of its sweep's metric.
_OF_A_SWEEP = (("metric", "name"), ("goal", "goal"))

#: What is no part of an alias: servers take few signs.
_NOT_OF_AN_ALIAS = re.compile(r"[^A-Za-z0-9_.-]+")


def export(
    source: Selection | str,
    *,
    out: Path,
    model: str | None = None,
    folder: Path | None = None,
    upload: bool = True,
    precisions: Sequence[str] = ("fp32",),
    min_agreement: float = MIN_AGREEMENT,
    opset: int = OPSET,
    api: Any = None,
) -> ExportReport:
    """Export the best run of a selection, or one run, to `out` and add it to the run's files.

    The file holds everything: weights, normalisation, where it comes from. It is compared with
    PyTorch on real held-out batches before it gets its name. Smaller files stand beside it, as
    `model.int8.onnx` beside `model.onnx`, if they answer as it does. All of them, and the card, get
    their places at the end; smaller files of an earlier export, which are not of this one, go.

    Args:
        source: a selection, or a run as `entity/project/id`.
        out: the file to write.
        model: `module:function` that rebuilds the model, called with the run's config and the
            path of its checkpoint; None leaves it to who wrote the checkpoint. Only a person's
            command line or code says this: nothing the server holds is ever imported.
        folder: in which `model` is found before the current one and what is installed.
        upload: whether to add the files to the run, and to register them as a model artifact.
        precisions: of `PRECISIONS`; fp32 is always written, as the others are measured by it.
        min_agreement: the share of answers in which a smaller file must agree with fp32.
        opset: the version of ONNX's operators, in `OPSETS`.
        api: a `wandb.Api` to read through; None opens one.

    Raises:
        ExportError: in words: what is missing, damaged or different. Nothing is left at `out`.
        NotFound, Unauthorized, ServerUnreachable: the server's answer, in words.
        InvalidInput: `model` is not a module and a function of it; or there is no such precision,
            share or opset; or what stands where the card goes is none.
    """
    _check(precisions, min_agreement, opset)
    _check_page(card_path(out))
    path = source.best.path if isinstance(source, Selection) else source
    hook = import_hook(model, folder) if model else None
    api = api or open_api()
    with in_words(f"the run {path}"):
        run = api.run(path)
        config = dict(run.config)
    label = "/".join(run.path)
    rebuilt = _rebuild(run, label, config, hook)
    from sweepd.results import onnx_file, smaller

    metadata = {
        **rebuilt.metadata,
        **_lineage(run, label, config, source),
        "weights_sha256": onnx_file.weights_sha256(rebuilt.model),
    }
    told = {"metadata": metadata, "config": config, **_measured(run, metadata.get("metric"))}
    if "int8" in precisions:
        rebuilt = smaller.set_apart(rebuilt)
    first, made, refused, notes = _write_all(
        out, rebuilt, told, precisions=precisions, min_agreement=min_agreement, opset=opset
    )
    written = card_path(out).resolve()
    said: dict[str, Any] = {"uploaded_as": None, "artifact": None, "warning": None}
    if upload:
        files = [ExportedFile(**first), *made]
        said = _upload(run, _named(files, written), lambda: _entry(run, source, files, api))
    return ExportReport(
        **first,
        run=label,
        card=written,
        notes=notes,
        smaller=tuple(made),
        refused=refused,
        metadata=metadata,
        **said,
    )


def _rebuild(run: Any, label: str, config: Mapping[str, Any], hook: Hook | None) -> Any:
    """Return a run's model with what is to prove it, from its config and its checkpoint."""
    with tempfile.TemporaryDirectory() as folder:
        with in_words(f"the files of the run {label}"):
            checkpoint = download(run, CHECKPOINT, Path(folder))
        _require_onnx()
        return rebuild(hook or hook_of(checkpoint), config, checkpoint)


def _write_all(
    out: Path,
    rebuilt: Any,
    told: Mapping[str, Any],
    *,
    precisions: Sequence[str],
    min_agreement: float,
    opset: int,
) -> tuple[dict[str, Any], list[ExportedFile], dict[str, str], tuple[str, ...]]:
    """Prove the files, write their card, and put all in place together.

    Returns:
        what there is to say of the first file, the smaller ones, why others were not made, and what
        became of files that stood there.
    """
    from sweepd.results import onnx_file

    with onnx_file.staged(out) as stage:
        proof = onnx_file.write(rebuilt, stage / out.name, metadata=told["metadata"], opset=opset)
        made, refused = _smaller_files(
            [name for name in PRECISIONS[1:] if name in precisions],
            out,
            rebuilt,
            stage=stage,
            reference=proof,
            min_agreement=min_agreement,
        )
        first = _facts("fp32", out, proof)
        page = card([ExportedFile(**first), *made], refused, **told)
        onnx_file.place(stage / card_path(out).name, page.encode(), check=lambda _: None)
        return first, made, refused, _put_in_place(stage, out)


def _smaller_files(
    precisions: Sequence[str],
    out: Path,
    rebuilt: Any,
    *,
    stage: Path,
    reference: "Proof",
    min_agreement: float,
) -> tuple[list[ExportedFile], dict[str, str]]:
    """Return the files that were made for a place beside `out`, and why others were not."""
    from sweepd.results.smaller import write_smaller

    made, refused = [], {}
    for precision in precisions:
        beside = _beside(out, precision)
        try:
            of_it = write_smaller(
                precision,
                stage / out.name,
                stage / beside.name,
                rebuilt,
                reference=reference,
                min_agreement=min_agreement,
            )
        except ExportError as error:
            refused[precision] = f"{beside.name} was not written: {error}"
        else:
            made.append(ExportedFile(**_facts(precision, beside, *of_it)))
    return made, refused


def _put_in_place(stage: Path, out: Path) -> tuple[str, ...]:
    """Move what was made beside `out`; return what became of files that are no part of it.

    A smaller file of an earlier export would pass for one of this model: it goes.
    """
    from sweepd.results.onnx_file import is_of_an_export

    notes, renewed = [], set()
    try:
        for made in sorted(stage.iterdir()):
            made.replace(out.with_name(made.name))
            renewed.add(made.name)
        for precision in sorted(PRECISIONS[1:]):
            beside = _beside(out, precision)
            if beside.name in renewed or not beside.exists():
                continue
            if is_of_an_export(beside, precision):
                beside.unlink()
                notes.append(f"{beside.name} of an earlier export was removed")
            else:
                kept = "was there before, is no part of this export and was left"
                notes.append(f"{beside.name} {kept}")
    except OSError as error:
        raise ExportError(f"{out} cannot be written: {error.strerror}") from error
    return tuple(notes)


def _check_page(path: Path) -> None:
    """Refuse to write a card over a page that is none."""
    if path.exists() and not is_card(path):
        raise InvalidInput(
            f"{path} is there already and is no model's card: move it, or export to another name"
        )


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


def _facts(
    precision: str,
    path: Path,
    proof: "Proof",
    agreement: float | None = None,
    in_float: str = "",
) -> dict[str, Any]:
    return {
        "precision": precision,
        "path": path.resolve(),
        "agreement": agreement,
        "in_float": in_float,
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
        facts |= {"sweep": source.sweep, **source.facts_of_best()}
    elif sweep := getattr(run, "sweep", None):
        facts["sweep"] = f"{sweep.entity}/{sweep.project}/{sweep.id}"
        metric = sweep.config.get("metric") or {}
        facts |= {key: metric[name] for key, name in _OF_A_SWEEP if metric.get(name)}
    git = (run.metadata or {}).get("git") or {}
    facts |= {f"git.{key}": git[key] for key in ("remote", "commit") if git.get(key)}
    return {key: str(value) for key, value in facts.items()}


def _measured(run: Any, metric: str | None) -> dict[str, Any]:
    """Return the numbers of a run's summary, and the curve of a metric."""
    metrics = {
        name: float(value)
        for name, value in sorted(dict(run.summary_metrics).items())
        if isinstance(value, int | float)
        and not isinstance(value, bool)
        and not name.startswith("_")
    }
    return {"metrics": metrics, "curve": _curve_of(run, metric) if metric else ()}


def _curve_of(run: Any, metric: str) -> Curve:
    """Return the finite values that a run logged of a metric, by step."""
    with in_words(f"the history of the run {'/'.join(run.path)}"):
        rows = list(run.scan_history(keys=[metric, "_step"], use_cache=False))
    return [
        (int(row.get("_step", place)), float(row[metric]))
        for place, row in enumerate(rows)
        if isinstance(row.get(metric), int | float) and math.isfinite(row[metric])
    ]


def _upload(
    run: Any, named: Mapping[str, Path], entry: Callable[[], Mapping[str, Any]]
) -> dict[str, Any]:
    """Add the files to the run, and as a model; return what the report says of it.

    A failure is a warning, the verified files stay; so is one to read what `entry` returns.
    """
    said: dict[str, Any] = {"uploaded_as": None, "artifact": None, "warning": None}
    try:
        with tempfile.TemporaryDirectory() as folder:
            for name, path in named.items():
                copy = Path(folder) / name
                copy.symlink_to(path)
                run.upload_file(str(copy), root=folder)
    except (*CLIENT_FAILURES, OSError) as error:
        return {**said, "warning": f"the file was not uploaded: {_first_line(error)}"}
    said["uploaded_as"] = UPLOADED_AS
    try:
        said["artifact"] = register(run, named, **entry())
    except (*CLIENT_FAILURES, OSError, ValueError, SweepdError) as error:
        said["warning"] = f"it was not registered as an artifact: {_first_line(error)}"
    return said


def _named(files: Sequence[ExportedFile], written: Path) -> dict[str, Path]:
    """Return the files by the names they have at the server, whatever they are called here."""
    return {
        UPLOADED_AS: files[0].path,
        **{_beside(Path(UPLOADED_AS), file.precision).name: file.path for file in files[1:]},
        card_path(Path(UPLOADED_AS)).name: written,
    }


def _entry(
    run: Any, source: Selection | str, files: Sequence[ExportedFile], api: Any
) -> dict[str, Any]:
    """Return how the model is registered: under the sweep's id, as `best` if it is that."""
    metadata: dict[str, Any] = {
        "run": "/".join(run.path),
        "files": [{**file.as_json(), "path": file.path.name} for file in files],
    }
    sweep = getattr(run, "sweep", None)
    if not isinstance(source, Selection):
        name = sweep.id if sweep else run.id
        return {"name": name, "aliases": [run.id], "metadata": metadata}
    with in_words(f"the sweep {source.sweep}"):
        label = getattr(api.sweep(source.sweep), "name", None)
    sweep_id = source.sweep.rsplit("/", 1)[-1]
    alias = _NOT_OF_AN_ALIAS.sub("-", label or "").strip("-") or sweep_id
    metadata |= {"sweep": source.sweep, **source.facts_of_best()}
    return {"name": sweep_id, "aliases": ["best", alias], "metadata": metadata}


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
