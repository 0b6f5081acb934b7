"""UpsertBucket: how a client's process, or the public API, creates and changes a run."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import func, select

from sweepd.engine import access, comebacks, events, leases, outcomes, projects, rewinds, shared
from sweepd.engine.access import Need
from sweepd.engine.leftovers import next_run_id
from sweepd.engine.run_names import make_name
from sweepd.engine.run_states import change_state
from sweepd.engine.run_views import allowed_run, find_run, load_run
from sweepd.engine.texts import clean, read_object, strict_json
from sweepd.engine.views import Account, RunView
from sweepd.errors import NotFound, ProtocolError
from sweepd.states import RunState, is_terminal
from sweepd.store import Tx
from sweepd.store import tables as t

__all__ = ["FIRST_YEAR", "RunChange", "is_stale", "upsert_run"]

#: Fields of a change that are plain columns.
_COLUMNS: Mapping[str, str] = {
    "display_name": "display_name",
    "description": "description",
    "notes": "notes",
    "group": "run_group",
    "job_type": "job_type",
    "host": "host",
    "program": "program",
    "repo": "repo",
    "commit": "git_commit",
}
_MAX_TAGS = 1_000
FIRST_YEAR = datetime(2010, 1, 1, tzinfo=UTC).timestamp()  # earlier is a clock that was never set


@dataclass(frozen=True, kw_only=True)
class RunChange:
    """What an upsert asks for; None means: leave unchanged.

    `id` is the storage id (the number under the opaque one). With an id and no name it is an update
    by the public API, where `tags=()` clears. `config` and `summary` are JSON text as they arrived.
    `attempt` and `token` are those of our agent's lease header, None for other clients.
    """

    id: int | None = None
    entity: str | None = None
    project: str | None = None
    name: str | None = None
    display_name: str | None = None
    description: str | None = None
    notes: str | None = None
    group: str | None = None
    job_type: str | None = None
    host: str | None = None
    program: str | None = None
    repo: str | None = None
    commit: str | None = None
    config: str | None = None
    summary: str | None = None
    tags: tuple[str, ...] | None = None
    state: str | None = None
    sweep: str | None = None
    attempt: int | None = None
    token: str | None = None
    is_shared: bool = False  # one of several processes that write the run


@dataclass(frozen=True, kw_only=True)
class _Process:
    """When a run's first and latest process began, and the latest one's program and host."""

    first_at: float | None = None
    last_at: float | None = None
    names: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Sweep:
    """The sweep that an upsert names."""

    id: int
    project_id: int
    label: str


def upsert_run(tx: Tx, *, actor: Account, change: RunChange) -> tuple[RunView, bool]:
    """Create or change a run; return it and whether it was created now.

    A run is found by its storage id, else by its address. It starts running with the first upsert
    of a live process (one that names its host, or has `_wandb` in its config). What comes without a
    host before a later attempt of a trial has begun is an earlier one's. After its end a run is
    opened again, which clears how it ended, by a process that resumes it or that began after the
    end; one that began before sends it once more from a folder, and the run stays as it is. An
    upsert by an attempt that has lost its lease changes nothing. `state` counts only when a run is
    made.

    Raises:
        NotFound, Forbidden: for the storage id, the entity or the sweep.
        InvalidInput: for a name that cannot be one.
        ProtocolError: for JSON that is none, or a sweep other than the run's own.
    """
    config = read_object(change.config, name="config") if change.config else None
    sweep = _claimed_sweep(tx, actor, change.sweep) if change.sweep else None
    run, project_id = _locate(tx, actor, change, sweep)
    if run is None:
        return _create(tx, actor, change, config, sweep, project_id), True
    if is_stale(run, change.attempt):
        return run, False
    return _change(tx, actor, change, config, sweep, run), False


def is_stale(run: RunView, attempt: int | None) -> bool:
    """Return whether a request speaks for an attempt that a later one has replaced."""
    return attempt is not None and run.trial is not None and attempt < run.trial.attempt


def _locate(
    tx: Tx, actor: Account, change: RunChange, sweep: _Sweep | None
) -> tuple[RunView | None, int]:
    """Return the run if it is there, and the id of the project that it is or will be in."""
    if change.id is not None:
        run = allowed_run(
            tx,
            actor=actor,
            run=load_run(tx, change.id),
            need=Need.WRITE,
            missing=f"there is no run with id {change.id}",
        )
        return run, run.project_id
    if sweep is not None:
        project_id = sweep.project_id
    else:
        project_id = projects.ensure_project(
            tx, actor=actor, entity=change.entity, name=change.project, need=Need.WRITE
        ).id
    return (find_run(tx, project_id, change.name) if change.name else None), project_id


def _claimed_sweep(tx: Tx, actor: Account, name: str) -> _Sweep:
    """Return the sweep of that short id. Its project rules over the one that the upsert names."""
    row = tx.conn.execute(
        select(
            t.sweep.c.id,
            t.sweep.c.project_id,
            t.sweep.c.display_name,
            t.project.c.entity_id,
            t.project.c.access,
        )
        .join(t.project, t.project.c.id == t.sweep.c.project_id)
        .where(t.sweep.c.name == name)
    ).one_or_none()
    missing = f"there is no sweep {name!r} (WANDB_SWEEP_ID names one that is gone?)"
    if row is None:
        raise NotFound(missing)
    has = access.level(tx, actor=actor, entity_id=row.entity_id, access=row.access)
    access.allow(has, Need.WRITE, missing=missing, what=f"sweep {name}")
    return _Sweep(row.id, row.project_id, row.display_name or name)


def _create(
    tx: Tx,
    actor: Account,
    change: RunChange,
    config: dict[str, Any] | None,
    sweep: _Sweep | None,
    project_id: int,
) -> RunView:
    name = projects.check_name(change.name, kind="run id") if change.name else tx.new_id()
    if _is_afterthought(change, config):
        raise NotFound(f"there is no run {name} any more")
    is_live, process = _is_live(change, config), _process(config)
    state = RunState.RUNNING if is_live else _first_state(change.state)
    values = _plain_values(change)
    values.setdefault("display_name", _display_name(tx, sweep, project_id))
    values |= {
        "project_id": project_id,
        "sweep_id": sweep.id if sweep else None,
        "user_id": actor.author_id,
        "name": name,
        "state": state,
        "config": strict_json(config or {}),
        "created_at": min(process.first_at or tx.now, tx.now),
        **process.names,
        "started_at": tx.now if is_live else None,
        "heartbeat_at": tx.now if is_live else None,
    }
    run_id = tx.insert(t.run, id=next_run_id(tx), **values)
    parent = rewinds.branch_point(config, name=name)
    if parent is not None:
        rewinds.fork(tx, run_id=run_id, project_id=project_id, parent=parent[0], step=parent[1])
    events.record(
        tx,
        actor=actor.name,
        kind="run.created",
        project_id=project_id,
        sweep_id=sweep.id if sweep else None,
        run_id=run_id,
        data={"name": name, "state": state},
    )
    return _announce(tx, run_id, change, is_started=is_live)


def _change(
    tx: Tx,
    actor: Account,
    change: RunChange,
    config: dict[str, Any] | None,
    sweep: _Sweep | None,
    run: RunView,
) -> RunView:
    values = _plain_values(change)
    if change.tags == () and not (change.id is not None and change.name is None):
        values.pop("tags")  # a process that has no tags, as against a person who removed them
    if sweep is not None and run.sweep_id != sweep.id:
        if run.sweep_id is not None:
            raise ProtocolError(f"run {run.name} belongs to sweep {run.sweep}, not {change.sweep}")
        if run.project_id != sweep.project_id:
            raise ProtocolError(f"run {run.name} is of another project than sweep {change.sweep}")
        values["sweep_id"] = sweep.id
    process = _process(config)
    is_live = _is_live(change, config) and not _is_left_over(change, run)
    is_over = is_terminal(run.state) or run.state is RunState.PREEMPTING
    is_started = is_live and (
        run.state is RunState.PENDING or (is_over and _opens(change, process, run))
    )
    is_late = is_live and is_terminal(run.state) and not is_started
    if config is not None:
        values["config"] = _new_config(tx, run, change, config, is_late=is_late)
    values |= process.names
    if process.first_at is not None and process.first_at < run.created_at:
        values["created_at"] = process.first_at
    if is_live and not is_late:
        values["heartbeat_at"] = tx.now
    if is_late and change.host is not None and not change.is_shared:
        comebacks.knock(tx, run, actor=actor.name)
    if is_started:
        values["started_at"] = run.started_at or tx.now
        values["exit_code"] = None
        if is_terminal(run.state) and not _was_to_stop(tx, run):
            values["stop_requested"] = None
    to = RunState.RUNNING if is_started else run.state
    change_state(tx, run=run, to=to, actor=actor.name, values=values)
    return _announce(tx, run.id, change, is_started=is_started)


def _was_to_stop(tx: Tx, run: RunView) -> bool:
    """Return whether a stop was meant for the process that begins: it was given the trial before.

    One that a person begins, or that was cut off with its bundle, is another matter.
    """
    lease = leases.lease_of_run(tx, run.id) if run.sweep_id is not None else None
    return lease is not None and not lease.has_started and not lease.is_bundled


def _new_config(
    tx: Tx, run: RunView, change: RunChange, config: dict[str, Any], *, is_late: bool
) -> str:
    """Return a run's config after an upsert brings one: the whole of it, as a rule."""
    if run.sweep_id is not None and run.started_at is None:
        return strict_json({**json.loads(run.config), **config})  # what was suggested stays
    if change.is_shared:
        return shared.merged_config(run.config, config)
    if is_late and (change.host is not None or comebacks.has_knocked(tx, run.id)):
        # A folder that is synced again does not undo what a person changed meanwhile.
        own = {"_wandb": config["_wandb"]} if "_wandb" in config else {}
        return strict_json({**config, **json.loads(run.config), **own})
    return strict_json(config)


