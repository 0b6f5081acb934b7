"""What nobody asks for: leases that lapse, trials that hang, silent agents, finished sweeps.

Silence counts only while the service listened: after a gap between two looks (the service was down,
the machine slept, the clock jumped) every last sign of life is moved by the gap, save those that
came after it. So are the days until which bundles are out.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Table,
    bindparam,
    case,
    func,
    select,
    update,
)
from sqlalchemy.dialects.sqlite import insert

from sweepd.engine import away, budgets, bundles, comebacks, events, leases, outcomes, timeouts
from sweepd.engine.beats import Beat, write_beats
from sweepd.engine.endings import finish_if_done
from sweepd.engine.run_states import change_state
from sweepd.engine.run_views import load_run
from sweepd.engine.services import Limits
from sweepd.engine.sweepviews import SCHEDULER_RUN
from sweepd.engine.trials import Ending, Lease
from sweepd.engine.views import RunView
from sweepd.schedule import TrialState, is_lapsed, silence_means
from sweepd.states import AgentState, RunState, SweepState, is_terminal
from sweepd.store import Prepared, Tx
from sweepd.store import tables as t
from sweepd.store.sweep_tables import bundle, slot

__all__ = ["begin", "grace", "tick"]

_IS_LEASED = t.trial.c.state == TrialState.LEASED
#: Leases that end in one transaction, for which all others wait; the rest do at the next look.
_MOST_AT_ONCE = 100
_MOMENT_S = 0.001
_NO_BEATS: Mapping[str, Beat] = {}
_LIVE_RUNS = (RunState.RUNNING, RunState.PREEMPTING)
_ENDED_SWEEPS = tuple(state for state in SweepState if is_terminal(state))
_TIMES_OF_ATTEMPT = tuple(
    t.attempt.c[name] for name in ("issued_at", "seen_at", "started_at", "ended_at")
)

_PULSE = Prepared(select(t.pulse.c.at).where(t.pulse.c.id == 1))
_BEAT = Prepared(
    insert(t.pulse)
    .values(id=1, at=bindparam("now"))
    .on_conflict_do_update(index_elements=["id"], set_={"at": bindparam("now")})
)
_OLD = leases.prepared(_IS_LEASED, t.attempt.c.seen_at < bindparam("before"), away.IS_OUTSIDE)
_SILENT_RUNS = Prepared(
    select(t.run.c.id).where(
        t.run.c.state.in_(_LIVE_RUNS),
        func.coalesce(t.run.c.heartbeat_at, t.run.c.created_at) < bindparam("before"),
        t.run.c.id.not_in(select(t.trial.c.run_id).where(_IS_LEASED)),
    )
)
_LOSE = Prepared(
    update(t.agent)
    .where(t.agent.c.state == AgentState.RUNNING, t.agent.c.heartbeat_at < bindparam("before"))
    .values(state=AgentState.LOST)
    .returning(t.agent.c.id, t.agent.c.sweep_id)
)
_RUNNING = Prepared(select(t.sweep.c.id).where(t.sweep.c.state == SweepState.RUNNING))


def begin(tx: Tx) -> None:
    """Forget how often trials were handed out before this start, which nobody has been seen to run.

    The answers may have been lost with the service that gave them: no word on the program.
    """
    is_unseen = t.attempt.c.ended_at.is_(None) & (t.attempt.c.seen_at <= t.attempt.c.issued_at)
    tx.conn.execute(update(t.attempt).where(is_unseen).values(n_sent=0))


def tick(tx: Tx, *, limits: Limits, beats: Mapping[str, Beat] = _NO_BEATS) -> None:
    """Look once at every lease, agent and sweep; call it every `limits.tick_s` seconds.

    The first call after a start finds the gap since the last one, and gives grace for it.

    Args:
        tx: the transaction.
        limits: timings.
        beats: the agents' signs of life since the last look that are not written yet.
    """
    (before,) = _PULSE.row(tx) or (None,)
    _BEAT.run(tx, now=tx.now)
    is_after_gap = before is not None and not 0 <= tx.now - before <= limits.gap_s
    if before is not None and is_after_gap:
        gap_s = tx.now - before
        grace(tx, gap_s=gap_s, fresh_s=limits.gap_s)
        beats = {agent: _moved(tx, beat, gap_s, limits.gap_s) for agent, beat in beats.items()}
    write_beats(tx, beats)
    # Whose agent was heard of lately is no news: with a thousand agents, that is nearly all.
    long_ago = tx.now - min(limits.lease_s, limits.run_silence_s)
    n_ended = 0
    for lease in leases.found(tx, _OLD, before=long_ago):
        n_ended += _check_lease(tx, lease, limits)
        if n_ended == _MOST_AT_ONCE:
            break
    bundles.take_back_lapsed(tx, limits=limits)
    timeouts.stop_overdue(tx, is_after_gap=is_after_gap)
    _crash_silent_runs(tx, limits)
    _lose_silent_agents(tx, limits)
    for (sweep_id,) in _RUNNING.rows(tx):
        budgets.stop_if_spent(tx, sweep_id)
        finish_if_done(tx, sweep_id)


def grace(tx: Tx, *, gap_s: float, fresh_s: float) -> None:
    """Move the last sign of life of every live lease, run and agent by `gap_s` seconds.

    One of the last `fresh_s` seconds came after the gap and stays; none is moved into the future,
    where its lease would live on for as long. The gap counts for no sweep as time that it ran,
    either, and for no bundle as time that it was out. A clock that went back makes nobody wait for
    what was to come by the old one, and what rules compare with each other keeps its order: it is
    moved as a whole.
    """

    def is_fresh(at: Column[Any]) -> ColumnElement[bool]:
        return at.between(tx.now - fresh_s, tx.now)

    def moved(at: Column[Any]) -> ColumnElement[Any]:
        return case((is_fresh(at), at), else_=func.min(at + gap_s, tx.now))

    def move(table: Table, where: ColumnElement[bool], *names: str) -> None:
        values = {name: moved(table.c[name]) for name in names}
        tx.conn.execute(update(table).where(where).values(values))

    move(t.sweep, t.sweep.c.running_since.is_not(None), "running_since")
    live = t.attempt.c.ended_at.is_(None)
    issued, seen = moved(t.attempt.c.issued_at), moved(t.attempt.c.seen_at)
    was_seen = t.attempt.c.seen_at > t.attempt.c.issued_at  # or it is handed out once more
    issued = case((was_seen, func.min(issued, seen - _MOMENT_S)), else_=issued)
    tx.conn.execute(update(t.attempt).where(live).values(issued_at=issued, seen_at=seen))
    move(t.attempt, live, "started_at")
    move(t.run, t.run.c.state.in_((RunState.PENDING, *_LIVE_RUNS)), "heartbeat_at")
    move(t.agent, t.agent.c.state == AgentState.RUNNING, "heartbeat_at")
    is_out = bundle.c.ended_at.is_(None) & ~is_fresh(bundle.c.created_at)
    tx.conn.execute(update(bundle).where(is_out).values(until=bundle.c.until + gap_s))
    if gap_s < 0:
        _move_back(tx, gap_s)


def _move_back(tx: Tx, gap_s: float) -> None:
    """Move by `gap_s` what sweeps that go on have noted of ends, slots and searches to come."""
    later = t.sweep.c.search_again_at
    tx.conn.execute(update(t.sweep).where(later > tx.now).values(search_again_at=later + gap_s))
    going_on = select(t.sweep.c.id).where(t.sweep.c.state.not_in(_ENDED_SWEEPS))
    of_trial = select(t.trial.c.id).where(t.trial.c.sweep_id.in_(going_on))
    has_ended = t.attempt.c.ended_at.is_not(None)
    for where, *columns in (
        (has_ended & t.attempt.c.trial_id.in_(of_trial), *_TIMES_OF_ATTEMPT),
        (t.trial.c.sweep_id.in_(going_on), t.trial.c.ended_at),
        (slot.c.sweep_id.in_(going_on), slot.c.since, slot.c.canary_at, slot.c.counts_from),
    ):
        values = {column: column + gap_s for column in columns}
        tx.conn.execute(update(columns[0].table).where(where).values(values))


def _moved(tx: Tx, beat: Beat, gap_s: float, fresh_s: float) -> Beat:
    """Return a sign of life that is not written yet as `grace` would have moved it."""
    is_fresh = tx.now - fresh_s <= beat.at <= tx.now
    return beat if is_fresh else replace(beat, at=min(beat.at + gap_s, tx.now))


def _check_lease(tx: Tx, lease: Lease, limits: Limits) -> bool:
    """Give an attempt up if nothing has been heard of it for too long; return whether it was."""
    if lease.attempt_ended_at is not None:
        return False
    signs = (lease.seen_at, lease.started_at, lease.run_heartbeat_at if lease.has_started else None)
    silent_s = tx.now - max(sign for sign in signs if sign is not None)
    if not is_lapsed(
        silent_s=silent_s,
        has_started=lease.has_started,
        is_fenced=lease.is_fenced,
        lease_s=limits.lease_s,
        run_silence_s=limits.run_silence_s,
    ):
        return False
    reason = silence_means(
        has_started=lease.has_started,
        was_preempting=lease.run_state == RunState.PREEMPTING,
        stop=lease.stop,
        stopped_as=lease.stopped_as,
    )
    words = lease.stop_requested or f"nothing was heard of it for {silent_s:.0f} s"
    ending = Ending(reason=reason, message=words)
    outcomes.settle(tx, lease, ending, actor=events.SERVICE, limits=limits)
    return True


def _crash_silent_runs(tx: Tx, limits: Limits) -> None:
    """Mark runs as crashed that no lease watches and nothing was heard of for too long."""
    for (run_id,) in _SILENT_RUNS.rows(tx, before=tx.now - limits.run_silence_s):
        run = load_run(tx, run_id)
        assert run is not None, "it was there just now"
        end = comebacks.told_end(tx, run)
        change_state(
            tx,
            run=run,
            to=RunState.FINISHED if _is_schedulers(tx, run) else RunState.CRASHED,
            actor=events.SERVICE,
            values=end.values,
            ended_at=run.heartbeat_at if end.at is None else end.at,
        )


def _is_schedulers(tx: Tx, run: RunView) -> bool:
    """Return whether it is the log of a sweep's scheduler, which says nothing when it ends."""
    if not run.name.endswith(SCHEDULER_RUN):
        return False
    named = t.sweep.c.name == run.name.removesuffix(SCHEDULER_RUN)
    same = select(t.sweep.c.id).where(named, t.sweep.c.project_id == run.project_id)
    return tx.conn.scalar(same) is not None


def _lose_silent_agents(tx: Tx, limits: Limits) -> None:
    for agent_id, sweep_id in _LOSE.rows(tx, before=tx.now - limits.agent_silence_s):
        events.record(
            tx,
            actor=events.SERVICE,
            kind="agent.lost",
            sweep_id=sweep_id,
            data={"agent": agent_id},
        )
