"""A trial's learning curve and objective, kept up to date as its run's rows arrive."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from sqlalchemy import bindparam, case, delete, func, insert, select, update

from sweepd.engine.stream_bodies import HISTORY
from sweepd.engine.trials import Lease, correct
from sweepd.schedule import TrialState
from sweepd.spec import Definition, reduce_curve, signed
from sweepd.store import Prepared, Tx
from sweepd.store import tables as t
from sweepd.store.run_tables import stream_writer

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
        n_new: finite ones at its end that the latest rows brought, or moved to another place.
    """

    best: float | None
    last: float | None
    n_values: int
    n_bad: int
    n_new: int


def extend(
    tx: Tx, lease: Lease, rows: Sequence[Logged], *, definition: Definition
) -> CurveEnd | None:
    """Take the metric's values out of history rows; return where the curve stands, None if unmoved.

    The rows are stored already, and are new or stand where others stood. Where steps are logged
    again, by a later attempt as a rule, the later values take the place of the earlier ones. If
    rows come after those of later lines, or over others, the whole curve is read again.
    """
    metric = definition.metric_name
    if metric is None or not rows:
        return None
    top = _top(tx, lease.run_id)
    if _is_out_of_order(tx, lease, rows, top):
        tx.conn.execute(delete(t.curve).where(t.curve.c.run_id == lease.run_id))
        n_bad = _append(tx, lease.run_id, _NO_TOP, _stored(tx, lease.run_id, metric), n_bad=0)
        n_kept = _N_BEFORE.row(tx, run=lease.run_id, line=rows[0].line)
        return _update(tx, lease, definition, n_bad=n_bad, n_kept=n_kept[0] if n_kept else 0)
    new = [(row, read_number(row.values.get(metric))) for row in rows if row.line > top.line]
    logged = [(row.line, row.step, value) for row, value in new if value is not None]
    if not logged:
        return None
    n_bad, first = lease.n_bad, logged[0][1]
    if first <= top.step:
        again = (t.curve.c.run_id == lease.run_id) & (t.curve.c.step >= first)
        tx.conn.execute(delete(t.curve).where(again))
        n_bad, top = 0, _top(tx, lease.run_id)
    n_bad = _append(tx, lease.run_id, top, logged, n_bad=n_bad)
    return _update(tx, lease, definition, n_bad=n_bad, n_kept=top.number + 1)


class _Top(NamedTuple):
    """The last value of a curve, and the total up to it."""

    number: int
    line: int
    step: int
    total: float


_NO_TOP = _Top(-1, -1, -1, 0.0)
_OF_RUN = t.curve.c.run_id == bindparam("run")
_LATEST = Prepared(
    select(*(t.curve.c[name] for name in _Top._fields))
    .where(_OF_RUN)
    .order_by(t.curve.c.number.desc())
    .limit(1)
)
_ADD = Prepared(
    insert(t.curve).values({name: bindparam(name) for name in ("run_id", *_Top._fields, "value")})
)
_REACHED = {
    goal: Prepared(select(extremum(t.curve.c.value), func.count()).where(_OF_RUN))
    for goal, extremum in (("maximize", func.max), ("minimize", func.min))
}
_TAIL = Prepared(
    select(t.curve.c.value)
    .where(_OF_RUN)
    .order_by(t.curve.c.number.desc())
    .limit(bindparam("n_last"))
)
_N_BEFORE = Prepared(select(func.count()).where(_OF_RUN, t.curve.c.line < bindparam("line")))
_SET = Prepared(
    update(t.trial)
    .where(t.trial.c.id == bindparam("trial"))
    .values(
        best=bindparam("new_best"),
        last=bindparam("new_last"),
        n_values=bindparam("new_n_values"),
        n_bad=bindparam("new_n_bad"),
        # one that does not satisfy outcome constraints has none, whatever comes late
        objective=case((t.trial.c.outcome.is_(None), bindparam("new_objective")), else_=None),
    )
)


def _top(tx: Tx, run_id: int) -> _Top:
    top = _LATEST.row(tx, run=run_id)
    return _NO_TOP if top is None else _Top(*top)


def _is_out_of_order(tx: Tx, lease: Lease, rows: Sequence[Logged], top: _Top) -> bool:
    """Return whether rows change more than the end of a curve.

    Those of a run that several processes write never do: each has lines of its own.
    """
    is_above = rows[0].line > top.line
    if is_above and not lease.n_bad:
        return False
    of_history = (t.stream_line.c.run_id == lease.run_id, t.stream_line.c.stream == HISTORY)
    newest = tx.conn.scalar(select(func.max(t.stream_line.c.line)).where(*of_history))
    if is_above and (newest is None or newest <= rows[-1].line):
        return False
    writers = select(stream_writer.c.number).where(stream_writer.c.run_id == lease.run_id)
    return tx.conn.scalar(writers.limit(1)) is None


