"""Places of work: where a sweep's attempts run, which are in quarantine, and their canaries.

A slot is a GPU of a host, as our agent names it; another client's agent is a slot of its own. What
makes one bad is `schedule.quarantine`'s affair. A bad slot gets no more trials, those that it burnt
go to others under their run ids, and one is kept back: the canary, tried there once in a while.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from sqlalchemy import bindparam, func, select, update
from sqlalchemy.dialects.sqlite import insert

from sweepd.engine import events, notices, trials
from sweepd.engine.endings import end_sweep, goes_on, sweep_row
from sweepd.engine.services import Limits
from sweepd.engine.sweepviews import definition_of
from sweepd.engine.trials import Ending, Lease
from sweepd.errors import Reason
from sweepd.schedule import TrialState
from sweepd.schedule.quarantine import (
    Elsewhere,
    Past,
    Verdict,
    canary_pause_s,
    is_bad,
    streak_of,
    verdict_of,
)
from sweepd.states import AgentState, SweepState
from sweepd.store import Prepared, Tx
from sweepd.store import sweep_tables as s
from sweepd.store import tables as t

__all__ = [
    "Gate",
    "Quarantined",
    "choose",
    "condemn",
    "gate_of",
    "has_others",
    "note_end",
    "place",
    "quarantined",
    "release",
    "release_all",
]

_TOPIC = "slots"
_FAILS = [
    str(reason) for reason in Reason if verdict_of(reason) in (Verdict.CRASHES, Verdict.FAILS)
]
_WORKS = [str(reason) for reason in Reason if verdict_of(reason) is Verdict.WORKS]
_FIND = Prepared(select(s.slot).where(s.slot.c.id == bindparam("slot")))
_KEPT_FOR = 4  # canaries that one trial is kept back for
_SHOWN = 3


class Gate(Enum):
    """What a slot may be given: anything, a canary, nothing."""

    OPEN = "open"
    CANARY = "canary"
    CLOSED = "closed"


@dataclass(frozen=True)
class Quarantined:
    """A slot that gets no trials but canaries. `device` is an agent's id where it told none."""

    id: int
    host: str
    device: str
    reason: str
    since: float
    canary_at: float
    n_canaries: int


def place(tx: Tx, *, sweep_id: int, host: str, device: str) -> int:
    """Return the slot of that name, made if it is new."""
    row = insert(s.slot).values(sweep_id=sweep_id, host=host, device=device)
    tx.conn.execute(row.on_conflict_do_nothing(index_elements=["sweep_id", "host", "device"]))
    same = (s.slot.c.sweep_id == sweep_id) & (s.slot.c.host == host) & (s.slot.c.device == device)
    return int(tx.conn.execute(select(s.slot.c.id).where(same)).scalar_one())


def gate_of(tx: Tx, sweep: Any, slot_id: int | None) -> Gate:
    """Return what a slot may be given now; one canary at a time, and only when it is due."""
    slot = None if slot_id is None else _row(tx, slot_id)
    if slot is None or slot.reason is None or not _k(sweep):
        return Gate.OPEN
    if tx.now < slot.canary_at:
        return Gate.CLOSED
    live = select(t.attempt.c.trial_id).where(
        t.attempt.c.slot_id == slot_id,
        t.attempt.c.ended_at.is_(None),
        t.attempt.c.issued_at > slot.since,
    )
    return Gate.CANARY if tx.conn.execute(live.limit(1)).first() is None else Gate.CLOSED


