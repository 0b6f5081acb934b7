"""Stored rows as their readers see them: by step, merged, without what a later attempt redid."""

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, func, select

from sweepd.engine.stream_bodies import HISTORY
from sweepd.engine.texts import MAX_INT, strict_json
from sweepd.store import Tx
from sweepd.store import tables as t
from sweepd.store.lines import history_lines

__all__ = ["StoredRow", "count_steps", "lines_at", "pick", "read_rows", "steps_at", "steps_with"]

_PLAIN_KEY = re.compile(r"[\w ./:-]+", re.ASCII)  # spelt in JSON as it is
_MAX_BOUND = 500  # texts looked for in one query


class StoredRow(NamedTuple):
    """A row: the step, and strict JSON text."""

    step: int
    body: str


def read_rows(
    tx: Tx,
    *,
    run_id: int,
    keys: Sequence[str] = (),
    min_step: int | None = None,
    max_step: int | None = None,
    steps: Sequence[int] | None = None,
) -> Iterator[StoredRow]:
    """Yield history rows by step; rows of one step are merged, the later line wins per key.

    Rows of an attempt from the step on that a later attempt resumed at are left out.

    Args:
        tx: the transaction.
        run_id: the run.
        keys: leave out rows that have none of these; those that are left may still lack some.
        min_step: the first step.
        max_step: the last step, inclusive.
        steps: only these, ascending.
    """
    cuts = _resumed_at(tx, run_id)
    pending: StoredRow | None = None
    merged: dict[str, Any] | None = None
    lines = history_lines(
        tx,
        run_id=run_id,
        stream=HISTORY,
        min_step=_bound(min_step),
        max_step=_bound(max_step),
        steps=steps,
        mentions=_mentions(keys),
    )
    for step, attempt, body in lines:
        if cuts and step >= cuts.get(attempt, step + 1):
            continue
        if pending is not None and pending.step == step:
            merged = {**(merged or json.loads(pending.body)), **json.loads(body)}
            continue
        if pending is not None:
            yield pending if merged is None else StoredRow(pending.step, strict_json(merged))
        pending, merged = StoredRow(step, body), None
    if pending is not None:
        yield pending if merged is None else StoredRow(pending.step, strict_json(merged))


def count_steps(
    tx: Tx, *, run_id: int, min_step: int | None = None, max_step: int | None = None
) -> int:
    """Return how many steps have rows, both bounds inclusive; it reads only an index."""
    step = t.stream_line.c.step
    query = select(func.count(step.distinct())).where(*_within(run_id, min_step, max_step))
    return tx.conn.scalar(query) or 0


def steps_at(
    tx: Tx,
    indices: Sequence[int],
    *,
    run_id: int,
    min_step: int | None = None,
    max_step: int | None = None,
) -> list[int]:
    """Return the steps that stand at ascending `indices` among those that have rows."""
    step = t.stream_line.c.step
    steps = select(step).distinct().where(*_within(run_id, min_step, max_step)).subquery()
    numbered = select(steps.c.step, _number(steps.c.step)).subquery()
    query = select(numbered.c.step).where(_is_among(numbered.c.number, indices))
    return list(tx.conn.scalars(query.order_by(numbered.c.step)))


def steps_with(tx: Tx, *, run_id: int, key: str) -> list[int]:
    """Return the steps, ascending, of rows that may have `key`; no row is parsed for it."""
    step = t.stream_line.c.step
    holds = [func.instr(t.stream_line.c.body, text) > 0 for text in _mentions([key])]
    query = select(step).distinct().where(*_within(run_id, None, None), *holds)
    return list(tx.conn.scalars(query.order_by(step)))


def lines_at(tx: Tx, indices: Sequence[int], *, run_id: int, stream: int) -> list[str]:
    """Return the bodies that stand at ascending `indices` among the lines of a stream."""
    c = t.stream_line.c
    numbered = (
        select(c.line, _number(c.line)).where(c.run_id == run_id, c.stream == stream).subquery()
    )
    lines = select(numbered.c.line).where(_is_among(numbered.c.number, indices))
    query = select(c.body).where(c.run_id == run_id, c.stream == stream, c.line.in_(lines))
    return list(tx.conn.scalars(query.order_by(c.line)))


def _number(column: ColumnElement[int]) -> ColumnElement[int]:
    return (func.row_number().over(order_by=column) - 1).label("number")


def _is_among(column: ColumnElement[int], values: Sequence[int]) -> ColumnElement[bool]:
    """Return the clause that a column has one of `values`, however many they are."""
    listed = func.json_each(json.dumps(list(values))).table_valued("value")
    return column.in_(select(listed.c.value))


def pick(values: dict[str, Any], key: str) -> tuple[bool, Any]:
    """Return whether a row has `key` (as it stands, else a dotted path into objects), and it."""
    if key in values:
        return True, values[key]
    head, dot, rest = key.partition(".")
    while dot:
        inner = values.get(head)
        if isinstance(inner, dict):
            has, value = pick(inner, rest)
            if has:
                return True, value
        more, dot, rest = rest.partition(".")
        head = f"{head}.{more}"
    return False, None


def _within(run_id: int, low: int | None, high: int | None) -> list[ColumnElement[bool]]:
    """Return the clauses of a run's history between two steps, both inclusive."""
    c = t.stream_line.c
    where = [c.run_id == run_id, c.stream == HISTORY, c.step.is_not(None)]
    if low is not None:
        where.append(c.step >= _bound(low))
    if high is not None:
        where.append(c.step <= _bound(high))
    return where


def _bound(step: int | None) -> int | None:
    """Return a step that SQLite can hold."""
    return None if step is None else max(-MAX_INT, min(step, MAX_INT))


def _mentions(keys: Sequence[str]) -> list[str]:
    """Return texts of which a row must hold one to have any of `keys`: it spares parsing others."""
    wanted = [key for key in keys if not key.startswith("_")]
    if len(wanted) > _MAX_BOUND or not all(_PLAIN_KEY.fullmatch(key) for key in wanted):
        return []
    return sorted({f'"{key.partition(".")[0]}' for key in wanted})


def _resumed_at(tx: Tx, run_id: int) -> dict[int, int]:
    """Return, for each attempt of a trial, the lowest step that a later one logged."""
    n_attempts = tx.conn.scalar(select(t.trial.c.attempt).where(t.trial.c.run_id == run_id))
    if n_attempts is None or n_attempts < 2:
        return {}
    firsts = tx.conn.execute(
        select(t.stream_line.c.attempt, func.min(t.stream_line.c.step))
        .where(t.stream_line.c.run_id == run_id, t.stream_line.c.stream == HISTORY)
        .group_by(t.stream_line.c.attempt)
    )
    lowest = {attempt: step for attempt, step in firsts}
    cuts: dict[int, int] = {}
    for attempt in lowest:
        later = [step for other, step in lowest.items() if other > attempt and step is not None]
        if later:
            cuts[attempt] = min(later)
    return cuts
