"""Where the next trial comes from: requeued, promoted, enqueued, initial, prepared, made now."""

import json
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, delete, select, update

from sweepd.engine import enqueued, leases, promotions, slots, suggest, trials
from sweepd.engine.computing import instant, is_instant
from sweepd.engine.edits import definition_at
from sweepd.engine.endings import is_drained
from sweepd.engine.sweepviews import definition_of
from sweepd.engine.taken import TakenInStore, was_given
from sweepd.engine.trials import Lease
from sweepd.engine.views import Command
from sweepd.schedule import TrialState
from sweepd.search import filler
from sweepd.spec import Config, Definition
from sweepd.store import Prepared, Tx
from sweepd.store import tables as t

__all__ = ["command_of", "next_in_bundle", "next_lease"]

_QUEUED = leases.prepared(
    t.trial.c.sweep_id == bindparam("sweep"), t.trial.c.state == TrialState.QUEUED
)
_FIRST = Prepared(
    select(t.suggestion).where(
        t.suggestion.c.id
        == select(t.suggestion.c.id)
        .where(t.suggestion.c.sweep_id == bindparam("sweep"))
        .order_by(t.suggestion.c.origin != "initial", t.suggestion.c.id)
        .limit(1)
        .correlate(None)
        .scalar_subquery()
    )
)
_DROP = Prepared(delete(t.suggestion).where(t.suggestion.c.id == bindparam("suggestion")))
_OF_SWEEP = update(t.sweep).where(t.sweep.c.id == bindparam("sweep"))
_COUNT = {
    column: Prepared(_OF_SWEEP.values({column: bindparam("number")}))
    for column in ("next_index", "next_filler")
}


@dataclass(frozen=True)
class _Picked:
    """A config to hand out, and where it comes from."""

    config: Config
    key: str
    origin: str
    position: int | None = None
    basis_event: int | None = None
    why: str | None = None


def next_lease(tx: Tx, sweep: Any, *, agent_id: str, slot_id: int | None = None) -> Lease | None:
    """Hand out a running sweep's next trial to an agent; None if there is none now, or not for it.

    The trial's row, its run's (pending), its attempt's and the event are one transaction with the
    count, so that run_cap is exact.

    Args:
        tx: the transaction.
        sweep: the sweep's row.
        agent_id: the agent.
        slot_id: where it works; in quarantine it gets nothing but a canary.
    """
    if sweep.stop_reason is not None:
        return None
    gate = slots.gate_of(tx, sweep, slot_id)
    if gate is slots.Gate.CLOSED:
        return None
    queued = leases.found(tx, _QUEUED, sweep=sweep.id)
    first, last = slots.choose(tx, sweep, slot_id, queued, gate=gate)
    if first is None:
        ways = [_promoted, _new]
        if gate is slots.Gate.CANARY:  # what is well on its way is risked if nothing else is left
            ways = [_new] if slots.has_others(tx, sweep.id, slot_id) else [_new, _promoted]
        for way in ways:
            if (lease := way(tx, sweep, agent_id=agent_id, slot_id=slot_id)) is not None:
                return lease
        first = last
    if first is None:
        return None
    return trials.issue_again(tx, first, agent_id=agent_id, slot_id=slot_id)


def next_in_bundle(tx: Tx, sweep: Any, *, bundle_id: str, is_patient: bool) -> Lease | None:
    """Hand out a running sweep's next trial to a bundle; None if there is none now.

    It gets no trial that has begun before: its machine does not reach the state that was saved.

    Args:
        tx: the transaction.
        sweep: the sweep's row.
        bundle_id: the bundle.
        is_patient: rather none now than a space-filling point.
    """
    if sweep.stop_reason is not None:
        return None
    for lease in leases.found(tx, _QUEUED, sweep=sweep.id):
        if lease.run_started_at is None:
            return trials.issue_again(tx, lease, agent_id=bundle_id)
    return _new(tx, sweep, agent_id=bundle_id, slot_id=None, is_patient=is_patient)