def choose(
    tx: Tx, sweep: Any, slot_id: int | None, queued: Sequence[Lease], *, gate: Gate
) -> tuple[Lease | None, Lease | None]:
    """Return which waiting trial a slot gets, and which it gets if there is nothing else at all.

    A canary is a trial that the slot burnt itself, so that it burns few. Others get what is kept
    for a canary last; and what crashed on a slot goes to another one if there is any.
    """
    if not queued:
        return None, None
    kept = dict(
        tx.conn.execute(
            select(s.slot.c.trial_id, s.slot.c.id).where(
                s.slot.c.sweep_id == sweep.id, s.slot.c.reason.is_not(None)
            )
        ).all()
    )
    burnt = _burnt(tx, slot_id, [lease.trial_id for lease in queued])
    if gate is Gate.CANARY:
        free = [lease for lease in queued if kept.get(lease.trial_id, slot_id) == slot_id]
        free.sort(key=lambda lease: (lease.trial_id not in kept, lease.trial_id not in burnt))
        return next(iter(free), None), None
    last = [lease for lease in queued if lease.trial_id in kept]
    free = [lease for lease in queued if lease.trial_id not in kept]
    if burnt and has_others(tx, sweep.id, slot_id):
        last = [lease for lease in free if lease.trial_id in burnt] + last
        free = [lease for lease in free if lease.trial_id not in burnt]
    return next(iter(free), None), next(iter(last), None)


def has_others(tx: Tx, sweep_id: int, slot_id: int | None) -> bool:
    """Return whether another slot, not in quarantine, has an agent that lives."""
    return any(slot.reason is None and slot.id != slot_id for slot in _alive(tx, sweep_id))


def note_end(tx: Tx, sweep: Any, lease: Lease, ending: Ending, *, limits: Limits) -> None:
    """Take what an attempt's end says of its slot; call it when the end is stored.

    Args:
        tx: the transaction.
        sweep: the sweep's row.
        lease: the attempt, as it was before.
        ending: how it ended.
        limits: the pauses between canaries.
    """
    slot = None if lease.slot_id is None else _row(tx, lease.slot_id)
    k = _k(sweep)
    if slot is None or not k or ending.is_excused:
        return
    verdict = verdict_of(ending.reason)
    if slot.reason is not None:
        if lease.issued_at > slot.since:
            _note_canary(tx, sweep, slot, lease, ending, limits)
        elif verdict in (Verdict.FAILS, Verdict.CRASHES):  # it was given out before
            _put_back(tx, sweep, slot, lease.run_id)
    elif verdict in (Verdict.FAILS, Verdict.CRASHES):
        streak = streak_of(_latest(tx, slot, limit=20 + 4 * k))
        if len(streak) >= k and is_bad(streak, _elsewhere(tx, slot, streak), k=k):
            words = f"{len(streak)} trials in a row failed there, the last: "
            words += ending.message or ending.reason
            _quarantine(tx, sweep, slot, streak, words=words, limits=limits)


def condemn(tx: Tx, sweep: Any, slot_id: int, *, reason: str, limits: Limits) -> None:
    """Put a slot into quarantine by its agent's word; harmless if it is in it."""
    slot = _row(tx, slot_id)
    if slot is None or slot.reason is not None or not _k(sweep):
        return
    streak = streak_of(_latest(tx, slot, limit=20 + 4 * _k(sweep)))
    _quarantine(tx, sweep, slot, streak, words=reason, limits=limits)


def quarantined(tx: Tx, sweep_id: int) -> list[Quarantined]:
    """Return the slots of a sweep that are in quarantine, those first that are longest."""
    of_sweep = (s.slot.c.sweep_id == sweep_id, s.slot.c.reason.is_not(None))
    columns = [s.slot.c[name] for name in Quarantined.__dataclass_fields__]
    rows = tx.conn.execute(select(*columns).where(*of_sweep).order_by(s.slot.c.since, s.slot.c.id))
    return [Quarantined(*row) for row in rows]


def release(tx: Tx, slot_id: int, *, actor: str) -> bool:
    """Take a slot out of quarantine, its failures forgotten; return whether it was in it."""
    slot = _row(tx, slot_id)
    if slot is None or slot.reason is None:
        return False
    _set(
        tx,
        slot,
        reason=None,
        since=None,
        canary_at=None,
        trial_id=None,
        n_canaries=0,
        counts_from=tx.now,
    )
    _record(tx, slot, "slot.returned", actor)
    _tell(tx, slot.sweep_id)
    return True


