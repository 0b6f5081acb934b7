"""Trials and their attempts as rows: handed out, renewed, given up, ended; not what follows."""

import json
from typing import Any

from sqlalchemy import bindparam, func, insert, select, update

from sweepd.engine import events
from sweepd.engine.leases import BY_RULE, Ending, Lease, config_of, lease_of_run, leases
from sweepd.engine.leftovers import next_run_id
from sweepd.errors import Reason
from sweepd.schedule import RETRIED, RUN_STATES, TrialState, move_trial
from sweepd.states import RUN_MOVES, RunState
from sweepd.store import Prepared, Tx, change_rows
from sweepd.store import tables as t

__all__ = [
    "BY_RULE",
    "Ending",
    "Lease",
    "add",
    "config_of",
    "correct",
    "end",
    "hand_out",
    "issue",
    "issue_again",
    "lease_of_run",
    "leases",
    "note_exit",
    "note_place",
    "note_start",
    "put_back",
    "record",
    "reopen",
    "requeue",
    "resend",
    "revive",
    "told",
    "tries",
]


def _into(table: Any, names: str) -> Prepared:
    return Prepared(insert(table).values({name: bindparam(name) for name in names.split()}))


_ADD_RUN = _into(t.run, "id project_id name sweep_id user_id state display_name config created_at")
_ADD_TRIAL = _into(
    t.trial,
    "sweep_id number run_id config config_key origin state attempt version basis_event position"
    " why created_at created_event",
)
_ADD_ATTEMPT = _into(t.attempt, "trial_id number token agent_id issued_at seen_at slot_id")
_NUMBER = Prepared(
    select(func.max(t.trial.c.number)).where(t.trial.c.sweep_id == bindparam("sweep"))
)
_NAMED = Prepared(
    select(t.run.c.id).where(
        t.run.c.project_id == bindparam("project"), t.run.c.name == bindparam("name")
    )
)
_LEASE = Prepared(
    update(t.trial)
    .where(t.trial.c.run_id == bindparam("run"), t.trial.c.attempt == 0)
    .values(state=TrialState.LEASED, attempt=1)
    .returning(t.trial.c.id, t.trial.c.number, t.trial.c.origin, t.trial.c.created_event)
)
_COUNT = Prepared(
    update(t.sweep)
    .where(t.sweep.c.id == bindparam("sweep"))
    .values(n_issued=t.sweep.c.n_issued + 1)
)
_COUNT_UNPLANNED = Prepared(
    update(t.sweep)
    .where(t.sweep.c.id == bindparam("sweep"))
    .values(n_issued=t.sweep.c.n_issued + 1, unplanned_event=bindparam("event"))
)
_CREATED = Prepared(
    update(t.trial)
    .where(t.trial.c.id == bindparam("trial"))
    .values(created_event=bindparam("event"))
)
_TELLS = ("objective", "objectives", "outcome", "best", "last", "n_values")
_TOLD = Prepared(
    select(*(t.trial.c[name] for name in _TELLS)).where(t.trial.c.id == bindparam("trial"))
)
_TRIED = Prepared(
    select(func.count()).where(
        t.attempt.c.trial_id == bindparam("trial"),
        t.attempt.c.number != bindparam("number"),
        t.attempt.c.is_excused == 0,
        t.attempt.c.reason.in_(sorted(RETRIED)),
    )
)


def add(
    tx: Tx,
    *,
    sweep: Any,
    config: dict[str, Any],
    nested: dict[str, Any],
    key: str,
    origin: str,
    display_name: str | None = None,
) -> tuple[int, int]:
    """Make a trial of a config with its run (pending); no attempt of it, and not counted yet.

    Args:
        tx: the transaction.
        sweep: the sweep's row.
        config: flat.
        nested: the same in W&B's shape.
        key: its canonical form.
        origin: enqueued, as a rule.
        display_name: the run's; None makes one of the trial's number.

    Returns:
        The ids of the trial and of its run.
    """
    number = _newest(tx, sweep.id) + 1
    run_id = _add_run(tx, sweep, number, nested, display_name)
    trial_id = _add_trial(tx, sweep, number, run_id, config, config_key=key, origin=origin)
    return trial_id, run_id


