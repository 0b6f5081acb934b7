"""What stop rules made of a run, for its curve: where it was judged, and why it stopped."""

import json
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from sweepd.engine.endings import sweep_row
from sweepd.engine.stopping import rules_of
from sweepd.engine.sweepviews import definition_of
from sweepd.engine.views import RunView
from sweepd.search.asha import Asha
from sweepd.search.hyperband import Hyperband
from sweepd.spec import sign
from sweepd.store import Tx
from sweepd.store import tables as t

__all__ = ["RungMark", "StopMarks", "stop_marks"]

_DECISIONS = ("trial.stop_requested", "trial.promoted")


@dataclass(frozen=True)
class RungMark:
    """A rung or band that a run has reached.

    Attributes:
        rule: asha or hyperband.
        n_values: values that the run had logged when it got there.
        step: of the last of them.
        value: that it was compared by, as logged.
        threshold: what is needed there by now, likewise; None while too few have come.
        n_reached: runs of the sweep that have got there.
    """

    rule: str
    n_values: int
    step: int
    value: float
    threshold: float | None
    n_reached: int


@dataclass(frozen=True)
class StopMarks:
    """Rungs of a run, rising, and what rules said of it: each decision with its time and event."""

    rungs: tuple[RungMark, ...]
    decisions: tuple[tuple[float, str, dict[str, Any]], ...]


def stop_marks(tx: Tx, *, run: RunView) -> StopMarks:
    """Return the rungs that a run has reached, and what stop rules said of it; none for no trial.

    Args:
        tx: the transaction.
        run: one that the reader may see.
    """
    if run.trial is None or run.sweep_id is None:
        return StopMarks((), ())
    definition = definition_of(sweep_row(tx, run.sweep_id).definition)
    factor = sign(definition.goal)
    marks = []
    for name, rule in rules_of(definition):
        if not isinstance(rule, Asha | Hyperband):
            continue
        for number in rule.judged_at:
            if number >= run.trial.n_values:
                break
            column = tx.conn.execute(
                select(t.curve.c.run_id, t.curve.c.step, t.curve.c.value)
                .join(t.trial, t.trial.c.run_id == t.curve.c.run_id)
                .where(t.trial.c.sweep_id == run.sweep_id, t.curve.c.number == number)
            ).all()
            own = next(row for row in column if row.run_id == run.id)
            needed = rule.threshold([factor * row.value for row in column])
            threshold = None if needed is None else factor * needed
            mark = RungMark(name, number + 1, own.step, own.value, threshold, len(column))
            marks.append(mark)
    said = tx.conn.execute(
        select(t.event.c.at, t.event.c.kind, t.event.c.data)
        .where(t.event.c.run_id == run.id, t.event.c.kind.in_(_DECISIONS))
        .order_by(t.event.c.id)
    )
    decisions = tuple((row.at, row.kind, json.loads(row.data)) for row in said)
    return StopMarks(tuple(sorted(marks, key=lambda mark: mark.n_values)), decisions)
