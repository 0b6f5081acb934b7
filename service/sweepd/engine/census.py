"""How many of everything there are, for those who operate the service."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import ColumnElement, func, select

from sweepd.states import AgentState, RunState, SweepState
from sweepd.store import Tx
from sweepd.store import tables as t

__all__ = ["Census", "take"]


@dataclass(frozen=True, kw_only=True)
class Census:
    """Counts by state, every state named; sizes in bytes."""

    runs: Mapping[str, int]
    sweeps: Mapping[str, int]
    agents: Mapping[str, int]
    n_leases: int
    n_files: int
    file_bytes: int


def take(tx: Tx) -> Census:
    """Count everybody's things."""
    n_files, file_bytes = tx.conn.execute(
        select(func.count(), func.coalesce(func.sum(t.run_file.c.size), 0))
    ).one()
    held = select(func.count()).select_from(t.trial).where(t.trial.c.state == "leased")
    return Census(
        runs=_by_state(tx, t.run.c.state, RunState),
        sweeps=_by_state(tx, t.sweep.c.state, SweepState),
        agents=_by_state(tx, t.agent.c.state, AgentState),
        n_leases=tx.conn.scalar(held) or 0,
        n_files=n_files,
        file_bytes=file_bytes,
    )


def _by_state(tx: Tx, column: ColumnElement[str], states: type[StrEnum]) -> dict[str, int]:
    found = tx.conn.execute(select(column, func.count()).group_by(column))
    return {str(state): 0 for state in states} | {str(state): count for state, count in found}
