"""What comes for a run after its end: its process is alive after all, or a folder is synced again.

The client says which of the two it is nowhere. `wandb sync` opens a run as a process of its own
does, and sends every row, console line and alert once more; so what decides is when the rows were
logged. A folder that was written offline is told from a live process in the same way.
"""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import bindparam, func, select

from sweepd.engine import events
from sweepd.engine.row_reads import read_rows
from sweepd.engine.stream_bodies import EVENTS, HISTORY, Row, StreamBody
from sweepd.engine.texts import load, strict_json
from sweepd.engine.views import RunView
from sweepd.states import RunState
from sweepd.store import Prepared, Tx
from sweepd.store import tables as t

__all__ = ["End", "comes_back", "has_knocked", "knock", "late_summary", "told_end", "without_known"]

_KNOCK = "run.init_again"
_OVER = frozenset({RunState.FINISHED, RunState.FAILED, RunState.KILLED, RunState.PREEMPTED})
_OPENED = Prepared(
    select(func.max(t.event.c.at)).where(
        t.event.c.run_id == bindparam("run"),
        (t.event.c.kind == "run.created")
        | (
            (t.event.c.kind == "run.state")
            & (func.json_extract(t.event.c.data, "$.to") == RunState.RUNNING)
        ),
    )
)
_LAST = Prepared(
    select(t.stream_line.c.body)
    .where(
        t.stream_line.c.run_id == bindparam("run"), t.stream_line.c.stream == bindparam("stream")
    )
    .order_by(t.stream_line.c.line.desc())
    .limit(1)
)


class End(NamedTuple):
    """When a run ended, and further columns that are known with it."""

    at: float | None
    values: dict[str, Any]


def knock(tx: Tx, run: RunView, *, actor: str) -> None:
    """Note that a process opens a run that has ended, without having asked to resume it."""
    events.record(
        tx,
        actor=actor,
        kind=_KNOCK,
        project_id=run.project_id,
        sweep_id=run.sweep_id,
        run_id=run.id,
    )


def has_knocked(tx: Tx, run_id: int) -> bool:
    """Return whether a process has opened a run since its end, and nothing has come of it yet."""
    query = (
        select(t.event.c.kind)
        .where(t.event.c.run_id == run_id, t.event.c.kind.in_((_KNOCK, "run.state")))
        .order_by(t.event.c.id.desc())
        .limit(1)
    )
    return tx.conn.scalar(query) == _KNOCK


def comes_back(
    tx: Tx, *, run_id: int, state: str, ended_at: float | None, body: StreamBody
) -> bool:
    """Return whether a request shows that the process of an ended run is alive.

    It does if its rows were logged after the run's end. A run that counts as crashed also comes
    back by a bare heartbeat, save while its folder may be being synced.
    """
    if state != RunState.CRASHED and state not in _OVER:
        return False
    moment = _newest(row.values.get("_timestamp") for row in (*body.history, *body.events))
    if moment is not None and moment <= (ended_at or 0.0):
        return False
    if state == RunState.CRASHED:
        return moment is not None or not has_knocked(tx, run_id)
    return moment is not None and has_knocked(tx, run_id)


def told_end(tx: Tx, run: RunView) -> End:
    """Return when a run ended by its own rows; nothing for one that was live until now.

    The rows of a run that was offline were all logged before it was opened here. One that counted
    as crashed ended when it was last heard of, or with a row that came only now.
    """
    newest = _newest_stored(tx, run.id)
    if run.state is RunState.CRASHED:
        signs = [moment for moment in (newest, run.heartbeat_at) if moment is not None]
        return End(min(max(signs), tx.now) if signs else None, {})
    (opened_at,) = _OPENED.row(tx, run=run.id) or (None,)
    if newest is None or opened_at is None or not run.created_at <= newest < opened_at:
        return End(None, {})
    return End(newest, {"heartbeat_at": newest, "started_at": run.created_at})


def without_known(tx: Tx, run_id: int, rows: Sequence[Row]) -> list[Row]:
    """Return the rows that say something which the stored rows of their steps do not."""
    steps = sorted({row.step for row in rows})
    stored = {row.step: json.loads(row.body) for row in read_rows(tx, run_id=run_id, steps=steps)}
    kept = []
    for row in rows:
        known = stored.get(row.step, {})
        values = json.loads(row.body)
        if any(key not in known or known[key] != value for key, value in values.items()):
            kept.append(row)
    return kept


def late_summary(old: str, new: str, *, state: str) -> str:
    """Return the summary after one more has come for a run that has ended.

    Keys that a person changed since stay as they are, unless the run was cut short: then what comes
    later is what it did not get to say.
    """
    stored, sent = load(old), load(new)
    merged = {**stored, **sent} if state == RunState.CRASHED else {**sent, **stored}
    return strict_json(merged)


def _newest_stored(tx: Tx, run_id: int) -> float | None:
    """Return when the last stored row of a run was logged, by its own word."""
    rows = (_LAST.row(tx, run=run_id, stream=stream) for stream in (HISTORY, EVENTS))
    return _newest(json.loads(row[0]).get("_timestamp") for row in rows if row is not None)


def _newest(moments: Any) -> float | None:
    numbers = [float(one) for one in moments if type(one) in (int, float)]
    return max(numbers, default=None)
