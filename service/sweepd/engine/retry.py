"""Trials that failed, put back by hand: the same run ids and configs, one attempt more."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import update

from sweepd.engine import events, slots, trials
from sweepd.engine.access import Need
from sweepd.engine.edits import add_initial
from sweepd.engine.endings import clock_of, ended_by_itself, sweep_row
from sweepd.engine.runs import run_by_id
from sweepd.engine.sweepviews import definition_of, sweep_for, sweep_views
from sweepd.engine.trials import Lease
from sweepd.engine.views import Account, SweepView
from sweepd.errors import Conflict, Reason
from sweepd.schedule import FAILURES, RETRIED, TrialState
from sweepd.states import SweepState, move_sweep
from sweepd.store import Tx
from sweepd.store import tables as t

__all__ = ["Retried", "retry_run", "retry_sweep"]

#: What a whole sweep's retry takes up: what failed, whoever's fault it was.
_FAILED = FAILURES | RETRIED


@dataclass(frozen=True)
class Retried:
    """The runs (ids in addresses) that wait for an agent again, and their sweep."""

    sweep: SweepView
    runs: tuple[str, ...]


def retry_sweep(tx: Tx, *, actor: Account, sweep_id: int) -> Retried:
    """Put every trial of a sweep back that failed, crashed, or never logged the metric.

    Not those that a person killed or that a rule stopped. A sweep that has ended by itself goes on
    for them; they count no second time towards `run_cap`, and have all their retries again.

    Raises:
        NotFound: if there is no such sweep that the actor may see.
        Forbidden: if they may see it, but not change it.
        Conflict: if nothing of it has failed, or it was ended by a person, a target or a budget.
    """
    is_it, label = t.sweep.c.id == sweep_id, f"with id {sweep_id}"
    sweep = sweep_for(tx, is_it, actor=actor, need=Need.WRITE, label=label)
    failed = (
        t.trial.c.sweep_id == sweep_id,
        t.trial.c.state == TrialState.ENDED,
        t.trial.c.reason.in_(sorted(_FAILED)),
    )
    found = trials.leases(tx, *failed)
    if not found:
        raise Conflict(f"no trial of sweep {sweep.name} has failed: there is nothing to retry")
    return _put_back(tx, sweep, found, actor=actor)


def retry_run(tx: Tx, *, actor: Account, run_id: int) -> Retried:
    """Put one trial back, also one that a person killed; a no-op for one that waits already.

    Raises:
        NotFound: if there is no such run that the actor may see.
        Forbidden: if they may see it, but not change it.
        Conflict: if it is no trial, runs, has succeeded or was stopped by a rule, or if its sweep
            was ended by a person, a target or a budget.
    """
    run = run_by_id(tx, actor=actor, run_id=run_id, need=Need.WRITE)
    lease = None if run.sweep_id is None else trials.lease_of_run(tx, run_id)
    if lease is None:
        raise Conflict(f"run {run.name} is not a trial that an agent was given")
    if lease.state == TrialState.LEASED:
        raise Conflict(f"run {run.name} is held by an agent; stop it first")
    reason = Reason(lease.reason) if lease.reason is not None else None
    if lease.state == TrialState.ENDED and reason not in _FAILED | {Reason.KILLED}:
        hint = f"enqueue its config to run it once more: `sweep enqueue … --like {run.name}`"
        raise Conflict(f"run {run.name} has not failed ({reason}); {hint}")
    return _put_back(tx, sweep_row(tx, lease.sweep_id), [lease], actor=actor)


def _put_back(tx: Tx, sweep: Any, found: list[Lease], *, actor: Account) -> Retried:
    _reopen(tx, sweep, actor)
    for lease in found:
        trials.put_back(tx, lease, why=f"retried by {actor.name}", actor=actor.name)
    view = sweep_views(tx, t.sweep.c.id == sweep.id)[0]
    return Retried(view, tuple(lease.run for lease in found))


def _reopen(tx: Tx, sweep: Any, actor: Account) -> None:
    """Let a sweep that has ended by itself hand trials out again.

    Raises:
        Conflict: if it was ended otherwise: to go on would start what somebody wanted to end.
    """
    state = SweepState(sweep.state)
    if state in (SweepState.PENDING, SweepState.RUNNING, SweepState.PAUSED):
        if sweep.stop_reason is not None:
            raise Conflict(f"sweep {sweep.name} is ending: {sweep.stop_reason}")
        return
    if state == SweepState.CANCELED or not ended_by_itself(tx, sweep):
        raise Conflict(
            f"sweep {sweep.name} has ended ({sweep.stop_reason}) and is not taken up again; "
            "create another one, with these runs as prior runs"
        )
    move_sweep(state, SweepState.RUNNING)
    tx.conn.execute(
        update(t.sweep)
        .where(t.sweep.c.id == sweep.id)
        .values(
            state=SweepState.RUNNING,
            stop_reason=None,
            ended_at=None,
            updated_at=tx.now,
            **clock_of(sweep, SweepState.RUNNING, now=tx.now),
        )
    )
    events.record(
        tx,
        actor=actor.name,
        kind="sweep.resumed",
        project_id=sweep.project_id,
        sweep_id=sweep.id,
        data={"from": state, "why": "retry"},
    )
    slots.release_all(tx, sweep.id, actor=actor.name)
    if state == SweepState.FAILED:
        add_initial(tx, sweep.id, definition_of(sweep.definition), basis=0)
