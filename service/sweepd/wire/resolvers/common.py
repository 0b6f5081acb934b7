"""What resolvers share: plain fields, ids, times, connections."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from sweepd.engine.texts import clean_all, load
from sweepd.engine.views import Page
from sweepd.errors import ProtocolError
from sweepd.wire.context import Info
from sweepd.wire.ids import wire_id

__all__ = [
    "EMPTY",
    "Named",
    "at_most",
    "attribute",
    "connection",
    "constant",
    "ident",
    "page_size",
    "read_list",
    "read_object",
]

T = TypeVar("T")

#: A page of nothing.
EMPTY: Page[Any] = Page(items=(), cursors=(), has_next=False, total=0)

_MAX_PAGE = 1_000
_MAX_MEMBERS = 10_000


@dataclass(frozen=True)
class Named:
    """An entity or a user of whom only the name is known here."""

    name: str


def attribute(name: str) -> Callable[..., Any]:
    """Return a resolver that answers with an attribute of its source."""

    def resolve(source: Any, info: Info, **arguments: Any) -> Any:
        return getattr(source, name)

    return resolve


def constant(value: Any) -> Callable[..., Any]:
    """Return a resolver that always answers the same."""

    def resolve(source: Any, info: Info, **arguments: Any) -> Any:
        return value

    return resolve


def ident(kind: str) -> Callable[..., str]:
    """Return a resolver of the opaque id of its source."""

    def resolve(source: Any, info: Info) -> str:
        return wire_id(kind, source.id)

    return resolve


def connection(page: Page[Any]) -> Mapping[str, Any]:
    """Return a page in the shape of a connection."""
    return {
        "edges": [
            {"node": item, "cursor": cursor}
            for item, cursor in zip(page.items, page.cursors, strict=True)
        ],
        "pageInfo": {"endCursor": page.end, "hasNextPage": page.has_next},
        "totalCount": page.total,
    }


def page_size(first: int | None, default: int = 50) -> int:
    """Return how many items a page has; more than a thousand are never read at once.

    Raises:
        ProtocolError: if a negative number was asked for.
    """
    if first is not None and first < 0:
        raise ProtocolError(f"first must be at least 0, not {first}")
    return min(default if first is None else first, _MAX_PAGE)


def at_most(members: Sequence[T], what: str) -> Sequence[T]:
    """Return a list from a client that is not too long to work through in one go.

    Raises:
        ProtocolError: if it has more than ten thousand members; `what` names them.
    """
    if len(members) > _MAX_MEMBERS:
        raise ProtocolError(f"{len(members)} {what} at once; at most {_MAX_MEMBERS}")
    return members


def read_object(text: str | None, what: str) -> dict[str, Any]:
    """Return the JSON object in `text`; nothing is an empty one.

    Raises:
        ProtocolError: if it is anything else; `what` names the argument.
    """
    if not text:
        return {}
    try:
        value = load(text)
    except ValueError as error:
        raise ProtocolError(f"{what} is not JSON: {error}") from None
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ProtocolError(f"{what} must be a JSON object, not {text:.80}")
    found: dict[str, Any] = clean_all(value)
    return found


def read_list(text: str, what: str) -> list[dict[str, Any]]:
    """Return the JSON list of objects in `text`; one object alone is a list of one.

    Raises:
        ProtocolError: if it is anything else; `what` names the argument.
    """
    try:
        value = load(text)
    except ValueError as error:
        raise ProtocolError(f"{what} is not JSON: {error}") from None
    found = [value] if isinstance(value, dict) else value
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise ProtocolError(f"{what} must be a JSON list of objects, not {text:.80}")
    cleaned: list[dict[str, Any]] = clean_all(found)
    return cleaned
