"""What a run has logged under each key, kept up to date row by row: W&B's `historyKeys`."""

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from sweepd.engine.texts import strict_json

__all__ = ["KeyStats"]

_MAX_KEYS = 20_000  # of one run; further ones are stored, but not listed
_MAX_TEXT = 256  # characters of a previous value
_NUMBERS = frozenset({"NaN", "Infinity", "-Infinity"})  # as they stand in strict JSON


class KeyStats:
    """Counts of types, the last value, and whether the values only grow, for each key.

    Nested objects count under dotted keys; media under their `_type`.

    Attributes:
        last_step: the highest step counted, None before the first.
    """

    def __init__(self, text: str | None = None) -> None:
        """Start from what `to_json` gave before, or from nothing."""
        stored = json.loads(text) if text else {}
        self._keys: dict[str, dict[str, Any]] = stored.get("keys", {})
        #: Of keys that held nothing but numbers: the entry, and its only count.
        self._numbers: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {}
        for key, entry in self._keys.items():
            self._note_number(key, entry)
        self.last_step: int | None = stored.get("lastStep")

    def __len__(self) -> int:
        """Return how many keys there are."""
        return len(self._keys)

    def add(self, values: Mapping[str, Any], *, step: int) -> None:
        """Count one row."""
        if self.last_step is None or step > self.last_step:
            self.last_step = step
        self._add_all(values.items())

    def to_json(self) -> str:
        """Return W&B's historyKeys object as strict JSON text."""
        found: dict[str, Any] = {"keys": self._keys, "lastStep": self.last_step, "sets": []}
        try:
            return orjson.dumps(found).decode()
        except TypeError:  # a whole number beyond 64 bits, half of a surrogate pair
            return strict_json(found)

    def _add_all(self, items: Iterable[tuple[str, Any]], prefix: str = "") -> None:
        numbers = self._numbers
        for name, value in items:
            key = prefix + name if prefix else name
            kind = type(value)
            if kind is float or kind is int:
                known = numbers.get(key)
                if known is None:
                    self._count(key, "number", value)
                    continue
                entry, count = known  # as in _count, for what is by far the most common
                count["count"] += 1
                if entry["monotonic"] and not entry["previousValue"] <= value < math.inf:
                    entry["monotonic"] = False
                entry["previousValue"] = value if value - value == 0 else _name(value)
            elif kind is dict:
                media = value.get("_type")
                if isinstance(media, str):
                    self._count(key, media)
                else:
                    self._add_all(value.items(), f"{key}.")
            elif kind is str:
                named = value in _NUMBERS
                self._count(key, "number" if named else "string", value[:_MAX_TEXT])
            elif kind is bool:
                self._count(key, "boolean", value)
            else:
                self._count(key, "list" if kind is list else "null")

    def _count(self, key: str, kind: str, value: Any = None) -> None:
        is_finite = type(value) in (float, int) and value - value == 0
        shown = _name(value) if type(value) is float and not is_finite else value
        entry = self._keys.get(key)
        if entry is None:
            if len(self._keys) >= _MAX_KEYS:
                return
            counts = [{"type": kind, "count": 1}]
            entry = {"typeCounts": counts, "monotonic": is_finite, "previousValue": shown}
            self._keys[key] = entry
            self._note_number(key, entry)
            return
        for row in entry["typeCounts"]:
            if row["type"] == kind:
                row["count"] += 1
                break
        else:
            entry["typeCounts"].append({"type": kind, "count": 1})
            self._numbers.pop(key, None)
        if entry["monotonic"]:
            previous = entry["previousValue"]
            entry["monotonic"] = (
                is_finite and isinstance(previous, int | float) and value >= previous
            )
        entry["previousValue"] = shown

    def _note_number(self, key: str, entry: dict[str, Any]) -> None:
        counts = entry["typeCounts"]
        if len(counts) == 1 and counts[0]["type"] == "number":
            self._numbers[key] = entry, counts[0]


def _name(value: float) -> str:
    """Return what stands in strict JSON for a number that JSON lacks."""
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
