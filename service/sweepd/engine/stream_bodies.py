"""A file_stream request, parsed: rows as strict JSON text beside their values."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from sweepd.engine.texts import MAX_INT, clean, load_quickly, strict_json
from sweepd.errors import ProtocolError

__all__ = [
    "CONSOLE",
    "CONSOLE_FILE",
    "EVENTS",
    "HISTORY",
    "MAX_LINE",
    "Chunk",
    "Row",
    "StreamBody",
    "parse_body",
]

HISTORY, EVENTS, CONSOLE = 0, 1, 2  # stream_line.stream
MAX_LINE = 2**31 - 1  # lines of one stream: their number leaves as a GraphQL Int

_HISTORY_FILE, _EVENTS_FILE = "wandb-history.jsonl", "wandb-events.jsonl"
_SUMMARY_FILE = "wandb-summary.json"
CONSOLE_FILE = "output.log"


class Row(NamedTuple):
    """A history or events row: absolute line, step, strict JSON text, values (NaN as floats)."""

    line: int
    step: int
    body: str
    values: Mapping[str, Any]


class Chunk(NamedTuple):
    """Console lines from absolute line `offset` on."""

    offset: int
    content: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class StreamBody:
    """One request. `history_end` and `events_end` are one past the last line that it holds.

    All empty is a heartbeat. Lines that are no JSON objects are counted but have no row.
    """

    history: tuple[Row, ...] = ()
    events: tuple[Row, ...] = ()
    history_end: int = 0
    events_end: int = 0
    console: Chunk | None = None
    summary: str | None = None
    is_preempting: bool = False
    is_complete: bool = False
    exit_code: int = 0

    @property
    def n_lines(self) -> int:
        """Return how many rows and console lines it holds."""
        n_console = len(self.console.content) if self.console is not None else 0
        return len(self.history) + len(self.events) + n_console


def parse_body(data: bytes | str) -> StreamBody:
    """Parse a file_stream request; call it outside the writer's thread, a body may be 10 MB.

    Raises:
        ProtocolError: if it is not a JSON object of the shape that the client sends.
    """
    try:
        body, _ = load_quickly(data)
    except ValueError as error:
        raise ProtocolError(f"file_stream: not JSON: {error}") from None
    files = body.get("files") if isinstance(body, dict) else None
    if not isinstance(body, dict) or not isinstance(files, dict | None):
        raise ProtocolError("file_stream: must be a JSON object whose files are one too")
    chunks = {name: _chunk(name, value) for name, value in (files or {}).items() if value}
    history, events = chunks.get(_HISTORY_FILE), chunks.get(_EVENTS_FILE)
    summary = chunks.get(_SUMMARY_FILE)
    exit_code = body.get("exitcode")
    is_number = isinstance(exit_code, int) and abs(exit_code) < 2**31  # it leaves as a GraphQL Int
    return StreamBody(
        history=_rows(history),
        events=_rows(events),
        history_end=_end(history),
        events_end=_end(events),
        console=chunks.get(CONSOLE_FILE),
        summary=_summary(summary.content[-1]) if summary and summary.content else None,
        is_preempting=body.get("preempting") is True,
        is_complete=body.get("complete") is True,
        exit_code=int(exit_code) if is_number and exit_code is not None else 0,
    )


def _chunk(name: str, value: object) -> Chunk:
    offset = value.get("offset", 0) if isinstance(value, dict) else None
    content = (value.get("content") or []) if isinstance(value, dict) else None
    if not isinstance(offset, int) or isinstance(offset, bool) or not isinstance(content, list):
        raise ProtocolError(f"file_stream: {name}: must have a whole offset and a list of content")
    if not 0 <= offset <= MAX_LINE - len(content):
        raise ProtocolError(f"file_stream: {name}: offset {offset} is out of range")
    if content and set(map(type, content)) != {str}:
        raise ProtocolError(f"file_stream: {name}: content must be a list of texts")
    return Chunk(offset, tuple(content))


def _end(chunk: Chunk | None) -> int:
    return chunk.offset + len(chunk.content) if chunk is not None and chunk.content else 0


def _rows(chunk: Chunk | None) -> tuple[Row, ...]:
    if chunk is None:
        return ()
    rows = (_row(line, text) for line, text in enumerate(chunk.content, start=chunk.offset))
    return tuple(row for row in rows if row is not None)


def _row(line: int, text: str) -> Row | None:
    """Parse one row; None if it is no JSON object (refusing would end the run's upload for good).

    The text is kept as it came unless it has NaN or Infinity, which JSON lacks.
    """
    try:
        values, is_strict = load_quickly(text)
    except ValueError:
        return None
    if not isinstance(values, dict):
        return None
    step = values.get("_step")
    if type(step) is not int:
        step = int(step) if isinstance(step, float) and step.is_integer() else line
    if not -MAX_INT <= step <= MAX_INT:
        step = line
    if is_strict:
        return Row(line, step, text, values)
    is_loose = "NaN" in text or "Infinity" in text
    return Row(line, step, strict_json(values) if is_loose else clean(text), values)


def _summary(text: str) -> str | None:
    try:
        values, is_strict = load_quickly(text)
        if is_strict:
            return text if isinstance(values, dict) else None
        return strict_json(values) if isinstance(values, dict) else None
    except ValueError:
        return None
