"""Heartbeats that change nothing, which nearly all do: one lookup each, and one write for all.

An agent that names exactly the runs it holds, none of which is to stop, is told nothing. Its sign
of life is kept in memory and written with all others by the watchdog, in the transaction in which
the watchdog then looks for silence, once a second. So while the service runs no sign is missed.

A crash loses the signs since the last look: a lease then seems older than it is, by a second. It
has 60; its agent's next heartbeat comes within 5; and of the time without a service, what is more
than 10 s counts for nobody (`watchdog.grace`). So no lease lapses that would not have.
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from sqlalchemy import bindparam, func, select, update

from sweepd.engine import access
from sweepd.engine.access import Need
from sweepd.engine.views import Account
from sweepd.schedule import TrialState
from sweepd.states import AgentState
from sweepd.store import Prepared, Tx
from sweepd.store import tables as t

__all__ = ["Beat", "Beats", "quiet_beat", "write_beats"]


@dataclass(frozen=True)
class Beat:
    """An agent's sign of life at `at`, with the attempts (trial, number) that it named."""

    at: float
    attempts: tuple[tuple[int, int], ...]


class Beats:
    """The agents' last signs of life that are not written yet. For the event loop's thread."""

    def __init__(self) -> None:
        self._beats: dict[str, Beat] = {}

    def note(self, agent_id: str, beat: Beat) -> None:
        """Remember an agent's sign of life."""
        self._beats[agent_id] = beat

    def take(self) -> Mapping[str, Beat]:
        """Return what was remembered since the last time, by agent, and forget it."""
        taken, self._beats = self._beats, {}
        return taken

    def put_back(self, taken: Mapping[str, Beat]) -> None:
        """Remember again what could not be written, save where something newer came."""
        self._beats = {**taken, **self._beats}


_LOOK = Prepared(
    select(
        t.agent.c.state,
        t.project.c.entity_id,
        t.project.c.access,
        t.run.c.name,
        t.run.c.stop_requested,
        t.attempt.c.seen_at > t.attempt.c.issued_at,
        t.attempt.c.trial_id,
        t.attempt.c.number,
    )
    .select_from(
        # Join by join: SQLite would make a table of everybody's attempts for a join in brackets.
        t.agent.join(t.sweep, t.sweep.c.id == t.agent.c.sweep_id)
        .join(t.project, t.project.c.id == t.sweep.c.project_id)
        .outerjoin(
            t.attempt,
            (t.attempt.c.agent_id == t.agent.c.id) & t.attempt.c.ended_at.is_(None),
        )
        .outerjoin(
            t.trial,
            (t.trial.c.id == t.attempt.c.trial_id)
            & (t.trial.c.attempt == t.attempt.c.number)
            & (t.trial.c.state == TrialState.LEASED),
        )
        .outerjoin(t.run, t.run.c.id == t.trial.c.run_id)
    )
    .where(t.agent.c.id == bindparam("agent_id"))
)


def quiet_beat(tx: Tx, *, actor: Account, agent_id: str, running: Collection[str]) -> Beat | None:
    """Return an agent's sign of life if it is all that its heartbeat is, else None.

    None means: ask `agents.heartbeat`, which also has the words for who may not.
    """
    found = _LOOK.rows(tx, agent_id=agent_id)
    rows = [row for row in found if row[3] is not None]  # attempts that the agent holds
    if not running or len(rows) != len(running):
        return None
    state, entity_id, wall = rows[0][:3]
    if state != AgentState.RUNNING:
        return None
    for _, _, _, run, stop_requested, was_seen, _, _ in rows:
        if run not in running or stop_requested is not None or not was_seen:
            return None
    has = access.level(tx, actor=actor, entity_id=entity_id, access=wall)
    if has is None or has < Need.WRITE:
        return None
    return Beat(tx.now, tuple((row[6], row[7]) for row in rows))


_AGENTS = func.json_each(bindparam("agents")).table_valued("value", name="beat")
_ATTEMPTS = func.json_each(bindparam("attempts")).table_valued("value", name="beat")
_RENEW_AGENTS = (
    update(t.agent)
    .where(
        t.agent.c.id == func.json_extract(_AGENTS.c.value, "$[0]"),
        t.agent.c.state == AgentState.RUNNING,
    )
    .values(
        heartbeat_at=func.max(t.agent.c.heartbeat_at, func.json_extract(_AGENTS.c.value, "$[1]"))
    )
)
_RENEW_ATTEMPTS = (
    update(t.attempt)
    .where(
        t.attempt.c.trial_id == func.json_extract(_ATTEMPTS.c.value, "$[0]"),
        t.attempt.c.number == func.json_extract(_ATTEMPTS.c.value, "$[1]"),
        t.attempt.c.agent_id == func.json_extract(_ATTEMPTS.c.value, "$[2]"),
        t.attempt.c.ended_at.is_(None),
    )
    .values(seen_at=func.max(t.attempt.c.seen_at, func.json_extract(_ATTEMPTS.c.value, "$[3]")))
)


def write_beats(tx: Tx, beats: Mapping[str, Beat]) -> None:
    """Renew the agents and the attempts of signs of life; what has ended meanwhile stays so."""
    if not beats:
        return
    agents = [[agent_id, beat.at] for agent_id, beat in beats.items()]
    attempts = [
        [*attempt, agent_id, beat.at]
        for agent_id, beat in beats.items()
        for attempt in beat.attempts
    ]
    tx.conn.execute(_RENEW_AGENTS, {"agents": json.dumps(agents)})
    tx.conn.execute(_RENEW_ATTEMPTS, {"attempts": json.dumps(attempts)})
