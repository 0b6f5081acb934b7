"""Paused trials of successive halving: which of them go on, and when nobody will any more.

A trial that was stopped at a rung has ended, with the objective that it reached. It is promoted to
an agent that asks, under its run id, as soon as it is among the best of those that have come to its
rung since; promotions go before new suggestions, and go on after the last of these.
"""

from collections.abc import Callable
from typing import Any

from sqlalchemy import select, update

from sweepd.engine import trials
from sweepd.engine.stopping import rules_of
from sweepd.engine.sweepviews import definition_of
from sweepd.engine.trials import Lease
from sweepd.errors import Reason
from sweepd.schedule import TrialState
from sweepd.search.asha import Asha, Promotion
from sweepd.spec import Definition, sign
from sweepd.states import RunState
from sweepd.store import Tx
from sweepd.store import tables as t

__all__ = ["is_any", "next_lease", "withdraw", "withdraw_if_removed"]

#: Seconds after which nothing more is expected of a process that was stopped. Its client says
#: `complete`, unless it was killed; until then a promotion would race with what it has yet to say.
_SETTLED_S = 15.0


def next_lease(
    tx: Tx,
    sweep: Any,
    *,
    agent_id: str,
    slot_id: int | None = None,
    is_last: Callable[[], bool],
) -> Lease | None:
    """Hand the most promising paused trial out again; None if there is none that may go on now.

    Args:
        tx: the transaction.
        sweep: the sweep's row.
        agent_id: who asks.
        slot_id: where that agent works.
        is_last: tells whether nothing runs and nothing new will be handed out, so that the best
            trial of a rung goes on however few have reached it.
    """
    found = _find(tx, sweep, is_last=is_last)
    settled = set(_settled(tx, [trial_id for trial_id, _ in found])) if found else set()
    for trial_id, promotion in found:
        if trial_id in settled:
            lease = _reopen(tx, sweep, trial_id, promotion, agent_id=agent_id)
            return trials.issue_again(tx, lease, agent_id=agent_id, slot_id=slot_id)
    return None


def is_any(tx: Tx, sweep: Any) -> bool:
    """Return whether a sweep that has nothing else left has a trial that is to go on."""
    return bool(_find(tx, sweep, is_last=lambda: True))


def withdraw(tx: Tx, run_id: int, *, why: str, actor: str) -> bool:
    """Let a trial that a rule has paused, or is about to, end for good; return whether it was one.

    It keeps its outcome, stopped early, and what it teaches the search.
    """
    lease = trials.lease_of_run(tx, run_id)
    if lease is None or not lease.is_paused:
        return False
    tx.conn.execute(update(t.trial).where(t.trial.c.id == lease.trial_id).values(is_paused=0))
    trials.record(tx, lease, "run.stop_requested", actor, why=why)
    return True


def withdraw_if_removed(tx: Tx, sweep_id: int, *, old: Definition, new: Definition) -> None:
    """Let every paused trial end for good if an edit takes `promote` out of the definition."""
    if _rule(old) is not None and _rule(new) is None:
        of_sweep = t.trial.c.sweep_id == sweep_id
        tx.conn.execute(update(t.trial).where(of_sweep).values(is_paused=0))


def _find(tx: Tx, sweep: Any, *, is_last: Callable[[], bool]) -> list[tuple[int, Promotion]]:
    """Return the ids of the trials that may go on, the most promising first."""
    definition = definition_of(sweep.definition)
    rule = _rule(definition)
    if rule is None or sweep.stop_reason is not None:
        return []
    paused = {
        row.id: row.rung
        for row in tx.conn.execute(
            select(t.trial.c.id, t.trial.c.rung).where(
                t.trial.c.sweep_id == sweep.id,
                t.trial.c.state == TrialState.ENDED,
                t.trial.c.reason == Reason.STOPPED_EARLY,
                t.trial.c.is_paused == 1,
            )
        )
    }
    if not paused:
        return []
    factor = sign(definition.goal)

    def reached(rung: int) -> list[tuple[int, float]]:
        rows = tx.conn.execute(
            select(t.trial.c.id, t.curve.c.value)
            .join(t.curve, t.curve.c.run_id == t.trial.c.run_id)
            .where(t.trial.c.sweep_id == sweep.id, t.curve.c.number == rung - 1)
            .order_by(t.trial.c.number)
        )
        return [(row.id, factor * row.value) for row in rows]

    found = rule.promotable(paused, reached)
    if not found and is_last():
        found = rule.promotable(paused, reached, at_least=1)
    return found


def _rule(definition: Definition) -> Asha | None:
    """Return the definition's rule that promotes, None if it has none."""
    if definition.searcher == "controller":
        return None
    rules = (rule for _, rule in rules_of(definition))
    return next((rule for rule in rules if isinstance(rule, Asha) and rule.promote), None)


def _settled(tx: Tx, trial_ids: list[int]) -> list[int]:
    """Return those of the trials whose last process has nothing more to say, or is not heard.

    Not those whose run a person has taken up: two processes would train it.
    """
    is_over = (
        (t.attempt.c.is_fenced == 1)  # its writes would be known by their token
        | t.run.c.exit_code.is_not(None)
        | (t.trial.c.ended_at <= tx.now - _SETTLED_S)
    )
    rows = tx.conn.scalars(
        select(t.trial.c.id)
        .join(t.run, t.run.c.id == t.trial.c.run_id)
        .join(
            t.attempt,
            (t.attempt.c.trial_id == t.trial.c.id) & (t.attempt.c.number == t.trial.c.attempt),
        )
        .where(
            t.trial.c.id.in_(trial_ids),
            t.run.c.state.not_in((RunState.RUNNING, RunState.PREEMPTING)),
            is_over,
        )
    )
    return list(rows)


def _reopen(tx: Tx, sweep: Any, trial_id: int, promotion: Promotion, *, agent_id: str) -> Lease:
    """Let a trial that has ended wait again, its run no longer asked to stop."""
    (lease,) = trials.leases(tx, t.trial.c.id == trial_id)
    factor = sign(definition_of(sweep.definition).goal)
    trials.reopen(tx, lease)
    trials.record(
        tx,
        lease,
        "trial.promoted",
        agent_id,
        rung=promotion.rung,
        value=factor * promotion.value,
        threshold=factor * promotion.threshold,
        n_reached=promotion.n_reached,
    )
    (lease,) = trials.leases(tx, t.trial.c.id == trial_id)
    return lease
