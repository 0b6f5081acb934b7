"""The fields that filters and orders may name, as SQL over a run's row or over values set apart.

A field of a JSON document is dear: SQLite parses the whole text of every run for it. Values that
are often asked for therefore stand once more in `run_value`, see `run_values`; they come from the
very expressions that are given here, so both say the same.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Any

from sqlalchemy import ColumnElement, and_, case, func, literal, type_coerce
from sqlalchemy.sql.selectable import FromClause
from sqlalchemy.types import NullType

from sweepd.engine.texts import clean
from sweepd.errors import ProtocolError
from sweepd.store import tables as t
from sweepd.store.run_tables import run_value

__all__ = ["Clause", "Field", "Fields", "Value", "document_field", "sorted_value"]

Clause = ColumnElement[bool]
Value = ColumnElement[Any]

_MAX_PARTS = 4  # dots in a key up to which every way to split it is tried
_MAX_DOTS = 32
#: Looks into documents that one query may take: SQLite holds a copy of the document for each.
_MAX_LOOKS = 256
#: Of a key of the summary, for each way to split it at its dots: to compare it, and to sort by it.
_LOOKS_TO_FILTER, _LOOKS_TO_SORT = 4, 12

_TEXTS: Mapping[str, Value] = {
    "name": t.run.c.name,
    "display_name": t.run.c.display_name,
    "displayName": t.run.c.display_name,
    "state": t.run.c.state,
    "sweep": t.sweep.c.name,
    "group": t.run.c.run_group,
    "job_type": t.run.c.job_type,
    "jobType": t.run.c.job_type,
    "username": t.user.c.name,
    "user": t.user.c.name,
    "host": t.run.c.host,
    "program": t.run.c.program,
    "commit": t.run.c.git_commit,
    "repo": t.run.c.repo,
    "description": t.run.c.description,
    "notes": t.run.c.notes,
}
#: What a run must be joined with for these, from outside: each has one row at the most.
_OTHERS: Mapping[str, tuple[FromClause, Clause]] = {
    "sweep": (t.sweep, t.sweep.c.id == t.run.c.sweep_id),
    "username": (t.user, t.user.c.id == t.run.c.user_id),
    "user": (t.user, t.user.c.id == t.run.c.user_id),
}
_HEARD = func.coalesce(t.run.c.heartbeat_at, t.run.c.created_at)
_TIMES: Mapping[str, Value] = {
    "created_at": t.run.c.created_at,
    "createdAt": t.run.c.created_at,
    "heartbeat_at": t.run.c.heartbeat_at,
    "heartbeatAt": t.run.c.heartbeat_at,
    "updated_at": _HEARD,
    "updatedAt": _HEARD,
}
_NUMBERS: Mapping[str, Value] = {
    # Seconds from its start to its end, or to its last sign of life.
    "duration": func.coalesce(t.run.c.ended_at, t.run.c.heartbeat_at) - t.run.c.started_at,
}
_ALWAYS_THERE = frozenset(
    {"name", "display_name", "displayName", "state", "created_at", "createdAt"}
)
_DOCUMENTS = ("config", "summary_metrics", "keys_info.keys")

#: What define_metric(summary=…) makes of a metric: an object with some of these. The one that
#: counts comes first; going up, a run's lowest value speaks for it, going down its highest.
_SUMMARIES_UP = ("best", "min", "last", "mean", "first", "max")
_SUMMARIES_DOWN = ("best", "max", "last", "mean", "first", "min")


@dataclass(frozen=True)
class Field:
    """A field as SQL: its value, and its type in SQLite's JSON words; NULL where it is absent."""

    value: Value
    kind: Value
    is_time: bool = False
    is_list: bool = False
    is_always_there: bool = False
    column: int | None = None  # of `run_value`, if that is where the value stands


class Fields:
    """Finds the fields of one query, and notes what the query needs for them.

    Attributes:
        joins: tables to join to the run from outside, with their conditions.
        wanted: names of the JSON fields that were asked for, as `run_values` keeps them.
    """

    def __init__(self, columns: Mapping[str, int] | None = None) -> None:
        """Take values from these columns of `run_value`, by their names, where there is one."""
        self._columns = columns or {}
        self._joined: dict[int, FromClause] = {}
        self.joins: list[tuple[FromClause, Clause]] = []
        self.wanted: dict[str, None] = {}
        self._n_looks = 0

    def find(self, name: str) -> Field:
        """Return the field of that name; raise ProtocolError with the known ones."""
        plain = self._plain(name)
        if plain is not None:
            return plain
        self._count(name, _LOOKS_TO_FILTER)
        field = document_field(name)
        return self._kept(name, field) if _is_kept(name) else field

    def sorted_by(self, name: str, *, is_descending: bool) -> Field:
        """Return the field of that name as runs are sorted by it; raise as `find` does."""
        plain = self._plain(name)
        if plain is not None:
            return plain
        self._count(name, _LOOKS_TO_SORT)
        value = sorted_value(name, is_descending=is_descending)
        field = Field(value, func.typeof(value))
        order = f"{'-' if is_descending else '+'}{name}"
        return self._kept(order, field) if _is_kept(name) else field

    def _plain(self, name: str) -> Field | None:
        other = _OTHERS.get(name)
        if other is not None and all(table is not other[0] for table, _ in self.joins):
            self.joins.append(other)
        return _plain_field(name)

    def _count(self, name: str, of_summary: int) -> None:
        """Refuse a query before it looks too often into the runs' documents."""
        tail = name.removeprefix("config.").removeprefix("summary_metrics.")
        n_cuts = min(tail.count("."), _MAX_DOTS)
        n_splits = 2**n_cuts if n_cuts <= _MAX_PARTS else n_cuts + 2
        self._n_looks += n_splits * (of_summary if name.startswith("summary_metrics.") else 1)
        if self._n_looks > _MAX_LOOKS:
            raise ProtocolError("filters: too many keys of config and summary_metrics in one query")

    def _kept(self, name: str, field: Field) -> Field:
        """Return a field where its values are kept, or as it is."""
        self.wanted[name] = None
        column = self._columns.get(name)
        if column is None:
            return field
        table = self._joined.get(column)
        if table is None:
            table = self._joined[column] = run_value.alias(f"value_{column}")
            on = and_(table.c.column_id == column, table.c.run_id == t.run.c.id)
            self.joins.append((table, on))
        return Field(type_coerce(table.c.value, NullType()), table.c.kind, column=column)


