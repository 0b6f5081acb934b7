"""The live data of a run: chunks of rows, keyed by line, so that a repeated delivery is harmless.

Rows of an attempt that has lost its lease are kept too, apart from the run's own: nothing is ever
deleted, and nothing that a zombie writes changes the trial.
"""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import select, update
from sqlalchemy.dialects.sqlite import insert

from sweepd.engine import events, outcomes, projects
from sweepd.engine.key_stats import KeyStats
from sweepd.engine.run_states import change_state
from sweepd.engine.run_views import load_run, run_at
from sweepd.engine.services import Limits
from sweepd.engine.stream_bodies import (
    CONSOLE,
    EVENTS,
    HISTORY,
    MAX_LINE,
    Chunk,
    Row,
    StreamBody,
    parse_body,
)
from sweepd.engine.texts import clean
from sweepd.engine.upserts import FIRST_YEAR, is_stale
from sweepd.engine.views import Account, RunView
from sweepd.errors import NotFound
from sweepd.states import RunState
from sweepd.store import Tx
from sweepd.store import tables as t

__all__ = [
    "Chunk",
    "Row",
    "StreamBody",
    "StreamReply",
    "append",
    "parse_body",
]

_APART = 10  # added to stream_line.stream for the rows of attempts that had lost their lease

_DEFAULT = Limits()
_OVER = frozenset({RunState.FINISHED, RunState.FAILED, RunState.KILLED})
_ENDABLE = frozenset({RunState.RUNNING, RunState.PREEMPTING, RunState.CRASHED})

_INSERT = insert(t.stream_line)
_WRITE = _INSERT.on_conflict_do_update(
    index_elements=["run_id", "stream", "line"],
    set_={name: _INSERT.excluded[name] for name in ("attempt", "step", "body")},
)


class StreamReply(NamedTuple):
    """What the client is told: whether the run should stop."""

    stopped: bool


def append(
    tx: Tx,
    *,
    actor: Account,
    entity: str,
    project: str,
    run: str,
    body: StreamBody,
    attempt: int | None = None,
    token: str | None = None,
    limits: Limits = _DEFAULT,
) -> StreamReply:
    """Store a request's rows, console lines, summary and end; harmless when repeated.

    Rows that arrive after the run's end are stored and change nothing else: only an upsert opens a
    run again.

    Raises:
        NotFound: if the run does not exist (the client stops uploading then).
        Forbidden: if it belongs to somebody else.
    """
    view = _find(tx, actor, entity, project, run)
    if is_stale(view, attempt):
        assert attempt is not None
        _store_apart(tx, view, body, attempt)
        return StreamReply(stopped=True)
    fresh = _store(tx, view, body)
    is_stopped = view.stop_requested is not None
    if view.sweep_id is not None:
        is_stopped |= outcomes.row_logged(
            tx, run_id=view.id, rows=fresh, attempt=attempt, token=token
        )
        again = load_run(tx, view.id)
        assert again is not None
        view = again
    if body.is_complete:
        _end(tx, view, body, attempt=attempt, token=token, limits=limits)
    elif body.is_preempting and view.state is RunState.RUNNING:
        change_state(tx, run=view, to=RunState.PREEMPTING, actor=events.SERVICE)
    return StreamReply(stopped=is_stopped)


def _find(tx: Tx, actor: Account, entity: str, project: str, name: str) -> RunView:
    view = run_at(tx, entity=entity, project=project, name=name)
    projects.resolve_entity(tx, actor=actor, entity=view.entity if view is not None else entity)
    if view is None:
        raise NotFound(f"there is no run {entity}/{project}/{name}")
    return view


def _store(tx: Tx, run: RunView, body: StreamBody) -> list[Row]:
    """Store what a request holds; return the history rows that were not there before."""
    attempt = run.trial.attempt if run.trial is not None else 1
    changed: dict[str, Any] = {}
    if run.state not in _OVER:
        changed["heartbeat_at"] = tx.now
    fresh, is_in_order = _store_rows(tx, run, HISTORY, body.history, run.history_lines, attempt)
    if body.history_end > run.history_lines:
        changed["history_lines"] = body.history_end
    if fresh or not is_in_order:
        changed |= _key_columns(tx, run, fresh, is_in_order=is_in_order)
    _store_rows(tx, run, EVENTS, body.events, run.event_lines, attempt)
    if body.events_end >= run.event_lines and body.events:
        changed["system_metrics"] = body.events[-1].body
    if body.events_end > run.event_lines:
        changed["event_lines"] = body.events_end
    if body.console is not None and body.console.content:
        _store_console(tx, run, body.console, attempt)
        end = body.console.offset + len(body.console.content)
        changed["log_lines"] = max(end, run.log_lines)
    if body.summary is not None:
        changed["summary"] = body.summary
    if changed:
        tx.conn.execute(update(t.run).where(t.run.c.id == run.id).values(changed))
    return fresh


