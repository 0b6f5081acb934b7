"""The public API's filters and orders on runs, compiled to SQL.

A filter is Mongo-like JSON: `{"$or": [{"state": "failed"}, {"summary_metrics.loss": {"$gt": 1}}]}`.
What comes out is SQLAlchemy clauses over `run`, `sweep` and `user`; every value from outside is a
bound parameter, JSON paths included. A query that uses them joins the three tables.

Values compare within their type, as in Mongo: a number with numbers, a text with texts. A run that
lacks the field fails every comparison but `$ne`, `$nin`, `$exists: false` and equality with null.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from itertools import combinations, pairwise
from typing import Any

from sqlalchemy import (
    Boolean,
    ColumnElement,
    and_,
    case,
    false,
    func,
    literal,
    not_,
    or_,
    select,
    true,
)
from sqlalchemy.types import NullType

from sweepd.engine.texts import MAX_INT, clean
from sweepd.errors import ProtocolError
from sweepd.store import tables as t
from sweepd.store.functions import MATCHES
from sweepd.store.regexp import Regexp

__all__ = ["Columns", "Ordering", "compile_filters", "compile_order", "compile_over"]

_Clause = ColumnElement[bool]
_Value = ColumnElement[Any]

_MAX_DEPTH = 20
_MAX_TERMS = 1_000
_MAX_PARTS = 4  # dots in a key up to which every way to split it is tried

_TEXTS: Mapping[str, _Value] = {
    "name": t.run.c.name,
    "display_name": t.run.c.display_name,
    "displayName": t.run.c.display_name,
    "state": t.run.c.state,
    "sweep": t.sweep.c.name,
    "group": t.run.c.run_group,
    "job_type": t.run.c.job_type,
    "jobType": t.run.c.job_type,
    "username": t.user.c.name,
}
_TIMES: Mapping[str, _Value] = {
    "created_at": t.run.c.created_at,
    "createdAt": t.run.c.created_at,
    "heartbeat_at": t.run.c.heartbeat_at,
    "heartbeatAt": t.run.c.heartbeat_at,
}
_DOCUMENTS = ("config", "summary_metrics", "keys_info.keys")

#: What define_metric(summary=…) makes of a metric: an object with some of these. The one that
#: counts comes first; going up, a run's lowest value speaks for it, going down its highest.
_SUMMARIES_UP = ("best", "min", "last", "mean", "first", "max")
_SUMMARIES_DOWN = ("best", "max", "last", "mean", "first", "min")


@dataclass(frozen=True)
class Ordering:
    """One key to sort by. Runs whose `value` is NULL come last in both directions."""

    value: ColumnElement[Any]
    is_descending: bool


@dataclass(frozen=True)
class _Field:
    """A field as SQL: its value, and its type in SQLite's JSON words; NULL where it is absent."""

    value: _Value
    kind: _Value
    is_time: bool = False
    is_list: bool = False


def compile_filters(filters: Mapping[str, Any] | None) -> _Clause:
    """Return the clause that a run must fulfil; none or `{}` lets every run pass.

    Raises:
        ProtocolError: naming the unknown operator or field, or the value that does not fit.
    """
    return _Compiler().document({} if filters is None else filters, depth=0)


@dataclass(frozen=True, kw_only=True)
class Columns:
    """What filters on other rows than runs may name, each by what it holds; lists are of texts."""

    texts: Mapping[str, ColumnElement[Any]] = field(default_factory=dict)
    numbers: Mapping[str, ColumnElement[Any]] = field(default_factory=dict)
    times: Mapping[str, ColumnElement[Any]] = field(default_factory=dict)
    lists: Mapping[str, ColumnElement[Any]] = field(default_factory=dict)


def compile_over(filters: Mapping[str, Any] | None, columns: Columns) -> _Clause:
    """Return the clause for rows other than runs; raise as `compile_filters` does."""
    return _Compiler(partial(_column_field, columns)).document(filters or {}, depth=0)


