"""Reads that only the pages need. Each takes ids that an engine use case has authorised before."""

from collections.abc import Collection
from dataclasses import dataclass, fields
from typing import Any

from sqlalchemy import func, or_, select

from sweepd.engine.views import TrialView
from sweepd.states import RunState, SweepState
from sweepd.store import Tx
from sweepd.store import tables as t

__all__ = [
    "AttemptRow",
    "ProjectRow",
    "TrialRow",
    "attempts",
    "curves",
    "objectives",
    "project_counts",
    "run_stamp",
    "sweep_stamp",
    "trial_rows",
]


@dataclass(frozen=True)
class TrialRow:
    """A trial with what its run's page is called and when it ran.

    `started_at` is that of the latest attempt; those before it took `earlier_s` seconds together.
    """

    trial: TrialView
    name: str
    title: str
    state: RunState
    started_at: float | None
    ended_at: float | None
    earlier_s: float = 0.0


@dataclass(frozen=True)
class AttemptRow:
    """One attempt at a trial: who had it, when, and how it ended."""

    number: int
    agent_id: str
    agent: str | None
    host: str | None
    device: str | None
    issued_at: float
    started_at: float | None
    ended_at: float | None
    reason: str | None
    exit_code: int | None
    signal: int | None
    message: str | None


@dataclass(frozen=True)
class ProjectRow:
    """How much there is in a project."""

    n_runs: int
    n_running: int
    n_sweeps: int
    n_live_sweeps: int
    touched_at: float | None


_TRIAL = tuple(field.name for field in fields(TrialView))


def trial_rows(tx: Tx, *, sweep_id: int) -> list[TrialRow]:
    """Return a sweep's trials in the order they were handed out, with their runs' names."""
    query = (
        select(
            *(t.trial.c[name] for name in _TRIAL),
            t.run.c.name,
            t.run.c.display_name,
            t.run.c.state.label("run_state"),
            t.run.c.started_at,
            t.run.c.ended_at.label("run_ended_at"),
        )
        .join(t.run, t.run.c.id == t.trial.c.run_id)
        .where(t.trial.c.sweep_id == sweep_id)
        .order_by(t.trial.c.number)
    )
    latest = _repeated(tx, sweep_id)
    rows = []
    for row in tx.conn.execute(query):
        values = {name: getattr(row, name) for name in _TRIAL}
        started_at, earlier_s = latest.get(row.id, (row.started_at, 0.0))
        rows.append(
            TrialRow(
                trial=TrialView(**values),
                name=row.name,
                title=row.display_name or row.name,
                state=RunState(row.run_state),
                started_at=started_at,
                ended_at=row.run_ended_at,
                earlier_s=earlier_s,
            )
        )
    return rows


def _repeated(tx: Tx, sweep_id: int) -> dict[int, tuple[float | None, float]]:
    """Return when the latest attempt of each repeated trial began, and what those before took, s.

    A trial that waits for another attempt has none that is going on.
    """
    query = (
        select(
            t.attempt.c.trial_id,
            t.trial.c.state,
            func.coalesce(t.attempt.c.started_at, t.attempt.c.issued_at).label("began_at"),
            t.attempt.c.ended_at,
        )
        .join(t.trial, t.trial.c.id == t.attempt.c.trial_id)
        .where(
            t.trial.c.sweep_id == sweep_id,
            (t.trial.c.attempt > 1) | (t.trial.c.state == "queued"),
        )
        .order_by(t.attempt.c.trial_id, t.attempt.c.number)
    )
    found: dict[int, tuple[float | None, float]] = {}
    before: dict[int, float] = {}  # what the attempts so far took, s
    for row in tx.conn.execute(query):
        found[row.trial_id] = (row.began_at, before.get(row.trial_id, 0.0))
        if row.ended_at is not None:
            took = max(0.0, row.ended_at - row.began_at)
            before[row.trial_id] = before.get(row.trial_id, 0.0) + took
        if row.state == "queued":
            found[row.trial_id] = (None, before.get(row.trial_id, 0.0))
    return found


def curves(
    tx: Tx, *, run_ids: Collection[int], max_points: int = 100
) -> dict[int, tuple[list[int], list[float]]]:
    """Return steps and values of the sweep's metric for some runs, thinned, the last kept."""
    of_run = t.curve.c.run_id
    ordered = (
        select(
            t.curve.c.run_id,
            t.curve.c.step,
            t.curve.c.value,
            (func.row_number().over(partition_by=of_run, order_by=t.curve.c.line) - 1).label("i"),
            func.count().over(partition_by=of_run).label("n"),
        )
        .where(t.curve.c.run_id.in_(run_ids))
        .subquery()
    )
    every = (ordered.c.n + max_points - 1) // max_points
    query = (
        select(ordered.c.run_id, ordered.c.step, ordered.c.value)
        .where(or_(ordered.c.i.op("%")(every) == 0, ordered.c.i == ordered.c.n - 1))
        .order_by(ordered.c.run_id, ordered.c.i)
    )
    found: dict[int, tuple[list[int], list[float]]] = {}
    for run_id, step, value in tx.conn.execute(query):
        steps, values = found.setdefault(run_id, ([], []))
        steps.append(step)
        values.append(value)
    return found


