"""Reads a chart's specification as one of the presets that a page draws, where it is that simple.

Vega-Lite is a language; what is understood here is one mark over plain columns. A specification
names the columns of the table that is logged with it as `${field:NAME}`.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

__all__ = ["as_preset"]

_FIELD = re.compile(r"\$\{field:([^}]+)\}")
_PLAIN = frozenset(
    {"$schema", "background", "config", "data", "description", "encoding", "height", "mark"}
    | {"padding", "title", "width", "autosize", "params"}
)
_CHANNEL = frozenset({"field", "type", "title", "axis", "legend", "scale", "sort"})
_MARKS = {
    "line": ("wandb/line/v0", {"x": "x", "y": "y", "color": "stroke"}),
    "point": ("wandb/scatter/v0", {"x": "x", "y": "y", "color": "class"}),
    "circle": ("wandb/scatter/v0", {"x": "x", "y": "y", "color": "class"}),
    "bar": ("wandb/bar/v0", {"x": "label", "y": "value"}),
}


def as_preset(spec: str, fields: Mapping[str, str]) -> tuple[str, dict[str, str]] | None:
    """Return the preset that draws the same, and its fields; None if none does.

    Args:
        spec: JSON text.
        fields: the name of a field in the specification -> the column of the table.
    """
    chart = _object(spec)
    encoding, mark = chart.get("encoding"), chart.get("mark")
    kind = mark.get("type") if isinstance(mark, Mapping) else mark
    if chart.keys() - _PLAIN or not isinstance(encoding, Mapping) or not isinstance(kind, str):
        return None
    preset, parts = _MARKS.get(kind, (None, {}))
    channels = {name: one for name, one in encoding.items() if name != "tooltip"}
    if preset is None or channels.keys() - parts.keys() or not {"x", "y"} <= channels.keys():
        return None
    found: dict[str, str] = {}
    for name, channel in channels.items():
        column = _column(channel, fields)
        if column is None:
            return None
        found[parts[name]] = column
    is_number = channels["x"].get("type") == "quantitative"
    return None if kind == "bar" and is_number else (preset, found)


def _column(channel: Any, fields: Mapping[str, str]) -> str | None:
    if not isinstance(channel, Mapping) or channel.keys() - _CHANNEL:
        return None
    scale = channel.get("scale")
    if isinstance(scale, Mapping) and scale.get("type", "linear") != "linear":
        return None
    name = channel.get("field")
    if not isinstance(name, str):
        return None
    wanted = _FIELD.fullmatch(name)
    return fields.get(wanted[1]) if wanted else name


def _object(text: str) -> Mapping[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, Mapping) else {}
