"""What the service writes to stderr: lines for people, or JSON for machines; never a secret."""

import json
import logging
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime

__all__ = ["configure_logs", "request_id_in_logs"]

_request_id: ContextVar[str | None] = ContextVar("sweepd_request_id", default=None)

#: Fields beside time, level and message that a line of JSON may have.
_FIELDS = ("method", "path", "status", "ms", "client", "run")

#: What must never stand in a log, whoever wrote it there: a last line of defence.
_SECRETS = re.compile(
    r"""(signature=)[\w%=-]+ | (/login/)[\w-]{8,} | (\b(?:Basic|Bearer)\s+)[\w.+/=-]{8,}
    | (sweepd_session=)[\w-]+ | (x-sweepd-lease["']?\s*[:=]\s*["']?[^;\s]*;\d+;)[\w-]+""",
    re.VERBOSE | re.IGNORECASE,
)

_LONGEST = 16_384  # characters of a message and of a traceback: what came in may be in them


@contextmanager
def request_id_in_logs(request_id: str) -> Iterator[None]:
    """Name a request in every line that is written on its behalf."""
    token = _request_id.set(request_id)
    try:
        yield
    finally:
        _request_id.reset(token)


def configure_logs(*, is_json: bool = False, level: str = "info") -> None:
    """Write the service's log to stderr from now on.

    Args:
        is_json: a JSON object a line instead of text.
        level: the least grave that is written: debug, info, warning, error.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json() if is_json else _Human())
    for name, least in (("sweepd", level.upper()), ("uvicorn", "WARNING")):
        logger = logging.getLogger(name)
        logger.handlers[:] = [handler]
        logger.setLevel(least)
        logger.propagate = False


def _cut(text: str) -> str:
    """Return a text without its middle, if it is too long for a log."""
    if len(text) <= _LONGEST:
        return text
    half = _LONGEST // 2
    return f"{text[:half]} … {len(text) - 2 * half} characters left out … {text[-half:]}"


def _without_secrets(text: str) -> str:
    return _SECRETS.sub(lambda found: f"{next(filter(None, found.groups()))}***", text)


class _Human(logging.Formatter):
    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(message)s", "%Y-%m-%d %H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        text = _cut(super().format(record))
        request_id = _request_id.get()
        mark = f" [{request_id}]" if request_id and f"[{request_id}]" not in text else ""
        return _without_secrets(text + mark)


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC)
        line = {
            "time": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _cut(record.getMessage()),
            "request": _request_id.get(),
        }
        line |= {name: getattr(record, name, None) for name in _FIELDS}
        if record.exc_info:
            line["exception"] = _cut(self.formatException(record.exc_info))
        kept = {name: value for name, value in line.items() if value is not None}
        return _without_secrets(json.dumps(kept, ensure_ascii=False, default=str))
