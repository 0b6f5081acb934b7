"""JSON for the pages: strict, flat where people read it, and safe inside a page."""

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any

__all__ = ["config_values", "digest", "dump", "flatten", "parse", "summary_number"]

#: What W&B's client adds to a config or a summary for itself.
_OWN = frozenset({"_wandb", "wandb_version"})
_DEEPEST = 12

#: What define_metric(summary=…) leaves in place of a number: the first of these stands for it.
_SUMMARY = ("best", "last", "max", "min", "mean", "first")


def dump(data: Any) -> str:
    """Return strict JSON text; NaN and infinities become null, `<`, `>` and `&` are escaped.

    The escapes let it stand inside a page's `<script type="application/json">`.
    """
    text = json.dumps(_finite(data), separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def digest(stamp: object) -> str:
    """Return a short text that differs where stamps differ."""
    return hashlib.sha256(repr(stamp).encode()).hexdigest()[:16]


def _finite(item: Any) -> Any:
    if isinstance(item, float):
        return item if math.isfinite(item) else None
    if isinstance(item, Mapping):
        return {str(key): _finite(value) for key, value in item.items()}
    if isinstance(item, (list, tuple)):
        return [_finite(value) for value in item]
    return item


def parse(text: str | None) -> dict[str, Any]:
    """Return the object that stored JSON text holds; {} for anything else."""
    try:
        data = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}


def flatten(nested: Mapping[str, Any], prefix: str = "", depth: int = 0) -> dict[str, Any]:
    """Return nested mappings as one, keys joined by "."; lists stay values."""
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value and depth < _DEEPEST and "_type" not in value:
            flat.update(flatten(value, f"{name}.", depth + 1))
        else:
            flat[name] = value
    return flat


def config_values(text: str) -> dict[str, Any]:
    """Return a run's config, flat, from W&B's `{"key": {"value": …}}`, without the client's own."""
    values = {}
    for key, entry in parse(text).items():
        if key not in _OWN:
            values[key] = entry.get("value") if isinstance(entry, Mapping) else entry
    return flatten(values)


def summary_number(value: Any) -> float | None:
    """Return the number that stands for a summary value; None if it is none."""
    if isinstance(value, Mapping):
        value = next((value[key] for key in _SUMMARY if key in value), None)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if math.isfinite(value) else None
