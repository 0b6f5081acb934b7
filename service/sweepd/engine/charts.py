"""Curves for charts: each key over an axis, in so many points, its peaks kept."""

import json
import math
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy import select

from sweepd.engine import columns
from sweepd.engine.row_reads import pick, read_rows
from sweepd.engine.stream_bodies import EVENTS
from sweepd.engine.texts import MAX_INT
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
    curves = {key: _Curve() for key in keys}
    low, high = _steps(min_x, max_x) if axis == "_step" else (None, None)
    found = columns.packed(tx, run_id=run_id) if stream == "history" else None
    if found is not None:
        at = found.column(tx, axis)
        is_shown = np.isfinite(at)
        if min_x is not None:
            is_shown &= at >= min_x
        if max_x is not None:
            is_shown &= at <= max_x
        for key, curve in curves.items():
            curve.extend(at[is_shown], found.column(tx, key)[is_shown])
        low = max(low if low is not None else -MAX_INT, int(found.steps[-1]) + 1)
    for values in _rows(tx, run_id, stream, keys, (low, high)):
        place = columns.number(pick(values, axis)[1])
        if place is None or math.isinf(place) or not _is_within(place, min_x, max_x):
            continue
        for key, curve in curves.items():
            value = columns.number(pick(values, key)[1])
            if value is not None:
                curve.add(place, value)
    return {key: curve.bucketed(key, max_points) for key, curve in curves.items()}


class _Curve:
    """The points of one curve, 16 bytes each."""

    def __init__(self) -> None:
        self._x, self._y = array("d"), array("d")
        self._n_bad = 0

    def add(self, x: float, y: float) -> None:
        """Add a point; an infinite one is only counted."""
        if math.isinf(y):
            self._n_bad += 1
        else:
            self._x.append(x)
            self._y.append(y)

    def extend(self, x: columns.Column, y: columns.Column) -> None:
        """Add points; those that are NaN are none."""
        is_point = np.isfinite(y)
        self._n_bad += int(np.count_nonzero(np.isinf(y)))
        self._x.frombytes(x[is_point].tobytes())
        self._y.frombytes(y[is_point].tobytes())

    def bucketed(self, key: str, max_points: int) -> Series:
        """Return the curve by ascending x, in at most so many buckets of as many points."""
        x, y = np.frombuffer(self._x), np.frombuffer(self._y)
        n = len(x)
        if n == 0:
            return Series(key, (), (), (), (), 0, self._n_bad)
        if np.any(np.diff(x) < 0):
            order = np.argsort(x, kind="stable")
            x, y = x[order], y[order]
        n_buckets = min(n, max_points)
        edges = np.arange(n_buckets + 1) * n // n_buckets
        ends = edges[1:] - 1
        return Series(
            key,
            tuple(x[ends].tolist()),
            tuple(y[ends].tolist()),
            tuple(np.minimum.reduceat(y, edges[:-1]).tolist()),
            tuple(np.maximum.reduceat(y, edges[:-1]).tolist()),
            n,
            self._n_bad,
        )


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
