"""What a use case is given: a connection inside a transaction, the time, and a source of ids."""

import secrets
import string
from dataclasses import dataclass, field
from random import Random, SystemRandom
from typing import Any

from sqlalchemy import Connection, Table, insert

__all__ = ["Tx"]

_LOWER = string.ascii_lowercase + string.digits
_ALNUM = string.ascii_letters + string.digits


@dataclass(frozen=True)
class Tx:
    """One use case's transaction. `now` is unix seconds and does not move while it runs."""

    conn: Connection
    now: float
    random: Random = field(default_factory=SystemRandom)

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
        return "".join(secrets.choice(_ALNUM) for _ in range(n))
