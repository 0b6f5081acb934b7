"""Statements of the hot path: written in SQLAlchemy, compiled once, run by SQLite's own module.

SQLAlchemy's way to run a statement costs ten times what SQLite needs for a point lookup. Every
statement that runs at each request goes this way; all others go through `tx.conn`.
"""

from collections import namedtuple
from collections.abc import Mapping, Sequence
from functools import cached_property, lru_cache
from typing import Any

from sqlalchemy import BindParameter, ClauseElement, Table, and_, bindparam, types, update
from sqlalchemy.dialects import sqlite
from sqlalchemy.sql import visitors

from sweepd.store.tx import Tx

__all__ = ["Prepared", "change_rows"]


class Prepared:
    """One statement whose `bindparam`s are given at each run. Rows are tuples of plain values."""

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

    def all(self, tx: Tx, **values: Any) -> list[Any]:
        """Return every row with its columns by their names."""
        return [self._named(*row) for row in self.rows(tx, **values)]

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
        statement: Any = visitors.replacement_traverse(self._statement, {}, _written_out)
        return statement.compile(dialect=dialect, compile_kwargs=_LISTS)

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


def _written_out(element: Any, **kwargs: Any) -> Any:
    """Return a constant of a statement as one that stands in its text; None for anything else.

    Where a parameter decides whether a partial index can be used, SQLite plans the statement anew
    at each run, which takes ten times as long as to run it.
    """
    if not isinstance(element, BindParameter) or element.expanding:
        return None
    if element.required:  # its value comes at each run
        return bindparam(element.key, None, type_=element.type)
    is_constant = element.unique and isinstance(element.value, str | int)
    if is_constant and not isinstance(element.type, types.NullType):  # such have no text
        return element.render_literal_execute()
    return None


def change_rows(tx: Tx, table: Table, values: Mapping[str, Any], /, **where: Any) -> int:
    """Set columns of the rows that are found by the values of others; return how many those were.

    Args:
        tx: the transaction.
        table: whose rows.
        values: plain ones by column, no SQL; at least one.
        where: likewise, none of them None.
    """
    statement = _changing(table, tuple(values), tuple(where))
    new = {f"new_{name}": value for name, value in values.items()}
    return statement.run(tx, **new, **{f"at_{name}": value for name, value in where.items()})


@lru_cache(maxsize=1_024)
def _changing(table: Table, columns: Sequence[str], where: Sequence[str]) -> Prepared:
    found = and_(*(table.c[name] == bindparam(f"at_{name}") for name in where))
    new: Any = {name: bindparam(f"new_{name}") for name in columns}
    return Prepared(update(table).where(found).values(new))


_LISTS: Mapping[str, Any] = {"render_postcompile": True}  # the values of IN, which are fixed
