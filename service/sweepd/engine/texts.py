"""JSON and text from clients, made fit to store: strict JSON that SQL can look into."""

import json
import math
from typing import Any

from sweepd.errors import ProtocolError

__all__ = ["MAX_INT", "clean", "read_object", "strict_json"]

MAX_INT = 2**63 - 1  # what SQLite holds


def clean(text: str) -> str:
    """Return a text that can be stored: half a surrogate pair becomes `?`."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def read_object(text: str, *, name: str) -> dict[str, Any]:
    """Parse a JSON object; NaN and Infinity are let through.

    Raises:
        ProtocolError: naming the field, if it is anything else.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
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
