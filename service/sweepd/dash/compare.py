"""Runs side by side: the configuration that differs, and metrics with deltas to the first run."""

from collections.abc import Mapping, Sequence
from typing import Any

from sweepd.dash.plain import flatten, summary_number
from sweepd.dash.words import direction_of
from sweepd.spec import canonical

__all__ = ["config_rows", "metric_rows"]

_MISSING = object()


def config_rows(configs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return a row per key: its value in each config and whether they differ; differing ones first.

    Where a run does not have a key, `has` is False for it.
    """
    keys = sorted({key for config in configs for key in config})
    rows = []
    for key in keys:
        values = [config.get(key, _MISSING) for config in configs]
        texts = {"" if value is _MISSING else canonical(value) for value in values}
        rows.append(
            {
                "key": key,
                "values": [None if value is _MISSING else value for value in values],
                "has": [value is not _MISSING for value in values],
                "differs": len(texts) > 1,
            }
        )
    return sorted(rows, key=lambda row: not row["differs"])


def metric_rows(
    summaries: Sequence[Mapping[str, Any]],
    *,
    metric: str | None,
    goal: str,
    objectives: Sequence[float | None] = (),
    rule: str = "best",
) -> list[dict[str, Any]]:
    """Return a row per number that any run logged: values, deltas to the first run, direction.

    Args:
        summaries: each run's summary; the first run is what the others are measured against.
        metric: the sweep's metric, shown first; None without one.
        goal: its goal.
        objectives: what the search goes by, as logged, for each run; a row of its own, the first.
        rule: how it follows from what was logged: best, last or mean:k.

    Returns:
        Rows with `direction` 1 (higher is better), -1 or 0 (unknown), `best` (index of the best run
        or None), and for each run `deltas`: None for the first run and where a value is missing,
        else the difference and `verdict` better, worse, same or unknown.
    """
    numbers = [_numbers(summary) for summary in summaries]
    keys = sorted({key for one in numbers for key in one}, key=lambda key: (key != metric, key))
    rows = []
    if metric is not None and any(value is not None for value in objectives):
        direction = direction_of(metric, metric=metric, goal=goal)
        rows.append(_row(metric, objectives, direction, note=rule))
    for key in keys:
        direction = direction_of(key, metric=metric, goal=goal)
        rows.append(_row(key, [one.get(key) for one in numbers], direction, note=None))
    return rows


def _row(
    key: str, values: Sequence[float | None], direction: int, *, note: str | None
) -> dict[str, Any]:
    return {
        "key": key,
        "note": note,
        "direction": direction,
        "values": list(values),
        "deltas": [None, *(_delta(value, values[0], direction) for value in values[1:])],
        "best": _best(values, direction),
    }


def _numbers(summary: Mapping[str, Any]) -> dict[str, float]:
    found: dict[str, float] = {}
    for key, value in summary.items():
        if key.startswith("_"):
            continue
        number = summary_number(value)
        if number is not None:
            found[key] = number
        elif isinstance(value, Mapping) and "_type" not in value:
            for inner, item in flatten(value, f"{key}.").items():
                number = summary_number(item)
                if number is not None:
                    found[inner] = number
    return found


def _delta(value: float | None, base: float | None, direction: int) -> dict[str, Any] | None:
    if value is None or base is None:
        return None
    difference = value - base
    if difference == 0:
        verdict = "same"
    elif direction == 0:
        verdict = "unknown"
    else:
        verdict = "better" if difference * direction > 0 else "worse"
    percent = 100 * difference / abs(base) if base else None
    return {"value": difference, "percent": percent, "verdict": verdict}


def _best(values: Sequence[float | None], direction: int) -> int | None:
    known = [(value * direction, -i) for i, value in enumerate(values) if value is not None]
    if direction == 0 or len(known) < 2 or len({value for value, _ in known}) == 1:
        return None
    return -max(known)[1]