def hand_out(
    tx: Tx,
    *,
    sweep: Any,
    config: dict[str, Any],
    nested: dict[str, Any],
    key: str,
    origin: str,
    agent_id: str,
    slot_id: int | None = None,
    basis_event: int | None = None,
    position: int | None = None,
    why: str | None = None,
    is_planned: bool = True,
) -> Lease:
    """Make a trial of a config, with its run, and hand it out: counted as one of the sweep's.

    Args:
        tx: the transaction.
        sweep: the sweep's row.
        config: flat.
        nested: the same in W&B's shape.
        key: its canonical form.
        origin: initial, search or filler.
        agent_id: who gets it.
        slot_id: where that agent works.
        basis_event: the event that it was suggested from.
        position: its place among the suggestions of that event, or of its origin.
        why: JSON, what the search expected of it.
        is_planned: the search knows of it without being told.
    """
    number = _newest(tx, sweep.id) + 1
    run_id = _add_run(tx, sweep, number, nested)
    event = events.record(
        tx,
        actor=agent_id,
        kind="trial.issued",
        project_id=sweep.project_id,
        sweep_id=sweep.id,
        run_id=run_id,
        data={"number": number, "attempt": 1, "origin": origin},
    )
    trial_id = _add_trial(
        tx,
        sweep,
        number,
        run_id,
        config,
        config_key=key,
        origin=origin,
        state=TrialState.LEASED,
        attempt=1,
        basis_event=basis_event,
        position=position,
        why=why,
        created_event=event,
    )
    _add_attempt(tx, trial_id, 1, agent_id, slot_id)
    if is_planned:
        _COUNT.run(tx, sweep=sweep.id)
    else:
        _COUNT_UNPLANNED.run(tx, sweep=sweep.id, event=event)
    lease = lease_of_run(tx, run_id)
    assert lease is not None, "it was made just now"
    return lease


def _add_trial(
    tx: Tx, sweep: Any, number: int, run_id: int, config: dict[str, Any], **more: Any
) -> int:
    """Add a trial's row: one that waits for its first attempt, unless `more` says otherwise."""
    values = {
        "state": TrialState.QUEUED,
        "attempt": 0,
        "basis_event": None,
        "position": None,
        "why": None,
        "created_event": 0,
        **more,
    }
    return _ADD_TRIAL.add(
        tx,
        sweep_id=sweep.id,
        number=number,
        run_id=run_id,
        config=_dump(config),
        version=sweep.version,
        created_at=tx.now,
        **values,
    )


def _add_run(
    tx: Tx, sweep: Any, number: int, nested: dict[str, Any], display_name: str | None = None
) -> int:
    return _ADD_RUN.add(
        tx,
        id=next_run_id(tx),
        project_id=sweep.project_id,
        name=_free_run_name(tx, sweep.project_id),
        sweep_id=sweep.id,
        user_id=sweep.user_id,
        state=RunState.PENDING,
        display_name=display_name or f"trial-{number}",
        config=_dump({name: {"value": value} for name, value in nested.items()}),
        created_at=tx.now,
    )


def issue(
    tx: Tx, *, sweep_id: int, run_id: int, agent_id: str, slot_id: int | None = None
) -> Lease:
    """Hand out a trial that waits for its first attempt; it counts as one of the sweep's."""
    row = _LEASE.row(tx, run=run_id)
    assert row is not None, f"run {run_id} waits for nobody"
    trial_id, number, origin, created_event = row
    _add_attempt(tx, trial_id, 1, agent_id, slot_id)
    _COUNT.run(tx, sweep=sweep_id)
    lease = lease_of_run(tx, run_id)
    assert lease is not None, "it was made just now"
    event = record(tx, lease, "trial.issued", agent_id, number=number, attempt=1, origin=origin)
    if not created_event:
        _CREATED.run(tx, trial=trial_id, event=event)
    return lease


def issue_again(
    tx: Tx,
    lease: Lease,
    *,
    agent_id: str,
    slot_id: int | None = None,
    has_begun: bool = False,
) -> Lease:
    """Hand a queued trial out under its run id: a new attempt with a new token.

    Args:
        tx: the transaction.
        lease: the trial.
        agent_id: who gets it.
        slot_id: where that agent works.
        has_begun: its process runs already; else the run waits for one.
    """
    number = lease.attempt + 1
    _move(tx, lease, TrialState.LEASED, attempt=number)
    _add_attempt(tx, lease.trial_id, number, agent_id, slot_id)
    if not has_begun:
        values = {"state": RunState.PENDING, "exit_code": None, "ended_at": None}
        _set_run(tx, lease, **values)
    record(tx, lease, "trial.issued", agent_id, number=lease.number, attempt=number)
    again = lease_of_run(tx, lease.run_id)
    assert again is not None, "it is there"
    return again


