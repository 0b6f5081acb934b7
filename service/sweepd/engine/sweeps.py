"""Sweeps: created, read, edited, paused, resumed, stopped, cancelled, deleted."""

import json
from typing import Any

from sqlalchemy import delete, insert, select, update

from sweepd.engine import access, blobs, events, paging, projects
from sweepd.engine.access import Need
from sweepd.engine.endings import end_sweep, finish_if_done, sweep_row
from sweepd.engine.sweepviews import definition_of, sweep_for, sweep_views, trial_views
from sweepd.engine.views import Account, Page, SweepView, TrialView
from sweepd.errors import Conflict, IllegalMove, InvalidInput, NotFound
from sweepd.spec import Definition, read_definition
from sweepd.states import RunState, SweepState, is_terminal, move_sweep
from sweepd.store import Tx
from sweepd.store import tables as t

__all__ = [
    "create_sweep",
    "definition_of",
    "delete_sweep",
    "find_sweep",
    "get_sweep",
    "list_sweeps",
    "set_state",
    "sweep_by_id",
    "trials_of",
    "update_sweep",
]

#: Keys of a definition that may change while trials are handed out: they do not touch the search.
_LOOSE = ("run_cap", "name", "description", "project", "entity")
_SETTABLE = (SweepState.PAUSED, SweepState.RUNNING, SweepState.FINISHED, SweepState.CANCELED)


def create_sweep(
    tx: Tx,
    *,
    actor: Account,
    entity: str | None = None,
    project: str | None = None,
    definition: str,
    display_name: str | None = None,
    description: str | None = None,
    prior_runs: str | None = None,
    controller: str | None = None,
    scheduler: str | None = None,
) -> tuple[SweepView, list[str]]:
    """Create a sweep; return it and the warnings that the client shows.

    Args:
        tx: the transaction.
        actor: who asks.
        entity: the request's; else the definition's, else the actor's own.
        project: the request's; else the definition's, else W&B's default.
        definition: YAML text.
        display_name: the request's; else the definition's `name`.
        description: likewise.
        prior_runs: the client's filter for earlier runs; not used, and said so.
        controller: JSON text, echoed.
        scheduler: likewise.

    Raises:
        DefinitionError: with every problem; nothing is created.
        NotFound, Forbidden: if the entity is not there or not theirs.
    """
    parsed = read_definition(definition)
    wanted = parsed.definition
    warnings = [str(warning) for warning in parsed.warnings]
    if (prior_runs or "").strip() not in ("", "null", "{}"):
        warnings.append("prior runs are not taken into account: the search starts without them")
    home = projects.ensure_project(
        tx,
        actor=actor,
        entity=entity or wanted.entity,
        name=project or wanted.project,
        need=Need.WRITE,
    )
    sweep_id = tx.insert(
        t.sweep,
        project_id=home.id,
        name=_free_name(tx),
        user_id=actor.id,
        state=SweepState.PENDING,
        display_name=display_name or wanted.name,
        description=description or wanted.description,
        definition=definition,
        method=wanted.method,
        run_cap=wanted.run_cap,
        seed=_seed(tx, wanted),
        controller=controller,
        scheduler=scheduler,
        created_at=tx.now,
        updated_at=tx.now,
    )
    sweep = sweep_row(tx, sweep_id)
    basis = _record(tx, sweep, actor, "sweep.created", method=wanted.method, seed=sweep.seed)
    _add_initial(tx, sweep_id, wanted, basis)
    return _one(tx, sweep_id), warnings


