"""Sweeps as the rest of the service sees them: rows, counts and the best trial so far."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import ColumnElement, and_, func, or_, select

from sweepd.engine import access, away
from sweepd.engine.access import Need
from sweepd.engine.views import Account, SweepView, TrialView
from sweepd.errors import NotFound, Reason
from sweepd.schedule import TrialState
from sweepd.spec import Definition, grid_size, read_definition, signed
from sweepd.states import AgentState, SweepState
from sweepd.store import Tx
from sweepd.store import tables as t

__all__ = [
    "SCHEDULER_RUN",
    "definition_of",
    "expected_trials",
    "may_be_best",
    "scheduler_run",
    "sweep_for",
    "sweep_views",
    "trial_views",
]

SCHEDULER_RUN = "-scheduler"  # how the run id ends under which a client's scheduler logs


@lru_cache(maxsize=256)
def _parse(text: str) -> Definition:
    return read_definition(text, is_stored=True).definition


def definition_of(sweep: SweepView | str) -> Definition:
    """Return a sweep's definition, given its view or its text; parsed once per text."""
    return _parse(sweep if isinstance(sweep, str) else sweep.definition)


def scheduler_run(sweep: str) -> str:
    """Return the run id under which the scheduler of a sweep (short id) logs what it does."""
    return sweep + SCHEDULER_RUN


def expected_trials(definition: Definition, run_cap: int | None) -> int | None:
    """Return how many trials a sweep will hand out, None where that is not known."""
    size = grid_size(definition.space) if definition.method == "grid" else None
    known = [n for n in (size, run_cap) if n is not None]
    return min(known) if known else None


def may_be_best() -> ColumnElement[bool]:
    """Return which trials may be a sweep's best: those that have finished, or run and may yet.

    One that failed, was killed or was stopped early has a value, and is none to go on with.
    """
    counts = or_(t.trial.c.reason == Reason.FINISHED, t.trial.c.state == TrialState.LEASED)
    return and_(t.trial.c.objective.is_not(None), counts)


def sweep_views(
    tx: Tx,
    *where: ColumnElement[bool],
    order: Sequence[ColumnElement[Any]] = (),
    limit: int | None = None,
) -> list[SweepView]:
    """Return the sweeps that pass `where` (over sweep, project, entity) with their progress."""
    query = (
        select(
            t.sweep,
            t.project.c.name.label("project"),
            t.entity.c.name.label("entity"),
            t.user.c.name.label("user_name"),
        )
        .join(t.project, t.project.c.id == t.sweep.c.project_id)
        .join(t.entity, t.entity.c.id == t.project.c.entity_id)
        .outerjoin(t.user, t.user.c.id == t.sweep.c.user_id)
        .where(*where)
        .order_by(*order)
        .limit(limit)
    )
    rows = tx.conn.execute(query).all()
    ids = [row.id for row in rows]
    counts, agents, best = _counts(tx, ids), _agents(tx, ids), _best(tx, ids)
    for sweep_id, n_bundled in away.n_held(tx, ids).items():
        counts[sweep_id]["running"] -= n_bundled
        counts[sweep_id]["bundled"] = n_bundled
    return [
        _view(row, counts.get(row.id, {}), agents.get(row.id), best.get(row.id)) for row in rows
    ]


def sweep_for(tx: Tx, where: ColumnElement[bool], *, actor: Account, need: Need, label: str) -> Any:
    """Return the one sweep's row that passes `where`, if the actor may do what is needed with it.

    Args:
        tx: the transaction.
        where: over sweep and project.
        actor: who asks.
        need: what they are about to do.
        label: what they called it by, in words.

    Raises:
        NotFound: if there is none that the actor may see.
        Forbidden: if they may see it, but not do what is needed.
    """
    row = tx.conn.execute(
        select(t.sweep, t.project.c.entity_id, t.project.c.access)
        .join(t.project, t.project.c.id == t.sweep.c.project_id)
        .where(where)
    ).one_or_none()
    missing = f"there is no sweep {label}"
    if row is None:
        raise NotFound(missing)
    has = access.level(tx, actor=actor, entity_id=row.entity_id, access=row.access)
    access.allow(has, need, missing=missing, what=f"sweep {row.name}")
    return row