def document_field(name: str, *, summaries: Sequence[str] = _SUMMARIES_UP) -> Field:
    """Return the field of that name in one of a run's JSON documents.

    Raises:
        ProtocolError: with the known fields, if there is no such document.
    """
    for document in _DOCUMENTS:
        tail = name.removeprefix(f"{document}.")
        if tail not in ("", name):
            return _document_field(document, tail, summaries)
    names = [*_TEXTS, *_TIMES, *_NUMBERS, "tags", *(f"{one}.<key>" for one in _DOCUMENTS)]
    raise ProtocolError(f"filters: unknown field {name[:60]!r}; known: {', '.join(names)}")


def sorted_value(name: str, *, is_descending: bool) -> Value:
    """Return what a run is sorted by for a field of its documents; NULL where that is no value."""
    summaries = _SUMMARIES_DOWN if is_descending else _SUMMARIES_UP
    field = document_field(name, summaries=summaries)
    if not name.startswith("summary_metrics."):
        return field.value
    not_a_number = field.value.in_(["NaN", "Infinity", "-Infinity"])
    return case((and_(field.kind == "text", not_a_number), None), else_=field.value)


def _plain_field(name: str) -> Field | None:
    """Return the field of a column of the run, None if there is none of that name."""
    is_there = name in _ALWAYS_THERE
    if name in _TEXTS:
        column = _TEXTS[name]
        return Field(column, case((column.is_not(None), "text")), is_always_there=is_there)
    if name in _TIMES:
        column = _TIMES[name]
        kind = case((column.is_not(None), "real"))
        return Field(column, kind, is_time=True, is_always_there=is_there)
    if name in _NUMBERS:
        return Field(_NUMBERS[name], case((_NUMBERS[name].is_not(None), "real")))
    if name == "tags":
        return Field(t.run.c.tags, literal("array"), is_list=True)
    return None


def _is_kept(name: str) -> bool:
    """Return whether values of a field may be set apart: which keys were logged changes often."""
    return not name.startswith("keys_info.")


def _document_field(document: str, tail: str, summaries: Sequence[str]) -> Field:
    if document == "keys_info.keys":
        return _json_field(t.run.c.history_keys, [["keys", tail]])
    splits = _splits(tail)
    if document == "config":
        return _json_field(t.run.c.config, [_config_path(split) for split in splits])
    return _json_field(t.run.c.summary, splits, summaries)


def _splits(tail: str) -> list[list[str]]:
    """Return the ways to read a dotted key, the whole as one key first."""
    if tail.count(".") > _MAX_DOTS:
        raise ProtocolError(f"filters: a key with more than {_MAX_DOTS} dots: {tail[:60]!r}")
    parts = tail.split(".")
    cuts = range(1, len(parts))
    n_cuts = [0, 1, len(cuts)] if len(cuts) > _MAX_PARTS else list(range(len(cuts) + 1))
    splits = []
    for n in n_cuts:
        for chosen in combinations(cuts, n):
            edges = [0, *chosen, len(parts)]
            ranges = pairwise(edges)
            splits.append([".".join(parts[start:end]) for start, end in ranges])
    return splits


def _config_path(split: Sequence[str]) -> list[str]:
    """Return where a parameter is: under its own name in an object with `value`."""
    first, *rest = split
    return [first, *rest] if rest[:1] == ["value"] else [first, "value", *rest]


def _json_field(
    column: Value, paths: Sequence[Sequence[str]], summaries: Sequence[str] = ()
) -> Field:
    """Return the value at the first of `paths` that a JSON column has."""
    values: list[tuple[Clause, Value]] = []
    kinds: list[Value] = []
    for path in map(_path, paths):
        kind: Value = func.json_type(column, path, type_=NullType())
        value: Value = func.json_extract(column, path, type_=NullType())
        if summaries:
            inner = [func.json_extract(column, f'{path}."{name}"') for name in summaries]
            unwrapped = func.coalesce(*inner, type_=NullType())
            value = case((kind == "object", unwrapped), else_=value)
            kind = case((kind == "object", func.typeof(unwrapped)), else_=kind)
        values.append((kind.is_not(None), value))
        kinds.append(kind)
    first_kind = kinds[0] if len(kinds) == 1 else func.coalesce(*kinds)
    first_value = values[0][1] if len(values) == 1 else case(*values)
    return Field(first_value, first_kind)


def _path(keys: Sequence[str]) -> str:
    """Return a JSON path of quoted keys, to be bound as a parameter."""
    for key in keys:
        if re.search(r'["\\\x00-\x1f]', key):
            raise ProtocolError(f"filters: a key with a quote or a backslash: {key[:60]!r}")
    return "$" + "".join(f'."{clean(key)}"' for key in keys)
