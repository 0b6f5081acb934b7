"""A trial's learning curve and objective, kept up to date as its run's rows arrive."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from sqlalchemy import case, delete, func, insert, select, update

from sweepd.engine.trials import Lease, correct
from sweepd.schedule import TrialState
from sweepd.spec import Definition, reduce_curve, signed
from sweepd.store import Tx
from sweepd.store import tables as t

__all__ = [
    "CurveEnd",
    "Logged",
    "cut",
    "extend",
    "read_number",
    "refresh",
    "summary_value",
    "take_summary",
    "value_in",
]


class Logged(Protocol):
    """A history row: its absolute line, its step, and the parsed values (NaN as floats)."""

    @property
    def line(self) -> int:
        """The row's absolute line."""

    @property
    def step(self) -> int:
        """The row's step."""

    @property
    def values(self) -> Mapping[str, Any]:
        """The row's parsed values, NaN and infinities as floats."""


@dataclass(frozen=True)
class CurveEnd:
    """Where a curve stands.

    Attributes:
        best: of its values, as logged.
        last: likewise.
        n_values: finite ones.
        n_bad: NaN and infinite ones since the last finite one.
    """

    best: float | None
    last: float | None
    n_values: int
    n_bad: int


def extend(
    tx: Tx, lease: Lease, rows: Sequence[Logged], *, definition: Definition
) -> CurveEnd | None:
    """Take the metric's values out of history rows; return where the curve stands, None if unmoved.

    Rows that were seen before change nothing. Where a later attempt logs steps again that an
    earlier one had logged, its values take their place.
    """
    metric = definition.metric_name
    if metric is None:
        return None
    of_run = t.curve.c.run_id == lease.run_id
    number, line, step, total = _top(tx, lease.run_id)
    new = [(row, read_number(row.values.get(metric))) for row in rows if row.line > line]
    logged = [(row, value) for row, value in new if value is not None]
    if not logged:
        return None
    is_rewound = logged[0][0].step <= step
    if is_rewound:
        tx.conn.execute(delete(t.curve).where(of_run, t.curve.c.step >= logged[0][0].step))
        number, _, _, total = _top(tx, lease.run_id)
    points, n_bad = [], 0 if is_rewound else lease.n_bad
    for row, value in logged:
        if not math.isfinite(value):
            n_bad += 1
            continue
        n_bad, number, total = 0, number + 1, total + value
        point = {"run_id": lease.run_id, "number": number, "line": row.line}
        points.append({**point, "step": row.step, "value": value, "total": total})
    if points:
        tx.conn.execute(insert(t.curve), points)
    return _update(tx, lease, definition, n_bad=n_bad)


def _top(tx: Tx, run_id: int) -> tuple[int, int, int, float]:
    """Return the number, line, step and running total of a curve's last value."""
    c = t.curve.c
    latest = select(c.number, c.line, c.step, c.total).where(c.run_id == run_id)
    top = tx.conn.execute(latest.order_by(c.number.desc()).limit(1)).one_or_none()
    return (-1, -1, -1, 0.0) if top is None else (top.number, top.line, top.step, top.total)


def cut(tx: Tx, lease: Lease, *, after_step: int, definition: Definition) -> None:
    """Take back the values of a trial after a step; harmless for a trial without any."""
    of_run = t.curve.c.run_id == lease.run_id
    gone = tx.conn.execute(delete(t.curve).where(of_run, t.curve.c.step > after_step))
    if gone.rowcount:
        _update(tx, lease, definition, n_bad=0)


def refresh(tx: Tx, lease: Lease, *, definition: Definition) -> None:
    """Work a trial's objective out again from its curve."""
    _update(tx, lease, definition, n_bad=lease.n_bad)


def take_summary(tx: Tx, lease: Lease, *, definition: Definition) -> tuple[int, bool]:
    """Take the metric from the run's summary, for a run that logged it nowhere else.

    Returns:
        How many finite values that makes (0 or 1), and whether it is NaN or infinite.
    """
    summary = tx.conn.scalar(select(t.run.c.summary).where(t.run.c.id == lease.run_id))
    value = summary_value(summary, definition.metric_name or "")
    if value is None:
        return 0, lease.n_bad > 0
    if not math.isfinite(value):
        return 0, True
    tx.conn.execute(
        update(t.trial)
        .where(t.trial.c.id == lease.trial_id)
        .values(best=value, last=value, objective=signed(value, definition.goal))
    )
    return 1, False


def summary_value(summary: str | None, metric: str) -> float | None:
    """Return a metric's value in a run's summary (JSON), NaN and infinities too; None if none."""
    return value_in(json.loads(summary or "{}"), metric)


def value_in(summary: Mapping[str, Any], metric: str) -> float | None:
    """Return a metric's value in a run's summary, NaN and infinities too; None if there is none."""
    found = summary.get(metric)
    if isinstance(found, dict):  # define_metric(summary=…) makes an object of it
        found = next((found[k] for k in ("best", "min", "max", "last") if k in found), None)
    return read_number(found)


def _update(tx: Tx, lease: Lease, definition: Definition, *, n_bad: int) -> CurveEnd:
    """Bring the trial's columns in line with its curve."""
    of_run = t.curve.c.run_id == lease.run_id
    extremum = func.max if definition.goal == "maximize" else func.min
    best, count = tx.conn.execute(
        select(extremum(t.curve.c.value), func.count()).where(of_run)
    ).one()
    rule = definition.own.objective
    n_last = int(rule.partition(":")[2]) if rule.startswith("mean:") else 1
    latest = select(t.curve.c.value).where(of_run).order_by(t.curve.c.number.desc())
    tail = list(reversed(tx.conn.scalars(latest.limit(n_last)).all()))
    value = best if rule == "best" else reduce_curve(tail, rule=rule, goal=definition.goal)
    last = tail[-1] if tail else None
    objective = None if value is None else signed(value, definition.goal)
    tx.conn.execute(
        update(t.trial)
        .where(t.trial.c.id == lease.trial_id)
        .values(
            best=best,
            last=last,
            n_values=count,
            n_bad=n_bad,
            # one that does not satisfy outcome constraints has none, whatever comes late
            objective=case((t.trial.c.outcome.is_(None), objective), else_=None),
        )
    )
    if lease.state == TrialState.ENDED:  # rows that came late, or were taken back
        correct(tx, lease)
    return CurveEnd(best, last, count, n_bad)


def read_number(value: Any) -> float | None:
    """Return a logged value as a float, NaN and infinities too; None for what is no number."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        try:
            return float(value)
        except OverflowError:
            return math.inf
    if value in ("NaN", "Infinity", "-Infinity"):
        return float(value)
    return None
