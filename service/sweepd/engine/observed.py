"""A sweep's trials as the search sees them: what each outcome teaches it."""

import json
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from sweepd.engine.objectives import objectives_of
from sweepd.engine.prior_runs import observed_of
from sweepd.errors import Reason
from sweepd.schedule import FAILURES, TrialState
from sweepd.search import Trial
from sweepd.spec import Config, Definition, signed
from sweepd.store import Tx
from sweepd.store import tables as t

__all__ = ["Observed", "observe"]

_INFEASIBLE = FAILURES - {Reason.NO_METRIC}
_IMPUTED = FAILURES | {Reason.CRASHED, Reason.KILLED}


@dataclass(frozen=True)
class Observed:
    """Trials that ended, in the order in which they did, and configs that have not."""

    trials: tuple[Trial, ...]
    pending: tuple[Config, ...]


def observe(tx: Tx, sweep_id: int, definition: Definition) -> Observed:
    """Return what a sweep's search may learn from, by the table of outcomes; prior runs first.

    `impute` in the definition wins for trials without a value and for failed ones;
    `impute_while_running` turns running trials into observations.
    """
    rows = tx.conn.execute(
        select(
            t.trial.c.config,
            t.trial.c.origin,
            t.trial.c.version,
            t.trial.c.state,
            t.trial.c.reason,
            t.trial.c.objective,
            t.trial.c.objectives,
            t.trial.c.best,
            t.trial.c.last,
        )
        .where(t.trial.c.sweep_id == sweep_id)
        .order_by(t.trial.c.ended_at.is_(None), t.trial.c.ended_at, t.trial.c.number)
    ).all()
    ended, pending = observed_of(tx, sweep_id, definition), []
    version = tx.conn.scalar(select(t.sweep.c.version).where(t.sweep.c.id == sweep_id))
    impute = definition.metric.impute if definition.metric is not None else None
    meanwhile = definition.metric.impute_while_running if definition.metric is not None else "false"
    worst = max(
        (
            row.objective
            for row in rows
            if row.reason == Reason.FINISHED and row.objective is not None
        ),
        default=0.0,
    )
    for row in rows:
        config = json.loads(row.config)
        if row.version != version or row.origin == "enqueued":
            config = definition.space.existing(config)
            if not definition.space.contains(config):
                continue  # of a space that it was searched before, or a person's own
        if row.state == TrialState.ENDED:
            ended.append(_ended(row, config, definition, impute, worst))
        elif meanwhile != "false" and (meanwhile == "worst" or row.best is not None):
            ended.append(Trial(config, _imputed(row, definition, meanwhile, worst)))
        else:
            pending.append(config)
    return Observed(tuple(ended), tuple(pending))


def _ended(
    row: Any, config: Config, definition: Definition, impute: str | None, worst: float
) -> Trial:
    reason = Reason(row.reason)
    if reason in (Reason.FINISHED, Reason.STOPPED_EARLY):
        return Trial(config, row.objective, objectives=objectives_of(row.objectives))
    if impute is not None and reason in _IMPUTED:
        return Trial(config, _imputed(row, definition, impute, worst))
    return Trial(config, None, is_feasible=reason not in _INFEASIBLE)


def _imputed(row: Any, definition: Definition, how: str, worst: float) -> float:
    value = {"latest": row.last, "best": row.best}.get(how)
    return worst if value is None else signed(value, definition.goal)
