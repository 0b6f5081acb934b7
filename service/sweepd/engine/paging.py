"""Cursors: opaque texts that a client sends back to go on after an item."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from sweepd.engine.views import Page
from sweepd.errors import ProtocolError

__all__ = ["MAX_FIRST", "check_first", "encode", "page", "read", "read_int"]

T = TypeVar("T")

MAX_FIRST = 10_000  # items of one page


def check_first(first: int) -> int:
    """Return a page's size, at most `MAX_FIRST`; raise ProtocolError if it is negative."""
    if first < 0:
        raise ProtocolError(f"first: must not be negative, is {first}")
    return min(first, MAX_FIRST)


def encode(value: object) -> str:
    """Return a cursor that holds a JSON-able value."""
    text = json.dumps(value, separators=(",", ":"))
    return urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


def read(cursor: str) -> Any:
    """Return the value that a cursor holds; raise ProtocolError if it is not one of ours."""
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        return json.loads(urlsafe_b64decode(padded))
    except (ValueError, RecursionError):
        raise ProtocolError(f"after: {cursor[:100]!r} is not a cursor of this listing") from None


def read_int(cursor: str) -> int:
    """Return the whole number that a cursor holds; raise ProtocolError otherwise."""
    value = read(cursor)
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) >= 2**63:
        raise ProtocolError(f"after: {cursor[:100]!r} is not a cursor of this listing")
    return value


def page(
    items: Sequence[T], first: int, *, cursor: Callable[[T], object], total: int | None = None
) -> Page[T]:
    """Return the first `first` of `items` as a page; one more item means that there is a next."""
    size = check_first(first)
    shown = tuple(items[:size])
    return Page(
        items=shown,
        cursors=tuple(encode(cursor(item)) for item in shown),
        has_next=len(items) > size,
        total=total,
    )
