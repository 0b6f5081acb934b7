"""The axes of the parallel coordinates: one per searched parameter, on its distribution's scale."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

from sweepd.spec import (
    Beta,
    Categorical,
    Definition,
    Distribution,
    IntUniform,
    LogNormal,
    LogUniform,
    Normal,
    Uniform,
    canonical,
    is_number,
)

__all__ = ["bands_of", "metric_axis", "parameter_axes", "parameter_axis"]

#: Whole numbers in at most so many values are shown as bands.
_FEW = 12


def parameter_axes(
    definition: Definition, configs: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Return an axis for each searched parameter, in the definition's order."""
    return [
        parameter_axis(
            parameter.name,
            parameter.distribution,
            [config[parameter.name] for config in configs if parameter.name in config],
        )
        for parameter in definition.space.searched
    ]


def parameter_axis(name: str, law: Distribution, values: Sequence[Any]) -> dict[str, Any]:
    """Return one axis: `linear` and `log` have ends that take in the law and every value tried.

    A category, and a whole number of few values, is a `band` with its values; values that the law
    does not give (enqueued, of prior runs, of an edited definition) get bands of their own: numbers
    among numbers in their order, others at the end.
    """
    axis: dict[str, Any] = {"name": name, "role": "parameter"}
    bands = bands_of(law)
    if bands is not None:
        return {**axis, "kind": "band", "values": _with_others(law, bands, values)}
    low, high = _ends(law, _numbers(values))
    is_log = isinstance(law, (LogUniform, LogNormal)) and low > 0
    return {**axis, "kind": "log" if is_log else "linear", "lo": low, "hi": high}


def metric_axis(metric: str, *, goal: str, values: Iterable[float]) -> dict[str, Any]:
    """Return the metric's axis. What is far worse than the rest is drawn at its end, marked.

    One run at 10 % among sixty at 97 to 99 % would otherwise make the sixty a single point.
    """
    ordered = sorted(value for value in values if math.isfinite(value))
    axis: dict[str, Any] = {
        "name": "metric:" + metric,
        "label": metric,
        "role": "metric",
        "kind": "linear",
        "goal": goal,
    }
    if not ordered:
        return {**axis, "lo": 0.0, "hi": 1.0}
    low, high, clamp = ordered[0], ordered[-1], None
    if len(ordered) >= 8:
        first, third = _quantile(ordered, 0.25), _quantile(ordered, 0.75)
        reach = 2.5 * ((third - first) or (high - low) / 4)
        if goal == "maximize" and low < first - reach:
            low, clamp = first - reach, "low"
        if goal != "maximize" and high > third + reach:
            high, clamp = third + reach, "high"
    if low == high:
        low, high = low - (abs(low) * 0.05 or 1.0), high + (abs(high) * 0.05 or 1.0)
    return {**axis, "lo": low, "hi": high, **({"clamp": clamp} if clamp else {})}


def bands_of(law: Distribution) -> list[Any] | None:
    """Return the values of a law that is shown as bands, in order; None for the others."""
    if isinstance(law, Categorical):
        values = list(law.values)
        return sorted(values) if law.is_ordinal else values
    if isinstance(law, IntUniform) and law.size <= _FEW:
        return list(range(law.low, law.high + 1))
    return None


def _ends(law: Distribution, values: list[float]) -> tuple[float, float]:
    ends: list[float] = []
    match law:
        case IntUniform() | Uniform() | LogUniform():
            ends = [float(law.low), float(law.high)]
        case Beta():
            ends = [0.0, 1.0]
        case Normal():
            ends = [law.mu - 2 * law.sigma, law.mu + 2 * law.sigma]
        case LogNormal():
            ends = [math.exp(law.mu - 2 * law.sigma), math.exp(law.mu + 2 * law.sigma)]
    low, high = min([*ends, *values], default=0.0), max([*ends, *values], default=1.0)
    return (low, high) if low < high else (low - 0.5, high + 0.5)


def _numbers(values: Iterable[Any]) -> list[float]:
    return [float(value) for value in values if is_number(value)]


def _with_others(law: Distribution, bands: list[Any], values: Sequence[Any]) -> list[Any]:
    known = {canonical(value) for value in bands}
    extra = {key: value for value in values if (key := canonical(value)) not in known}
    if isinstance(law, Categorical) and not law.is_ordinal:
        return [*bands, *extra.values()]
    numbers = [value for value in extra.values() if is_number(value)]
    others = [value for value in extra.values() if not is_number(value)]
    return [*sorted([*bands, *numbers]), *others]


def _quantile(ordered: Sequence[float], q: float) -> float:
    at = (len(ordered) - 1) * q
    below = int(at)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (at - below)
