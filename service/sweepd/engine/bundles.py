"""Bundles: trials given away in advance, for a machine that is cut off from the service.

A bundle holds its trials as an agent does, but until a day instead of a heartbeat: until then its
silence means nothing, no rule stops what it runs, and no time of its trials counts. What comes back
is settled by the leases like the word of any agent: once, and without effect where another attempt
has the trial by now.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, select, update

from sweepd.engine import events, leases, outcomes
from sweepd.engine.access import Need
from sweepd.engine.computing import is_instant
from sweepd.engine.endings import start_if_pending, sweep_row
from sweepd.engine.handouts import command_of, next_in_bundle
from sweepd.engine.services import Limits
from sweepd.engine.sweepviews import sweep_for
from sweepd.engine.trials import Ending
from sweepd.engine.views import Account, Command
from sweepd.errors import Conflict, InvalidInput, NotFound
from sweepd.schedule import TrialState, silence_means
from sweepd.states import SweepState, is_terminal
from sweepd.store import Prepared, Tx
from sweepd.store import sweep_tables as s
from sweepd.store import tables as t

__all__ = [
    "BundleView",
    "BundledTrial",
    "fill",
    "get_bundle",
    "give_back",
    "list_bundles",
    "take_back_lapsed",
]

_MOST = 1_000  # trials of one bundle
_MOST_AT_ONCE = 50  # in one transaction: others wait meanwhile
_SHORTEST_S, _LONGEST_S = 60.0, 366 * 86_400.0
_DEFAULT = Limits()


@dataclass(frozen=True)
class BundledTrial:
    """A trial that a bundle was given, and what became of that attempt.

    `is_present` is False once a later attempt has the trial; `reason` is why this one ended, None
    while it has not.
    """

    run: str
    attempt: int
    is_present: bool
    reason: str | None


@dataclass(frozen=True)
class BundleView:
    """A bundle; `n_asked` is what it will have in all, less than asked for where there was less."""

    id: str
    sweep_id: int
    n_asked: int
    n_given: int
    created_at: float
    until: float
    ended_at: float | None
    user_name: str | None
    trials: tuple[BundledTrial, ...]

    @property
    def n_out(self) -> int:
        """Return how many trials it holds."""
        return sum(trial.is_present and trial.reason is None for trial in self.trials)


def fill(
    tx: Tx,
    *,
    actor: Account,
    sweep_id: int,
    key: str,
    n: int,
    for_s: float,
    is_patient: bool,
) -> tuple[BundleView, list[Command]]:
    """Give trials to a bundle, made if it is new; return it and all that it holds so far.

    Repeat it until `n_given` is `n_asked`: the search has no more than a few suggestions ready.
    A request whose answer was lost may be repeated, too.

    Args:
        tx: the transaction.
        actor: who asks.
        sweep_id: the sweep.
        key: what the caller knows the bundle by: 16 to 64 letters and digits, made at random.
        n: trials in all; counts for a new one.
        for_s: seconds until what has not come back goes to others; counts for a new one.
        is_patient: rather wait for the search than take space-filling points.

    Raises:
        NotFound: if there is no such sweep that the actor may see.
        Forbidden: if they may see it, but not change it.
        InvalidInput: if `key`, `n` or `for_s` is out of bounds.
        Conflict: if the sweep has ended or is paused, or the key is of another sweep's bundle.
    """
    label = f"with id {sweep_id}"
    sweep = sweep_for(tx, t.sweep.c.id == sweep_id, actor=actor, need=Need.WRITE, label=label)
    _check(key, n, for_s)
    bundle_id = leases.BUNDLE + key
    row = _row(tx, bundle_id)
    if row is None:
        _check_sweep(sweep)
        _make(tx, sweep, bundle_id, n=n, for_s=for_s, actor=actor)
        row = _row(tx, bundle_id)
    if row.sweep_id != sweep_id:
        raise Conflict(f"bundle {key} is of another sweep")
    if row.ended_at is None and row.n_given < row.n_asked:
        _give(tx, row, is_patient=is_patient)
    sweep = sweep_row(tx, sweep_id)
    held = leases.leases(tx, *_held(bundle_id))
    commands = [command_of(tx, sweep, lease) for lease in held if not lease.has_started]
    return _views(tx, s.bundle.c.id == bundle_id)[0], commands


def give_back(tx: Tx, *, actor: Account, bundle_id: str, limits: Limits = _DEFAULT) -> BundleView:
    """End a bundle: what it still holds is handed to others at once. Harmless when repeated.

    Raises:
        NotFound: if there is no such bundle that the actor may see.
        Forbidden: if they may see it, but not change it.
    """
    row = _allowed(tx, actor, bundle_id, Need.WRITE)
    if row.ended_at is None:
        _end(tx, row, actor=actor.name, why="its bundle was given back", limits=limits)
    return _views(tx, s.bundle.c.id == bundle_id)[0]


def get_bundle(tx: Tx, *, actor: Account, bundle_id: str, need: Need) -> BundleView:
    """Return a bundle; raise NotFound or Forbidden."""
    _allowed(tx, actor, bundle_id, need)
    return _views(tx, s.bundle.c.id == bundle_id)[0]


def list_bundles(tx: Tx, *, actor: Account, sweep_id: int, need: Need) -> list[BundleView]:
    """Return a sweep's bundles in the order they were made; raise NotFound or Forbidden."""
    is_it = t.sweep.c.id == sweep_id
    sweep_for(tx, is_it, actor=actor, need=need, label=f"with id {sweep_id}")
    return _views(tx, s.bundle.c.sweep_id == sweep_id)


