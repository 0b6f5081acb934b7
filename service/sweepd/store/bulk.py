"""Many rows in few statements.

SQLite's module gives the interpreter to another thread at every step of a statement, and where the
event loop is busy it takes milliseconds to get it back. So the hot path writes all that waits at
once, and not row by row.
"""

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, NamedTuple

from sweepd.store.tx import Tx

__all__ = ["Line", "change_runs", "write_lines"]

#: Rows of one statement. Few sizes, so that each is compiled once; SQLite takes 32,766 values.
_SIZES = (1024, 256, 64, 16, 4, 1)


class Line(NamedTuple):
    """A row of `stream_line`."""

    run_id: int
    stream: int
    line: int
    attempt: int
    step: int | None
    body: str


def write_lines(tx: Tx, lines: Sequence[Line]) -> None:
    """Write lines, each over what stands in its place."""
    for values, size in _parts(lines):
        tx.raw.execute(_insert(size), values)


def change_runs(tx: Tx, columns: tuple[str, ...], changes: Sequence[tuple[Any, ...]]) -> None:
    """Set columns of runs.

    Args:
        tx: the transaction.
        columns: names, the same ones for every run.
        changes: for each run its id, then a value for each column; None leaves it as it is.
    """
    for values, size in _parts(changes):
        tx.raw.execute(_update(columns, size), values)


def _parts(rows: Sequence[tuple[Any, ...]]) -> Iterator[tuple[list[Any], int]]:
    """Yield the values of so many rows, one after the other, and how many rows they are."""
    start = 0
    for size in _SIZES:
        while len(rows) - start >= size:
            yield [value for row in rows[start : start + size] for value in row], size
            start += size


def _values(n_columns: int, n_rows: int) -> str:
    row = f"({', '.join('?' * n_columns)})"
    return f"VALUES {', '.join([row] * n_rows)}"


@cache
def _insert(n_rows: int) -> str:
    return (
        f"INSERT INTO stream_line ({', '.join(Line._fields)}) {_values(len(Line._fields), n_rows)} "
        "ON CONFLICT (run_id, stream, line) DO UPDATE SET "
        "attempt = excluded.attempt, step = excluded.step, body = excluded.body"
    )


@cache
def _update(columns: tuple[str, ...], n_rows: int) -> str:
    settings = ", ".join(f"{name} = coalesce(new.{name}, run.{name})" for name in columns)
    return (
        f"WITH new (id, {', '.join(columns)}) AS ({_values(1 + len(columns), n_rows)}) "
        f"UPDATE run SET {settings} FROM new WHERE run.id = new.id"
    )
