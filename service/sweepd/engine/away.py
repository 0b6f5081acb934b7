"""What bundles hold: trials on machines that are cut off, whose silence means nothing."""

from collections.abc import Sequence

from sqlalchemy import bindparam, func, select

from sweepd.store import Prepared, Tx
from sweepd.store import sweep_tables as s
from sweepd.store import tables as t

__all__ = ["IS_OUTSIDE", "n_awaited", "n_held"]

_FILLING_S = 120.0  # what a bundle that is being filled waits for, and no longer

#: Of an attempt: no bundle holds it, or one whose time is over.
IS_OUTSIDE = t.attempt.c.agent_id.not_in(select(s.bundle.c.id).where(s.bundle.c.ended_at.is_(None)))
_N_AWAITED = Prepared(
    select(func.sum(s.bundle.c.n_asked - s.bundle.c.n_given)).where(
        s.bundle.c.sweep_id == bindparam("sweep"),
        s.bundle.c.ended_at.is_(None),
        s.bundle.c.created_at > bindparam("since"),
    )
)


def n_awaited(tx: Tx, sweep_id: int) -> int:
    """Return how many suggestions the bundles wait for that are being filled."""
    ((found,),) = _N_AWAITED.rows(tx, sweep=sweep_id, since=tx.now - _FILLING_S)
    return int(found or 0)


def n_held(tx: Tx, sweep_ids: Sequence[int]) -> dict[int, int]:
    """Return how many trials of each sweep are with bundles, and have not begun to come back."""
    rows = tx.conn.execute(
        select(s.bundle.c.sweep_id, func.count())
        .join(t.attempt, t.attempt.c.agent_id == s.bundle.c.id)
        .where(
            s.bundle.c.sweep_id.in_(sweep_ids),
            s.bundle.c.ended_at.is_(None),
            t.attempt.c.ended_at.is_(None),
            t.attempt.c.started_at.is_(None),
        )
        .group_by(s.bundle.c.sweep_id)
    )
    return {sweep_id: count for sweep_id, count in rows}
