"""JSON and text from clients, made fit to store: strict JSON that SQL can look into."""

import json
import math
from typing import Any

import orjson

from sweepd.errors import ProtocolError

__all__ = ["MAX_INT", "clean", "clean_all", "load", "load_quickly", "read_object", "strict_json"]

MAX_INT = 2**63 - 1  # what SQLite holds
_MAX_DEPTH = 100  # of JSON from clients: whatever reads it again may recurse


def clean(text: str) -> str:
    """Return a text that can be stored: half a surrogate pair becomes `?`."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def clean_all(value: Any) -> Any:
    """Return a JSON value whose texts, keys included, can be stored."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, dict):
        return {clean(key): clean_all(item) for key, item in value.items()}
    if isinstance(value, list):
        return [clean_all(item) for item in value]
    return value


def load(text: str | bytes) -> Any:
    """Parse JSON from a client; NaN and Infinity are let through.

    Raises:
        ValueError: in words, if it is none, or nested more than a hundred levels deep.
    """
    try:
        value = json.loads(text)
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    _check_depth(text, value)
    return value


def load_quickly(text: str | bytes) -> tuple[Any, bool]:
    """Parse JSON as `load` does, save that whole numbers beyond 64 bits become floats.

    Returns:
        The value, and whether it is strict JSON: no NaN, no Infinity, no half of a surrogate pair.
    """
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return load(text), False
    _check_depth(text, value)
    return value, True


def _check_depth(text: str | bytes, value: Any) -> None:
    if isinstance(text, bytes):
        n_open = text.count(b"[") + text.count(b"{")
    else:
        n_open = text.count("[") + text.count("{")
    if n_open > _MAX_DEPTH and not _is_shallow(value, _MAX_DEPTH):
        raise ValueError(_TOO_DEEP)


_TOO_DEEP = f"nested more than {_MAX_DEPTH} levels deep"


def _is_shallow(value: Any, levels: int) -> bool:
    if isinstance(value, dict):
        return levels > 0 and all(_is_shallow(item, levels - 1) for item in value.values())
    if isinstance(value, list):
        return levels > 0 and all(_is_shallow(item, levels - 1) for item in value)
    return True


def read_object(text: str, *, name: str) -> dict[str, Any]:
    """Parse a JSON object; NaN and Infinity are let through.

    Raises:
        ProtocolError: naming the field, if it is anything else.
    """
    try:
        value = load(text)
    except ValueError as error:
        raise ProtocolError(f"{name}: not JSON: {error}") from None
    if not isinstance(value, dict):
        raise ProtocolError(f"{name}: must be a JSON object, not {type(value).__name__}")
    return value


def strict_json(value: object) -> str:
    """Return compact JSON in which NaN and infinities are the texts "NaN", "Infinity", "-Infinity".

    Letters stay as they are (no escapes outside ASCII), so that SQL finds keys by their name.
    """
    try:
        return clean(json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")))
    except ValueError:
        named = _name_numbers(value)
        return clean(json.dumps(named, ensure_ascii=False, allow_nan=False, separators=(",", ":")))


def _name_numbers(value: Any) -> Any:
    """Return `value` with every float that JSON lacks replaced by its name."""
    if isinstance(value, float):
        if math.isfinite(value):
            return value
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, dict):
        return {key: _name_numbers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_name_numbers(item) for item in value]
    return value