def release_all(tx: Tx, sweep_id: int, *, actor: str) -> None:
    """Take every slot of a sweep out of quarantine: what had been wrong is mended."""
    for slot in quarantined(tx, sweep_id):
        release(tx, slot.id, actor=actor)


def _quarantine(
    tx: Tx, sweep: Any, slot: Any, streak: Sequence[Past], *, words: str, limits: Limits
) -> None:
    pause_s = canary_pause_s(slot.n_times, first_s=limits.canary_s, most_s=limits.max_canary_s)
    _set(
        tx,
        slot,
        reason=words,
        since=tx.now,
        canary_at=tx.now + pause_s,
        n_times=slot.n_times + 1,
        n_canaries=0,
    )
    trial_ids = [past.trial_id for past in reversed(streak)]
    _record(tx, slot, "slot.quarantined", events.SERVICE, reason=words, trials=trial_ids)
    back = [trial_id for trial_id in trial_ids if _put_back(tx, sweep, slot, _run_of(tx, trial_id))]
    _set(tx, slot, trial_id=back[0] if back else None)
    _tell(tx, sweep.id)


def _note_canary(
    tx: Tx, sweep: Any, slot: Any, lease: Lease, ending: Ending, limits: Limits
) -> None:
    verdict = verdict_of(ending.reason)
    if verdict is Verdict.WORKS:
        release(tx, slot.id, actor=events.SERVICE)
        return
    n = slot.n_canaries + (verdict is not Verdict.SILENT)
    tried = slot.n_times - 1 + n
    pause_s = canary_pause_s(tried, first_s=limits.canary_s, most_s=limits.max_canary_s)
    is_back = verdict is not Verdict.SILENT and _put_back(tx, sweep, slot, lease.run_id)
    _set(
        tx,
        slot,
        n_canaries=n,
        canary_at=tx.now + pause_s,
        trial_id=lease.trial_id if is_back and n < _KEPT_FOR else None,
    )
    if verdict is not Verdict.SILENT:
        _record(tx, slot, "slot.canary_failed", events.SERVICE, reason=ending.reason, n=n)
    _tell(tx, sweep.id)
    _give_up_if_hopeless(tx, sweep_row(tx, sweep.id), limits)


def _give_up_if_hopeless(tx: Tx, sweep: Any, limits: Limits) -> None:
    """End a sweep all of whose slots have failed canary after canary."""
    if not goes_on(sweep) or sweep.state == SweepState.PAUSED:
        return
    alive = _alive(tx, sweep.id)
    if alive and all(slot.reason and slot.n_canaries >= limits.max_canaries for slot in alive):
        worst = alive[0]
        words = f"every slot is in quarantine and no canary has passed: {_name(worst)}: "
        reason = words + worst.reason
        end_sweep(tx, sweep, SweepState.FAILED, reason=reason, actor=events.SERVICE)


def _put_back(tx: Tx, sweep: Any, slot: Any, run_id: int | None) -> bool:
    """Let a trial that a bad slot burnt go to another one; return whether it does."""
    lease = None if run_id is None else trials.lease_of_run(tx, run_id)
    if lease is None or lease.slot_id != slot.id or lease.state == TrialState.LEASED:
        return False
    reason = Reason(lease.attempt_reason) if lease.attempt_reason else None
    if reason is None or verdict_of(reason) in (Verdict.WORKS, Verdict.SILENT):
        return False
    if not goes_on(sweep_row(tx, sweep.id)):
        return False
    why = f"it failed on {_name(slot)}, which is in quarantine"
    trials.put_back(tx, lease, why=why, actor=events.SERVICE, slot_id=slot.id)
    return True


def _latest(tx: Tx, slot: Any, *, limit: int) -> list[Past]:
    """Return the slot's attempts that have ended since it last was in quarantine, newest first."""
    rows = tx.conn.execute(
        select(
            t.attempt.c.trial_id, t.attempt.c.reason, t.attempt.c.issued_at, t.attempt.c.ended_at
        )
        .where(
            t.attempt.c.slot_id == slot.id,
            t.attempt.c.ended_at.is_not(None),
            t.attempt.c.is_excused == 0,
            t.attempt.c.issued_at >= slot.counts_from,
        )
        .order_by(t.attempt.c.ended_at.desc(), t.attempt.c.trial_id.desc())
        .limit(limit)
    )
    return [Past(row[0], Reason(row[1]), row[2], row[3]) for row in rows]


