"""SQL functions that the store gives each of its SQLite connections."""

from functools import lru_cache
from sqlite3 import Connection

from sweepd.errors import ProtocolError
from sweepd.store.deadlines import is_late
from sweepd.store.regexp import Regexp

__all__ = ["MATCHES", "register_functions"]

MATCHES = "sweepd_matches"  # SQLAlchemy registers a REGEXP of its own, which has no guard


def register_functions(dbapi_connection: Connection) -> None:
    """Give a connection `sweepd_matches(pattern, value)`, see `sweepd.store.regexp`."""
    dbapi_connection.create_function(MATCHES, 2, _matches, deterministic=True)


def _matches(pattern: str, value: object) -> bool:
    """Return whether a text value holds a match; any other value does not."""
    if is_late():
        raise TimeoutError  # which ends the statement
    return isinstance(value, str) and _compiled(pattern).search(value)


@lru_cache(maxsize=64)
def _compiled(pattern: str) -> Regexp:
    try:
        return Regexp(pattern)
    except ProtocolError:  # refused where the filter was read; nothing matches what got past that
        return Regexp("[^\\s\\S]")
