"""A sweep's trials as the search sees them at an event: what each outcome teaches it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

from sqlalchemy import bindparam, select

from sweepd.engine.objectives import objectives_of
from sweepd.engine.prior_runs import observed_of
from sweepd.engine.rungs import Rungs, curve_of, rung_values
from sweepd.errors import Reason
from sweepd.schedule import FAILURES
from sweepd.search import Trial
from sweepd.spec import Config, Definition, Outcome, signed
from sweepd.store import Prepared, Tx
from sweepd.store import tables as t

__all__ = [
    "NEWS",
    "Observed",
    "Running",
    "Told",
    "latest_news",
    "learn",
    "looks_at_running",
    "observe",
    "trials_told",
]

#: Events after which a search knows something new, so that it starts a new sequence. A trial that
#: the search itself suggested is none of them; one that it did not is: `sweep.unplanned_event`.
NEWS = (
    "sweep.created",
    "sweep.edited",
    "sweep.prior_runs",
    "trial.ended",
    "trial.corrected",
    "trial.requeued",
    "trial.promoted",
    "trial.enqueued",
    "run.deleted",
)

_NEWEST = Prepared(
    select(t.event.c.id)
    .where(t.event.c.sweep_id == bindparam("sweep"), t.event.c.kind.in_(NEWS))
    .order_by(t.event.c.id.desc())
    .limit(1)
)
_COLUMNS = (
    "number",
    "config",
    "config_key",
    "origin",
    "version",
    "created_event",
    "ended_event",
    "reason",
    "objective",
    "best",
    "last",
    "n_values",
    "basis_event",
    "position",
    "objectives",
    "outcome",
)
_REASON = _COLUMNS.index("reason")
_TRIALS = Prepared(
    select(*(t.trial.c[name] for name in _COLUMNS))
    .where(t.trial.c.sweep_id == bindparam("sweep"))
    .order_by(t.trial.c.number)
)
_INFEASIBLE = FAILURES - {Reason.NO_METRIC}
#: How sure it is that the config is why a trial failed, where the program may be as well.
_BLAME = {Reason.ERROR: 0.3, Reason.NEVER_INIT: 0.3, Reason.TIMED_OUT: 0.3}
_IMPUTED = FAILURES | {Reason.CRASHED}  # what a person has killed tells nothing

#: Of each running trial, by its number: `best`, `last` (as logged) and `n`, how many values.
Running = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, eq=False)
class Told:
    """A trial as its events have left it; `ended_event` is None until it has ended.

    Each is itself alone: what one teaches is looked up by it.
    """

    number: int
    config: Config
    key: str
    origin: str
    version: int
    created_event: int
    ended_event: int | None = None
    reason: str | None = None
    objective: float | None = None
    best: float | None = None
    last: float | None = None
    n_values: int = 0
    basis_event: int | None = None
    position: int | None = None
    objectives: str | None = None  # JSON, of each of `metrics`, signed
    outcome: str | None = None  # sweepd.spec.Outcome: outcome constraints it does not satisfy
    rungs: Rungs = ()  # of its curve; read once some trial was stopped early


@dataclass(frozen=True)
class Observed:
    """Trials that ended, in the order in which they did, and configs that have not.

    Attributes:
        trials: prior runs first.
        pending: handed out by the basis event, then the `initial` ones, then earlier suggestions.
        running: what of running trials was looked at.
    """

    trials: tuple[Trial, ...]
    pending: tuple[Config, ...]
    running: Running = field(default_factory=dict)


def observe(tx: Tx, sweep_id: int, definition: Definition) -> Observed:
    """Return what a sweep's search may learn from now."""
    sweep = tx.conn.execute(select(t.sweep).where(t.sweep.c.id == sweep_id)).one()
    return learn(
        definition,
        trials=trials_told(tx, sweep_id),
        prior=observed_of(tx, sweep_id, definition),
        version=sweep.version,
        basis=latest_news(tx, sweep),
    )


def latest_news(tx: Tx, sweep: Any) -> int:
    """Return the newest event that a sweep's search should know of."""
    (found,) = _NEWEST.row(tx, sweep=sweep.id) or (0,)
    return max(int(found), int(sweep.unplanned_event))


def trials_told(tx: Tx, sweep_id: int) -> list[Told]:
    """Return a sweep's trials by their number, as they are now."""
    rows = _TRIALS.rows(tx, sweep=sweep_id)
    has_stopped = any(row[_REASON] == Reason.STOPPED_EARLY for row in rows)
    curves = rung_values(tx, sweep_id) if has_stopped else {}
    return [_told(row, curves.get(row[0], ())) for row in rows]


