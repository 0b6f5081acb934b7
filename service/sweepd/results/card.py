"""Writes a model's card: what it is and how it was proven, for people and for programs."""

import html
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sweepd.results.exported import ExportedFile

__all__ = ["Curve", "card", "card_path", "is_card", "thinned"]

#: Steps and values of a metric, in order.
Curve = Sequence[tuple[int, float]]

_BARS = "▁▂▃▄▅▆▇█"
_MARKUP = re.compile(r"([\\`*_{}\[\]()#|~!])")
_ADDRESS = re.compile(r"https?://[^\s<>|\\`]+")
#: Facts that have a place of their own on the card.
_LINEAGE = ("run", "run_name", "run_url", "sweep", "git.remote", "git.commit")
_DATA = ("dataset", "classes", "input", "normalisation")


def card_path(out: Path) -> Path:
    """Return where the card of a file goes: model.md beside model.onnx."""
    return out.with_name(f"{out.name.removesuffix('.onnx')}.md")


def card(
    files: Sequence[ExportedFile],
    refused: Mapping[str, str],
    *,
    metadata: Mapping[str, str],
    config: Mapping[str, Any],
    metrics: Mapping[str, float],
    curve: Curve,
) -> str:
    """Return the card, as Markdown that ends with the same facts as one block of JSON.

    Args:
        files: that were written, fp32 first.
        refused: precision -> why there is no such file.
        metadata: of the file: where it comes from.
        config: of the run.
        metrics: of the run's summary.
        curve: of the metric that chose the run; empty if none did.
    """
    versions = {
        name.removeprefix("version."): told
        for name, told in metadata.items()
        if name.startswith("version.")
    }
    parts = [
        f"# {_text(metadata.get('run_name') or metadata['run'])}",
        _choice(metadata),
        "## Files",
        *_files(files, refused),
        "## Where it comes from",
        _table(["", ""], _named(metadata, _LINEAGE)),
        *_curve(metadata.get("metric", ""), curve),
        "## What the run measured",
        _table(["metric", "value"], [(name, f"{value:.6g}") for name, value in metrics.items()]),
        "## Config",
        _table(["parameter", "value"], [(k, json.dumps(v)) for k, v in sorted(config.items())]),
        "## Data",
        _table(["", ""], _named(metadata, _DATA)),
        "## Versions",
        _table(["", ""], sorted(versions.items())),
        "## For programs",
        _block(files, refused, metadata, config=config, metrics=metrics, curve=curve),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def is_card(path: Path) -> bool:
    """Return whether a file ends as every card does, with its facts as a block of JSON."""
    try:
        text = path.read_text(encoding="utf-8")
        block = text.rpartition("```json\n")[2]
        facts = json.loads(block.removesuffix("\n```\n"))
    except (OSError, ValueError):
        return False
    return isinstance(facts, dict) and {"files", "metadata"} <= facts.keys()


def thinned(curve: Curve, n: int) -> Curve:
    """Return at most `n` points of a curve, evenly, with its first and its last."""
    if len(curve) <= n:
        return curve
    return [curve[round(place * (len(curve) - 1) / (n - 1))] for place in range(n)]


def _choice(metadata: Mapping[str, str]) -> str:
    if "value" not in metadata:
        return ""
    way = "highest" if metadata["goal"] == "maximize" else "lowest"
    metric, value = _text(metadata["metric"]), _text(metadata["value"])
    rule = f"by the rule {_text(metadata['rule'])}"
    if "confirmed_mean" not in metadata:
        return f"The {way} {metric} of its sweep: {value} {rule}."
    mean, n = f"{float(metadata['confirmed_mean']):.4g}", int(metadata["confirmed_seeds"])
    n_without = int(metadata.get("confirmed_without", 0))
    seeds = f"{n} of {n + n_without} seeds" if n_without else str(n)
    interval = ""
    if "confirmed_low" in metadata:
        low, high = (f"{float(metadata[f'confirmed_{end}']):.4g}" for end in ("low", "high"))
        interval = f" (90 % interval {low} to {high})"
    return (
        f"By the {way} mean {metric} the best of its sweep's leaders with fresh seeds: {mean} of "
        f"{seeds}{interval}. This run's own value is {value} {rule}."
    )


def _files(files: Sequence[ExportedFile], refused: Mapping[str, str]) -> list[str]:
    first = files[0]
    sizes = list(first.latency_ms)
    head = ["file", "precision", "bytes", "accuracy", "answers as fp32", "differs by"]
    rows = [
        (
            file.path.name,
            file.precision,
            f"{file.size_bytes:,}",
            "-" if file.accuracy is None else f"{file.accuracy:.4f}",
            "-" if file.agreement is None else f"{file.agreement:.2%}",
            f"{file.max_abs_diff:.1e}",
            *(f"{file.latency_ms[size]:.3f}" for size in sizes),
        )
        for file in files
    ]
    sums = _table(["file", "SHA-256"], [(file.path.name, file.sha256) for file in files])
    said = (
        f"Judged on {first.n_held_out:,} held-out inputs; the difference is the largest of an "
        "output from PyTorch's, the times are onnxruntime's on one CPU thread."
    )
    notes = [f"- {_text(file.remark)}." for file in files if file.in_float]
    notes += [f"- No {name}: {_text(why)}" for name, why in refused.items()]
    return [_table([*head, *(f"ms for {n}" for n in sizes)], rows), said, *notes, sums]


def _curve(metric: str, curve: Curve) -> list[str]:
    if not curve:
        return []
    values = [value for _, value in curve]
    low, high = min(values), max(values)
    reach = (high - low) or 1.0
    bars = "".join(
        _BARS[int((value - low) / reach * (len(_BARS) - 1))] for _, value in thinned(curve, 40)
    )
    said = f"from {values[0]:.6g} to {values[-1]:.6g}, lowest {low:.6g}, highest {high:.6g}"
    return [f"## {_text(metric)}", f"{bars} ({len(values):,} values, {said})"]


def _named(metadata: Mapping[str, str], names: Iterable[str]) -> list[tuple[str, str]]:
    return [(name, metadata[name].replace("\n", ", ")) for name in names if metadata.get(name)]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table; texts in it are never markup. Nothing if there are no rows."""
    if not rows:
        return "Nothing is known."
    lines = [head, ["---"] * len(head), *([_text(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _text(value: str) -> str:
    """Return a text as Markdown that shows it, on one line; an address becomes a link."""
    if _ADDRESS.fullmatch(value):
        return f"<{value}>"
    shown = "".join(sign if sign.isprintable() else " " for sign in value)
    return _MARKUP.sub(r"\\\1", html.escape(shown, quote=False))


def _block(
    files: Sequence[ExportedFile],
    refused: Mapping[str, str],
    metadata: Mapping[str, str],
    *,
    config: Mapping[str, Any],
    metrics: Mapping[str, float],
    curve: Curve,
) -> str:
    """Return the facts as a fenced block; no line of JSON begins with a fence."""
    facts = {
        "files": [{**file.as_json(), "path": file.path.name} for file in files],
        "refused": dict(refused),
        "metadata": {name: told for name, told in metadata.items() if name != "config"},
        "config": dict(config),
        "metrics": dict(metrics),
        "curve": [list(point) for point in thinned(curve, 100)],
    }
    return f"```json\n{json.dumps(facts, indent=1, sort_keys=True)}\n```"