def command_of(tx: Tx, sweep: Any, lease: Lease) -> Command:
    """Return the command that hands a trial out; `resume` if its run began before."""
    config: Config = trials.config_of(lease)
    definition = definition_at(tx, sweep, lease.version)
    return Command(
        "run" if lease.run_started_at is None else "resume",
        run=lease.run,
        run_name=f"trial-{lease.number}",
        program=definition.program,
        config=definition.space.nest(config),
        attempt=lease.attempt,
        token=lease.token,
    )


def _promoted(tx: Tx, sweep: Any, *, agent_id: str, slot_id: int | None) -> Lease | None:
    """Hand out a trial again that a rule has paused; None if there is none that may go on."""
    return promotions.next_lease(
        tx, sweep, agent_id=agent_id, slot_id=slot_id, is_last=lambda: is_drained(tx, sweep)
    )


def _new(
    tx: Tx, sweep: Any, *, agent_id: str, slot_id: int | None, is_patient: bool = False
) -> Lease | None:
    """Hand out a trial that nobody has had; None if there is none."""
    if sweep.run_cap is not None and sweep.n_issued >= sweep.run_cap:
        return None
    waiting_run = enqueued.first_fit(tx, sweep)
    if waiting_run is not None:
        return trials.issue(
            tx, sweep_id=sweep.id, run_id=waiting_run, agent_id=agent_id, slot_id=slot_id
        )
    definition = definition_of(sweep.definition)
    picked = _prepared(tx, sweep)
    if picked is None and not (is_patient and not is_instant(sweep.method)):
        picked = _computed(tx, sweep, definition)
    if picked is None:
        return None
    lease = trials.hand_out(
        tx,
        sweep=sweep,
        config=picked.config,
        nested=definition.space.nest(picked.config),
        key=picked.key,
        origin=picked.origin,
        agent_id=agent_id,
        slot_id=slot_id,
        basis_event=picked.basis_event,
        position=picked.position,
        why=picked.why,
        is_planned=picked.origin != "filler",
    )
    if picked.origin != "filler" and definition.searcher == "us" and is_instant(sweep.method):
        _look_ahead(tx, sweep, definition)
    return lease


def _prepared(tx: Tx, sweep: Any) -> _Picked | None:
    """Take the first suggestion that is still new: initial ones, then as they were prepared."""
    while (row := _FIRST.one(tx, sweep=sweep.id)) is not None:
        _DROP.run(tx, suggestion=row.id)
        if not was_given(tx, sweep.id, row.config_key):
            config = json.loads(row.config)
            return _Picked(
                config, row.config_key, row.origin, row.position, row.basis_event, row.why
            )
    return None


def _computed(tx: Tx, sweep: Any, definition: Definition) -> _Picked | None:
    """Return a suggestion made now: an instant method's next one, else a space-filling point.

    It depends on nothing but the seed, its number, and what is out.
    """
    if sweep.is_exhausted or definition.searcher != "us":
        return None
    taken = TakenInStore(tx, sweep, definition)
    if is_instant(sweep.method):
        index, column, origin = sweep.next_index, "next_index", "search"
        found = instant(sweep.method).pick(definition.space, taken, index=index, seed=sweep.seed)
    else:
        index, column, origin = sweep.next_filler, "next_filler", "filler"
        found = filler(definition.space, taken, index=index, seed=sweep.seed)
    if found is None:
        suggest.set_exhausted(tx, sweep.id)
        return None
    config, number = found
    _COUNT[column].run(tx, sweep=sweep.id, number=number + 1)
    return _Picked(config, taken.key_of(config), origin, position=index)


def _look_ahead(tx: Tx, sweep: Any, definition: Definition) -> None:
    """Note it if an instant method has nothing more to give, so that an end is known in time."""
    size = definition.space.size
    taken = TakenInStore(tx, sweep, definition)
    if sweep.method != "grid" and (size is None or len(taken) < size):
        return
    index = tx.conn.scalar(select(t.sweep.c.next_index).where(t.sweep.c.id == sweep.id)) or 0
    method = instant(sweep.method)
    if method.pick(definition.space, taken, index=index, seed=sweep.seed) is None:
        suggest.set_exhausted(tx, sweep.id)
