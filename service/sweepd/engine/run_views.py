"""Run rows as views: the one query that reads them, and the tables that filters may name."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Select, bindparam, select

from sweepd.engine import access
from sweepd.engine.access import Need
from sweepd.engine.texts import clean
from sweepd.engine.views import Access, Account, RunView, TrialView
from sweepd.errors import NotFound
from sweepd.states import RunState
from sweepd.store import Prepared, Tx
from sweepd.store import tables as t

__all__ = ["allowed_run", "find_run", "load_run", "select_runs", "view_of"]

_RUN_COLUMNS = {
    "id": t.run.c.id,
    "name": t.run.c.name,
    "project_id": t.run.c.project_id,
    "project": t.project.c.name,
    "entity_id": t.project.c.entity_id,
    "entity": t.entity.c.name,
    "access": t.project.c.access,
    "sweep_id": t.run.c.sweep_id,
    "sweep": t.sweep.c.name,
    "user_name": t.user.c.name,
    "state": t.run.c.state,
    "display_name": t.run.c.display_name,
    "description": t.run.c.description,
    "notes": t.run.c.notes,
    "group": t.run.c.run_group,
    "job_type": t.run.c.job_type,
    "host": t.run.c.host,
    "program": t.run.c.program,
    "repo": t.run.c.repo,
    "commit": t.run.c.git_commit,
    "tags": t.run.c.tags,
    "config": t.run.c.config,
    "summary": t.run.c.summary,
    "system_metrics": t.run.c.system_metrics,
    "history_keys": t.run.c.history_keys,
    "history_lines": t.run.c.history_lines,
    "event_lines": t.run.c.event_lines,
    "log_lines": t.run.c.log_lines,
    "last_step": t.run.c.last_step,
    "exit_code": t.run.c.exit_code,
    "stop_requested": t.run.c.stop_requested,
    "created_at": t.run.c.created_at,
    "started_at": t.run.c.started_at,
    "heartbeat_at": t.run.c.heartbeat_at,
    "ended_at": t.run.c.ended_at,
}
_TRIAL_COLUMNS = {
    name: t.trial.c[name]
    for name in (
        "id",
        "sweep_id",
        "number",
        "run_id",
        "config",
        "origin",
        "state",
        "attempt",
        "reason",
        "message",
        "objective",
        "best",
        "last",
        "n_values",
        "n_bad",
        "created_at",
        "ended_at",
        "rung",
        "objectives",
    )
}
_N_RUN = len(_RUN_COLUMNS)
_STATE_AT = list(_RUN_COLUMNS).index("state")
_ACCESS_AT = list(_RUN_COLUMNS).index("access")


_SELECT: Select[Any] = select(
    *(column.label(f"run_{name}") for name, column in _RUN_COLUMNS.items()),
    *(column.label(f"trial_{name}") for name, column in _TRIAL_COLUMNS.items()),
).select_from(
    t.run.join(t.project, t.project.c.id == t.run.c.project_id)
    .join(t.entity, t.entity.c.id == t.project.c.entity_id)
    .outerjoin(t.sweep, t.sweep.c.id == t.run.c.sweep_id)
    .outerjoin(t.user, t.user.c.id == t.run.c.user_id)
    .outerjoin(t.trial, t.trial.c.run_id == t.run.c.id)
)
_BY_ID = Prepared(_SELECT.where(t.run.c.id == bindparam("run_id")))
_BY_NAME = Prepared(
    _SELECT.where(t.run.c.project_id == bindparam("project"), t.run.c.name == bindparam("run"))
)


def select_runs() -> Select[Any]:
    """Return a query for runs with what `view_of` needs; `run`, `sweep` and `user` are joined."""
    return _SELECT


def view_of(row: Sequence[Any]) -> RunView:
    """Return a row of `select_runs` as a view."""
    run = dict(zip(_RUN_COLUMNS, row[:_N_RUN], strict=True))
    run["state"] = RunState(row[_STATE_AT])
    run["access"] = Access(row[_ACCESS_AT])
    trial = dict(zip(_TRIAL_COLUMNS, row[_N_RUN : _N_RUN + len(_TRIAL_COLUMNS)], strict=True))
    return RunView(**run, trial=_trial(trial))


def _trial(columns: Mapping[str, Any]) -> TrialView | None:
    if columns["id"] is None:
        return None
    return TrialView(**columns)


def allowed_run(
    tx: Tx, *, actor: Account, run: RunView | None, need: Need, missing: str
) -> RunView:
    """Return a run that was looked up, if the actor may do with it what is needed.

    Args:
        tx: the transaction.
        actor: who asks.
        run: as found, None if there is none.
        need: what they are about to do.
        missing: what is said of a run that does not exist.

    Raises:
        NotFound: with `missing`, if there is none that the actor may see.
        Forbidden: if they may see it, but not do what is needed.
    """
    if run is None:
        raise NotFound(missing)
    has = access.level(tx, actor=actor, entity_id=run.entity_id, access=run.access)
    what = f"run {run.entity}/{run.project}/{run.name}"
    access.allow(has, need, missing=missing, what=what)
    return run


def load_run(tx: Tx, run_id: int) -> RunView | None:
    """Return the run of that storage id, None if there is none. Asks nobody's leave."""
    return _view(_BY_ID.row(tx, run_id=run_id))


def find_run(tx: Tx, project_id: int, name: str) -> RunView | None:
    """Return a project's run by its name, None if there is none. Asks nobody's leave."""
    return _view(_BY_NAME.row(tx, project=project_id, run=clean(name)))


def _view(row: Sequence[Any] | None) -> RunView | None:
    return None if row is None else view_of(row)
