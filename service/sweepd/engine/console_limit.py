"""The bound on what is kept of a run's console: its first part and its last."""

from typing import Any

from sqlalchemy import delete, func, select

from sweepd.engine.services import Limits
from sweepd.engine.stream_bodies import CONSOLE, Chunk
from sweepd.engine.stream_runs import StreamRun
from sweepd.store import Tx
from sweepd.store import tables as t
from sweepd.store.bulk import Line, write_lines

__all__ = ["make_room", "words"]

_SPARE = 4  # tails by which the bound may be passed: one request may hold more than one tail


def words(left_out: str, limits: Limits) -> str:
    """Return the line that stands where a part of the console is left out, such as `7 lines`."""
    head, tail = limits.log_head_size / 2**20, limits.log_tail_size / 2**20
    return (
        f"[... {left_out} left out: of a run's output the first {head:g} MiB and the last "
        f"{tail:g} MiB are kept ...]"
    )


def make_room(
    tx: Tx, run: StreamRun, chunk: Chunk, *, limits: Limits
) -> tuple[dict[str, Any], bool]:
    """Take lines out of the middle of a run's console if it grows beyond its bound by a chunk.

    Returns:
        The columns of the run that change with the chunk, and whether it is to be stored: a run
        whose several writers have filled their bound keeps no more.
    """
    size = run.log_size + sum(map(len, chunk.content))
    if chunk.offset < run.log_lines:
        size -= _stored(tx, run.id, chunk)
    head, most = run.log_head, limits.log_head_size + limits.log_tail_size
    if head is None and size > limits.log_head_size:
        head = chunk.offset + len(chunk.content)
    if head is not None and size > most:
        size -= _leave_out(tx, run, head, size - most + limits.log_tail_size // 16, limits)
    if size > most + _SPARE * limits.log_tail_size:
        return {}, False
    return {"log_size": max(0, size), "log_head": head}, True


def _stored(tx: Tx, run_id: int, chunk: Chunk) -> int:
    """Return the size of the lines that a chunk takes the place of."""
    c = t.stream_line.c
    last = chunk.offset + len(chunk.content) - 1
    query = select(func.sum(func.length(c.body))).where(
        c.run_id == run_id, c.stream == CONSOLE, c.line.between(chunk.offset, last)
    )
    return int(tx.conn.scalar(query) or 0)


def _leave_out(tx: Tx, run: StreamRun, head: int, wanted: int, limits: Limits) -> int:
    """Delete so many characters of lines from line `head` on, and say so there; return how many."""
    c = t.stream_line.c
    of_tail = (c.run_id == run.id, c.stream == CONSOLE, c.line >= head)
    rows = tx.conn.execute(select(c.line, func.length(c.body)).where(*of_tail).order_by(c.line))
    freed, last = 0, head - 1
    for line, size in rows:
        freed, last = freed + size, line
        if line > head and freed >= wanted:  # there may be such a word at `head` already
            break
    rows.close()
    if last <= head:
        return 0
    tx.conn.execute(delete(t.stream_line).where(*of_tail, c.line <= last))
    text = words(f"{last - head + 1:,} lines", limits)
    write_lines(tx, [Line(run.id, CONSOLE, head, run.attempt, None, text)])
    return freed - len(text)
