"""Outcome constraints: a trial that has ended is held against `sweepd.outcome_constraints`.

What it measured stays, but a trial that breaks one is never the best, and the search learns that
its config is infeasible. One that finished without logging a metric of them cannot be the best
either; it teaches the search nothing.
"""

import json
from dataclasses import replace

from sqlalchemy import bindparam, select, update

from sweepd.engine import curves, notices, objectives
from sweepd.engine.trials import Ending, Lease
from sweepd.errors import Reason
from sweepd.spec import Definition, Outcome, judge
from sweepd.store import Prepared, Tx
from sweepd.store import tables as t

__all__ = ["best_of", "judged"]

_TOPIC = "outcome constraints"  # of a notice
_BEST = Prepared(
    select(t.trial.c.best).where(
        t.trial.c.id == bindparam("trial"), t.trial.c.objective.is_not(None)
    )
)
_JUDGED = (Reason.FINISHED, Reason.STOPPED_EARLY)


def judged(tx: Tx, lease: Lease, ending: Ending, *, definition: Definition) -> Ending:
    """Return how a trial ended, with words for the outcome constraints that it does not satisfy.

    Its run's summary is stored already. Trials that failed are not judged, and what a trial that
    was stopped early did not come to log is not held against it.
    """
    bounds = definition.own.outcome_constraints
    if not bounds or ending.reason not in _JUDGED:
        return ending
    summary = json.loads(
        tx.conn.scalar(select(t.run.c.summary).where(t.run.c.id == lease.run_id)) or "{}"
    )
    found = [
        one
        for one in judge(summary, bounds)
        if one[0] is Outcome.BROKEN or ending.reason == Reason.FINISHED
    ]
    outcome = min((how for how, _, _ in found), default=None)  # broken comes before missing
    of_trial = update(t.trial).where(t.trial.c.id == lease.trial_id)
    if outcome is None:
        was_out = of_trial.where(t.trial.c.outcome.is_not(None)).values(outcome=None)
        if tx.conn.execute(was_out).rowcount:  # at an earlier end
            _work_out_again(tx, lease, definition)
        return ending
    tx.conn.execute(of_trial.values(outcome=outcome, objective=None, objectives=None))
    words = "; ".join(f"{name} {_said(why)}" for _, name, why in found)
    words = f"outcome constraints: {words}"
    if outcome is Outcome.MISSING:
        text = f"run {lease.run}: {words}, so that it cannot be the best"
        notices.post(tx, lease.sweep_id, topic=_TOPIC, text=text)
    return replace(ending, message=f"{words} ({ending.message})" if ending.message else words)


def _work_out_again(tx: Tx, lease: Lease, definition: Definition) -> None:
    if definition.metrics:
        objectives.take(tx, lease, definition=definition)
    else:
        curves.refresh(tx, lease, definition=definition)
        if not lease.n_values:
            curves.take_summary(tx, lease, definition=definition)


def _said(why: str) -> str:
    return why if why.startswith("was") else f"is {why}"


def best_of(tx: Tx, trial_id: int) -> float | None:
    """Return the best value that a trial logged; None if it cannot be the best trial."""
    row = _BEST.row(tx, trial=trial_id)
    return None if row is None else row[0]
