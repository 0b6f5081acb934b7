"""What a sweep has spent of its budgets; the first that is used up ends it."""

from typing import Any

from sqlalchemy import case, func, select

from sweepd.engine.access import Need
from sweepd.engine.endings import drain, goes_on, sweep_row
from sweepd.engine.fronts import n_since_joined
from sweepd.engine.leases import BUNDLE
from sweepd.engine.sweepviews import definition_of, sweep_for
from sweepd.engine.views import Account
from sweepd.errors import Reason
from sweepd.schedule.budget import Spent, first_spent, in_words, ran
from sweepd.states import SweepState
from sweepd.store import Tx
from sweepd.store import sweep_tables as s
from sweepd.store import tables as t

__all__ = ["budget_of", "stop_if_spent"]

_HOUR_S = 3600.0
_ON_A_CPU, _ON_GPUS = "cpu %", "gpus %"  # how our agent calls such slots: gpus 0,1


def budget_of(tx: Tx, *, actor: Account, sweep_id: int, need: Need) -> list[Spent]:
    """Return what a sweep has spent of each of its budgets; raise NotFound or Forbidden."""
    is_it, label = t.sweep.c.id == sweep_id, f"with id {sweep_id}"
    return _spent(tx, sweep_for(tx, is_it, actor=actor, need=need, label=label))


def stop_if_spent(tx: Tx, sweep_id: int) -> None:
    """Start nothing more in a running sweep one of whose budgets is used up; what runs finishes."""
    sweep = sweep_row(tx, sweep_id)
    if sweep.state != SweepState.RUNNING or not goes_on(sweep):
        return
    # The number of runs is run_cap's affair: trials of it may wait for another attempt.
    spent = first_spent([one for one in _spent(tx, sweep) if one.name != "runs"])
    if spent is not None:
        drain(tx, sweep, reason=in_words(spent))


def _spent(tx: Tx, sweep: Any) -> list[Spent]:
    definition = definition_of(sweep.definition)
    budget = definition.own.budget
    since_better = n_since_joined if definition.metrics else _since_better
    used = {
        "runs": lambda: float(sweep.n_issued),
        "hours": lambda: ran(sweep.ran_s, sweep.running_since, tx.now) / _HOUR_S,
        "gpu_hours": lambda: _lease_s(tx, sweep.id) / _HOUR_S,
        "plateau": lambda: float(since_better(tx, sweep.id)),
    }
    limits = {name: getattr(budget, name) for name in used}
    return [
        Spent(name, used[name](), float(limit))
        for name, limit in limits.items()
        if limit is not None
    ]


def _lease_s(tx: Tx, sweep_id: int) -> float:
    """Return the seconds that agents have held GPUs for trials; a CPU's, where known, are none.

    What a bundle holds counts once it has come back, for as long as it took there.
    """
    held = case(
        (t.attempt.c.ran_s.is_not(None), t.attempt.c.ran_s),
        (t.attempt.c.agent_id.like(f"{BUNDLE}%"), 0.0),
        else_=func.coalesce(t.attempt.c.ended_at, tx.now) - t.attempt.c.issued_at,
    )
    device = func.coalesce(s.slot.c.device, t.attempt.c.device, "")
    n_commas = func.length(device) - func.length(func.replace(device, ",", ""))
    n_gpus = case((device.like(_ON_GPUS), n_commas + 1), else_=1)
    total = tx.conn.scalar(
        select(func.sum(func.max(held, 0.0) * n_gpus))
        .select_from(t.trial)
        .join(t.attempt, t.attempt.c.trial_id == t.trial.c.id)
        .outerjoin(s.slot, s.slot.c.id == t.attempt.c.slot_id)
        .where(
            t.trial.c.sweep_id == sweep_id,
            func.coalesce(s.slot.c.device, "").not_like(_ON_A_CPU),
            func.coalesce(t.attempt.c.device, "") != "cpu",
        )
    )
    return float(total or 0.0)


def _since_better(tx: Tx, sweep_id: int) -> int:
    """Return how many trials have finished since the best one ended."""
    ended = t.trial.c.sweep_id == sweep_id, t.trial.c.reason.in_(_GOOD)
    best = tx.conn.execute(
        select(t.trial.c.ended_at, t.trial.c.number)
        .where(*ended, t.trial.c.objective.is_not(None))
        .order_by(t.trial.c.objective, t.trial.c.ended_at, t.trial.c.number)
        .limit(1)
    ).first()
    if best is None:
        return 0
    at, number = t.trial.c.ended_at, t.trial.c.number
    later = (at > best.ended_at) | ((at == best.ended_at) & (number > best.number))
    finished = t.trial.c.sweep_id == sweep_id, t.trial.c.reason == Reason.FINISHED
    return tx.conn.scalar(select(func.count()).where(*finished, later)) or 0


_GOOD = (Reason.FINISHED, Reason.STOPPED_EARLY)