def update_sweep(
    tx: Tx,
    *,
    actor: Account,
    sweep_id: int,
    definition: str | None = None,
    display_name: str | None = None,
    description: str | None = None,
    state: str | None = None,
    controller: str | None = None,
    scheduler: str | None = None,
) -> tuple[SweepView, list[str]]:
    """Change a sweep; None leaves a thing as it is. Return it and the warnings.

    Raises:
        DefinitionError: if the new definition is wrong.
        Conflict: if it would change the search of a sweep that has handed trials out.
        NotFound, Forbidden, IllegalMove, InvalidInput: as `sweep_by_id` and `set_state`.
    """
    sweep = _row(tx, actor, sweep_id, Need.WRITE)
    warnings: list[str] = []
    values: dict[str, Any] = {
        "display_name": display_name,
        "description": description,
        "controller": controller,
        "scheduler": scheduler,
    }
    values = {name: value for name, value in values.items() if value is not None}
    if definition is not None and definition != sweep.definition:
        parsed = read_definition(definition)
        warnings = [str(warning) for warning in parsed.warnings]
        values |= _edit(tx, sweep, definition, parsed.definition)
    if values:
        tx.conn.execute(
            update(t.sweep).where(t.sweep.c.id == sweep_id).values(**values, updated_at=tx.now)
        )
        _record(tx, sweep, actor, "sweep.edited", changed=sorted(values))
        finish_if_done(tx, sweep_id)
    if state is not None:
        set_state(tx, actor=actor, sweep_id=sweep_id, state=state)
    return _one(tx, sweep_id), warnings


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
    if (old, new) == (SweepState.FINISHED, SweepState.CANCELED) and not _is_busy(tx, sweep_id):
        raise IllegalMove(f"sweep {sweep.name} has ended ({old.lower()}) and nothing of it runs")
    if new in (SweepState.FINISHED, SweepState.CANCELED):
        verb = "stopped" if new == SweepState.FINISHED else "canceled"
        end_sweep(tx, sweep, new, reason=f"{verb} by {actor.name}", actor=actor.name)
        return _one(tx, sweep_id)
    move_sweep(old, new)
    values: dict[str, Any] = {"state": new, "updated_at": tx.now, "ended_at": None}
    if old == SweepState.FAILED:
        values["stop_reason"] = None
    tx.conn.execute(
        update(t.sweep).where(t.sweep.c.id == sweep_id, t.sweep.c.state == old).values(**values)
    )
    verb = "sweep.paused" if new == SweepState.PAUSED else "sweep.resumed"
    _record(tx, sweep, actor, verb, **{"from": old})
    finish_if_done(tx, sweep_id)
    return _one(tx, sweep_id)


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
    after: str | None = None,
    first: int = 50,
) -> Page[SweepView]:
    """Return a page of a project's sweeps, the newest first; without a project, of the entity's.

    Of an entity, the sweeps of the projects that the actor may read.

    Raises:
        NotFound, Forbidden: as `get_sweep`, for the entity or the project.
        ProtocolError: if `after` is not a cursor of this listing.
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
    total = len(tx.conn.scalars(select(t.sweep.c.id).where(*where)).all())
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


def _state(text: str) -> SweepState:
    for state in _SETTABLE:
        if text.upper() == state:
            return state
    known = ", ".join(_SETTABLE)
    raise InvalidInput(f"state: must be one of {known}, not {text[:100]!r}")


def _edit(tx: Tx, sweep: Any, text: str, new: Definition) -> dict[str, Any]:
    """Return the columns that a new definition changes; start the search anew where it may be."""
    if is_terminal(SweepState(sweep.state)):
        raise Conflict(f"sweep {sweep.name} has ended: its definition cannot be changed")
    values: dict[str, Any] = {
        "definition": text,
        "run_cap": new.run_cap,
        "version": sweep.version + 1,
    }
    if new.name is not None:
        values["display_name"] = new.name
    if new.description is not None:
        values["description"] = new.description
    old = definition_of(sweep.definition)
    if _search_part(old) == _search_part(new):
        return values
    if sweep.n_issued:
        raise Conflict(
            f"sweep {sweep.name} has handed out {sweep.n_issued} trials: its state, run_cap, name "
            "and description can be changed, the rest cannot; create another sweep for that"
        )
    tx.conn.execute(delete(t.suggestion).where(t.suggestion.c.sweep_id == sweep.id))
    _add_initial(tx, sweep.id, new, basis=0)
    seed = sweep.seed if new.own.seed is None else _seed(tx, new)
    return {**values, "method": new.method, "seed": seed, "memo": None, "is_exhausted": 0}


def _search_part(definition: Definition) -> dict[str, Any]:
    return {name: value for name, value in definition.raw.items() if name not in _LOOSE}


def _add_initial(tx: Tx, sweep_id: int, definition: Definition, basis: int) -> None:
    """Prepare the configs that are tried first, none twice."""
    space = definition.space
    rows = {
        space.key(config): {
            "sweep_id": sweep_id,
            "config": json.dumps(config, ensure_ascii=False),
            "config_key": space.key(config),
            "origin": "initial",
            "basis_event": basis,
        }
        for config in definition.own.initial
    }
    if rows:
        tx.conn.execute(insert(t.suggestion), list(rows.values()))


def _seed(tx: Tx, definition: Definition) -> int:
    seed = definition.own.seed
    return tx.random.getrandbits(31) if seed is None else seed % 2**63


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
