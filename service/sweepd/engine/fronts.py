"""The front of a sweep with several metrics: the trials that no other one beats in all of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import orjson
from sqlalchemy import bindparam, select

from sweepd.engine.objectives import objectives_of
from sweepd.engine.sweepviews import definition_of
from sweepd.errors import Reason
from sweepd.search import front, last_joined
from sweepd.spec import Definition, signed
from sweepd.store import Prepared, Tx
from sweepd.store import tables as t

__all__ = ["FrontTrial", "as_logged", "front_runs", "n_since_joined", "pareto_front"]

_ENDED = Prepared(
    select(t.trial.c.objectives)
    .where(t.trial.c.sweep_id == bindparam("sweep"), t.trial.c.reason == Reason.FINISHED)
    .order_by(t.trial.c.ended_at, t.trial.c.number)
)


@dataclass(frozen=True)
class FrontTrial:
    """A trial of the front.

    Attributes:
        run: its run's id.
        run_id: its run's row.
        number: its number in the sweep.
        values: metric -> its value, as logged, by the definition's rule; in the definition's order.
    """

    run: str
    run_id: int
    number: int
    values: Mapping[str, float]


def pareto_front(tx: Tx, sweep_id: int) -> tuple[FrontTrial, ...]:
    """Return the front of a sweep, by its first metric, the best first; empty with one metric.

    Only trials that finished and satisfy the outcome constraints are compared: any other is not
    feasible, whatever it logged.
    """
    rows = tx.conn.execute(
        select(t.trial.c.number, t.trial.c.run_id, t.trial.c.objectives, t.run.c.name)
        .join(t.run, t.run.c.id == t.trial.c.run_id)
        .where(
            t.trial.c.sweep_id == sweep_id,
            t.trial.c.reason == Reason.FINISHED,
            t.trial.c.objectives.is_not(None),
            t.trial.c.outcome.is_(None),
        )
        .order_by(t.trial.c.number)
    ).all()
    if not rows:
        return ()
    text = tx.conn.scalar(select(t.sweep.c.definition).where(t.sweep.c.id == sweep_id))
    definition = definition_of(text or "")
    values = [objectives_of(row.objectives) for row in rows]
    found = [rows[i] for i in _indices(values)]
    chosen = [
        FrontTrial(row.name, row.run_id, row.number, as_logged(definition, row.objectives))
        for row in found
    ]
    first = definition.metrics[0]
    return tuple(sorted(chosen, key=lambda one: signed(one.values[first.name], first.goal)))


def front_runs(tx: Tx, sweep_id: int) -> set[int]:
    """Return the rows of the runs of a sweep's front."""
    return {trial.run_id for trial in pareto_front(tx, sweep_id)}


def n_since_joined(tx: Tx, sweep_id: int) -> int:
    """Return how many trials have finished since one joined the front of those before it.

    One that equals another does not join; 0 if none ever did. This runs at the end of each trial.
    """
    told = [text for (text,) in _ENDED.rows(tx, sweep=sweep_id)]
    feasible = [i for i, text in enumerate(told) if text is not None]
    if not feasible:
        return 0
    values = np.array(orjson.loads(f"[{','.join(told[i] for i in feasible)}]"), dtype=float)
    last = last_joined(values)
    assert last is not None, "there are values"
    return len(told) - 1 - feasible[last]


def as_logged(definition: Definition, text: str | None) -> dict[str, float]:
    """Return metric -> value, as logged, of what a trial's `objectives` hold; empty if nothing."""
    pairs = zip(definition.metrics, objectives_of(text), strict=False)
    return {metric.name: signed(value, metric.goal) for metric, value in pairs}


def _indices(values: Sequence[Sequence[float]]) -> list[int]:
    return [int(i) for i in front(np.array(values))]
