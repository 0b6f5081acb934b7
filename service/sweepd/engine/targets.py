"""Targets: nothing more is handed out once a run has come to what the definition aims at."""

from typing import Any

from sqlalchemy import ColumnElement, select

from sweepd.engine import objectives
from sweepd.engine.endings import drain, goes_on, sweep_row
from sweepd.engine.sweepviews import definition_of
from sweepd.errors import Reason
from sweepd.schedule import TrialState
from sweepd.spec import Definition, signed
from sweepd.store import Tx
from sweepd.store import tables as t

__all__ = ["look_again", "stop_if_all_reached", "stop_if_reached"]


def stop_if_reached(
    tx: Tx, sweep: Any, definition: Definition, *, run: str, best: float | None
) -> None:
    """Stop handing out trials once a run has reached the metric's target.

    Args:
        tx: the transaction.
        sweep: the sweep's row.
        definition: of the sweep.
        run: the run's id.
        best: of the values that it logged, None if there is none that counts.
    """
    target = definition.metric.target if definition.metric is not None else None
    if target is None or best is None or not goes_on(sweep):
        return
    if signed(best, definition.goal) <= signed(target, definition.goal):
        name = definition.metric_name
        words = f"target reached: run {run} logged {name} = {best:g} (target {target:g})"
        drain(tx, sweep, reason=words)


def stop_if_all_reached(tx: Tx, sweep: Any, *, run: str, trial_id: int) -> None:
    """Stop handing out trials once one has ended with every target of `metrics` reached."""
    definition = definition_of(sweep.definition)
    if not definition.metrics or not goes_on(sweep):
        return
    text = tx.conn.scalar(select(t.trial.c.objectives).where(t.trial.c.id == trial_id))
    if text is not None:  # else it is out of its outcome constraints
        _stop_if_all(tx, sweep, definition, run=run, text=text)


def _stop_if_all(tx: Tx, sweep: Any, definition: Definition, *, run: str, text: str) -> bool:
    words = objectives.target_reached(definition, objectives.objectives_of(text))
    if words is not None and goes_on(sweep):
        drain(tx, sweep, reason=f"targets reached: run {run} logged {words}")
    return words is not None


def look_again(tx: Tx, sweep_id: int) -> None:
    """Look whether a run has reached a target already that an edit has set."""
    sweep = sweep_row(tx, sweep_id)
    definition = definition_of(sweep.definition)
    if definition.metrics:
        _look_at_all(tx, sweep, definition)
        return
    counts: list[ColumnElement[bool]] = [t.trial.c.best.is_not(None)]
    if definition.own.outcome_constraints:  # which are held against a trial at its end
        counts += [t.trial.c.objective.is_not(None), t.trial.c.state == TrialState.ENDED]
    order = t.trial.c.best if definition.goal == "minimize" else t.trial.c.best.desc()
    first = tx.conn.execute(
        select(t.run.c.name, t.trial.c.best)
        .join(t.run, t.run.c.id == t.trial.c.run_id)
        .where(t.trial.c.sweep_id == sweep_id, *counts)
        .order_by(order, t.trial.c.id)
        .limit(1)
    ).first()
    if first is not None:
        stop_if_reached(tx, sweep, definition, run=first.name, best=first.best)


def _look_at_all(tx: Tx, sweep: Any, definition: Definition) -> None:
    if all(metric.target is None for metric in definition.metrics):
        return
    ended = tx.conn.execute(
        select(t.run.c.name, t.trial.c.objectives)
        .join(t.run, t.run.c.id == t.trial.c.run_id)
        .where(
            t.trial.c.sweep_id == sweep.id,
            t.trial.c.reason == Reason.FINISHED,
            t.trial.c.objectives.is_not(None),
        )
        .order_by(t.trial.c.id)
    )
    for run, text in ended:
        if _stop_if_all(tx, sweep, definition, run=run, text=text):
            return
