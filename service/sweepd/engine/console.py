"""A run's console, line by line."""

import json
import re

from sqlalchemy import select

from sweepd.engine import paging
from sweepd.engine.allowance import Allowance
from sweepd.engine.stream_bodies import CONSOLE
from sweepd.engine.views import LogLine, Page
from sweepd.errors import ProtocolError
from sweepd.store import Tx
from sweepd.store import tables as t

__all__ = ["log_lines"]

_DEFAULT_LINES = 1_000
_PLAIN = re.compile(
    r"(?P<error>ERROR )?(?P<time>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?) ?(?P<text>.*)", re.DOTALL
)


def log_lines(
    tx: Tx,
    *,
    run_id: int,
    first: int | None = None,
    last: int | None = None,
    after: str | None = None,
    before: str | None = None,
    allowance: Allowance | None = None,
) -> Page[LogLine]:
    """Return console lines, always ascending: the `first` (1,000) after a cursor, or the `last`.

    With `last`, `before` pages backwards from a cursor; `has_next` then says whether there are
    lines behind the page. A cursor is of a line; lines that never came are left out.

    Raises:
        ProtocolError: for a cursor that is none, a negative count, both counts, or lines that take
            more than the allowance.
    """
    if first is not None and last is not None:
        raise ProtocolError("logLines: give first or last, not both")
    c = t.stream_line.c
    query = select(c.line, c.body).where(c.run_id == run_id, c.stream == CONSOLE)
    if after is not None:
        query = query.where(c.line > paging.read_int(after))
    if before is not None:
        query = query.where(c.line < paging.read_int(before))
    wanted = last if last is not None else first
    size = paging.check_first(wanted if wanted is not None else _DEFAULT_LINES)
    order = c.line.desc() if last is not None else c.line.asc()
    left = allowance or Allowance()
    rows = []
    for number, body in tx.conn.execute(query.order_by(order).limit(size + 1)):
        left.take(body)
        rows.append((number, body))
    has_next = before is not None if last is not None else len(rows) > size
    shown = [_line(number, body) for number, body in rows[:size]]
    if last is not None:
        shown.reverse()
    return Page(
        items=tuple(shown),
        cursors=tuple(paging.encode(line.number) for line in shown),
        has_next=has_next,
    )


def _line(number: int, body: str) -> LogLine:
    """Read a line in either of the client's formats; ANSI escapes stay.

    A plain line's `[label]` stays in its text: it cannot be told from a text that begins so.
    """
    if body.startswith("{"):
        try:
            parts = json.loads(body)
        except (ValueError, RecursionError):
            parts = None
        if isinstance(parts, dict) and isinstance(parts.get("content"), str):
            level, time, label = (parts.get(name) for name in ("level", "ts", "label"))
            return LogLine(
                number=number,
                text=parts["content"],
                level=level if isinstance(level, str) else None,
                timestamp=time if isinstance(time, str) else None,
                label=label if isinstance(label, str) else None,
            )
    found = _PLAIN.fullmatch(body)
    if found is None:
        return LogLine(number=number, text=body)
    level = "error" if found["error"] else None
    return LogLine(number=number, text=found["text"], level=level, timestamp=found["time"])