def _elsewhere(tx: Tx, slot: Any, streak: Sequence[Past]) -> Elsewhere:
    """Return what became of the other slots' attempts since the streak began."""
    began = min(past.issued_at for past in streak)
    longest = max(past.ended_at - past.issued_at for past in streak)
    ended = t.attempt.c.ended_at >= began
    is_old = t.attempt.c.issued_at < tx.now - longest
    outlives = t.attempt.c.ended_at.is_(None) & t.attempt.c.started_at.is_not(None) & is_old
    n_failed, n_passed = tx.conn.execute(
        select(
            func.count().filter(ended & t.attempt.c.reason.in_(_FAILS)),
            func.count().filter((ended & t.attempt.c.reason.in_(_WORKS)) | outlives),
        )
        .select_from(t.attempt)
        .join(t.trial, t.trial.c.id == t.attempt.c.trial_id)
        .where(
            t.trial.c.sweep_id == slot.sweep_id,
            func.coalesce(t.attempt.c.slot_id, 0) != slot.id,
            t.attempt.c.is_excused == 0,
        )
    ).one()
    return Elsewhere(n_failed=n_failed, n_passed=n_passed)


def _burnt(tx: Tx, slot_id: int | None, trial_ids: Sequence[int]) -> set[int]:
    """Return which of the trials failed on a slot before."""
    if slot_id is None:
        return set()
    failed = select(t.attempt.c.trial_id).where(
        t.attempt.c.slot_id == slot_id,
        t.attempt.c.trial_id.in_(trial_ids),
        t.attempt.c.reason.in_(_FAILS),
    )
    return set(tx.conn.scalars(failed))


def _alive(tx: Tx, sweep_id: int) -> Sequence[Any]:
    """Return the slots with an agent that lives."""
    living = select(t.agent.c.slot_id).where(
        t.agent.c.sweep_id == sweep_id, t.agent.c.state == AgentState.RUNNING
    )
    return tx.conn.execute(select(s.slot).where(s.slot.c.id.in_(living))).all()


def _tell(tx: Tx, sweep_id: int) -> None:
    """Say on the sweep which slots are in quarantine; nothing if none is."""
    bad = quarantined(tx, sweep_id)
    if not bad:
        notices.withdraw(tx, sweep_id, topic=_TOPIC)
        return
    shown = [f"{_name(slot)} ({slot.reason})" for slot in bad[:_SHOWN]]
    if len(bad) > _SHOWN:
        shown.append(f"{len(bad) - _SHOWN} more")
    words = "in quarantine, until a canary passes: " + ", ".join(shown)
    alive = _alive(tx, sweep_id)
    if alive and all(slot.reason for slot in alive):
        words = f"every slot is {words}"
    notices.post(tx, sweep_id, topic=_TOPIC, text=words)


def _name(slot: Any) -> str:
    return f"{slot.host}, {slot.device}"


def _k(sweep: Any) -> int:
    return definition_of(sweep.definition).own.quarantine


def _run_of(tx: Tx, trial_id: int) -> int | None:
    return tx.conn.scalar(select(t.trial.c.run_id).where(t.trial.c.id == trial_id))


def _row(tx: Tx, slot_id: int) -> Any:
    return _FIND.one(tx, slot=slot_id)


def _set(tx: Tx, slot: Any, **values: Any) -> None:
    tx.conn.execute(update(s.slot).where(s.slot.c.id == slot.id).values(**values))


def _record(tx: Tx, slot: Any, kind: str, actor: str, **data: Any) -> None:
    sweep = sweep_row(tx, slot.sweep_id)
    events.record(
        tx,
        actor=actor,
        kind=kind,
        project_id=sweep.project_id,
        sweep_id=sweep.id,
        data={"host": slot.host, "device": slot.device, **data},
    )