def _announce(tx: Tx, run_id: int, change: RunChange, *, is_started: bool) -> RunView:
    """Tell the sweep that its run has started; return the run as it is now."""
    run = load_run(tx, run_id)
    assert run is not None
    if is_started and run.sweep_id is not None:
        outcomes.run_started(tx, run_id=run_id, attempt=change.attempt, token=change.token)
        run = load_run(tx, run_id)
        assert run is not None
    return run


def _opens(change: RunChange, process: _Process, run: RunView) -> bool:
    """Return whether a live upsert opens a run that has ended, or is about to."""
    if run.state is RunState.PREEMPTING or run.started_at is None:
        return _is_init(change)
    if change.id is not None and change.name is not None:  # it asked how far the run had come
        return True
    return process.last_at is not None and process.last_at > (run.ended_at or 0.0)


def _is_init(change: RunChange) -> bool:
    """Return whether a process opens the run with the upsert."""
    return change.host is not None or (change.id is not None and change.name is not None)


def _is_left_over(change: RunChange, run: RunView) -> bool:
    """Return whether the upsert is an earlier attempt's: the present one's has yet to begin."""
    is_awaited = run.state is RunState.PENDING and run.trial is not None and run.trial.attempt > 1
    return is_awaited and change.attempt is None and not _is_init(change)


