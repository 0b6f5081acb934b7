"""Sweeps: created, read, edited, paused, resumed, stopped, cancelled, deleted."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import delete, func, select, update

from sweepd.engine import (
    access,
    blobs,
    controllers,
    edits,
    enqueued,
    events,
    exports,
    leftovers,
    paging,
    prior_runs,
    projects,
    slots,
    targets,
    warm_start,
)
from sweepd.engine.access import Need
from sweepd.engine.definitions import Sent, read_sent
from sweepd.engine.endings import (
    clock_of,
    end_sweep,
    ended_by_itself,
    finish_if_done,
    sweep_row,
)
from sweepd.engine.sweep_filters import compile_sweep_filters
from sweepd.engine.sweepviews import definition_of, sweep_for, sweep_views, trial_views
from sweepd.engine.views import Account, Page, RunView, SweepView, TrialView
from sweepd.errors import Conflict, IllegalMove, InvalidInput, NotFound
from sweepd.states import RunState, SweepState, is_terminal, move_sweep
from sweepd.store import Tx
from sweepd.store import tables as t

__all__ = [
    "create_sweep",
    "definition_of",
    "delete_sweep",
    "edit_sweep",
    "enqueue_run",
    "find_sweep",
    "get_sweep",
    "list_sweeps",
    "prior_runs_of",
    "set_state",
    "sweep_by_id",
    "trials_of",
    "update_sweep",
]

_SETTABLE = (SweepState.PAUSED, SweepState.RUNNING, SweepState.FINISHED, SweepState.CANCELED)


def create_sweep(
    tx: Tx,
    *,
    actor: Account,
    entity: str | None = None,
    project: str | None = None,
    definition: Sent | str,
    display_name: str | None = None,
    description: str | None = None,
    prior_runs_filters: str | None = None,
    controller: str | None = None,
    scheduler: str | None = None,
) -> tuple[SweepView, list[str]]:
    """Create a sweep; return it and the warnings that the client shows.

    Args:
        tx: the transaction.
        actor: who asks.
        entity: the request's; else the definition's, else the actor's own.
        project: the request's; else the definition's, else W&B's default.
        definition: YAML text, read beforehand or not: a service reads it beforehand.
        display_name: the request's; else the definition's `name`.
        description: likewise.
        prior_runs_filters: the client's filter that names runs of the project to learn from.
        controller: JSON text, what W&B's local controller wants; see `controllers`.
        scheduler: JSON text, echoed.

    Raises:
        DefinitionError: with every problem; nothing is created.
        NotFound, Forbidden: if the entity, a prior run or a sweep to start from is not there or
            not theirs.
        InvalidInput, ProtocolError: for the filter of prior runs.
    """
    sent = read_sent(definition) if isinstance(definition, str) else definition
    parsed = sent.parsed
    wanted = parsed.definition
    warnings = [str(warning) for warning in parsed.warnings]
    names = prior_runs.names_in(prior_runs_filters)
    home = projects.ensure_project(
        tx,
        actor=actor,
        entity=entity or wanted.entity,
        name=project or wanted.project,
        need=Need.WRITE,
    )
    sweep_id = tx.insert(
        t.sweep,
        id=leftovers.next_sweep_id(tx),
        project_id=home.id,
        name=_free_name(tx),
        user_id=actor.author_id,
        state=SweepState.PENDING,
        display_name=display_name or wanted.name,
        description=description or wanted.description,
        definition=sent.text,
        method=wanted.method,
        run_cap=wanted.cap,
        seed=edits.draw_seed(tx, wanted),
        controller=controller,
        scheduler=scheduler,
        created_at=tx.now,
        updated_at=tx.now,
    )
    sweep = sweep_row(tx, sweep_id)
    basis = _record(tx, sweep, actor, "sweep.created", method=wanted.method, seed=sweep.seed)
    edits.add_initial(tx, sweep_id, wanted, basis=basis)
    where = f"{home.entity}/{home.name}"
    warnings += prior_runs.attach(tx, sweep=sweep, names=names, where=where, actor=actor.name)
    warm_start.take(tx, sweep=sweep, references=wanted.own.warm_start, actor=actor)
    if controller is not None and wanted.searcher == "controller":
        _set(tx, sweep_id, controllers.obey(tx, sweep=sweep, text=controller, actor=actor.name))
    return _one(tx, sweep_id), warnings


def update_sweep(
    tx: Tx,
    *,
    actor: Account,
    sweep_id: int,
    definition: Sent | str | None = None,
    display_name: str | None = None,
    description: str | None = None,
    state: str | None = None,
    prior_runs_filters: str | None = None,
    controller: str | None = None,
    scheduler: str | None = None,
) -> tuple[SweepView, list[str]]:
    """Change a sweep; None leaves a thing as it is. Return it and the warnings.

    Raises:
        DefinitionError: if the new definition is wrong.
        Conflict: if the definition may not change so, as `edits.edited` says.
        NotFound, Forbidden, IllegalMove, InvalidInput: as `sweep_by_id` and `set_state`, or for a
            prior run.
    """
    sweep = _row(tx, actor, sweep_id, Need.WRITE)
    names = prior_runs.names_in(prior_runs_filters)
    warnings: list[str] = []
    values: dict[str, Any] = {}
    sent = read_sent(definition) if isinstance(definition, str) else definition
    if sent is not None and sent.text != sweep.definition:
        warnings = [str(warning) for warning in sent.parsed.warnings]
        values |= edits.edited(tx, sweep, sent.text, sent.parsed.definition)
    asked = {"display_name": display_name, "description": description, "scheduler": scheduler}
    values |= {name: value for name, value in asked.items() if value is not None}
    if values:
        _set(tx, sweep_id, values)
        now = {key: values[key] for key in ("version", "seed") if key in values}
        _record(tx, sweep, actor, "sweep.edited", changed=sorted(values), **now)
    if "definition" in values:
        targets.look_again(tx, sweep_id)
    _start_warm(tx, sweep, actor)
    if names:
        home = projects.project_by_id(tx, actor=actor, project_id=sweep.project_id, need=Need.WRITE)
        where = f"{home.entity}/{home.name}"
        now = sweep_row(tx, sweep_id)
        warnings += prior_runs.attach(tx, sweep=now, names=names, where=where, actor=actor.name)
    if controller is not None:
        _control(tx, sweep_id, controller, actor)
    if values or controller is not None:
        finish_if_done(tx, sweep_id)
    if state is not None:
        set_state(tx, actor=actor, sweep_id=sweep_id, state=state)
    return _one(tx, sweep_id), warnings


def edit_sweep(
    tx: Tx, *, actor: Account, sweep_id: int, definition: Sent, version: int
) -> tuple[SweepView, list[str]]:
    """Give a sweep a new definition, if the present one is still the version that was edited.

    Raises:
        Conflict: if somebody made another version meanwhile, or as `update_sweep`.
        DefinitionError, NotFound, Forbidden: as `update_sweep`.
    """
    now = _row(tx, actor, sweep_id, Need.WRITE).version
    if version != now:
        raise Conflict(f"somebody made version {now} of the sweep meanwhile: edit that one")
    return update_sweep(tx, actor=actor, sweep_id=sweep_id, definition=definition)


def enqueue_run(
    tx: Tx,
    *,
    actor: Account,
    sweep_id: int,
    config: Mapping[str, Any],
    display_name: str | None = None,
) -> tuple[int, str]:
    """Put a run of this config into a sweep, for the next agent; return the trial's id, the run's.

    Args:
        tx: the transaction.
        actor: who asks.
        sweep_id: the sweep.
        config: in W&B's form, `{name: {"value": v}}`; it need not be of the space.
        display_name: the run's.

    Raises:
        Conflict: if the sweep takes no more runs.
        InvalidInput: if the config is none.
        NotFound, Forbidden: as `sweep_by_id`.
    """
    _row(tx, actor, sweep_id, Need.WRITE)
    values = enqueued.values_of(config)
    return enqueued.add(
        tx, sweep_id=sweep_id, values=values, actor=actor.name, display_name=display_name
    )


def prior_runs_of(tx: Tx, *, actor: Account, sweep_id: int, need: Need) -> list[RunView]:
    """Return the earlier runs that a sweep learns from; raise as `sweep_by_id` does."""
    _row(tx, actor, sweep_id, need)
    return prior_runs.prior_runs_of(tx, sweep_id)


def set_state(tx: Tx, *, actor: Account, sweep_id: int, state: str) -> SweepView:
    """Pause (PAUSED), resume (RUNNING), stop (FINISHED) or cancel (CANCELED); safe to repeat.

    Raises:
        InvalidInput: if there is no such state to set.
        IllegalMove: if the sweep cannot move there.
        NotFound, Forbidden: as `sweep_by_id`.
    """
    sweep = _row(tx, actor, sweep_id, Need.WRITE)
    old, new = SweepState(sweep.state), _state(state)
    if old == new:
        return _one(tx, sweep_id)
    is_over = old in (SweepState.FINISHED, SweepState.CANCELED)
    if is_over and new in (SweepState.PAUSED, SweepState.RUNNING):
        by_itself = old == SweepState.FINISHED and ended_by_itself(tx, sweep)
        hint = "`sweep retry` takes failed trials up" if by_itself else "create another one"
        raise IllegalMove(f"sweep {sweep.name} has ended ({sweep.stop_reason}); {hint}")
    if (old, new) == (SweepState.FINISHED, SweepState.CANCELED) and not _is_busy(tx, sweep_id):
        raise IllegalMove(f"sweep {sweep.name} has ended ({old.lower()}) and nothing of it runs")
    if new in (SweepState.FINISHED, SweepState.CANCELED):
        verb = "stopped" if new == SweepState.FINISHED else "canceled"
        end_sweep(tx, sweep, new, reason=f"{verb} by {actor.name}", actor=actor.name)
        return _one(tx, sweep_id)
    move_sweep(old, new)
    values: dict[str, Any] = {"state": new, "updated_at": tx.now, "ended_at": None}
    values |= clock_of(sweep, new, now=tx.now)
    if old == SweepState.FAILED:
        values["stop_reason"] = None
        slots.release_all(tx, sweep_id, actor=actor.name)
        edits.add_initial(tx, sweep_id, definition_of(sweep.definition), basis=0)
    tx.conn.execute(
        update(t.sweep).where(t.sweep.c.id == sweep_id, t.sweep.c.state == old).values(**values)
    )
    verb = "sweep.paused" if new == SweepState.PAUSED else "sweep.resumed"
    _record(tx, sweep, actor, verb, **{"from": old})
    finish_if_done(tx, sweep_id)
    after = _one(tx, sweep_id)
    if old == SweepState.FAILED and is_terminal(after.state):
        raise IllegalMove(
            f"sweep {sweep.name} has ended ({sweep.stop_reason}) and has nothing left to hand out; "
            "`sweep retry` takes failed trials up"
        )
    return after


def _is_busy(tx: Tx, sweep_id: int) -> bool:
    live = (RunState.PENDING, RunState.RUNNING, RunState.PREEMPTING)
    query = select(t.run.c.id).where(t.run.c.sweep_id == sweep_id, t.run.c.state.in_(live))
    return tx.conn.execute(query.limit(1)).first() is not None


def get_sweep(
    tx: Tx, *, actor: Account, entity: str | None, project: str | None, name: str, need: Need
) -> SweepView:
    """Return the sweep of that address.

    Raises:
        NotFound: if there is no such project or sweep that the actor may see.
        Forbidden: if they may see it, but not do what is needed.
    """
    home = projects.get_project(tx, actor=actor, entity=entity, name=project, need=need)
    found = sweep_views(tx, t.sweep.c.project_id == home.id, t.sweep.c.name == name)
    if not found:
        raise NotFound(f"there is no sweep {home.entity}/{home.name}/{name}")
    return found[0]


def find_sweep(tx: Tx, *, actor: Account, name: str, need: Need) -> SweepView:
    """Return the sweep of that short id; raise as `get_sweep` does."""
    row = sweep_for(tx, t.sweep.c.name == name, actor=actor, need=need, label=repr(name))
    return _one(tx, row.id)


def sweep_by_id(tx: Tx, *, actor: Account, sweep_id: int, need: Need) -> SweepView:
    """Return the sweep of that storage id; raise as `get_sweep` does."""
    _row(tx, actor, sweep_id, need)
    return _one(tx, sweep_id)


def list_sweeps(
    tx: Tx,
    *,
    actor: Account,
    need: Need,
    entity: str | None = None,
    project: str | None = None,
    filters: Mapping[str, Any] | None = None,
    after: str | None = None,
    first: int = 50,
) -> Page[SweepView]:
    """Return a page of a project's sweeps, the newest first; without a project, of the entity's.

    Of an entity, the sweeps of the projects that the actor may read; of those that pass `filters`.

    Raises:
        NotFound, Forbidden: as `get_sweep`, for the entity or the project.
        ProtocolError: for the filter, or if `after` is not a cursor of this listing.
    """
    if project is not None:
        home = projects.get_project(tx, actor=actor, entity=entity, name=project, need=need)
        where = [t.sweep.c.project_id == home.id]
    else:
        entity_id, _ = projects.resolve_entity(tx, actor=actor, entity=entity, need=need)
        mine = select(t.project.c.id).where(
            t.project.c.entity_id == entity_id, access.visible(actor)
        )
        where = [t.sweep.c.project_id.in_(mine)]
    if filters:
        where.append(compile_sweep_filters(filters))
    total = tx.conn.scalar(select(func.count()).select_from(t.sweep).where(*where)) or 0
    if after is not None:
        where.append(t.sweep.c.id < paging.read_int(after))
    limit = paging.check_first(first) + 1
    views = sweep_views(tx, *where, order=[t.sweep.c.id.desc()], limit=limit)
    return paging.page(views, first, cursor=lambda view: view.id, total=total)


def delete_sweep(tx: Tx, *, actor: Account, sweep_id: int) -> list[str]:
    """Delete a sweep with its runs and files; return the blob keys that nothing refers to now.

    Its agents are told on their next heartbeat that it is gone. Deleting what is gone is fine, and
    what the actor may not see is gone to them.

    Raises:
        Forbidden: if the actor may see it, but not change it.
    """
    try:
        sweep = _row(tx, actor, sweep_id, Need.WRITE)
    except NotFound:
        return []
    runs = select(t.run.c.id).where(t.run.c.sweep_id == sweep_id)
    of_runs = select(t.run_file.c.blob).where(t.run_file.c.run_id.in_(runs))
    keys = set(tx.conn.scalars(of_runs))
    keys |= exports.blobs_of(tx, t.run.c.sweep_id == sweep_id)
    tx.conn.execute(delete(t.sweep).where(t.sweep.c.id == sweep_id))
    _record(tx, sweep, actor, "sweep.deleted", name=sweep.name)
    return blobs.release(tx, keys=keys)


def trials_of(tx: Tx, *, actor: Account, sweep_id: int, need: Need) -> list[TrialView]:
    """Return a sweep's trials as they were handed out; raise as `get_sweep` does."""
    _row(tx, actor, sweep_id, need)
    return trial_views(tx, t.trial.c.sweep_id == sweep_id)