def compile_order(order: str | None) -> list[Ordering]:
    """Return what `order` sorts by: fields with `+` or `-` in front, parted by commas.

    A metric that is missing, NaN or infinite gives NULL. Ties are the caller's to break.

    Raises:
        ProtocolError: naming the unknown field.
    """
    orderings = []
    for part in (order or "").split(","):
        name = part.strip()
        if not name:
            continue
        is_descending = name.startswith("-")
        name = name.lstrip("+-")
        summaries = _SUMMARIES_DOWN if is_descending else _SUMMARIES_UP
        field = _field(name, summaries=summaries)
        value = field.value
        if name.startswith("summary_metrics."):
            not_a_number = value.in_(["NaN", "Infinity", "-Infinity"])
            value = case((and_(field.kind == "text", not_a_number), None), else_=value)
        orderings.append(Ordering(value, is_descending))
    return orderings or [Ordering(t.run.c.created_at, is_descending=False)]


class _Compiler:
    """Walks one filter; counts its terms, so that a huge one is refused and not run."""

    def __init__(self, field_of: "Callable[[str], _Field] | None" = None) -> None:
        self._n_terms = 0
        self._field_of = field_of or _field

    def document(self, filters: object, *, depth: int) -> _Clause:
        """Compile `{…}`: all of its members must hold."""
        if not isinstance(filters, Mapping):
            raise ProtocolError(f"filters: must be an object, not {_short(filters)}")
        if depth > _MAX_DEPTH:
            raise ProtocolError(f"filters: nested deeper than {_MAX_DEPTH}")
        return _all(self._member(key, value, depth=depth) for key, value in filters.items())

    def _member(self, key: str, value: object, *, depth: int) -> _Clause:
        self._n_terms += 1
        if self._n_terms > _MAX_TERMS:
            raise ProtocolError(f"filters: more than {_MAX_TERMS} terms")
        if key in ("$and", "$or", "$nor"):
            if not isinstance(value, Sequence) or isinstance(value, str):
                raise ProtocolError(f"filters: {key} takes a list, not {_short(value)}")
            clauses = [self.document(member, depth=depth + 1) for member in value]
            if key == "$and":
                return _all(clauses)
            return _any(clauses) if key == "$or" else not_(_any(clauses))
        if key == "$not":
            return not_(self.document(value, depth=depth + 1))
        if key.startswith("$"):
            raise ProtocolError(f"filters: unknown operator {key!r}; known: {_known_operators()}")
        return self._condition(self._field_of(key), value, depth=depth)

    def _condition(self, field: _Field, value: object, *, depth: int) -> _Clause:
        """Compile what stands at a field: operators, or a bare value that it must equal."""
        is_operators = isinstance(value, Mapping) and any(str(key).startswith("$") for key in value)
        if not is_operators:
            return _equals(field, value)
        assert isinstance(value, Mapping)
        if depth > _MAX_DEPTH:
            raise ProtocolError(f"filters: nested deeper than {_MAX_DEPTH}")
        clauses = []
        for operator, operand in value.items():
            self._n_terms += 1
            if operator == "$not":
                inner = operand if isinstance(operand, Mapping) else {"$eq": operand}
                clauses.append(not_(self._condition(field, inner, depth=depth + 1)))
            elif operator == "$options":
                if "$regex" not in value:
                    raise ProtocolError("filters: $options stands only beside $regex")
            elif operator == "$regex":
                clauses.append(_matches(field, operand, value.get("$options", "")))
            elif operator in _OPERATORS:
                clauses.append(_OPERATORS[operator](field, operand))
            else:
                raise ProtocolError(
                    f"filters: unknown operator {operator!r}; known: {_known_operators()}"
                )
        return _all(clauses)


def _known_operators() -> str:
    return ", ".join(["$and", "$or", "$nor", "$not", "$regex", *_OPERATORS])


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"


def _all(clauses: Iterable[_Clause]) -> _Clause:
    return and_(true(), *clauses)


def _any(clauses: Iterable[_Clause]) -> _Clause:
    return or_(false(), *clauses)


# Comparisons. Each gives true or false, never NULL, so that $not and $nor are plain negations.


