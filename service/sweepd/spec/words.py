"""How a definition's problems are put into words: paths, values, and the nearest known name."""

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["Path", "nearest", "path_text", "show", "text_of"]

Path = tuple[str | int, ...]


def path_text(path: Path) -> str:
    """Return a path as people write it: parameters.lr.values[0]."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            name = step if len(step) <= 60 else f"{step[:57]}…"
            text += f".{name}" if text else name
    return text


def show(value: Any) -> str:
    """Return a value for a message: short, and named by its kind where it has parts."""
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, (list, tuple)):
        return "a list"
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return text_of(value)
    if isinstance(value, int) and abs(value) >= 10**60:
        return "a number of more than 60 digits"
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def text_of(value: str | float | bool) -> str:
    """Return a YAML scalar as text: true, not True."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def nearest(name: str, known: Iterable[str]) -> str:
    """Return "; did you mean X?" for the known name nearest to `name`, or nothing."""
    names = {candidate.lower(): candidate for candidate in known}
    found = difflib.get_close_matches(name[:64].lower(), names, n=1, cutoff=0.6)
    return f"; did you mean {names[found[0]]}?" if found else ""
