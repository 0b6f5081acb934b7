"""Runs: what the public API and the pages ask of them and do to them."""

from sqlalchemy import delete, select, update

from sweepd.engine import blobs, enqueued, events, exports, outcomes, projects, promotions
from sweepd.engine.access import Need
from sweepd.engine.endings import finish_if_done
from sweepd.engine.run_queries import count_runs, query_runs
from sweepd.engine.run_states import change_state
from sweepd.engine.run_views import allowed_run, find_run, load_run
from sweepd.engine.services import Limits
from sweepd.engine.upserts import RunChange, upsert_run
from sweepd.engine.views import Account, RunView
from sweepd.errors import Conflict, IllegalMove, NotFound, ProtocolError
from sweepd.states import RunState, is_terminal
from sweepd.store import Tx
from sweepd.store import tables as t

__all__ = [
    "RunChange",
    "count_runs",
    "delete_run",
    "finish_run",
    "get_run",
    "query_runs",
    "request_stop",
    "run_by_id",
    "set_run_state",
    "upsert_run",
]

_DEFAULT = Limits()


def get_run(
    tx: Tx, *, actor: Account, entity: str | None, project: str | None, name: str, need: Need
) -> RunView:
    """Return the run of that address.

    Raises:
        NotFound: if there is no such entity, project or run that the actor may see.
        Forbidden: if they may see it, but not do what is needed.
    """
    where = projects.get_project(tx, actor=actor, entity=entity, name=project, need=need)
    run = find_run(tx, where.id, name)
    if run is None:
        raise NotFound(f"there is no run {where.entity}/{where.name}/{name}")
    return run


def run_by_id(tx: Tx, *, actor: Account, run_id: int, need: Need) -> RunView:
    """Return the run of that storage id; raise as `get_run` does."""
    return allowed_run(
        tx,
        actor=actor,
        run=load_run(tx, run_id),
        need=need,
        missing=f"there is no run with id {run_id}",
    )


def delete_run(tx: Tx, *, actor: Account, run_id: int) -> list[str]:
    """Delete a run with all its rows and files; return the keys of the blobs that were freed.

    Deleting what is gone already is fine, and returns an empty list; so does what the actor may
    not see.

    Raises:
        Forbidden: if the actor may see it, but not change it.
    """
    try:
        run = run_by_id(tx, actor=actor, run_id=run_id, need=Need.WRITE)
    except NotFound:
        return []
    keys = set(tx.conn.scalars(select(t.run_file.c.blob).where(t.run_file.c.run_id == run_id)))
    keys |= exports.blobs_of(tx, t.run.c.id == run_id)
    tx.conn.execute(delete(t.run).where(t.run.c.id == run_id))
    events.record(
        tx,
        actor=actor.name,
        kind="run.deleted",
        project_id=run.project_id,
        sweep_id=run.sweep_id,
        run_id=run_id,
        data={"name": run.name},
    )
    return blobs.release(tx, keys=keys)


def request_stop(tx: Tx, *, actor: Account, run_id: int, why: str = "stopped by a user") -> RunView:
    """Ask a run's process to stop; its next stream answer says so.

    Nothing changes for a run that has ended or was asked before. A plain run that never started,
    one that was enqueued and no agent has taken, and a trial that waits for another attempt are
    killed at once. One that a stop rule has paused is not promoted any more.

    Raises:
        NotFound, Forbidden: as `run_by_id`.
    """
    run = run_by_id(tx, actor=actor, run_id=run_id, need=Need.WRITE)
    if run.sweep_id is not None and (
        enqueued.drop(tx, run_id, why=why, actor=actor.name)
        or outcomes.drop(tx, run_id, why=why, actor=actor.name)
    ):
        return run_by_id(tx, actor=actor, run_id=run_id, need=Need.READ)
    if run.sweep_id is not None and promotions.withdraw(tx, run_id, why=why, actor=actor.name):
        finish_if_done(tx, run.sweep_id)
    if is_terminal(run.state) or run.stop_requested is not None:
        return run
    tx.conn.execute(update(t.run).where(t.run.c.id == run_id).values(stop_requested=why))
    events.record(
        tx,
        actor=actor.name,
        kind="run.stop_requested",
        project_id=run.project_id,
        sweep_id=run.sweep_id,
        run_id=run_id,
        data={"why": why},
    )
    if run.state is RunState.PENDING and run.sweep_id is None:
        change_state(tx, run=run, to=RunState.KILLED, actor=actor.name, why=why)
    return run_by_id(tx, actor=actor, run_id=run_id, need=Need.WRITE)


def set_run_state(tx: Tx, *, actor: Account, run_id: int, state: str) -> RunView:
    """Move a run to pending or failed by hand.

    Raises:
        NotFound, Forbidden: as `run_by_id`.
        ProtocolError: for any other state.
        Conflict: if it is a sweep's run, whose states are the sweep's affair.
        IllegalMove: if its present state does not allow it, or is that state: a second request
            is refused, as W&B does, so that of two who requeue a run one learns of the other.
    """
    run = run_by_id(tx, actor=actor, run_id=run_id, need=Need.WRITE)
    if state not in (RunState.PENDING, RunState.FAILED):
        raise ProtocolError(f"state: a run can be set to pending or failed, not {state!r}")
    if run.sweep_id is not None:
        raise Conflict(f"run {run.name} belongs to sweep {run.sweep}, which keeps its state")
    if run.state == state:
        raise IllegalMove(f"invalid state transition: run {run.name} is {state} already")
    change_state(tx, run=run, to=RunState(state), actor=actor.name, why="set by a user")
    return run_by_id(tx, actor=actor, run_id=run_id, need=Need.WRITE)


def finish_run(
    tx: Tx, *, actor: Account, run_id: int, limits: Limits = _DEFAULT, why: str | None = None
) -> RunView:
    """Say of a run whose process can say nothing any more that it finished.

    It ended when it was last heard of. A trial counts for its sweep as one that ended well. Nothing
    changes for a run that is finished.

    Raises:
        NotFound, Forbidden: as `run_by_id`.
        IllegalMove: if it never started, or ended in another way by its own word.
    """
    run = run_by_id(tx, actor=actor, run_id=run_id, need=Need.WRITE)
    if run.state is RunState.FINISHED:
        return run
    change_state(
        tx,
        run=run,
        to=RunState.FINISHED,
        actor=actor.name,
        values={"exit_code": 0},
        why=why or f"marked as finished by {actor.name}",
        ended_at=min(run.heartbeat_at or tx.now, tx.now),
    )
    if run.sweep_id is not None:
        outcomes.run_ended(tx, run_id=run_id, exit_code=0, limits=limits)
    return run_by_id(tx, actor=actor, run_id=run_id, need=Need.WRITE)
