"""Many lines of the streams in few statements: each that SQLite runs gives the interpreter away."""

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

from sweepd.store.tx import Tx

__all__ = ["Line", "write_lines"]

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
    start = 0
    for size in _SIZES:
        while len(lines) - start >= size:
            part = lines[start : start + size]
            tx.raw.execute(_statement(size), [value for line in part for value in line])
            start += size


@cache
def _statement(n_rows: int) -> str:
    row = f"({', '.join('?' * len(Line._fields))})"
    return (
        f"INSERT INTO stream_line ({', '.join(Line._fields)}) "
        f"VALUES {', '.join([row] * n_rows)} "
        "ON CONFLICT (run_id, stream, line) DO UPDATE SET "
        "attempt = excluded.attempt, step = excluded.step, body = excluded.body"
    )
