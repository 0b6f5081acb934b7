"""The one way a run's state changes: along the legal moves, with an event."""

from collections.abc import Mapping
from typing import Any

from sweepd.engine import events
from sweepd.engine.views import RunView
from sweepd.errors import IllegalMove
from sweepd.states import RunState, is_terminal, move_run
from sweepd.store import Tx, change_rows
from sweepd.store import tables as t

__all__ = ["change_state"]


def change_state(
    tx: Tx,
    *,
    run: RunView,
    to: RunState,
    actor: str,
    values: Mapping[str, Any] | None = None,
    why: str | None = None,
    ended_at: float | None = None,
) -> None:
    """Move a run to another state and record it; staying where it is records nothing.

    Args:
        tx: the transaction.
        run: the run as it was read in this transaction.
        to: the state; an end also sets `ended_at`, any other clears it.
        actor: a user's name, an agent's id, or `events.SERVICE`.
        values: further columns to set with it.
        why: in words, for the activity log.
        ended_at: when it ended, for an end that is told late; None means now.

    Raises:
        IllegalMove: naming both states and what is allowed.
    """
    move_run(run.state, to)
    changed = dict(values or {})
    if run.state != to:
        at = tx.now if ended_at is None else ended_at
        changed |= {"state": to, "ended_at": at if is_terminal(to) else None}
    if not changed:
        return
    if change_rows(tx, t.run, changed, id=run.id, state=run.state) != 1:
        raise IllegalMove(f"run {run.name} is not {run.state} any more")
    if run.state != to:
        data = {"from": run.state, "to": to} | ({"why": why} if why else {})
        events.record(
            tx,
            actor=actor,
            kind="run.state",
            project_id=run.project_id,
            sweep_id=run.sweep_id,
            run_id=run.id,
            data=data,
        )
