"""What a use case is given: a connection inside a transaction, the time, and a source of ids."""

import sqlite3
import string
from collections.abc import MutableMapping
from dataclasses import dataclass, field
from random import Random, SystemRandom
from typing import Any, cast

from sqlalchemy import Connection, Table, insert

__all__ = ["Tx"]

_LOWER = string.ascii_lowercase + string.digits
_ALNUM = string.ascii_letters + string.digits
_SYSTEM = SystemRandom()


@dataclass(frozen=True)
class Tx:
    """One use case's transaction.

    Attributes:
        conn: the connection, for all but the hot path's statements, see `sweepd.store.prepared`.
        now: unix seconds; does not move while the use case runs.
        random: a source of chance.
        memory: what use cases keep from one transaction of the writer to the next, to save work.
            It may be older or newer than the rows (another process wrote, a transaction was rolled
            back) and may vanish: what is found here must be checked against a row before use.
    """

    conn: Connection
    now: float
    random: Random = _SYSTEM
    memory: MutableMapping[str, Any] = field(default_factory=dict)
    _announced: list[bool] = field(default_factory=list)

    @property
    def raw(self) -> sqlite3.Connection:
        """Return SQLite's own connection, inside the same transaction."""
        return cast(sqlite3.Connection, self.conn.connection.dbapi_connection)

    def announce(self) -> None:
        """Have the open pages look again after the commit, though no event is recorded."""
        self._announced.append(True)

    def insert(self, table: Table, /, **values: Any) -> int:
        """Insert a row into a table with an `id` counted by the database; return that id."""
        result = self.conn.execute(insert(table), values)
        key = result.inserted_primary_key
        assert key is not None, "one row was inserted"
        return int(key[0])

    def new_id(self, n: int = 8) -> str:
        """Return a fresh id of `n` lower-case letters and digits, the first a letter.

        A letter first, since an id like `12345678` or `1e234567` would be read as a number in YAML.
        """
        first = self.random.choice(string.ascii_lowercase)
        return first + "".join(self.random.choices(_LOWER, k=n - 1))

    def new_token(self, n: int = 43) -> str:
        """Return a secret of `n` letters and digits, always from the system's own generator."""
        number, letters = _SYSTEM.randrange(len(_ALNUM) ** n), []
        for _ in range(n):  # one look at the generator, not one for each letter
            number, letter = divmod(number, len(_ALNUM))
            letters.append(_ALNUM[letter])
        return "".join(letters)
