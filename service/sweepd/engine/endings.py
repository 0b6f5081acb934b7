"""How a sweep ends: by hand, because it is done, because it reached its target, or has failed."""

from typing import Any

from sqlalchemy import bindparam, delete, func, select, update

from sweepd.engine import enqueued, events, promotions, trials
from sweepd.engine.services import Limits
from sweepd.engine.sweepviews import definition_of
from sweepd.engine.trials import Ending
from sweepd.errors import Reason
from sweepd.schedule import FAILURES, TrialState, failing_alike
from sweepd.schedule.budget import Spent, in_words, ran
from sweepd.states import RunState, SweepState, move_sweep
from sweepd.store import Prepared, Tx
from sweepd.store import tables as t

__all__ = [
    "clock_of",
    "drain",
    "end_sweep",
    "ended_by_itself",
    "fail_if_alike",
    "finish_if_done",
    "goes_on",
    "is_drained",
    "start_if_pending",
    "sweep_row",
]

_WORDS = {
    Reason.ERROR: "the program ended with an error",
    Reason.NEVER_INIT: "the program ended before it called wandb.init",
    Reason.NO_METRIC: "the metric was never logged",
    Reason.DIVERGED: "the metric was NaN or infinite",
    Reason.OUT_OF_MEMORY: "out of memory",
    Reason.TIMED_OUT: "it took too long",
}
_GOOD = (Reason.FINISHED, Reason.STOPPED_EARLY)
_VERBS = {
    SweepState.FINISHED: "sweep.finished",
    SweepState.CANCELED: "sweep.canceled",
    SweepState.FAILED: "sweep.failed",
}


_ROW = Prepared(select(t.sweep).where(t.sweep.c.id == bindparam("sweep")))
_READY = Prepared(
    select(t.suggestion.c.id).where(t.suggestion.c.sweep_id == bindparam("sweep")).limit(1)
)


def sweep_row(tx: Tx, sweep_id: int) -> Any:
    """Return a sweep's row as it is now."""
    row = _ROW.one(tx, sweep=sweep_id)
    assert row is not None, f"there is no sweep {sweep_id}"
    return row


def goes_on(sweep: Any) -> bool:
    """Return whether a sweep may still start trials, now or once it is resumed."""
    live = (SweepState.PENDING, SweepState.RUNNING, SweepState.PAUSED)
    return sweep.state in live and sweep.stop_reason is None


def clock_of(sweep: Any, state: SweepState, *, now: float) -> dict[str, Any]:
    """Return the columns that keep how long a sweep has run, as it moves to another state."""
    is_running = state == SweepState.RUNNING
    ran_s = ran(sweep.ran_s, sweep.running_since, now)
    return {"ran_s": ran_s, "running_since": now if is_running else None}


def start_if_pending(tx: Tx, sweep: Any, *, actor: str) -> None:
    """Set a pending sweep running: somebody is here to take its trials."""
    if sweep.state != SweepState.PENDING:
        return
    tx.conn.execute(
        update(t.sweep)
        .where(t.sweep.c.id == sweep.id)
        .values(state=SweepState.RUNNING, updated_at=tx.now, running_since=tx.now)
    )
    events.record(
        tx,
        actor=actor,
        kind="sweep.started",
        project_id=sweep.project_id,
        sweep_id=sweep.id,
        data={"agent": actor},
    )


def end_sweep(tx: Tx, sweep: Any, state: SweepState, *, reason: str, actor: str) -> None:
    """End a sweep: nothing is started any more; what runs may finish, unless it is cancelled.

    Raises:
        IllegalMove: if it cannot move there from its state.
    """
    move_sweep(SweepState(sweep.state), state)
    tx.conn.execute(
        update(t.sweep)
        .where(t.sweep.c.id == sweep.id)
        .values(
            state=state,
            stop_reason=reason,
            ended_at=tx.now,
            updated_at=tx.now,
            **clock_of(sweep, state, now=tx.now),
        )
    )
    events.record(
        tx,
        actor=actor,
        kind=_VERBS[state],
        project_id=sweep.project_id,
        sweep_id=sweep.id,
        data={"from": sweep.state, "reason": reason},
    )
    if state == SweepState.CANCELED:
        _ask_all_to_stop(tx, sweep, why=reason)
    _drop_waiting(tx, sweep)