def _equals(field: _Field, value: object) -> _Clause:
    if field.is_list:
        return _contains(field, value)
    if value is None:
        return func.coalesce(field.kind, "null") == "null"
    if field.is_time:
        return and_(field.value.is_not(None), field.value == _time(value))
    if isinstance(value, bool):
        return func.coalesce(field.kind, "") == ("true" if value else "false")
    if isinstance(value, int | float):
        return _typed(field, ("integer", "real"), field.value == _number(value))
    if isinstance(value, str):
        return _typed(field, ("text",), field.value == _text(value))
    raise ProtocolError(f"filters: cannot compare with {_short(value)}: give a single value")


def _contains(field: _Field, value: object) -> _Clause:
    """Return whether a list of texts has `value` in it, or all of a list's."""
    wanted = value if isinstance(value, list) else [value]
    members = func.json_each(field.value).table_valued("value")
    return _all(
        select(literal(1)).select_from(members).where(members.c.value == _text(item)).exists()
        for item in wanted
    )


def _compares(compare: Callable[[_Value, object], _Clause]) -> Callable[[_Field, object], _Clause]:
    def clause(field: _Field, value: object) -> _Clause:
        if field.is_list:
            raise ProtocolError("filters: tags have no order; use $in, $nin or a bare value")
        if field.is_time:
            return and_(field.value.is_not(None), compare(field.value, _time(value)))
        if isinstance(value, str):
            return _typed(field, ("text",), compare(field.value, _text(value)))
        if isinstance(value, int | float) and not isinstance(value, bool):
            kinds = ("integer", "real")
            return _typed(field, kinds, compare(field.value, _number(value)))
        raise ProtocolError(f"filters: {_short(value)} has no order; give a number or a text")

    return clause


def _is_in(field: _Field, values: object) -> _Clause:
    if not isinstance(values, list):
        raise ProtocolError(f"filters: $in and $nin take a list, not {_short(values)}")
    if len(values) > _MAX_TERMS:
        raise ProtocolError(f"filters: more than {_MAX_TERMS} values in one $in")
    texts = [_text(value) for value in values if isinstance(value, str)]
    if texts and len(texts) == len(values) and not (field.is_list or field.is_time):
        return _typed(field, ("text",), field.value.in_(texts))
    return _any(_equals(field, value) for value in values)


def _exists(field: _Field, value: object) -> _Clause:
    return field.kind.is_not(None) if value else field.kind.is_(None)


def _matches(field: _Field, pattern: object, options: object) -> _Clause:
    if not isinstance(pattern, str):
        raise ProtocolError(f"filters: $regex takes a text, not {_short(pattern)}")
    if options not in ("", "i"):
        raise ProtocolError(
            f"filters: of the $options only 'i' is supported, not {_short(options)}"
        )
    if options == "i" and not pattern.startswith("(?i)"):
        pattern = f"(?i){pattern}"
    Regexp(pattern)  # says in words what is wrong with it
    if field.is_list:
        members = func.json_each(field.value).table_valued("value")
        matching = _matching(_text(pattern), members.c.value)
        return select(literal(1)).select_from(members).where(matching).exists()
    return _typed(field, ("text",), _matching(_text(pattern), field.value))


def _matching(pattern: str, value: _Value) -> _Clause:
    clause: _Clause = getattr(func, MATCHES)(pattern, value, type_=Boolean())
    return clause


def _typed(field: _Field, kinds: Sequence[str], clause: _Clause) -> _Clause:
    """Return `clause`, false where the value is absent or of another type."""
    return and_(func.coalesce(field.kind, "").in_(kinds), clause)


_OPERATORS: Mapping[str, Callable[[_Field, object], _Clause]] = {
    "$eq": _equals,
    "$ne": lambda field, value: not_(_equals(field, value)),
    "$gt": _compares(lambda value, bound: value > bound),
    "$gte": _compares(lambda value, bound: value >= bound),
    "$lt": _compares(lambda value, bound: value < bound),
    "$lte": _compares(lambda value, bound: value <= bound),
    "$in": _is_in,
    "$nin": lambda field, value: not_(_is_in(field, value)),
    "$exists": _exists,
}


# Values from outside.