def resend(tx: Tx, lease: Lease) -> None:
    """Note that an answer carries the same attempt again."""
    _set_attempt(tx, lease, n_sent=lease.n_sent + 1)


def note_start(tx: Tx, lease: Lease, *, is_fenced: bool) -> None:
    """Note that an attempt's process has begun, and whether its requests name the attempt."""
    _set_attempt(tx, lease, started_at=tx.now, is_fenced=int(is_fenced))
    record(tx, lease, "trial.started", lease.agent_id, attempt=lease.attempt)


def note_exit(tx: Tx, lease: Lease, exit_code: int) -> None:
    """Note an exit code that awaits the agent's word.

    If that never comes, the attempt has crashed: a machine that is lost ends its programs first.
    """
    _set_attempt(tx, lease, exit_code=exit_code)


def note_place(
    tx: Tx, lease: Lease, *, host: str | None, device: str | None, ran_s: float | None = None
) -> None:
    """Note where an attempt ran, and for how long (s); None leaves a thing as it is."""
    values = {"host": host, "device": device, "ran_s": ran_s}
    known = {name: value for name, value in values.items() if value is not None}
    if known:
        _set_attempt(tx, lease, **known)


def revive(tx: Tx, lease: Lease, *, actor: str) -> None:
    """Give a queued trial back to the attempt that was only out of reach, or slow to begin."""
    _move(tx, lease, TrialState.LEASED)
    _set_attempt(tx, lease, ended_at=None, reason=None, message=None, seen_at=tx.now, is_excused=0)
    has_begun = lease.has_started or lease.run_state == RunState.RUNNING
    state = RunState.RUNNING if has_begun else RunState.PENDING
    _set_run(tx, lease, state=state, ended_at=None)
    record(tx, lease, "trial.revived", actor, attempt=lease.attempt)


def tries(tx: Tx, lease: Lease) -> int:
    """Return how many attempts count against a trial's retries, the present one included.

    Only those do that ended by an infrastructure failure: not those that a rule stopped before the
    trial was promoted, nor those that a bad slot or a retry by hand excuses.
    """
    found = _TRIED.row(tx, trial=lease.trial_id, number=lease.attempt)
    assert found is not None, "a count is a row"
    return 1 + int(found[0])


def put_back(tx: Tx, lease: Lease, *, why: str, actor: str, slot_id: int | None = None) -> None:
    """Let a trial wait for another attempt: what it ended with is taken back.

    Its rows stay, and so do the values that it logged. One that waits already goes on waiting.

    Args:
        tx: the transaction.
        lease: the trial, which nobody holds.
        why: in words.
        actor: who puts it back.
        slot_id: the place whose attempts count no more against its retries; None means: all.
    """
    of_trial = t.attempt.c.trial_id == lease.trial_id
    blamed = of_trial if slot_id is None else of_trial & (t.attempt.c.slot_id == slot_id)
    tx.conn.execute(update(t.attempt).where(blamed).values(is_excused=1))
    if lease.state == TrialState.QUEUED:
        return
    _move(tx, lease, TrialState.QUEUED, reason=None, message=None, ended_at=None, ended_event=None)
    _set_run(tx, lease, stop_requested=None)
    data = {"attempt": lease.attempt, "reason": lease.reason, "message": why}
    record(tx, lease, "trial.requeued", actor, **data)


def requeue(tx: Tx, lease: Lease, ending: Ending, *, actor: str) -> None:
    """End an attempt and let the trial wait for another one."""
    _end_attempt(tx, lease, ending)
    _move(tx, lease, TrialState.QUEUED, reason=None, message=None, ended_at=None, ended_event=None)
    if lease.has_started:
        state = RUN_STATES[ending.reason]
        is_legal = state == lease.run_state or state in RUN_MOVES[lease.run_state]
        _set_run(tx, lease, state=state if is_legal else RunState.PENDING, ended_at=tx.now)
    record(
        tx,
        lease,
        "trial.requeued",
        actor,
        attempt=lease.attempt,
        reason=ending.reason,
        message=ending.message,
    )