def _store_rows(
    tx: Tx, run: RunView, stream: int, rows: Sequence[Row], n_lines: int, attempt: int
) -> tuple[list[Row], bool]:
    """Store rows; return those whose lines are new, and whether all that changed was appended."""
    if not rows:
        return [], True
    known: dict[int, str] = {}
    if rows[0].line < n_lines:
        between = t.stream_line.c.line.between(rows[0].line, rows[-1].line)
        query = select(t.stream_line.c.line, t.stream_line.c.body).where(
            t.stream_line.c.run_id == run.id, t.stream_line.c.stream == stream, between
        )
        known = {line: text for line, text in tx.conn.execute(query)}
    written = [row for row in rows if known.get(row.line) != row.body]
    _write(
        tx,
        [
            _line(
                run.id, stream, row.line, attempt, row.step if stream == HISTORY else None, row.body
            )
            for row in written
        ],
    )
    fresh = [row for row in written if row.line not in known]
    return fresh, all(row.line >= n_lines for row in written)


def _store_console(tx: Tx, run: RunView, chunk: Chunk, attempt: int) -> None:
    _write(
        tx,
        [
            _line(run.id, CONSOLE, line, attempt, None, clean(text))
            for line, text in enumerate(chunk.content, start=chunk.offset)
        ],
    )


def _store_apart(tx: Tx, run: RunView, body: StreamBody, attempt: int) -> None:
    """Store the rows of an attempt that has lost its lease where no reader of the run looks."""
    first = attempt * MAX_LINE
    rows = [
        _line(run.id, stream + _APART, first + row.line, attempt, None, row.body)
        for stream, stored in ((HISTORY, body.history), (EVENTS, body.events))
        for row in stored
    ]
    if body.console is not None:
        rows += [
            _line(run.id, CONSOLE + _APART, first + line, attempt, None, clean(text))
            for line, text in enumerate(body.console.content, start=body.console.offset)
        ]
    _write(tx, rows)


def _line(
    run_id: int, stream: int, line: int, attempt: int, step: int | None, body: str
) -> dict[str, Any]:
    return {
        "run_id": run_id,
        "stream": stream,
        "line": line,
        "attempt": attempt,
        "step": step,
        "body": body,
    }


def _write(tx: Tx, rows: list[dict[str, Any]]) -> None:
    """Write lines over whatever stands there."""
    if rows:
        tx.conn.execute(_WRITE, rows)


def _key_columns(
    tx: Tx, run: RunView, fresh: Sequence[Row], *, is_in_order: bool
) -> dict[str, Any]:
    """Return the run's columns that follow from its history."""
    if is_in_order:
        stats = KeyStats(run.history_keys)
        for row in fresh:
            stats.add(row.values, step=row.step)
    else:
        stats = _count_again(tx, run.id)
    changed: dict[str, Any] = {"history_keys": stats.to_json(), "last_step": stats.last_step}
    began = fresh[0].values.get("_timestamp") if fresh and fresh[0].line == 0 else None
    if isinstance(began, int | float) and FIRST_YEAR <= began < run.created_at:
        changed["created_at"] = float(began)  # a run that was offline then
    return changed


def _count_again(tx: Tx, run_id: int) -> KeyStats:
    """Return the statistics of all stored rows, after lines came out of order or over others."""
    stats = KeyStats()
    bodies = tx.conn.execute(
        select(t.stream_line.c.step, t.stream_line.c.body)
        .where(t.stream_line.c.run_id == run_id, t.stream_line.c.stream == HISTORY)
        .order_by(t.stream_line.c.line)
    )
    for step, body in bodies:
        stats.add(json.loads(body), step=step)
    return stats


def _end(
    tx: Tx,
    run: RunView,
    body: StreamBody,
    *,
    attempt: int | None,
    token: str | None,
    limits: Limits,
) -> None:
    """End a run that its process says is complete; nothing for one that has ended already."""
    if run.state not in _ENDABLE:
        return
    was_preempting = run.state is RunState.PREEMPTING or body.is_preempting
    if body.exit_code == 0:
        to = RunState.FINISHED
    elif run.stop_requested is not None:
        to = RunState.KILLED
    elif was_preempting:
        to = RunState.PREEMPTED
    else:
        to = RunState.FAILED
    change_state(tx, run=run, to=to, actor=events.SERVICE, values={"exit_code": body.exit_code})
    if run.sweep_id is not None:
        outcomes.run_ended(
            tx,
            run_id=run.id,
            exit_code=body.exit_code,
            was_preempting=was_preempting,
            attempt=attempt,
            token=token,
            limits=limits,
        )