def attempts(tx: Tx, *, trial_id: int) -> list[AttemptRow]:
    """Return every attempt at a trial, the first one first."""
    query = (
        select(
            t.attempt.c.number,
            t.attempt.c.agent_id,
            t.agent.c.name,
            func.coalesce(t.attempt.c.host, t.agent.c.host),
            *(
                t.attempt.c[name]
                for name in (
                    "device",
                    "issued_at",
                    "started_at",
                    "ended_at",
                    "reason",
                    "exit_code",
                    "signal",
                    "message",
                )
            ),
        )
        .outerjoin(t.agent, t.agent.c.id == t.attempt.c.agent_id)
        .where(t.attempt.c.trial_id == trial_id)
        .order_by(t.attempt.c.number)
    )
    return [AttemptRow(*row) for row in tx.conn.execute(query)]


def project_counts(tx: Tx, *, project_ids: Collection[int]) -> dict[int, ProjectRow]:
    """Return how many runs and sweeps each project has, and when one last changed."""
    runs = select(
        t.run.c.project_id,
        func.count(),
        func.count().filter(t.run.c.state == RunState.RUNNING),
        func.max(func.coalesce(t.run.c.heartbeat_at, t.run.c.created_at)),
    ).where(t.run.c.project_id.in_(project_ids))
    live = t.sweep.c.state.in_([SweepState.PENDING, SweepState.RUNNING, SweepState.PAUSED])
    sweeps = select(
        t.sweep.c.project_id,
        func.count(),
        func.count().filter(live),
        func.max(t.sweep.c.updated_at),
    ).where(t.sweep.c.project_id.in_(project_ids))
    of_runs = {row[0]: row for row in tx.conn.execute(runs.group_by(t.run.c.project_id))}
    of_sweeps = {row[0]: row for row in tx.conn.execute(sweeps.group_by(t.sweep.c.project_id))}
    counts = {}
    for project_id in project_ids:
        _, n_runs, n_running, seen = of_runs.get(project_id, (0, 0, 0, None))
        _, n_sweeps, n_live, updated = of_sweeps.get(project_id, (0, 0, 0, None))
        touched = max((at for at in (seen, updated) if at is not None), default=None)
        counts[project_id] = ProjectRow(n_runs, n_running, n_sweeps, n_live, touched)
    return counts


def objectives(tx: Tx, *, sweep_ids: Collection[int]) -> dict[int, list[float]]:
    """Return the objectives (lower is better) of each sweep's trials, in the order they ended."""
    query = (
        select(t.trial.c.sweep_id, t.trial.c.objective)
        .where(t.trial.c.sweep_id.in_(sweep_ids), t.trial.c.objective.is_not(None))
        .order_by(t.trial.c.ended_at.nulls_last(), t.trial.c.number)
    )
    found: dict[int, list[float]] = {}
    for sweep_id, objective in tx.conn.execute(query):
        found.setdefault(sweep_id, []).append(objective)
    return found


def sweep_stamp(tx: Tx, *, sweep_id: int) -> tuple[Any, ...]:
    """Return what changes whenever a sweep's page has something new to show."""
    row = tx.conn.execute(
        select(
            func.count(),
            func.sum(t.trial.c.n_values),
            func.sum(t.trial.c.attempt),
            func.max(t.trial.c.ended_at),
        ).where(t.trial.c.sweep_id == sweep_id)
    ).one()
    newest = select(func.max(t.event.c.id)).where(t.event.c.sweep_id == sweep_id)
    return (*row, tx.conn.scalar(newest))


def run_stamp(tx: Tx, *, run_ids: Collection[int]) -> tuple[Any, ...]:
    """Return what changes whenever a page about these runs has something new to show."""
    row = tx.conn.execute(
        select(
            func.sum(t.run.c.history_lines),
            func.sum(t.run.c.event_lines),
            func.sum(t.run.c.log_lines),
            func.max(t.run.c.ended_at),
            func.group_concat(t.run.c.state),
        ).where(t.run.c.id.in_(run_ids))
    ).one()
    newest = select(func.max(t.event.c.id)).where(t.event.c.run_id.in_(run_ids))
    files = select(func.max(t.run_file.c.updated_at)).where(t.run_file.c.run_id.in_(run_ids))
    return (*row, tx.conn.scalar(newest), tx.conn.scalar(files))