def drain(tx: Tx, sweep: Any, *, reason: str) -> None:
    """Start nothing more; the sweep ends with its last trial."""
    tx.conn.execute(
        update(t.sweep)
        .where(t.sweep.c.id == sweep.id)
        .values(stop_reason=reason, updated_at=tx.now)
    )
    events.record(
        tx,
        actor=events.SERVICE,
        kind="sweep.draining",
        project_id=sweep.project_id,
        sweep_id=sweep.id,
        data={"reason": reason},
    )
    _drop_waiting(tx, sweep)


def ended_by_itself(tx: Tx, sweep: Any) -> bool:
    """Return whether a sweep had nothing left to hand out, or failed: nobody wanted an end."""
    kinds = ("sweep.draining", "sweep.finished", "sweep.failed", "sweep.resumed", "sweep.started")
    was_paused = (t.event.c.kind == "sweep.resumed") & (
        func.json_extract(t.event.c.data, "$.from") == SweepState.PAUSED
    )
    latest = tx.conn.execute(
        select(t.event.c.kind, t.event.c.actor)
        .where(t.event.c.sweep_id == sweep.id, t.event.c.kind.in_(kinds), ~was_paused)
        .order_by(t.event.c.id.desc())
        .limit(2)
    ).all()
    was_drained = len(latest) > 1 and latest[1].kind == "sweep.draining"
    return bool(latest) and latest[0].actor == events.SERVICE and not was_drained


def finish_if_done(tx: Tx, sweep_id: int) -> None:
    """End a running sweep that has nothing left to hand out and no trial that has not ended."""
    sweep = sweep_row(tx, sweep_id)
    if sweep.state != SweepState.RUNNING:
        return
    reason = _why_done(tx, sweep)
    if reason is None or _has_live(tx, sweep_id) or promotions.is_any(tx, sweep):
        return
    of_sweep = t.trial.c.sweep_id == sweep_id
    ends = tx.conn.execute(
        select(t.trial.c.reason, func.max(t.trial.c.message), func.count())
        .where(of_sweep)
        .group_by(t.trial.c.reason)
    ).all()
    if sweep.stop_reason is None and len(ends) == 1 and ends[0][0] in FAILURES:
        state, reason = SweepState.FAILED, _alike(Reason(ends[0][0]), ends[0][1])
    else:
        state = SweepState.FINISHED
    end_sweep(tx, sweep, state, reason=reason, actor=events.SERVICE)


def is_drained(tx: Tx, sweep: Any) -> bool:
    """Return whether nothing new is to be handed out and every trial that was has ended."""
    return _why_done(tx, sweep) is not None and not _has_live(tx, sweep.id)


def fail_if_alike(tx: Tx, sweep_id: int, *, limits: Limits) -> None:
    """End a sweep as failed if its latest trials all failed in the same way and none ever finished.

    Since it was resumed: that may have mended what was wrong.
    While a trial has been running for longer than any of these did, it takes four times as many:
    they may all come from one bad slot.
    """
    sweep = sweep_row(tx, sweep_id)
    if not goes_on(sweep) or sweep.state == SweepState.PAUSED:
        return
    resumed = select(func.coalesce(func.max(t.event.c.id), 0)).where(
        t.event.c.sweep_id == sweep_id, t.event.c.kind == "sweep.resumed"
    )
    ended = (
        select(
            t.trial.c.reason,
            t.trial.c.message,
            (t.attempt.c.ended_at - t.attempt.c.issued_at).label("lived_s"),
        )
        .join(
            t.attempt,
            (t.attempt.c.trial_id == t.trial.c.id) & (t.attempt.c.number == t.trial.c.attempt),
        )
        .where(
            t.trial.c.sweep_id == sweep_id,
            t.trial.c.state == TrialState.ENDED,
            t.trial.c.ended_event > resumed.scalar_subquery(),  # whatever the clock did meanwhile
        )
        .order_by(t.trial.c.ended_at.desc(), t.trial.c.id.desc())
    )
    good = select(t.trial.c.id).where(t.trial.c.sweep_id == sweep_id, t.trial.c.reason.in_(_GOOD))
    if tx.conn.execute(good.limit(1)).first() is not None:  # also before it was resumed last
        return
    many = 4 * limits.n_alike
    latest = tx.conn.execute(ended.limit(many)).all()
    reasons = [Reason(row.reason) for row in latest]
    alike = failing_alike(reasons[: limits.n_alike], n=limits.n_alike, has_finished=False)
    if alike is None:
        return
    longest_s = max(row.lived_s or 0.0 for row in latest[: limits.n_alike])
    are_many = failing_alike(reasons, n=many, has_finished=False) is not None
    if are_many or not _has_older(tx, sweep_id, longest_s):
        words = _alike(alike, latest[0].message)
        end_sweep(tx, sweep, SweepState.FAILED, reason=words, actor=events.SERVICE)


