"""Runs that several processes write at once: `mode="shared"`.

Each process counts its lines from 0, or from where the run stood when it came. So each has a range
of lines of its own; the run counts the lines of all.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from sqlalchemy import func, select, update
from sqlalchemy.dialects.sqlite import insert

from sweepd.engine.stream_bodies import Chunk, Row, StreamBody
from sweepd.engine.stream_runs import StreamRun
from sweepd.engine.texts import clean, strict_json
from sweepd.errors import InvalidInput
from sweepd.store import Tx
from sweepd.store import tables as t
from sweepd.store.run_tables import stream_writer as table

__all__ = ["Place", "merged_config", "moved", "own_run", "place_of", "settle"]

_SPAN = 2**22  # lines of one writer in each stream
_MOST = 500  # writers: their lines leave as GraphQL's Int
_COUNTS = ("history_lines", "event_lines", "log_lines")


class Place(NamedTuple):
    """Where a writer's lines stand, and how many there are of each stream."""

    run_id: int
    number: int
    history_lines: int
    event_lines: int
    log_lines: int

    @property
    def base(self) -> int:
        """Return the line that the writer's line 0 is."""
        return self.number * _SPAN


def place_of(tx: Tx, *, run_id: int, writer: str) -> Place:
    """Return the place of a writer, given to it with its first request.

    Raises:
        InvalidInput: if the run has too many writers.
    """
    name = clean(writer[:200])
    columns = (table.c.run_id, table.c.number, *(table.c[one] for one in _COUNTS))
    query = select(*columns).where(table.c.run_id == run_id, table.c.writer == name)
    row = tx.conn.execute(query).one_or_none()
    if row is not None:
        return Place(*row)
    count = select(func.count()).where(table.c.run_id == run_id)
    number = tx.conn.scalar(count) or 0
    if number >= _MOST:
        raise InvalidInput(f"a shared run has at most {_MOST} writers")
    tx.conn.execute(insert(table).values(run_id=run_id, writer=name, number=number))
    return Place(run_id, number, 0, 0, 0)


def moved(body: StreamBody, place: Place) -> StreamBody:
    """Return a request with its lines where they belong.

    Raises:
        InvalidInput: if it goes beyond the writer's lines.
    """
    ends = [body.history_end, body.events_end]
    if body.console is not None:
        ends.append(body.console.offset + len(body.console.content))
    if max(ends) > _SPAN:
        raise InvalidInput(f"a process that shares its run writes at most {_SPAN} lines")
    base, console = place.base, body.console
    return replace(
        body,
        history=_rows(body.history, base),
        events=_rows(body.events, base),
        history_end=body.history_end + base if body.history_end else 0,
        events_end=body.events_end + base if body.events_end else 0,
        console=Chunk(console.offset + base, console.content) if console is not None else None,
    )


def own_run(run: StreamRun, place: Place) -> StreamRun:
    """Return a run as one of its writers sees it: with the lines of its own."""
    return run._replace(**{name: place.base + getattr(place, name) for name in _COUNTS})


def settle(tx: Tx, run: StreamRun, place: Place, changed: dict[str, Any]) -> None:
    """Turn what a writer's request changes into what it changes of the run that all write."""
    counts = {}
    for name in _COUNTS:
        end = changed.pop(name, None)
        if end is not None:
            counts[name] = end - place.base
            changed[name] = getattr(run, name) + counts[name] - getattr(place, name)
    if counts:
        of_writer = (table.c.run_id == place.run_id, table.c.number == place.number)
        tx.conn.execute(update(table).where(*of_writer).values(counts))
    documents = [name for name in ("summary", "system_metrics") if changed.get(name) is not None]
    if documents:
        columns = [t.run.c[name] for name in documents]
        stored = tx.conn.execute(select(*columns).where(t.run.c.id == run.id)).one()
        for name, old in zip(documents, stored, strict=True):
            changed[name] = strict_json({**json.loads(old), **json.loads(changed[name])})


def merged_config(stored: str, sent: Mapping[str, Any]) -> str:
    """Return a run's config after one of its writers sends its own."""
    old = json.loads(stored)
    merged = {**old, **sent}
    internal = [one["_wandb"]["value"] for one in (old, sent) if _has_internal(one)]
    if len(internal) == 2:
        both = {**internal[0], **internal[1]}
        environments = [one["e"] for one in internal if isinstance(one.get("e"), dict)]
        if environments:
            both["e"] = {key: value for one in environments for key, value in one.items()}
        if not both.get("m") and internal[0].get("m"):  # it defines no metrics: others have
            both["m"] = internal[0]["m"]
        merged["_wandb"] = {"value": both}
    return strict_json(merged)


def _has_internal(config: Mapping[str, Any]) -> bool:
    own = config.get("_wandb")
    return isinstance(own, dict) and isinstance(own.get("value"), dict)


def _rows(rows: tuple[Row, ...], base: int) -> tuple[Row, ...]:
    return tuple(row._replace(line=row.line + base) for row in rows)
