"""Curves for charts: each key over an axis, in so many points, its peaks kept."""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from sqlalchemy import select

from sweepd.engine.row_reads import pick, read_rows
from sweepd.engine.stream_bodies import EVENTS
from sweepd.errors import ProtocolError
from sweepd.store import Tx
from sweepd.store import tables as t

__all__ = ["Series", "series"]

_MAX_KEYS = 200


@dataclass(frozen=True)
class Series:
    """One key over x, in at most so many buckets: lowest, highest and last value in each.

    The four tuples have the same length, and their values are finite. `n` is the number of points
    before bucketing, `n_bad` how many of the key's values were NaN or infinite.
    """

    key: str
    x: tuple[float, ...]
    last: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    n: int
    n_bad: int


def series(
    tx: Tx,
    *,
    run_id: int,
    keys: Sequence[str],
    max_points: int = 1000,
    x: str = "_step",
    min_x: float | None = None,
    max_x: float | None = None,
    stream: str = "history",
) -> dict[str, Series]:
    """Return each key's curve over `x`, by ascending x.

    Args:
        tx: the transaction.
        run_id: the run.
        keys: numeric keys; objects and texts under one are passed over.
        max_points: buckets of each curve.
        x: `_step`, `_runtime`, `_timestamp` or any logged number; a row without it has no point.
        min_x: where the part of the axis that is shown begins.
        max_x: where it ends; both are inclusive.
        stream: `history`, or `events` for system metrics, whose x is `_runtime` at the least.

    Raises:
        ProtocolError: for more than 200 keys, no points, or a stream that is neither.
    """
    if len(keys) > _MAX_KEYS or max_points < 1:
        raise ProtocolError(f"series: at most {_MAX_KEYS} keys, at least one point")
    if stream not in ("history", "events"):
        raise ProtocolError(f"series: stream must be history or events, not {stream!r}")
    axis = "_runtime" if stream == "events" and x == "_step" else x
    points: dict[str, list[tuple[float, float]]] = {key: [] for key in keys}
    n_bad = dict.fromkeys(points, 0)
    is_by_step = axis == "_step"
    for values in _rows(
        tx, run_id, stream, keys, _steps(min_x, max_x) if is_by_step else (None, None)
    ):
        at = _number(pick(values, axis)[1])
        if at is None or not _is_within(at, min_x, max_x):
            continue
        for key, curve in points.items():
            value = pick(values, key)[1]
            number = _number(value)
            if number is not None:
                curve.append((at, number))
            elif value in ("NaN", "Infinity", "-Infinity"):
                n_bad[key] += 1
    for curve in points.values():
        curve.sort(key=lambda point: point[0])
    return {key: _bucketed(key, points[key], max_points, n_bad[key]) for key in points}


def _rows(
    tx: Tx,
    run_id: int,
    stream: str,
    keys: Sequence[str],
    steps: tuple[int | None, int | None],
) -> Iterator[dict[str, Any]]:
    if stream == "history":
        low, high = steps
        for row in read_rows(tx, run_id=run_id, keys=keys, min_step=low, max_step=high):
            yield {**json.loads(row.body), "_step": row.step}
        return
    query = (
        select(t.stream_line.c.body)
        .where(t.stream_line.c.run_id == run_id, t.stream_line.c.stream == EVENTS)
        .order_by(t.stream_line.c.line)
    )
    for body in tx.conn.scalars(query):
        yield json.loads(body)


def _steps(low: float | None, high: float | None) -> tuple[int | None, int | None]:
    """Return the bounds as steps that a database holds."""

    def step(value: float | None) -> int | None:
        return int(value) if value is not None and abs(value) < 2**62 else None

    return step(low), step(high)


def _is_within(at: float, low: float | None, high: float | None) -> bool:
    return (low is None or at >= low) and (high is None or at <= high)


def _number(value: object) -> float | None:
    """Return a finite number as a float, None for anything else."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _bucketed(
    key: str, points: Sequence[tuple[float, float]], max_points: int, n_bad: int
) -> Series:
    n = len(points)
    n_buckets = min(n, max_points)
    edges = [bucket * n // n_buckets for bucket in range(n_buckets + 1)] if n_buckets else []
    x, last, low, high = [], [], [], []
    for start, end in pairwise(edges):
        values = [value for _, value in points[start:end]]
        x.append(points[end - 1][0])
        last.append(values[-1])
        low.append(min(values))
        high.append(max(values))
    return Series(key, tuple(x), tuple(last), tuple(low), tuple(high), n, n_bad)
