"""The runs that an agent was given."""

from sqlalchemy import select

from sweepd.engine import agents, runs
from sweepd.engine.access import Need
from sweepd.engine.views import Account, Page, RunView
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
    first: int = 50,
) -> Page[RunView]:
    """Return a page of the runs that an agent was ever given; raise NotFound or Forbidden."""
    agents.get_agent(tx, actor=actor, agent_id=agent_id, need=need)
    given = (
        select(t.run.c.project_id, t.run.c.name)
        .join(t.trial, t.trial.c.run_id == t.run.c.id)
        .join(t.attempt, t.attempt.c.trial_id == t.trial.c.id)
        .where(t.attempt.c.agent_id == agent_id)
        .distinct()
    )
    rows = tx.conn.execute(given).all()
    if not rows:
        return Page(items=(), cursors=(), has_next=False, total=0)
    return runs.query_runs(
        tx,
        actor=actor,
        project_id=rows[0].project_id,
        need=need,
        filters={"name": {"$in": [row.name for row in rows]}},
        order=order,
        after=after,
        first=first,
    )
