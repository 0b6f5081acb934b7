"""Statements of the hot path: written in SQLAlchemy, compiled once, run by SQLite's own module.

SQLAlchemy's way to run a statement costs ten times what SQLite needs for a point lookup. Every
statement that runs at each request goes this way; all others go through `tx.conn`.
"""

from collections import namedtuple
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from sqlalchemy import ClauseElement
from sqlalchemy.dialects import sqlite

from sweepd.store.tx import Tx

__all__ = ["Prepared"]


class Prepared:
    """One statement whose `bindparam`s are given at each run. Rows are tuples of plain values.

    Beside an IN with a list of its own, each `bindparam` needs None for a default.
    """

    def __init__(self, statement: ClauseElement) -> None:
        self._statement = statement

    def rows(self, tx: Tx, **values: Any) -> list[tuple[Any, ...]]:
        """Return every row."""
        return tx.raw.execute(self._text, self._given | values).fetchall()

    def row(self, tx: Tx, **values: Any) -> tuple[Any, ...] | None:
        """Return the first row, None if there is none."""
        found = self.rows(tx, **values)
        return found[0] if found else None

    def one(self, tx: Tx, **values: Any) -> Any:
        """Return the first row with its columns by their names, None if there is none."""
        found = self.row(tx, **values)
        return None if found is None else self._named(*found)

    def add(self, tx: Tx, **values: Any) -> int:
        """Insert a row into a table with an `id` counted by the database; return that id."""
        added = tx.raw.execute(self._text, self._given | values).lastrowid
        assert added is not None, "a row was inserted"
        return added

    def run(self, tx: Tx, **values: Any) -> int:
        """Run a change; return how many rows it touched."""
        return tx.raw.execute(self._text, self._given | values).rowcount

    def run_each(self, tx: Tx, many: Sequence[Mapping[str, Any]]) -> None:
        """Run a change once for each set of values, in their order."""
        given = self._given
        tx.raw.executemany(self._text, [{**given, **values} for values in many] if given else many)

    @cached_property
    def _compiled(self) -> Any:
        dialect = sqlite.dialect(paramstyle="named")
        return self._statement.compile(dialect=dialect, compile_kwargs=_LISTS)

    @cached_property
    def _text(self) -> str:
        return str(self._compiled)

    @cached_property
    def _named(self) -> Any:
        return namedtuple(
            "_named", [column.name for column in self._compiled.statement.selected_columns]
        )

    @cached_property
    def _given(self) -> dict[str, Any]:
        """Return the values that stand in the statement itself."""
        return {name: value for name, value in self._compiled.params.items() if value is not None}


_LISTS: Mapping[str, Any] = {"render_postcompile": True}  # the values of IN, which are fixed
