"""Trials that take too long or say nothing: `sweepd.timeout`, kept for every agent alike.

Only rows and console lines count as a sign that the program goes on: heartbeats and system metrics
come from threads that live while it hangs. What was seen last is kept in memory, so that a restart
of the service, or a jump of its clock, begins the count anew.
"""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import literal_column, select, update

from sweepd.engine import events, trials
from sweepd.engine.leases import BUNDLE, BY_TIME, Lease
from sweepd.engine.stream_bodies import CONSOLE
from sweepd.engine.sweepviews import definition_of
from sweepd.schedule import TrialState
from sweepd.spec import Timeout
from sweepd.store import Prepared, Tx
from sweepd.store import tables as t

__all__ = ["stop_overdue"]

_HEARD = "timeouts.heard"
#: A literal: SQLite does not see that a bound value fits the partial index.
_IS_LEASED = t.trial.c.state == literal_column(f"'{TrialState.LEASED}'")
_OUT = Prepared(  # by the attempts that live, of which there is an index: few of all trials
    select(t.sweep.c.id, t.sweep.c.definition).where(
        t.sweep.c.id.in_(
            select(t.trial.c.sweep_id)
            .join(t.attempt, t.attempt.c.trial_id == t.trial.c.id)
            .where(t.attempt.c.ended_at.is_(None), t.trial.c.state == TrialState.LEASED)
        )
    )
)


def stop_overdue(tx: Tx, *, is_after_gap: bool) -> None:
    """Ask the attempts to stop that have used up their sweep's `timeout`.

    Args:
        tx: the transaction.
        is_after_gap: nobody looked for a while, so that no silence before now counts.
    """
    limits = _limits(tx)
    if not limits:  # as a rule
        tx.memory[_HEARD] = {}
        return
    heard: Mapping[tuple[int, int], tuple[Any, float]] = tx.memory.get(_HEARD, {})
    if is_after_gap:
        heard = {}
    now: dict[tuple[int, int], tuple[Any, float]] = {}
    live = trials.leases(
        tx,
        _IS_LEASED,
        t.trial.c.sweep_id.in_(limits),
        t.attempt.c.ended_at.is_(None),
        t.run.c.stop_requested.is_(None),
        t.attempt.c.agent_id.not_like(f"{BUNDLE}%"),
    )
    said = _said(tx, [lease.run_id for lease in live])
    for lease in live:
        limit, key = limits[lease.sweep_id], (lease.trial_id, lease.attempt)
        before = heard.get(key)
        is_same = before is not None and before[0] == said[lease.run_id]
        now[key] = before if before is not None and is_same else (said[lease.run_id], tx.now)
        ran_s = tx.now - (lease.started_at or lease.issued_at)
        if limit.minutes is not None and ran_s > 60 * limit.minutes:
            _stop(tx, lease, f"it ran for longer than {_minutes(limit.minutes)}")
        elif limit.silent_minutes is not None and tx.now - now[key][1] > 60 * limit.silent_minutes:
            _stop(tx, lease, f"it logged nothing for {_minutes(limit.silent_minutes)}")
    tx.memory[_HEARD] = now


def _limits(tx: Tx) -> dict[int, Timeout]:
    """Return the time limits of every sweep that has some and an attempt that is out."""
    found = {number: definition_of(text).own.timeout for number, text in _OUT.rows(tx)}
    return {sweep_id: timeout for sweep_id, timeout in found.items() if timeout != Timeout()}


def _said(tx: Tx, run_ids: list[int]) -> dict[int, tuple[Any, ...]]:
    """Return what tells whether runs have said more: how many rows, and the last console line.

    A progress bar writes the same line again and again.
    """
    last = (
        (t.stream_line.c.run_id == t.run.c.id)
        & (t.stream_line.c.stream == CONSOLE)
        & (t.stream_line.c.line == t.run.c.log_lines - 1)
    )
    columns = (t.run.c.id, t.run.c.history_lines, t.run.c.log_lines, t.stream_line.c.body)
    query = select(*columns).select_from(t.run.outerjoin(t.stream_line, last))
    rows = tx.conn.execute(query.where(t.run.c.id.in_(run_ids)))
    return {row[0]: tuple(row[1:]) for row in rows}


def _stop(tx: Tx, lease: Lease, words: str) -> None:
    why = f"{BY_TIME}: {words}"
    tx.conn.execute(update(t.run).where(t.run.c.id == lease.run_id).values(stop_requested=why))
    trials.record(tx, lease, "run.stop_requested", events.SERVICE, why=why)


def _minutes(minutes: float) -> str:
    return f"{minutes:g} minute{'' if minutes == 1 else 's'}"
