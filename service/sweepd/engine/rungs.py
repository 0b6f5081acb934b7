"""The learning curves of trials, thinned to what a search learns from them."""

from collections import defaultdict

from sqlalchemy import func, select

from sweepd.search import rungs
from sweepd.spec import Definition, signed
from sweepd.store import Tx
from sweepd.store import tables as t

__all__ = ["Curve", "Rungs", "curve_of", "rung_values"]

#: Pairs (number of values, value as logged), rising.
Rungs = tuple[tuple[int, float], ...]
#: Pairs (number of values, signed value), rising.
Curve = tuple[tuple[float, float], ...]


def rung_values(tx: Tx, sweep_id: int) -> dict[int, Rungs]:
    """Return what each trial has at values 1, 3, 9, … of its metric, by the trial's number.

    Only those are read, whatever the length of the curves.
    """
    is_ours = t.trial.c.sweep_id == sweep_id
    longest = tx.conn.scalar(select(func.max(t.trial.c.n_values)).where(is_ours)) or 0
    at = t.curve.c.number.in_([rung - 1 for rung in rungs(longest)])
    found: dict[int, list[tuple[int, float]]] = defaultdict(list)
    for number, place, value in tx.conn.execute(
        select(t.trial.c.number, t.curve.c.number, t.curve.c.value)
        .join(t.curve, t.curve.c.run_id == t.trial.c.run_id)
        .where(is_ours, at)
        .order_by(t.trial.c.number, t.curve.c.number)
    ):
        found[number].append((place + 1, value))
    return {number: tuple(values) for number, values in found.items()}


def curve_of(values: Rungs, *, n: int, objective: float | None, definition: Definition) -> Curve:
    """Return the curve of a trial that ended after n values; empty if none was read.

    The last point is its objective; where that is the best value, the points before it are the best
    of those at the rungs so far.
    """
    if objective is None or not values:
        return ()
    points: list[tuple[float, float]] = []
    for number, logged in values:
        if number < n:
            value = signed(logged, definition.goal)
            if points and definition.own.objective == "best":
                value = min(value, points[-1][1])
            points.append((float(number), value))
    return (*points, (float(n), objective))
