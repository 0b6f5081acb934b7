"""The runs that requests of live data are for: found and changed, many at once."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import orjson
from sqlalchemy import ColumnElement, bindparam, case, func, select

from sweepd.engine.texts import clean
from sweepd.states import RunState
from sweepd.store import Prepared, Tx
from sweepd.store import tables as t
from sweepd.store.bulk import change_runs

__all__ = ["LIVE", "StreamRun", "change", "find"]

LIVE = frozenset({RunState.PENDING, RunState.RUNNING, RunState.PREEMPTING})


class StreamRun(NamedTuple):
    """What a request needs of its run; times to about 10 µs."""

    id: int
    entity_id: int
    access: str  # of the project
    sweep_id: int | None
    state: str
    history_lines: int
    event_lines: int
    log_lines: int
    log_size: int
    log_head: int | None
    history_keys: str | None
    last_step: int | None
    late_summary: str | None  # of a run that has ended
    created_at: float
    ended_at: float | None
    stop_requested: str | None
    present_attempt: int | None  # of a trial

    @property
    def attempt(self) -> int:
        """Return the attempt that its rows are of."""
        return self.present_attempt if self.present_attempt is not None else 1


_WANTED = func.json_each(bindparam("wanted")).table_valued("key", "value", name="wanted")


def _part(number: int) -> ColumnElement[Any]:
    return func.json_extract(_WANTED.c.value, f"$[{number}]")


#: One row, of JSON, for all that are wanted: see `sweepd.store.bulk`.
_FIND = Prepared(
    select(
        func.json_group_array(
            func.json_array(
                _WANTED.c.key,
                t.run.c.id,
                t.project.c.entity_id,
                t.project.c.access,
                t.run.c.sweep_id,
                t.run.c.state,
                t.run.c.history_lines,
                t.run.c.event_lines,
                t.run.c.log_lines,
                t.run.c.log_size,
                t.run.c.log_head,
                t.run.c.history_keys,
                t.run.c.last_step,
                case((t.run.c.state.not_in(sorted(LIVE)), t.run.c.summary)),
                t.run.c.created_at,
                t.run.c.ended_at,
                t.run.c.stop_requested,
                t.trial.c.attempt,
            )
        )
    ).select_from(
        _WANTED.join(t.entity, t.entity.c.name == _part(0))
        .join(t.project, (t.project.c.entity_id == t.entity.c.id) & (t.project.c.name == _part(1)))
        .join(t.run, (t.run.c.project_id == t.project.c.id) & (t.run.c.name == _part(2)))
        .outerjoin(t.trial, t.trial.c.run_id == t.run.c.id)
    )
)

#: What a request may change at once.
_CHANGED = (
    "heartbeat_at",
    "history_lines",
    "history_keys",
    "last_step",
    "event_lines",
    "system_metrics",
    "log_lines",
    "log_size",
    "log_head",
    "summary",
)


def find(tx: Tx, addresses: Sequence[tuple[str, str, str]]) -> dict[int, StreamRun]:
    """Return the runs of addresses (entity, project, run) by the address's place among them.

    Asks nobody's leave; an address without a run is left out.
    """
    wanted = orjson.dumps([[clean(name) for name in address] for address in addresses]).decode()
    row = _FIND.row(tx, wanted=wanted)
    found = orjson.loads(row[0]) if row is not None else []
    return {values[0]: StreamRun._make(values[1:]) for values in found}


def change(tx: Tx, changes: Mapping[int, Mapping[str, Any]]) -> None:
    """Change the columns that each run's request gives (by the run's id), and leave the others."""
    rows = [(run_id, *map(values.get, _CHANGED)) for run_id, values in changes.items()]
    change_runs(tx, _CHANGED, rows)