def _row(tx: Tx, actor: Account, sweep_id: int, need: Need) -> Any:
    is_it = t.sweep.c.id == sweep_id
    return sweep_for(tx, is_it, actor=actor, need=need, label=f"with id {sweep_id}")


def _one(tx: Tx, sweep_id: int) -> SweepView:
    return sweep_views(tx, t.sweep.c.id == sweep_id)[0]


def _start_warm(tx: Tx, before: Any, actor: Account) -> None:
    """Let the search know the sweeps that an edit has added to `sweepd.warm_start`."""
    known = definition_of(before.definition).own.warm_start
    now = sweep_row(tx, before.id)
    wanted = definition_of(now.definition).own.warm_start
    added = [reference for reference in wanted if reference not in known]
    warm_start.take(tx, sweep=now, references=added, actor=actor)


def _control(tx: Tx, sweep_id: int, text: str, actor: Account) -> None:
    """Take a controller's JSON; only where one does the search does it mean anything."""
    sweep = sweep_row(tx, sweep_id)
    if definition_of(sweep.definition).searcher == "controller":
        _set(tx, sweep_id, controllers.obey(tx, sweep=sweep, text=text, actor=actor.name))
    else:
        _set(tx, sweep_id, {"controller": text})


def _set(tx: Tx, sweep_id: int, values: Mapping[str, Any]) -> None:
    tx.conn.execute(
        update(t.sweep).where(t.sweep.c.id == sweep_id).values(**values, updated_at=tx.now)
    )


def _state(text: str) -> SweepState:
    for state in _SETTABLE:
        if text.upper() == state:
            return state
    known = ", ".join(_SETTABLE)
    raise InvalidInput(f"state: must be one of {known}, not {text[:100]!r}")


def _free_name(tx: Tx) -> str:
    while True:
        name = tx.new_id(8)
        if tx.conn.scalar(select(t.sweep.c.id).where(t.sweep.c.name == name)) is None:
            return name


def _record(tx: Tx, sweep: Any, actor: Account, kind: str, **data: Any) -> int:
    return events.record(
        tx,
        actor=actor.name,
        kind=kind,
        project_id=sweep.project_id,
        sweep_id=sweep.id,
        data=data,
    )
