"""Where the next trial comes from: requeued, promoted, enqueued, initial, prepared, a filler."""

import json
from typing import Any

from sqlalchemy import delete, select

from sweepd.engine import enqueued, promotions, slots, suggest, trials
from sweepd.engine.endings import is_drained
from sweepd.engine.sweepviews import definition_of
from sweepd.engine.trials import Lease
from sweepd.schedule import TrialState
from sweepd.search import filler
from sweepd.spec import Config, Definition
from sweepd.store import Tx
from sweepd.store import tables as t

__all__ = ["next_lease"]


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
    waiting = (t.trial.c.sweep_id == sweep.id, t.trial.c.state == TrialState.QUEUED)
    queued = trials.leases(tx, *waiting)
    first, last = slots.choose(tx, sweep, slot_id, queued, gate=gate)
    if first is None and gate is slots.Gate.OPEN:
        promoted = promotions.next_lease(
            tx,
            sweep,
            agent_id=agent_id,
            slot_id=slot_id,
            is_last=lambda: is_drained(tx, sweep),
        )
        if promoted is not None:
            return promoted
    if first is None:
        new = _new(tx, sweep, agent_id=agent_id, slot_id=slot_id)
        if new is not None or last is None:
            return new
        first = last
    return trials.issue_again(tx, first, agent_id=agent_id, slot_id=slot_id)


def _new(tx: Tx, sweep: Any, *, agent_id: str, slot_id: int | None) -> Lease | None:
    """Hand out a trial that nobody has had; None if there is none."""
    if sweep.run_cap is not None and sweep.n_issued >= sweep.run_cap:
        return None
    waiting_run = enqueued.first(tx, sweep.id)
    if waiting_run is not None:
        return trials.issue(
            tx, sweep_id=sweep.id, run_id=waiting_run, agent_id=agent_id, slot_id=slot_id
        )
    definition = definition_of(sweep.definition)
    picked = _prepared(tx, sweep, definition) or _computed(tx, sweep, definition)
    if picked is None:
        return None
    config, origin = picked
    _, run_id = trials.add(
        tx,
        sweep=sweep,
        config=config,
        nested=definition.space.nest(config),
        key=definition.space.key(config),
        origin=origin,
    )
    lease = trials.issue(tx, sweep_id=sweep.id, run_id=run_id, agent_id=agent_id, slot_id=slot_id)
    suggest.restock(tx, sweep.id)
    return lease


def _prepared(tx: Tx, sweep: Any, definition: Definition) -> tuple[Config, str] | None:
    """Take the first suggestion that is still new: initial ones, then as they were prepared."""
    of_sweep = t.suggestion.c.sweep_id == sweep.id
    first = select(t.suggestion).where(of_sweep)
    first = first.order_by(t.suggestion.c.origin != "initial", t.suggestion.c.id).limit(1)
    while (row := tx.conn.execute(first).one_or_none()) is not None:
        tx.conn.execute(delete(t.suggestion).where(t.suggestion.c.id == row.id))
        taken = (t.trial.c.sweep_id == sweep.id) & (t.trial.c.config_key == row.config_key)
        if tx.conn.scalar(select(t.trial.c.id).where(taken).limit(1)) is None:
            return json.loads(row.config), row.origin
    return None


def _computed(tx: Tx, sweep: Any, definition: Definition) -> tuple[Config, str] | None:
    """Return a suggestion made now: by an instant method, else one space-filling point."""
    if sweep.is_exhausted or definition.searcher != "us":
        return None
    if suggest.is_instant(sweep.method):
        suggest.restock(tx, sweep.id)
        return _prepared(tx, sweep, definition)
    config = filler(definition.space, suggest.taken_keys(tx, sweep.id), sweep.n_issued, sweep.seed)
    if config is None:
        suggest.set_exhausted(tx, sweep.id)
        return None
    return config, "filler"