_LAPSED = Prepared(
    select(s.bundle.c.id)
    .join(t.sweep, t.sweep.c.id == s.bundle.c.sweep_id)
    .where(
        s.bundle.c.ended_at.is_(None),
        (s.bundle.c.until < bindparam("now")) | (t.sweep.c.state == SweepState.CANCELED),
    )
)


def take_back_lapsed(tx: Tx, *, limits: Limits) -> None:
    """End the bundles whose time is over or whose sweep was cancelled; others get their trials."""
    for (bundle_id,) in _LAPSED.rows(tx, now=tx.now):
        row = tx.conn.execute(select(s.bundle).where(s.bundle.c.id == bundle_id)).one()
        why = "its bundle did not come back in time"
        _end(tx, row, actor=events.SERVICE, why=why, limits=limits)


def _check(key: str, n: int, for_s: float) -> None:
    if not (16 <= len(key) <= 64 and key.isascii() and key.isalnum()):
        raise InvalidInput(f"key: must be 16 to 64 letters and digits, not {key[:100]!r}")
    if not 1 <= n <= _MOST:
        raise InvalidInput(f"n: a bundle has 1 to {_MOST} trials, not {n}")
    if not _SHORTEST_S <= for_s <= _LONGEST_S:
        raise InvalidInput(f"seconds: a bundle is out for a minute to a year, not {for_s:g} s")


def _check_sweep(sweep: Any) -> None:
    if is_terminal(SweepState(sweep.state)) or sweep.stop_reason is not None:
        why = sweep.stop_reason or sweep.state.lower()
        raise Conflict(f"sweep {sweep.name} hands nothing out any more: {why}")
    if sweep.state == SweepState.PAUSED:
        raise Conflict(f"sweep {sweep.name} is paused: resume it first")


def _make(tx: Tx, sweep: Any, bundle_id: str, *, n: int, for_s: float, actor: Account) -> None:
    values = {
        "id": bundle_id,
        "sweep_id": sweep.id,
        "user_id": actor.author_id,
        "n_asked": n,
        "created_at": tx.now,
        "until": tx.now + for_s,
    }
    tx.conn.execute(s.bundle.insert(), values)
    _record(tx, sweep, bundle_id, "bundle.made", actor=actor.name, n=n, until=tx.now + for_s)
    start_if_pending(tx, sweep, actor=bundle_id)


