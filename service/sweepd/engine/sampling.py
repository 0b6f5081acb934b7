"""Which of many rows stand for all: the ends, the extremes, and the others evenly."""

from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["Extremes", "chosen", "evenly"]


def evenly(n: int, samples: int) -> list[int]:
    """Return at most `samples` of the indices 0 … n-1, evenly spread, the first and last in."""
    if samples >= n:
        return list(range(n))
    if samples <= 1:
        return [n - 1] if samples == 1 else []
    return [index * (n - 1) // (samples - 1) for index in range(samples)]


class Extremes:
    """Where each key has its lowest and its highest number, found row by row."""

    def __init__(self) -> None:
        self._low: dict[str, tuple[float, int]] = {}
        self._high: dict[str, tuple[float, int]] = {}

    def add(self, values: Mapping[str, Any], index: int) -> None:
        """Look at one more row; keys that begin with an underscore have no extremes."""
        low, high = self._low, self._high
        for key, value in values.items():
            if type(value) not in (int, float) or key.startswith("_"):
                continue
            if key not in low:
                low[key] = high[key] = (value, index)
            elif value < low[key][0]:
                low[key] = (value, index)
            elif value > high[key][0]:
                high[key] = (value, index)

    def indices(self) -> list[int]:
        """Return the rows of the extremes, keys in alphabetical order."""
        return [
            place[1] for key in sorted(self._low) for place in (self._low[key], self._high[key])
        ]


def chosen(n: int, samples: int, extremes: Iterable[int]) -> list[int]:
    """Return `samples` of n indices, ascending: the first and last, the extremes, others evenly.

    Extremes take at most half of the places. Memory does not grow with n.
    """
    if n <= samples:
        return list(range(n))
    ends = set(evenly(n, min(samples, 2)))
    kept = set(ends)
    for index in extremes:
        if len(kept) >= samples // 2:
            break
        kept.add(index)
    if kept == ends:
        return evenly(n, samples)
    return sorted(kept | _others(n, samples - len(kept), sorted(kept)))


def _others(n: int, wanted: int, kept: list[int]) -> set[int]:
    """Return `wanted` indices that are not in `kept`, as if those were not there."""
    found = set()
    n_passed, n_others = 0, n - len(kept)
    places = evenly(n_others, wanted + 2)[1:-1] if wanted + 2 <= n_others else range(wanted)
    for place in places:
        while n_passed < len(kept) and kept[n_passed] - n_passed <= place:
            n_passed += 1
        found.add(place + n_passed)
    return found