def _stored(tx: Tx, run_id: int, metric: str) -> Iterator[tuple[int, int, float]]:
    """Yield line, step and value of the stored rows that have the metric, of a run's own."""
    c = t.stream_line.c
    of_history = (c.run_id == run_id, c.stream == HISTORY, c.line >= 0)
    query = select(c.line, c.step, c.body).where(*of_history).order_by(c.line)
    for line, step, body in tx.conn.execute(query):
        value = read_number(json.loads(body).get(metric))
        if value is not None:
            yield line, step, value


def _append(
    tx: Tx, run_id: int, top: _Top, logged: Iterable[tuple[int, int, float]], *, n_bad: int
) -> int:
    """Add line, step and value of logged rows to a curve; return how many bad ones end it."""
    points: list[tuple[_Top, float]] = []
    for line, step, value in logged:
        while points and step <= points[-1][0].step:
            points.pop()
            n_bad = 0
        if not math.isfinite(value):
            n_bad += 1
            continue
        last = points[-1][0] if points else top
        points.append((_Top(last.number + 1, line, step, last.total + value), value))
        n_bad = 0
    if points:
        values = [{"run_id": run_id, **point._asdict(), "value": value} for point, value in points]
        _ADD.run_each(tx, values)
    return n_bad


def cut(tx: Tx, lease: Lease, *, after_step: int, definition: Definition) -> None:
    """Take back the values of a trial after a step; harmless for a trial without any.

    The rows after it are no longer the run's own.
    """
    if definition.metric_name is None:
        return
    of_run = t.curve.c.run_id == lease.run_id
    gone = tx.conn.execute(delete(t.curve).where(of_run, t.curve.c.step > after_step))
    n_bad = 0
    for _, _, value in _stored(tx, lease.run_id, definition.metric_name):
        n_bad = 0 if math.isfinite(value) else n_bad + 1
    if gone.rowcount or n_bad != lease.n_bad:
        _update(tx, lease, definition, n_bad=n_bad)


def refresh(tx: Tx, lease: Lease, *, definition: Definition) -> None:
    """Work a trial's objective out again from its curve."""
    _update(tx, lease, definition, n_bad=lease.n_bad)


def take_summary(tx: Tx, lease: Lease, *, definition: Definition) -> tuple[int, bool]:
    """Take the metric from the run's summary, for a run that logged it nowhere else.

    Returns:
        How many finite values that makes (0 or 1), and whether it is NaN or infinite.
    """
    summary = tx.conn.scalar(select(t.run.c.summary).where(t.run.c.id == lease.run_id))
    value = summary_value(summary, definition.metric_name or "", goal=definition.goal)
    if value is None:
        return 0, lease.n_bad > 0
    if not math.isfinite(value):
        return 0, True
    tx.conn.execute(
        update(t.trial)
        .where(t.trial.c.id == lease.trial_id)
        .values(
            best=value,
            last=value,
            objective=case((t.trial.c.outcome.is_(None), signed(value, definition.goal))),
        )
    )
    return 1, False


def summary_value(summary: str | None, metric: str, *, goal: str = "minimize") -> float | None:
    """Return a metric's value in a run's summary (JSON), NaN and infinities too; None if none."""
    return value_in(json.loads(summary or "{}"), metric, goal=goal)


def value_in(summary: Mapping[str, Any], metric: str, *, goal: str = "minimize") -> float | None:
    """Return a metric's value in a run's summary, NaN and infinities too; None if there is none.

    Of the extrema of a metric that has both, it is the one that the goal prefers.
    """
    found = summary.get(metric)
    if isinstance(found, dict):  # define_metric(summary=…) makes an object of it
        extrema = ("max", "min") if goal == "maximize" else ("min", "max")
        found = next((found[k] for k in ("best", *extrema, "last") if k in found), None)
    return read_number(found)


def _update(
    tx: Tx, lease: Lease, definition: Definition, *, n_bad: int, n_kept: int = 0
) -> CurveEnd:
    """Bring the trial's columns in line with its curve, of which so many values are as before."""
    ((best, count),) = _REACHED[definition.goal].rows(tx, run=lease.run_id)
    rule = definition.own.objective
    n_last = int(rule.partition(":")[2]) if rule.startswith("mean:") else 1
    tail = [value for (value,) in reversed(_TAIL.rows(tx, run=lease.run_id, n_last=n_last))]
    value = best if rule == "best" else reduce_curve(tail, rule=rule, goal=definition.goal)
    last = tail[-1] if tail else None
    objective = None if value is None else signed(value, definition.goal)
    _SET.run(
        tx,
        trial=lease.trial_id,
        new_best=best,
        new_last=last,
        new_n_values=count,
        new_n_bad=n_bad,
        new_objective=objective,
    )
    if lease.state == TrialState.ENDED:  # rows that came late, or were taken back
        correct(tx, lease)
    return CurveEnd(best, last, count, n_bad, count - n_kept)


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
