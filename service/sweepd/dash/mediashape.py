"""What was logged as media, as a run's page shows it: plain data from logged objects, no I/O.

The client logs an object with a `_type` for each of them, whose `path` names a file of the run, or
one with several of them.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sweepd.dash.plain import parse
from sweepd.engine.files import check_name
from sweepd.errors import ProtocolError

__all__ = ["KINDS", "charts", "class_labels", "items", "media_keys"]

#: Type -> kind of what is shown, of an object that is one file.
_FILES = {
    "image-file": "image",
    "video-file": "video",
    "audio-file": "audio",
    "html-file": "html",
    "table-file": "table",
    "plotly-file": "figure",
    "bokeh-file": "figure",
    "molecule-file": "molecule",
    "object3D-file": "object3d",
    "graph-file": "graph",
}

#: Type -> where the members of an object that holds several are.
_LISTS = {"videos": "videos", "audio": "audio", "html": "html", "object3D": "objects"}

#: Type -> kind, of an object that holds the names of several files.
_NAMES = {"images/separated": "image", "images": "image", "molecule": "molecule"}

#: Kinds in the order in which a page shows them.
KINDS = ("image", "video", "audio", "html", "table", "figure", "object3d", "molecule", "graph")

_DELIMITER = "_wandb_delimeter_"  # as the client spells it
_MOST_ITEMS = 64  # of one key at one step
_MOST_CHARTS = 200
_NUMBERS = ("width", "height", "nrows", "ncols")


def media_keys(keys: Mapping[str, Sequence[str]], summary: str) -> dict[str, list[str]]:
    """Return the keys of media by kind: those of the history, and those of the summary alone."""
    found = {kind: list(keys.get(kind, ())) for kind in KINDS}
    known = {key for names in keys.values() for key in names}
    for key, value in sorted(parse(summary).items()):
        if isinstance(value, Mapping) and key not in known:
            kind = _kind(value)
            if kind is not None:
                found[kind].append(key)
    return {kind: names for kind, names in found.items() if names}


def items(value: Any) -> list[dict[str, Any]]:
    """Return the media of a logged value, one each: kind, path, caption and what belongs to it.

    What is none, or names no file that a run could have, is left out.
    """
    if not isinstance(value, Mapping):
        return []
    return [one for one in _members(value) if _is_name(one["path"])][:_MOST_ITEMS]


def class_labels(config: str, key: str) -> dict[str, dict[str, str]]:
    """Return the class names of a key's masks, `{mask: {class: name}}`, which the config keeps."""
    found: dict[str, dict[str, str]] = {}
    for name, entry in _own(config, "mask/class_labels").items():
        of, _, mask = name.partition(_DELIMITER)
        labels = entry.get("value") if isinstance(entry, Mapping) else None
        if of == key and isinstance(labels, Mapping):
            found[mask] = {str(number): str(label) for number, label in labels.items()}
    return found


def charts(config: str, summary: str) -> list[dict[str, Any]]:
    """Return a run's custom charts: preset, the columns of its table that it draws, its words.

    The client keeps a chart's look in its config and its data in a table of the summary.
    """
    logged, found = parse(summary), []
    for key, entry in sorted(_own(config, "visualize").items()):
        panel = entry.get("panel_config") if isinstance(entry, Mapping) else None
        if not isinstance(panel, Mapping):
            continue
        tables = [name for name in _table_keys(panel, key) if name in logged]
        chart = _chart(key, panel.get("panelDefId"), tables, logged)
        if chart is not None:
            words = {"fields": "fieldSettings", "strings": "stringSettings"}
            found.append(chart | {name: _texts(panel.get(of)) for name, of in words.items()})
    for key, entry in sorted(_own(config, "viz").items()):
        preset = entry.get("id") if isinstance(entry, Mapping) else None
        chart = _chart(key, preset, [key] if key in logged else [], logged)
        if chart is not None:
            found.append(chart | {"fields": {}, "strings": {}})
    return found[:_MOST_CHARTS]


def _chart(
    key: str, preset: Any, tables: Sequence[str], logged: Mapping[str, Any]
) -> dict[str, Any] | None:
    table = next(iter(items(logged[tables[0]])), None) if tables else None
    if not isinstance(preset, str) or table is None or table["kind"] != "table":
        return None
    return {"key": key, "preset": preset, "table_key": tables[0], "table": table}


def _table_keys(panel: Mapping[str, Any], key: str) -> Iterator[str]:
    """Give the keys that a chart's table may have: the one that it names, then the usual ones."""
    yield from _named(panel.get("userQuery"))
    yield from (f"{key}_table", f"Custom Chart Tables/{key}_table", key)


def _named(query: Any, depth: int = 0) -> Iterator[str]:
    """Give the `tableKey` arguments of a chart's query."""
    if depth > 8:
        return
    if isinstance(query, Mapping):
        if query.get("name") == "tableKey" and isinstance(query.get("value"), str):
            yield query["value"]
        query = list(query.values())
    for one in query if isinstance(query, list) else ():
        yield from _named(one, depth + 1)


def _members(value: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Give every file of a logged object."""
    name = _type(value)
    if name in _FILES:
        yield _item(_FILES[name], value)
    elif name in _LISTS:
        for one in _list(value.get(_LISTS[name])):
            if isinstance(one, Mapping) and _type(one) in _FILES:
                yield _item(_FILES[_type(one)], one)
    elif name in _NAMES:
        for place, path in enumerate(_list(value.get("filenames"))):
            parts = {
                "caption": _at(value.get("captions"), place),
                "masks": _at(value.get("all_masks"), place),
                "boxes": _at(value.get("all_boxes"), place),
            }
            size = {key: value.get(key) for key in ("width", "height")}
            yield _item(_NAMES[name], {"path": path, **parts, **size})


def _item(kind: str, value: Mapping[str, Any]) -> dict[str, Any]:
    caption = value.get("caption")
    shown: dict[str, Any] = {
        "kind": kind,
        "path": value.get("path"),
        "caption": caption if isinstance(caption, str) and caption else None,
    }
    shown |= {key: value[key] for key in _NUMBERS if isinstance(value.get(key), int)}
    for layers in ("masks", "boxes"):
        if kind == "image" and isinstance(value.get(layers), Mapping):
            shown[layers] = [
                {"name": name, "path": one["path"]}
                for name, one in value[layers].items()
                if isinstance(one, Mapping) and _is_name(one.get("path"))
            ]
    return shown


def _kind(value: Mapping[str, Any]) -> str | None:
    name = _type(value)
    if name in _LISTS:
        return next((one["kind"] for one in _members(value)), None)
    return _FILES.get(name) or _NAMES.get(name)


def _type(value: Mapping[str, Any]) -> str:
    name = value.get("_type")
    return name if isinstance(name, str) else ""


def _own(config: str, name: str) -> Mapping[str, Any]:
    """Return a part of what the client keeps for itself in a run's config."""
    own = parse(config).get("_wandb")
    values = own.get("value") if isinstance(own, Mapping) else None
    part = values.get(name) if isinstance(values, Mapping) else None
    return part if isinstance(part, Mapping) else {}


def _texts(value: Any) -> dict[str, str]:
    members = value.items() if isinstance(value, Mapping) else ()
    return {str(key): text for key, text in members if isinstance(text, str)}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _at(value: Any, place: int) -> Any:
    members = _list(value)
    return members[place] if place < len(members) else None


def _is_name(path: Any) -> bool:
    """Return whether a path can be that of a run's file, and is written as it is stored."""
    try:
        return isinstance(path, str) and check_name(path) == path
    except ProtocolError:
        return False