def _number(value: int | float) -> int | float:
    # SQLite's integers have 64 bits; beyond them a float is as near as it gets.
    if isinstance(value, int) and abs(value) > MAX_INT:
        try:
            return float(value)
        except OverflowError:
            raise ProtocolError(f"filters: {_short(value)} is too large a number") from None
    if value != value:
        raise ProtocolError("filters: nothing compares with NaN; to find it, compare with 'NaN'")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ProtocolError(f"filters: {_short(value)} is not a text")
    return clean(value)


def _time(value: object) -> float:
    """Return unix seconds of an ISO 8601 text (UTC unless it says otherwise) or a number."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(_number(value))
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value)
            zoned = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
            return zoned.timestamp()
        except (ValueError, OverflowError):
            pass
    raise ProtocolError(f"filters: {_short(value)} is not a time; give ISO 8601, like 2026-01-31")


# Fields.


def _field(name: str, *, summaries: Sequence[str] = _SUMMARIES_UP) -> _Field:
    """Return the field of that name; raise ProtocolError with the known ones."""
    if name in _TEXTS:
        column = _TEXTS[name]
        return _Field(column, case((column.is_not(None), "text")))
    if name in _TIMES:
        column = _TIMES[name]
        return _Field(column, case((column.is_not(None), "real")), is_time=True)
    if name == "tags":
        return _Field(t.run.c.tags, literal("array"), is_list=True)
    for document in _DOCUMENTS:
        tail = name.removeprefix(f"{document}.")
        if tail not in ("", name):
            return _document_field(document, tail, summaries)
    known = ", ".join([*_TEXTS, *_TIMES, "tags", *(f"{name}.<key>" for name in _DOCUMENTS)])
    raise ProtocolError(f"filters: unknown field {_short(name)}; known: {known}")


def _column_field(columns: Columns, name: str) -> _Field:
    if name in columns.lists:
        return _Field(columns.lists[name], literal("array"), is_list=True)
    kinds = {"text": columns.texts, "integer": columns.numbers, "real": columns.times}
    for kind, named in kinds.items():
        if name in named:
            column = named[name]
            return _Field(column, case((column.is_not(None), kind)), is_time=kind == "real")
    known = ", ".join([*columns.texts, *columns.numbers, *columns.times, *columns.lists])
    raise ProtocolError(f"filters: unknown field {_short(name)}; known: {known}")


def _document_field(document: str, tail: str, summaries: Sequence[str]) -> _Field:
    if document == "keys_info.keys":
        return _json_field(t.run.c.history_keys, [["keys", tail]])
    splits = _splits(tail)
    if document == "config":
        return _json_field(t.run.c.config, [_config_path(split) for split in splits])
    return _json_field(t.run.c.summary, splits, summaries)


def _splits(tail: str) -> list[list[str]]:
    """Return the ways to read a dotted key, the whole as one key first."""
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
    column: _Value, paths: Sequence[Sequence[str]], summaries: Sequence[str] = ()
) -> _Field:
    """Return the value at the first of `paths` that a JSON column has."""
    values: list[tuple[_Clause, _Value]] = []
    kinds: list[_Value] = []
    for path in map(_path, paths):
        kind: _Value = func.json_type(column, path, type_=NullType())
        value: _Value = func.json_extract(column, path, type_=NullType())
        if summaries:
            inner = [func.json_extract(column, f'{path}."{name}"') for name in summaries]
            unwrapped = func.coalesce(*inner, type_=NullType())
            value = case((kind == "object", unwrapped), else_=value)
            kind = case((kind == "object", func.typeof(unwrapped)), else_=kind)
        values.append((kind.is_not(None), value))
        kinds.append(kind)
    first_kind = kinds[0] if len(kinds) == 1 else func.coalesce(*kinds)
    first_value = values[0][1] if len(values) == 1 else case(*values)
    return _Field(first_value, first_kind)


def _path(keys: Sequence[str]) -> str:
    """Return a JSON path of quoted keys, to be bound as a parameter."""
    for key in keys:
        if re.search(r'["\\\x00-\x1f]', key):
            raise ProtocolError(f"filters: a key with a quote or a backslash: {_short(key)}")
    return "$" + "".join(f'."{_text(key)}"' for key in keys)
