"""The numbers of long runs, key by key, so that a curve of a million points is drawn at once.

Behind each 8,192 lines of a run, their numbers are packed, in a process beside the service, and
packed anew when lines are written over. Rows that are not packed yet are read as they are.
"""

import json
import math
import zlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import delete, exists, func, insert, or_, select

from sweepd.engine.exports import n_rewrites_of
from sweepd.engine.stream_bodies import HISTORY
from sweepd.store import Store, Tx
from sweepd.store.history_tables import history_column
from sweepd.store.tables import run, stream_line, trial

__all__ = [
    "CHUNK",
    "LONG",
    "Column",
    "ColumnJob",
    "Packed",
    "next_job",
    "number",
    "pack",
    "packed",
    "store",
]

CHUNK = 8192  # lines
LONG = 2 * CHUNK  # lines from which on a run is packed
_MAX_KEYS = 500  # of a run that is packed
_NAMES = frozenset({"NaN", "Infinity", "-Infinity"})

Column = NDArray[np.float64]


@dataclass(frozen=True)
class ColumnJob:
    """Which lines of which run to pack: those from `number * CHUNK` on."""

    folder: str
    run_id: int
    number: int
    n_rewrites: int


@dataclass(frozen=True)
class Packed:
    """What is packed of a run: rows of ascending steps.

    Attributes:
        steps: of the rows, shape (n,), ascending.
        end_line: one past the last line that is packed.
    """

    run_id: int
    n_rewrites: int
    sizes: tuple[int, ...]  # rows of each chunk
    steps: Column
    end_line: int

    def column(self, tx: Tx, key: str) -> Column:
        """Return a key's values, shape (n,): NaN where a row has no number, inf where a bad one."""
        if key == "_step":
            return self.steps
        c = history_column.c
        found = np.full(len(self.steps), np.nan)
        starts = np.concatenate(([0], np.cumsum(self.sizes)))
        where = (c.run_id == self.run_id, c.key == key, c.n_rewrites == self.n_rewrites)
        query = select(c.number, c.data).where(*where, c.number < len(self.sizes))
        for place, data in tx.conn.execute(query):
            found[starts[place] : starts[place + 1]] = _unpack(data)
        return found


def packed(tx: Tx, *, run_id: int) -> Packed | None:
    """Return what is packed of a run; None if nothing that can be used is.

    Of a run whose steps come again, or of a trial that was begun again, rows have to be merged;
    and a forked run has rows that are not packed.
    """
    c = history_column.c
    n_rewrites = n_rewrites_of(tx, run_id)
    query = select(c.number, c.data).where(
        c.run_id == run_id, c.key == "_step", c.n_rewrites == n_rewrites
    )
    parts = [_unpack(data) for _, data in tx.conn.execute(query.order_by(c.number))]
    if not parts:
        return None
    steps = np.concatenate(parts)
    if np.any(np.diff(steps) <= 0) or _was_begun_again(tx, run_id):
        return None
    end_line = len(parts) * CHUNK
    behind = (stream_line.c.run_id == run_id, stream_line.c.stream == HISTORY)
    reaches_back = exists().where(
        *behind, stream_line.c.line >= end_line, stream_line.c.step <= int(steps[-1])
    )
    is_forked = exists().where(*behind, stream_line.c.line < 0)
    if tx.conn.scalar(select(or_(reaches_back, is_forked))):
        return None
    return Packed(run_id, n_rewrites, tuple(map(len, parts)), steps, end_line)


def next_job(tx: Tx, *, folder: Path, skip: Collection[int] = ()) -> ColumnJob | None:
    """Return what is to be packed next, of other runs than those to skip; None if nothing is."""
    c = history_column.c
    long_runs = select(run.c.id, run.c.history_lines).where(run.c.history_lines >= LONG)
    for run_id, n_lines in tx.conn.execute(long_runs).all():
        if run_id in skip:
            continue
        n_rewrites = n_rewrites_of(tx, run_id)
        steps = (c.run_id == run_id, c.key == "_step", c.n_rewrites == n_rewrites)
        done = tx.conn.scalar(select(func.count()).where(*steps)) or 0
        if (done + 1) * CHUNK <= n_lines:
            return ColumnJob(str(folder), run_id, done, n_rewrites)
    return None


def pack(job: ColumnJob) -> dict[str, bytes]:
    """Return the packed numbers of a job's lines, by key; runs in another process."""
    opened = Store.open(Path(job.folder), exclusive=False)
    try:
        return opened.read_sync(_pack, job=job)
    finally:
        opened.close()


def _pack(tx: Tx, *, job: ColumnJob) -> dict[str, bytes]:
    c = stream_line.c
    first = job.number * CHUNK
    lines = (c.run_id == job.run_id, c.stream == HISTORY, c.line.between(first, first + CHUNK - 1))
    rows = tx.conn.execute(select(c.step, c.body).where(*lines).order_by(c.line)).all()
    columns = {"_step": np.array([step for step, _ in rows], dtype=np.float64)}
    for place, (_, body) in enumerate(rows):
        for key, value in _numbers(json.loads(body)):
            if key not in columns and len(columns) <= _MAX_KEYS:
                columns[key] = np.full(len(rows), np.nan)
            if key in columns and key != "_step":
                columns[key][place] = value
    if len(columns) > _MAX_KEYS:
        columns = {"_step": np.zeros(len(rows))}  # no steps that ascend: it is never used
    return {key: zlib.compress(column.tobytes(), 1) for key, column in columns.items()}


def store(tx: Tx, *, job: ColumnJob, made: Mapping[str, bytes]) -> None:
    """Keep what was packed, unless lines were written over meanwhile; drop what is out of date."""
    c = history_column.c
    if n_rewrites_of(tx, job.run_id) != job.n_rewrites:
        return
    if not tx.conn.scalar(select(exists().where(run.c.id == job.run_id))):
        return
    stale = (c.run_id == job.run_id, c.n_rewrites != job.n_rewrites)
    tx.conn.execute(delete(history_column).where(*stale))
    shared = {"run_id": job.run_id, "number": job.number, "n_rewrites": job.n_rewrites}
    rows = [{**shared, "key": key, "data": data} for key, data in made.items()]
    tx.conn.execute(insert(history_column).prefix_with("OR REPLACE"), rows)


def number(value: object) -> float | None:
    """Return a number as it is packed: inf for one that is not finite; None for anything else."""
    if isinstance(value, str):
        return math.inf if value in _NAMES else None
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if math.isfinite(found) else math.inf


def _numbers(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """Yield the numbers of a row, those in objects under dotted keys and before the plain ones."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _numbers(value, f"{prefix}{name}.")
    for name, value in values.items():
        found = number(value)
        if found is not None:
            yield prefix + name, found


def _unpack(data: bytes) -> Column:
    return np.frombuffer(zlib.decompress(data), dtype=np.float64)


def _was_begun_again(tx: Tx, run_id: int) -> bool:
    return bool(
        tx.conn.scalar(select(exists().where(trial.c.run_id == run_id, trial.c.attempt > 1)))
    )