def _has_older(tx: Tx, sweep_id: int, age_s: float) -> bool:
    """Return whether a trial that has begun has been running for longer than that."""
    older = (
        select(t.attempt.c.trial_id)
        .join(t.trial, t.trial.c.id == t.attempt.c.trial_id)
        .where(
            t.trial.c.sweep_id == sweep_id,
            t.trial.c.state == TrialState.LEASED,
            t.attempt.c.number == t.trial.c.attempt,
            t.attempt.c.started_at.is_not(None),
            t.attempt.c.issued_at < tx.now - age_s,
        )
    )
    return tx.conn.execute(older.limit(1)).first() is not None


def _why_done(tx: Tx, sweep: Any) -> str | None:
    """Return why nothing more is to be handed out, None if there may be something."""
    if sweep.stop_reason is not None:
        return str(sweep.stop_reason)
    if sweep.run_cap is not None and sweep.n_issued >= sweep.run_cap:
        if definition_of(sweep.definition).run_cap != sweep.run_cap:
            return in_words(Spent("runs", sweep.n_issued, sweep.run_cap))
        return f"run_cap reached: all {sweep.n_issued} trials have ended"
    if not sweep.is_exhausted or _READY.row(tx, sweep=sweep.id) is not None:
        return None
    if enqueued.first(tx, sweep.id) is None:
        if definition_of(sweep.definition).searcher != "us":
            return f"its controller has nothing more to schedule: {sweep.n_issued} trials"
        what = "every point of the grid" if sweep.method == "grid" else "every configuration"
        return f"{what} has been tried: {sweep.n_issued} trials"
    return None


def _has_live(tx: Tx, sweep_id: int) -> bool:
    live = select(t.trial.c.id).where(  # a run that nobody has taken holds up no end
        t.trial.c.sweep_id == sweep_id,
        t.trial.c.state.in_((TrialState.LEASED, TrialState.QUEUED)),
        t.trial.c.attempt > 0,
    )
    return tx.conn.scalar(live.limit(1)) is not None


def _alike(reason: Reason, message: str | None) -> str:
    return f"every trial failed the same way: {message or _WORDS[reason]}"


def _ask_all_to_stop(tx: Tx, sweep: Any, *, why: str) -> None:
    """Ask every run of a sweep to stop whose process may be alive, if only out of reach."""
    maybe = (RunState.PENDING, RunState.RUNNING, RunState.PREEMPTING, RunState.CRASHED)
    waiting = select(t.trial.c.run_id).where(
        t.trial.c.sweep_id == sweep.id, t.trial.c.state == TrialState.QUEUED
    )
    tx.conn.execute(
        update(t.run)
        .where(
            t.run.c.sweep_id == sweep.id,
            t.run.c.state.in_(maybe) | t.run.c.id.in_(waiting),
            t.run.c.stop_requested.is_(None),
        )
        .values(stop_requested=why)
    )


def _drop_waiting(tx: Tx, sweep: Any) -> None:
    """Drop prepared suggestions; end the trials that wait for another attempt."""
    tx.conn.execute(delete(t.suggestion).where(t.suggestion.c.sweep_id == sweep.id))
    queued = (t.trial.c.sweep_id == sweep.id, t.trial.c.state == TrialState.QUEUED)
    for lease in trials.leases(tx, *queued):
        reason = Reason(lease.attempt_reason or Reason.CRASHED)
        message = "the sweep ended before it could be tried again"
        trials.end(tx, lease, Ending(reason=reason, message=message), actor=events.SERVICE)
    enqueued.drop_all(tx, sweep.id, why="the sweep ended before an agent took it")