def learn(
    definition: Definition,
    *,
    trials: Sequence[Told],
    prior: Sequence[Trial],
    version: int,
    basis: int,
    earlier: Sequence[Config] = (),
    running: Running | None = None,
) -> Observed:
    """Return what a search learns at an event, by the table of outcomes. Pure.

    `impute` in the definition wins for trials that finished without the metric, failed or crashed,
    not for those that a person killed. `impute_while_running` turns running trials into
    observations.

    Args:
        definition: the one in force.
        trials: all that there are, as the events up to the basis have left them, by number.
        prior: what the runs from before the sweep teach.
        version: of the definition.
        basis: the event; trials handed out later are not looked at.
        earlier: what was suggested from the same event before, in order.
        running: what running trials had logged then; None: what they have logged now.
    """
    metric = definition.metric
    impute = metric.impute if metric is not None else None
    meanwhile = metric.impute_while_running if metric is not None else "false"
    known = [one for one in (_of_space(one, definition, version, basis) for one in trials) if one]
    ended = sorted(
        (one for one in known if one.ended_event is not None), key=lambda one: one.ended_event or 0
    )
    finished = (
        one.objective
        for one in ended
        if one.reason == Reason.FINISHED and one.objective is not None
    )
    worst = max(finished, default=0.0)
    found = [*prior, *(_ended(one, definition, impute, worst) for one in ended)]
    live = [one for one in known if one.ended_event is None]
    if running is None:
        running = {str(one.number): _looked_at(one) for one in live}
    pending = []
    for one in live:
        seen = running.get(str(one.number), {})
        if meanwhile != "false" and (meanwhile == "worst" or seen.get("best") is not None):
            value = _imputed(seen, definition, meanwhile, worst)
            found.append(Trial(one.config, value, number=one.number))
        else:
            pending.append(one.config)
    given = {one.key for one in trials if one.created_event <= basis}
    initial = {definition.space.key(config): config for config in definition.own.initial}
    pending += [config for key, config in initial.items() if key not in given]
    kept = running if looks_at_running(definition) else {}
    return Observed(tuple(found), (*pending, *earlier), kept)


def _of_space(one: Told, definition: Definition, version: int, basis: int) -> Told | None:
    """Return a trial as the present space has it; None if it is not of it, or came later."""
    if one.created_event > basis:
        return None
    if one.version == version and one.origin != "enqueued":
        return one
    # of a space that it was searched before, or a person's own
    config = definition.space.existing(one.config)
    return replace(one, config=config) if definition.space.contains(config) else None


def looks_at_running(definition: Definition) -> bool:
    """Return whether the search learns from what running trials have logged so far."""
    metric = definition.metric
    return metric is not None and metric.impute_while_running != "false"


def _looked_at(one: Told) -> dict[str, Any]:
    return {"best": one.best, "last": one.last, "n": one.n_values}


def _ended(one: Told, definition: Definition, impute: str | None, worst: float) -> Trial:
    if one.reason == Reason.FINISHED and one.outcome is None and not one.rungs:
        return _finished(one)  # most of them, at each look
    reason = Reason(one.reason or Reason.ERROR)
    if one.outcome is not None:
        is_feasible = one.outcome != Outcome.BROKEN
        return Trial(one.config, None, is_feasible=is_feasible, number=one.number)
    if reason in (Reason.FINISHED, Reason.STOPPED_EARLY):
        curve = curve_of(one.rungs, n=one.n_values, objective=one.objective, definition=definition)
        return Trial(
            one.config,
            one.objective,
            objectives=objectives_of(one.objectives),
            curve=curve,
            is_stopped=reason == Reason.STOPPED_EARLY,
            number=one.number,
        )
    if impute is not None and reason in _IMPUTED:
        seen = {"best": one.best, "last": one.last}
        value = _imputed(seen, definition, impute, worst)
        return Trial(one.config, value, number=one.number)
    is_feasible, blame = reason not in _INFEASIBLE, _BLAME.get(reason, 1.0)
    return Trial(one.config, None, is_feasible=is_feasible, blame=blame, number=one.number)


def _imputed(seen: Mapping[str, Any], definition: Definition, how: str, worst: float) -> float:
    value = seen.get("last" if how == "latest" else how)
    return worst if value is None else signed(value, definition.goal)


@lru_cache(maxsize=16_384)
def _told(row: tuple[Any, ...], rungs: Rungs) -> Told:
    """Return a trial of a row; one whose row is the same as before is the same, and so shared."""
    return Told(*(row[0], json.loads(row[1]), *row[2:], rungs))


@lru_cache(maxsize=16_384)
def _finished(one: Told) -> Trial:
    """Return what a trial teaches that finished, where none was stopped early."""
    objectives = objectives_of(one.objectives)
    return Trial(one.config, one.objective, objectives=objectives, number=one.number)
