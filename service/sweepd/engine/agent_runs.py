"""The runs that an agent was given, paged in both directions."""

from collections.abc import Sequence

from sqlalchemy import select

from sweepd.engine import agents, paging
from sweepd.engine.access import Need
from sweepd.engine.filters import compile_order
from sweepd.engine.run_views import select_runs, view_of
from sweepd.engine.views import Account, Page, RunView
from sweepd.errors import ProtocolError
from sweepd.store import Tx
from sweepd.store import tables as t

__all__ = ["runs_of_agent"]


def runs_of_agent(
    tx: Tx,
    *,
    actor: Account,
    agent_id: str,
    need: Need,
    order: str | None = None,
    after: str | None = None,
    before: str | None = None,
    first: int | None = None,
    last: int | None = None,
) -> Page[RunView]:
    """Return a page of the runs that an agent was ever given, the oldest first unless told.

    Args:
        tx: the transaction.
        actor: who asks.
        agent_id: the agent.
        need: what for.
        order: as for a project's runs.
        after: a cursor: only runs behind it.
        before: a cursor: only runs ahead of it.
        first: so many of those, from the front.
        last: so many of what is left, from the back.

    Raises:
        NotFound, Forbidden: for the agent.
        ProtocolError: for the order or a cursor.
    """
    agents.get_agent(tx, actor=actor, agent_id=agent_id, need=need)
    ids = _ids(tx, agent_id, order)
    lower = 0 if after is None else _place(ids, after) + 1
    upper = len(ids) if before is None else _place(ids, before)
    between = ids[lower:upper]
    shown = between if first is None else between[: paging.check_first(first)]
    shown = shown[max(0, len(shown) - paging.check_first(last)) :] if last is not None else shown
    rows = tx.conn.execute(select_runs().where(t.run.c.id.in_(shown))).all()
    views = {view.id: view for view in map(view_of, rows)}
    return Page(
        items=tuple(views[run_id] for run_id in shown),
        cursors=tuple(paging.encode(run_id) for run_id in shown),
        has_next=bool(shown) and shown[-1] != ids[-1],
        total=len(ids),
    )


def _ids(tx: Tx, agent_id: str, order: str | None) -> Sequence[int]:
    given = (
        select(t.trial.c.run_id)
        .join(t.attempt, t.attempt.c.trial_id == t.trial.c.id)
        .where(t.attempt.c.agent_id == agent_id)
    )
    query = select_runs().where(t.run.c.id.in_(given)).with_only_columns(t.run.c.id)
    for ordering in compile_order(order):
        value = ordering.value
        query = query.order_by(
            value.is_(None), value.desc() if ordering.is_descending else value.asc()
        )
    return tx.conn.scalars(query.order_by(t.run.c.id)).all()


def _place(ids: Sequence[int], cursor: str) -> int:
    try:
        return ids.index(paging.read_int(cursor))
    except ValueError:
        raise ProtocolError("a cursor of a run that the agent does not have any more") from None