def reopen(tx: Tx, lease: Lease) -> None:
    """Let a trial that a stop rule had paused wait for another attempt; pauses are no retries."""
    _set_attempt(tx, lease, is_excused=1)
    _move(
        tx,
        lease,
        TrialState.QUEUED,
        reason=None,
        message=None,
        ended_at=None,
        ended_event=None,
        is_paused=0,
        stopped_as=None,
    )
    _set_run(tx, lease, stop_requested=None)


def end(tx: Tx, lease: Lease, ending: Ending, *, actor: str) -> None:
    """End an attempt and its trial, or say better how it ended; an objective of NaN is none."""
    _end_attempt(tx, lease, ending)
    values: dict[str, Any] = {"reason": ending.reason, "message": ending.message}
    if ending.reason == Reason.DIVERGED:
        values["objective"] = None
    _move(tx, lease, TrialState.ENDED, **values, ended_at=tx.now)
    state = RUN_STATES[ending.reason]
    if state in RUN_MOVES[lease.run_state]:  # what the client itself said of its end stays
        _set_run(tx, lease, state=state, ended_at=tx.now)
    event = record(
        tx,
        lease,
        "trial.ended",
        actor,
        attempt=lease.attempt,
        reason=ending.reason,
        message=ending.message,
        **told(tx, lease),
    )
    _set(tx, lease, ended_event=event)


def correct(tx: Tx, lease: Lease, **changed: Any) -> None:
    """Note that the values of a trial have changed after its end: its search learns anew."""
    event = record(tx, lease, "trial.corrected", lease.agent_id, **told(tx, lease))
    _set(tx, lease, ended_event=event, **changed)


def told(tx: Tx, lease: Lease) -> dict[str, Any]:
    """Return what the search learns from a trial beside its reason: the event log keeps it."""
    row = _TOLD.row(tx, trial=lease.trial_id)
    assert row is not None, f"there is no trial {lease.trial_id}"
    return dict(zip(_TELLS, row, strict=True))


def _add_attempt(tx: Tx, trial_id: int, number: int, agent_id: str, slot_id: int | None) -> None:
    _ADD_ATTEMPT.run(
        tx,
        trial_id=trial_id,
        number=number,
        token=tx.new_token(),
        agent_id=agent_id,
        issued_at=tx.now,
        seen_at=tx.now,
        slot_id=slot_id,
    )


def _newest(tx: Tx, sweep_id: int) -> int:
    found = _NUMBER.row(tx, sweep=sweep_id)
    return found[0] or 0 if found else 0


def _end_attempt(tx: Tx, lease: Lease, ending: Ending) -> None:
    values: dict[str, Any] = {
        "reason": ending.reason,
        "message": ending.message,
        "was_told": int(ending.was_told),
        "is_excused": int(ending.is_excused),
    }
    if ending.exit_code is not None:
        values["exit_code"] = ending.exit_code
    if ending.signal is not None:
        values["signal"] = ending.signal
    _set_attempt(tx, lease, ended_at=tx.now, **values)


def _set_attempt(tx: Tx, lease: Lease, **values: Any) -> None:
    change_rows(tx, t.attempt, values, trial_id=lease.trial_id, number=lease.attempt)


def _set(tx: Tx, lease: Lease, **values: Any) -> None:
    change_rows(tx, t.trial, values, id=lease.trial_id)


def _set_run(tx: Tx, lease: Lease, **values: Any) -> None:
    change_rows(tx, t.run, values, id=lease.run_id)


def _move(tx: Tx, lease: Lease, state: TrialState, **values: Any) -> None:
    move_trial(lease.state, state)
    columns = {"state": state, **values}
    n_moved = change_rows(tx, t.trial, columns, id=lease.trial_id, state=lease.state)
    assert n_moved == 1, f"trial {lease.trial_id} was not {lease.state}"


def _free_run_name(tx: Tx, project_id: int) -> str:
    while True:
        name = tx.new_id(8)
        if _NAMED.row(tx, project=project_id, name=name) is None:
            return name


def record(tx: Tx, lease: Lease, kind: str, actor: str, **data: Any) -> int:
    """Append an event of a trial; details that are None are left out. Return its id."""
    return events.record(
        tx,
        actor=actor,
        kind=kind,
        project_id=lease.project_id,
        sweep_id=lease.sweep_id,
        run_id=lease.run_id,
        data={name: value for name, value in data.items() if value is not None},
    )


def _dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