def _is_live(change: RunChange, config: Mapping[str, Any] | None) -> bool:
    """Return whether the upsert comes from a run's own process."""
    if change.id is not None and change.name is None:  # the public API sends whole configs back
        return False
    return change.host is not None or (config is not None and "_wandb" in config)


def _is_afterthought(change: RunChange, config: Mapping[str, Any] | None) -> bool:
    """Return whether a process only adds to a run that it opened before: one that was deleted.

    A trial's run is there before its process.
    """
    if change.attempt is not None:
        return True
    begins = (change.host, change.program, change.state, change.sweep, change.display_name)
    return config is not None and "_wandb" in config and begins == (None,) * len(begins)


def _first_state(state: str | None) -> RunState:
    if state in (None, RunState.PENDING):
        return RunState.PENDING
    if state == RunState.RUNNING:
        return RunState.RUNNING
    raise ProtocolError(f"state: a run begins pending or running, not {state!r}")


def _plain_values(change: RunChange) -> dict[str, Any]:
    """Return the columns that a change sets by itself."""
    values: dict[str, Any] = {}
    for name, column in _COLUMNS.items():
        value = getattr(change, name)
        if value is not None:
            values[column] = clean(value)
    if values.get("display_name") == "":
        del values["display_name"]
    if change.tags is not None:
        tags = list(dict.fromkeys(change.tags))
        if len(tags) > _MAX_TAGS:
            raise ProtocolError(f"tags: {len(tags)} of them; a run has at most {_MAX_TAGS}")
        values["tags"] = strict_json(tags)
    if change.summary:
        values["summary"] = strict_json(read_object(change.summary, name="summaryMetrics"))
    return values


def _display_name(tx: Tx, sweep: _Sweep | None, project_id: int) -> str:
    column, value = (t.run.c.project_id, project_id)
    if sweep is not None:
        column, value = (t.run.c.sweep_id, sweep.id)
    count = tx.conn.scalar(select(func.count()).select_from(t.run).where(column == value)) or 0
    if sweep is not None:
        return f"{sweep.label}-run-{count + 1}"
    return make_name(count + 1, rng=tx.random)


def _process(config: Mapping[str, Any] | None) -> _Process:
    """Return what a run's processes say of themselves in the config that one of them sends."""
    internal = (config or {}).get("_wandb")
    value = internal.get("value") if isinstance(internal, dict) else None
    environments = value.get("e") if isinstance(value, dict) else None
    if not isinstance(environments, dict):
        return _Process()
    found = sorted(
        (
            (moment, number, one)
            for number, one in enumerate(environments.values())
            if isinstance(one, dict) and (moment := _moment(one.get("startedAt"))) is not None
        ),
    )
    if not found:
        return _Process()
    latest = found[-1][2]
    names = {name: latest.get(name) for name in ("program", "host")}
    texts = {name: clean(text) for name, text in names.items() if text and isinstance(text, str)}
    return _Process(first_at=found[0][0], last_at=found[-1][0], names=texts)


def _moment(text: object) -> float | None:
    if not isinstance(text, str):
        return None
    try:
        moment = datetime.fromisoformat(text)
        zoned = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        seconds = zoned.timestamp()
    except (ValueError, OverflowError):
        return None
    return seconds if seconds >= FIRST_YEAR else None