def trial_views(tx: Tx, *where: ColumnElement[bool]) -> list[TrialView]:
    """Return the trials that pass `where`, in the order in which they were handed out."""
    columns = [t.trial.c[name] for name in TrialView.__dataclass_fields__]
    query = select(*columns).where(*where).order_by(t.trial.c.sweep_id, t.trial.c.number)
    return [TrialView(**row) for row in tx.conn.execute(query).mappings()]


def _view(row: Any, counts: Mapping[str, int], agents: Any, best: Any) -> SweepView:
    definition = definition_of(row.definition)
    value = None if best is None else signed(best.objective, definition.goal)
    expected = expected_trials(definition, row.run_cap)
    if expected is not None:  # an edit may leave fewer than were handed out before it
        expected = max(expected, row.n_issued)
    return SweepView(
        id=row.id,
        name=row.name,
        project_id=row.project_id,
        project=row.project,
        entity=row.entity,
        user_name=row.user_name,
        state=SweepState(row.state),
        display_name=row.display_name,
        description=row.description,
        definition=row.definition,
        method=row.method,
        run_cap=row.run_cap,
        expected=expected,
        controller=row.controller,
        scheduler=row.scheduler,
        n_issued=row.n_issued,
        n_running=counts.get("running", 0),
        n_finished=counts.get("finished", 0),
        n_failed=counts.get("failed", 0),
        n_queued=counts.get("queued", 0),
        n_bundled=counts.get("bundled", 0),
        n_agents=0 if agents is None else agents.alive,
        metric=definition.metric_name,
        goal=definition.goal,
        best_value=value,
        best_run=None if best is None else best.run,
        stop_reason=row.stop_reason,
        notice=row.notice,
        created_at=row.created_at,
        updated_at=row.updated_at,
        heartbeat_at=None if agents is None else agents.heartbeat_at,
        ended_at=row.ended_at,
        version=row.version,
    )


def _counts(tx: Tx, ids: Sequence[int]) -> dict[int, dict[str, int]]:
    """Return how many trials of each sweep run, have finished, failed, or wait for an agent again.

    Stopped early counts as finished; killed by a person, and given up by us, as failed; enqueued
    and never taken as nothing.
    """
    rows = tx.conn.execute(
        select(t.trial.c.sweep_id, t.trial.c.state, t.trial.c.reason, func.count())
        .where(t.trial.c.sweep_id.in_(ids), or_(t.trial.c.reason.is_(None), t.trial.c.attempt > 0))
        .group_by(t.trial.c.sweep_id, t.trial.c.state, t.trial.c.reason)
    )
    counts: dict[int, dict[str, int]] = {}
    good = (Reason.FINISHED, Reason.STOPPED_EARLY)
    for sweep_id, state, reason, count in rows:
        kind = {TrialState.LEASED: "running", TrialState.QUEUED: "queued"}.get(
            state, "finished" if reason in good else "failed"
        )
        of_sweep = counts.setdefault(sweep_id, {})
        of_sweep[kind] = of_sweep.get(kind, 0) + count
    return counts


def _agents(tx: Tx, ids: Sequence[int]) -> dict[int, Any]:
    is_alive = t.agent.c.state == AgentState.RUNNING
    rows = tx.conn.execute(
        select(
            t.agent.c.sweep_id,
            func.max(t.agent.c.heartbeat_at).label("heartbeat_at"),
            func.count().filter(is_alive).label("alive"),
        )
        .where(t.agent.c.sweep_id.in_(ids))
        .group_by(t.agent.c.sweep_id)
    )
    return {row.sweep_id: row for row in rows}


def _best(tx: Tx, ids: Sequence[int]) -> dict[int, Any]:
    """Return the run and objective of each sweep's best trial, the earliest of equals."""
    rank = func.row_number().over(
        partition_by=t.trial.c.sweep_id, order_by=(t.trial.c.objective, t.trial.c.number)
    )
    ranked = (
        select(t.trial.c.sweep_id, t.trial.c.run_id, t.trial.c.objective, rank.label("rank"))
        .where(t.trial.c.sweep_id.in_(ids), may_be_best())
        .subquery()
    )
    rows = tx.conn.execute(
        select(ranked.c.sweep_id, ranked.c.objective, t.run.c.name.label("run"))
        .join(t.run, t.run.c.id == ranked.c.run_id)
        .where(ranked.c.rank == 1)
    )
    return {row.sweep_id: row for row in rows}