def _give(tx: Tx, row: Any, *, is_patient: bool) -> None:
    """Hand out trials; where there are none, and will be none, the bundle is full."""
    n_given, n_asked, ended_at = row.n_given, row.n_asked, None
    for _ in range(min(n_asked - n_given, _MOST_AT_ONCE)):
        sweep = sweep_row(tx, row.sweep_id)
        is_running = sweep.state == SweepState.RUNNING and sweep.stop_reason is None
        is_at_cap = sweep.run_cap is not None and sweep.n_issued >= sweep.run_cap
        lease = (
            next_in_bundle(tx, sweep, bundle_id=row.id, is_patient=is_patient)
            if is_running
            else None
        )
        if lease is not None:
            n_given += 1
        elif not is_patient or is_instant(sweep.method) or is_at_cap or not is_running:
            n_asked = n_given
            ended_at = tx.now if n_given == 0 else None
            break
        else:
            break
    tx.conn.execute(
        update(s.bundle)
        .where(s.bundle.c.id == row.id)
        .values(n_given=n_given, n_asked=n_asked, ended_at=ended_at)
    )


def _end(tx: Tx, row: Any, *, actor: str, why: str, limits: Limits) -> None:
    tx.conn.execute(update(s.bundle).where(s.bundle.c.id == row.id).values(ended_at=tx.now))
    held = leases.leases(tx, *_held(row.id))
    _record(tx, sweep_row(tx, row.sweep_id), row.id, "bundle.ended", actor=actor, n_out=len(held))
    for lease in held:
        reason = silence_means(
            has_started=lease.has_started,
            was_preempting=False,
            stop=lease.stop,
            stopped_as=lease.stopped_as,
        )
        ending = Ending(reason=reason, message=why, is_excused=True)
        outcomes.settle(tx, lease, ending, actor=row.id, limits=limits)


def _held(bundle_id: str) -> Collection[Any]:
    return (
        t.attempt.c.agent_id == bundle_id,
        t.attempt.c.ended_at.is_(None),
        t.trial.c.state == TrialState.LEASED,
    )


def _row(tx: Tx, bundle_id: str) -> Any:
    return tx.conn.execute(select(s.bundle).where(s.bundle.c.id == bundle_id)).one_or_none()


def _allowed(tx: Tx, actor: Account, bundle_id: str, need: Need) -> Any:
    row, label = _row(tx, bundle_id), f"of bundle {bundle_id}"
    if row is None:
        raise NotFound(f"there is no sweep {label}")
    sweep_for(tx, t.sweep.c.id == row.sweep_id, actor=actor, need=need, label=label)
    return row


def _views(tx: Tx, where: Any) -> list[BundleView]:
    rows = tx.conn.execute(
        select(s.bundle, t.user.c.name.label("user_name"))
        .outerjoin(t.user, t.user.c.id == s.bundle.c.user_id)
        .where(where)
        .order_by(s.bundle.c.created_at, s.bundle.c.id)
    ).all()
    return [
        BundleView(
            id=row.id,
            sweep_id=row.sweep_id,
            n_asked=row.n_asked,
            n_given=row.n_given,
            created_at=row.created_at,
            until=row.until,
            ended_at=row.ended_at,
            user_name=row.user_name,
            trials=_trials(tx, row.id),
        )
        for row in rows
    ]


def _trials(tx: Tx, bundle_id: str) -> tuple[BundledTrial, ...]:
    rows = tx.conn.execute(
        select(
            t.run.c.name,
            t.attempt.c.number,
            t.trial.c.attempt == t.attempt.c.number,
            t.attempt.c.reason,
        )
        .join(t.trial, t.trial.c.id == t.attempt.c.trial_id)
        .join(t.run, t.run.c.id == t.trial.c.run_id)
        .where(t.attempt.c.agent_id == bundle_id)
        .order_by(t.trial.c.number, t.attempt.c.number)
    )
    return tuple(BundledTrial(row[0], row[1], bool(row[2]), row[3]) for row in rows)


def _record(tx: Tx, sweep: Any, bundle_id: str, kind: str, *, actor: str, **data: Any) -> None:
    events.record(
        tx,
        actor=actor,
        kind=kind,
        project_id=sweep.project_id,
        sweep_id=sweep.id,
        data={"bundle": bundle_id, **data},
    )
