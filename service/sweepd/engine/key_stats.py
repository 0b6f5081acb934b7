"""What a run has logged under each key, kept up to date row by row: W&B's `historyKeys`."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

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
        self._keys: dict[str, dict[str, Any]] = {}
        self._counts: dict[str, dict[str, int]] = {}
        for key, entry in stored.get("keys", {}).items():
            self._keys[key] = entry
            self._counts[key] = {row["type"]: row["count"] for row in entry["typeCounts"]}
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
        for key, counts in self._counts.items():
            rows = [{"type": kind, "count": count} for kind, count in counts.items()]
            self._keys[key]["typeCounts"] = rows
        return strict_json({"keys": self._keys, "lastStep": self.last_step, "sets": []})

    def _add_all(self, items: Iterable[tuple[str, Any]], prefix: str = "") -> None:
        for name, value in items:
            key = prefix + name
            kind = type(value)
            if kind is float or kind is int:
                self._count(key, "number", value, is_finite=value - value == 0)
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

    def _count(self, key: str, kind: str, value: Any = None, *, is_finite: bool = False) -> None:
        entry = self._keys.get(key)
        if entry is None:
            if len(self._keys) >= _MAX_KEYS:
                return
            self._keys[key] = {"typeCounts": [], "monotonic": is_finite, "previousValue": value}
            self._counts[key] = {kind: 1}
            return
        counts = self._counts[key]
        counts[kind] = counts.get(kind, 0) + 1
        if entry["monotonic"]:
            previous = entry["previousValue"]
            entry["monotonic"] = (
                is_finite and isinstance(previous, int | float) and value >= previous
            )
        entry["previousValue"] = value
