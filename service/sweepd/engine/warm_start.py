"""Trials of earlier sweeps that a search knows from the start: `sweepd.warm_start`.

They are kept beside the prior runs, as they were when the sweep was made, whatever is deleted
later, and do not count towards `run_cap`. Who made the sweep could read them; who reads it sees
their configs and values in the log that a replay fetches, and nothing else of them.
"""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import select

from sweepd.engine import events, notices, prior_runs
from sweepd.engine.access import Need
from sweepd.engine.sweepviews import definition_of, sweep_for
from sweepd.engine.views import Account
from sweepd.errors import InvalidInput, Reason
from sweepd.schedule import TrialState
from sweepd.spec import Definition, judge, signed
from sweepd.store import Tx
from sweepd.store import tables as t

__all__ = ["TOPIC", "take"]

TOPIC = "warm start"  # of a notice

#: Trials in all; of more, the first ones are known.
_MAX_TRIALS = 10_000
_MAX_REASONS = 3


def take(tx: Tx, *, sweep: Any, references: Sequence[str], actor: Account) -> list[str]:
    """Let a sweep's search know what finished in other sweeps; return what came of each, in words.

    A trial is taken if its sweep has the same metrics with the same goals, and its config, as far
    as the new space knows the parameters, is one of that space.

    Args:
        tx: the transaction.
        sweep: the new sweep's row.
        references: the others' ids, alone or as entity/project/id.
        actor: who makes the sweep.

    Raises:
        NotFound, Forbidden: if there is no such sweep that the actor may read.
        InvalidInput: if a sweep names itself.
    """
    if not references:
        return []
    definition = definition_of(sweep.definition)
    event = events.record(
        tx,
        actor=actor.name,
        kind="sweep.prior_runs",
        project_id=sweep.project_id,
        sweep_id=sweep.id,
        data={"warm_start": list(references)},
    )
    told: list[str] = []
    left = _MAX_TRIALS
    for reference in references:
        other = _find(tx, reference, actor)
        if other.id == sweep.id:
            raise InvalidInput("sweepd.warm_start: a sweep cannot start from itself")
        old = definition_of(other.definition)
        if _aim(old) != _aim(definition):
            told.append(
                f"warm start: the search knows no trial of sweep {reference}, which is to "
                f"{_words(old)}, and this one to {_words(definition)}"
            )
            continue
        rows: list[dict[str, Any]] = []
        why_not, n = Counter[str](), 0
        for row, why in _judged(tx, other, old, definition):
            n += 1
            if why is None and len(rows) == left:
                why = f"there are more than {_MAX_TRIALS:,}"
            if why is None:
                rows.append({**row, "sweep_id": sweep.id})
            else:
                why_not[why] += 1
        prior_runs.keep(tx, rows, event=event)
        left -= len(rows)
        told.append(_summary(reference, len(rows), n, why_not))
    notices.post(tx, sweep.id, topic=TOPIC, text="; ".join(told))
    return told


def _find(tx: Tx, reference: str, actor: Account) -> Any:
    *home, name = reference.split("/")
    where = t.sweep.c.name == name
    if home:
        entity, project = home
        of_project = (
            select(t.project.c.id)
            .join(t.entity, t.entity.c.id == t.project.c.entity_id)
            .where(t.entity.c.name == entity, t.project.c.name == project)
        )
        where &= t.sweep.c.project_id.in_(of_project)
    return sweep_for(tx, where, actor=actor, need=Need.READ, label=repr(reference))


def _aim(definition: Definition) -> tuple[tuple[str, str], ...]:
    """Return the metrics of a sweep with their goals."""
    return tuple((metric.name, metric.goal) for metric in definition.objectives)


def _words(definition: Definition) -> str:
    return " and ".join(f"{goal} {name}" for name, goal in _aim(definition)) or "run everything"


def _judged(
    tx: Tx, other: Any, old: Definition, new: Definition
) -> Iterator[tuple[dict[str, Any], str | None]]:
    """Yield the finished trials of a sweep as prior runs, each with why it is none."""
    finished = (t.trial.c.state == TrialState.ENDED) & (t.trial.c.reason == Reason.FINISHED)
    query = (
        select(t.trial, t.run.c.summary)
        .join(t.run, t.run.c.id == t.trial.c.run_id)
        .where(t.trial.c.sweep_id == other.id, finished)
    )
    bounds = new.own.outcome_constraints
    for trial in tx.conn.execute(query.order_by(t.trial.c.number)):
        nested = old.space.nest(json.loads(trial.config))
        value = _value(trial, old, new)
        is_same_rule = new.own.objective == old.own.objective
        objectives = trial.objectives if new.metrics and is_same_rule else None
        broken = judge(json.loads(trial.summary or "{}"), bounds)
        outcome = min((how for how, _, _ in broken), default=None)
        is_known = outcome is not None or value is not None or objectives is not None
        is_known = is_known or not new.objectives
        why = prior_runs.why_useless(new, nested, is_known=is_known)
        if why is not None and not is_known:
            why = f"its value by the rule {new.own.objective} is not known"
        config = json.dumps(nested, ensure_ascii=False)
        row = {"run_id": trial.run_id, "config": config, "value": value, "objectives": objectives}
        yield {**row, "outcome": outcome, "has_finished": 1}, why


def _value(trial: Any, old: Definition, new: Definition) -> float | None:
    """Return a trial's metric, as logged, by the new definition's rule; None if it is not kept."""
    rule = new.own.objective
    if rule == old.own.objective and trial.objective is not None:
        return signed(trial.objective, new.goal)
    found: float | None = {"best": trial.best, "last": trial.last}.get(rule)
    return found


def _summary(reference: str, n_taken: int, n: int, why_not: Counter[str]) -> str:
    words = f"warm start: the search knows {n_taken} of {n} finished trials of sweep {reference}"
    if not why_not:
        return words
    reasons = [f"{count}: {why}" for why, count in why_not.most_common(_MAX_REASONS)]
    more = ", …" if len(why_not) > _MAX_REASONS else ""
    return f"{words}; not the others ({', '.join(reasons)}{more})"
