"""Constraints on what a run measures: `sweepd.outcome_constraints`, {latency_ms: {max: 5}}.

A run is judged by its summary, which holds the last value that it logged of each metric.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sweepd.spec.distributions import is_number
from sweepd.spec.problems import Problems
from sweepd.spec.words import Path, show

__all__ = ["Bounds", "Outcome", "bounds_in", "judge", "read_outcomes"]

_MOST = 50
_KEYS = ("min", "max")


class Outcome(StrEnum):
    """What is wrong with a run that does not satisfy its definition's outcome constraints."""

    BROKEN = "broken"  # a metric is out of its bounds
    MISSING = "missing"  # none is, but one was never logged


@dataclass(frozen=True)
class Bounds:
    """The values of a metric that a run may end with, both ends included."""

    low: float = -math.inf
    high: float = math.inf

    def why_not(self, value: float) -> str | None:
        """Return how a value is out of bounds: "above 5"; None if it is within."""
        if math.isnan(value):
            return "NaN"
        if value > self.high:
            return f"above {self.high:g}"
        return f"below {self.low:g}" if value < self.low else None


def read_outcomes(data: Any, problems: Problems, *, metrics: set[str]) -> dict[str, Bounds]:
    """Return the bounds of a `sweepd.outcome_constraints` block, noting what is wrong with it.

    Args:
        data: the block.
        problems: takes what is wrong.
        metrics: names that the search optimises already.
    """
    path: Path = ("sweepd", "outcome_constraints")
    if data is None:
        return {}
    if not isinstance(data, Mapping):
        problems.error(path, f"must be a mapping such as {{latency: {{max: 5}}}}, not {show(data)}")
        return {}
    if len(data) > _MOST:
        problems.error(path, f"has {len(data)} metrics: at most {_MOST}")
        return {}
    found = {}
    for name, entry in data.items():
        where = (*path, name)
        if name in metrics:
            problems.error(where, "is the metric itself, which the search optimises already")
        elif not isinstance(entry, Mapping) or not entry:
            hint = f": write {{max: {show(entry)}}}" if is_number(entry) else ""
            problems.error(where, f"must have min, max or both, not {show(entry)}{hint}")
        else:
            bounds = _bounds(entry, where, problems)
            if bounds is not None:
                found[name] = bounds
    return found


def _bounds(entry: Mapping[str, Any], path: Path, problems: Problems) -> Bounds | None:
    problems.unknown_keys(entry, _KEYS, path)
    wrong = [key for key in _KEYS if key in entry and not is_number(entry[key])]
    for key in wrong:
        problems.error((*path, key), f"must be a finite number, not {show(entry[key])}")
    if wrong:
        return None
    bounds = Bounds(entry.get("min", -math.inf), entry.get("max", math.inf))
    if bounds.low > bounds.high:
        problems.error(path, f"min {show(entry['min'])} is above max {show(entry['max'])}")
        return None
    if bounds == Bounds():
        problems.warn(path, "has no effect without min or max")
    return bounds


def bounds_in(definition: Mapping[str, Any]) -> dict[str, Bounds]:
    """Return the outcome constraints of a raw definition, from any server; odd ones left out."""
    block = definition.get("sweepd")
    found = block.get("outcome_constraints") if isinstance(block, Mapping) else None
    bounds = {}
    for name, entry in (found if isinstance(found, Mapping) else {}).items():
        if isinstance(entry, Mapping):
            ends = {key: entry[key] for key in _KEYS if is_number(entry.get(key))}
            bounds[name] = Bounds(ends.get("min", -math.inf), ends.get("max", math.inf))
    return bounds


def judge(
    summary: Mapping[str, Any], bounds: Mapping[str, Bounds]
) -> Iterator[tuple[Outcome, str, str]]:
    """Yield what is wrong with a run: how, the metric, and in words: "above 5", "was never logged".

    Args:
        summary: the run's, as W&B keeps it: nested, NaN and infinities as text.
        bounds: of each metric; a dot in a name leads into a nested one.
    """
    for name, bound in bounds.items():
        value = _number(_found(summary, name))
        why = None if value is None else bound.why_not(value)
        if value is None:
            yield Outcome.MISSING, name, "was never logged"
        elif why is not None:
            yield Outcome.BROKEN, name, why


def _found(summary: Mapping[str, Any], name: str) -> Any:
    if name in summary:
        return summary[name]
    first, _, rest = name.partition(".")
    inner = summary.get(first)
    return _found(inner, rest) if rest and isinstance(inner, Mapping) else None


def _number(value: Any) -> float | None:
    """Return a summary's value as a float, NaN and infinities too; None if it is no number."""
    if isinstance(value, Mapping):  # define_metric(summary=…) makes an object of it
        value = next((value[k] for k in ("last", "best", "min", "max", "mean") if k in value), None)
    if value in ("NaN", "Infinity", "-Infinity"):
        return float(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf
