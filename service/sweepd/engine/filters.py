"""The public API's filters and orders on runs, compiled to SQL.

A filter is Mongo-like JSON: `{"$or": [{"state": "failed"}, {"summary_metrics.loss": {"$gt": 1}}]}`.
What comes out is SQLAlchemy clauses over `run` and what `Fields.joins` joins to it; every value
from outside is a bound parameter, JSON paths included.

Values compare within their type, as in Mongo: a number with numbers, a text with texts. A run that
lacks the field fails every comparison but `$ne`, `$nin`, `$exists: false` and equality with null.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeGuard

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

from sweepd.engine.run_fields import Clause, Field, Fields, Value
from sweepd.engine.texts import MAX_INT, clean
from sweepd.errors import ProtocolError
from sweepd.store import tables as t
from sweepd.store.functions import MATCHES
from sweepd.store.regexp import Regexp

__all__ = ["Columns", "Ordering", "compile_filters", "compile_order", "compile_over"]

_MAX_DEPTH = 20
_MAX_TERMS = 900  # SQLite takes chains of conditions up to 1000
_MAX_VALUES = 1_000  # of one `$in`
_MAX_VALUES_IN_ALL = 10_000
_MAX_ORDERS = 32


@dataclass(frozen=True)
class Ordering:
    """One key to sort by. Runs whose `value` is NULL come last in both directions."""

    value: ColumnElement[Any]
    is_descending: bool
    is_always_there: bool = False  # never NULL
    column: int | None = None  # of `run_value`, where the sorted values stand


def compile_filters(filters: Mapping[str, Any] | None, fields: Fields | None = None) -> Clause:
    """Return the clause that a run must fulfil; none or `{}` lets every run pass.

    Args:
        filters: as the client sends them.
        fields: where the fields stand in SQL, which also notes the joins that the clause needs; the
            run's own row without it.

    Raises:
        ProtocolError: naming the unknown operator or field, or the value that does not fit.
    """
    return _Compiler((fields or Fields()).find).document(
        {} if filters is None else filters, depth=0
    )


@dataclass(frozen=True, kw_only=True)
class Columns:
    """What filters on other rows than runs may name, each by what it holds; lists are of texts."""

    texts: Mapping[str, ColumnElement[Any]] = field(default_factory=dict)
    numbers: Mapping[str, ColumnElement[Any]] = field(default_factory=dict)
    times: Mapping[str, ColumnElement[Any]] = field(default_factory=dict)
    lists: Mapping[str, ColumnElement[Any]] = field(default_factory=dict)


def compile_over(filters: Mapping[str, Any] | None, columns: Columns) -> Clause:
    """Return the clause for rows other than runs; raise as `compile_filters` does."""
    return _Compiler(partial(_column_field, columns)).document(filters or {}, depth=0)


def compile_order(order: str | None, fields: Fields | None = None) -> list[Ordering]:
    """Return what `order` sorts by: fields with `+` or `-` in front, parted by commas.

    A metric that is missing, NaN or infinite gives NULL. Ties are the caller's to break.

    Args:
        order: as the client sends it.
        fields: as for `compile_filters`.

    Raises:
        ProtocolError: naming the unknown field.
    """
    fields = fields or Fields()
    orderings: list[Ordering] = []
    for part in (order or "").split(","):
        name = part.strip()
        if not name:
            continue
        if len(orderings) == _MAX_ORDERS:
            raise ProtocolError(f"order: more than {_MAX_ORDERS} fields")
        is_descending = name.startswith("-")
        name = name.lstrip("+-")
        field = fields.sorted_by(name, is_descending=is_descending)
        orderings.append(Ordering(field.value, is_descending, field.is_always_there, field.column))
    default = Ordering(t.run.c.created_at, is_descending=False, is_always_there=True)
    return orderings or [default]


class _Compiler:
    """Walks one filter; counts its terms, so that a huge one is refused and not run."""

    def __init__(self, find: Callable[[str], Field]) -> None:
        self._find = find
        self._n_terms = 0
        self._n_values = 0

    def document(self, filters: object, *, depth: int) -> Clause:
        """Compile `{…}`: all of its members must hold."""
        if not isinstance(filters, Mapping):
            raise ProtocolError(f"filters: must be an object, not {_short(filters)}")
        if depth > _MAX_DEPTH:
            raise ProtocolError(f"filters: nested deeper than {_MAX_DEPTH}")
        if not filters:
            self._count()
        return _all(self._member(key, value, depth=depth) for key, value in filters.items())

    def _member(self, key: str, value: object, *, depth: int) -> Clause:
        self._count()
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
        return self._condition(self._find(key), value, depth=depth)

    def _condition(self, field: Field, value: object, *, depth: int) -> Clause:
        """Compile what stands at a field: operators, or a bare value that it must equal."""
        is_operators = isinstance(value, Mapping) and any(str(key).startswith("$") for key in value)
        if not is_operators:
            self._count_values([value])
            return _equals(field, value)
        assert isinstance(value, Mapping)
        if depth > _MAX_DEPTH:
            raise ProtocolError(f"filters: nested deeper than {_MAX_DEPTH}")
        clauses = []
        for operator, operand in value.items():
            self._count()
            if operator == "$not":
                inner = operand if isinstance(operand, Mapping) else {"$eq": operand}
                clauses.append(not_(self._condition(field, inner, depth=depth + 1)))
            elif operator == "$options":
                if "$regex" not in value:
                    raise ProtocolError("filters: $options stands only beside $regex")
            elif operator == "$regex":
                clauses.append(_matches(field, operand, value.get("$options", "")))
            elif operator in _OPERATORS:
                self._count_values(operand if operator in ("$in", "$nin") else [operand])
                clauses.append(_OPERATORS[operator](field, operand))
            else:
                raise ProtocolError(
                    f"filters: unknown operator {operator!r}; known: {_known_operators()}"
                )
        return _all(clauses)

    def _count(self, n: int = 1) -> None:
        self._n_terms += n
        if self._n_terms > _MAX_TERMS:
            raise ProtocolError(f"filters: more than {_MAX_TERMS} terms")

    def _count_values(self, values: object) -> None:
        """Count values to compare with; each member of one that is a list is a condition."""
        if not isinstance(values, list):
            return
        self._n_values += len(values)
        if self._n_values > _MAX_VALUES_IN_ALL:
            raise ProtocolError(f"filters: more than {_MAX_VALUES_IN_ALL} values in all")
        self._count(sum(len(inner) + 1 for inner in values if isinstance(inner, list)))


def _known_operators() -> str:
    return ", ".join(["$and", "$or", "$nor", "$not", "$regex", *_OPERATORS])


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"


def _all(clauses: Iterable[Clause]) -> Clause:
    return and_(true(), *clauses)


def _any(clauses: Iterable[Clause]) -> Clause:
    return or_(false(), *clauses)


# Comparisons. Each gives true or false, never NULL, so that $not and $nor are plain negations.


def _equals(field: Field, value: object) -> Clause:
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


def _contains(field: Field, value: object) -> Clause:
    """Return whether a list of texts has `value` in it, or all of a list's; None is no texts."""
    if value is None:
        return func.json_array_length(field.value) == 0
    wanted = value if isinstance(value, list) else [value]
    members = func.json_each(field.value).table_valued("value")
    return _all(
        select(literal(1)).select_from(members).where(members.c.value == _text(item)).exists()
        for item in wanted
    )


def _compares(compare: Callable[[Value, object], Clause]) -> Callable[[Field, object], Clause]:
    def clause(field: Field, value: object) -> Clause:
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


def _is_in(field: Field, values: object) -> Clause:
    if not isinstance(values, list):
        raise ProtocolError(f"filters: $in and $nin take a list, not {_short(values)}")
    if len(values) > _MAX_VALUES:
        raise ProtocolError(f"filters: more than {_MAX_VALUES} values in one $in")
    if field.is_list:
        return _is_in_list(field, values)
    if field.is_time:
        moments = [_time(value) for value in values if value is not None]
        alike = [and_(field.value.is_not(None), field.value.in_(moments))]
    else:
        texts = [_text(value) for value in values if isinstance(value, str)]
        numbers = [_number(value) for value in values if _is_number(value)]
        alike = [_typed(field, ("text",), field.value.in_(texts))] if texts else []
        if numbers:
            alike.append(_typed(field, ("integer", "real"), field.value.in_(numbers)))
    others = [value for value in (None, True, False) if any(value is one for one in values)]
    rest = [value for value in values if not (value is None or isinstance(value, _SINGLE))]
    if not field.is_time:
        alike += [_equals(field, value) for value in [*others, *rest[:1]]]
    elif None in others:
        alike.append(_equals(field, None))
    return _any(alike)


def _is_in_list(field: Field, values: list[object]) -> Clause:
    """Return whether a list of texts has one of `values` in it, or all of one of their lists."""
    texts = [_text(value) for value in values if value is not None and not isinstance(value, list)]
    members = func.json_each(field.value).table_valued("value")
    has_one = select(literal(1)).select_from(members).where(members.c.value.in_(texts)).exists()
    rest = [value for value in values if isinstance(value, list)]
    nothing = [None] if any(value is None for value in values) else []
    return _any([has_one, *(_contains(field, value) for value in [*rest, *nothing])])


def _exists(field: Field, value: object) -> Clause:
    return field.kind.is_not(None) if value else field.kind.is_(None)


def _matches(field: Field, pattern: object, options: object) -> Clause:
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


def _matching(pattern: str, value: Value) -> Clause:
    clause: Clause = getattr(func, MATCHES)(pattern, value, type_=Boolean())
    return clause


def _typed(field: Field, kinds: Sequence[str], clause: Clause) -> Clause:
    """Return `clause`, false where the value is absent or of another type."""
    return and_(func.coalesce(field.kind, "").in_(kinds), clause)


_OPERATORS: Mapping[str, Callable[[Field, object], Clause]] = {
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

_SINGLE = (str, int, float, bool)


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


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


def _column_field(columns: Columns, name: str) -> Field:
    if name in columns.lists:
        return Field(columns.lists[name], literal("array"), is_list=True)
    kinds = {"text": columns.texts, "integer": columns.numbers, "real": columns.times}
    for kind, named in kinds.items():
        if name in named:
            column = named[name]
            return Field(column, case((column.is_not(None), kind)), is_time=kind == "real")
    known = ", ".join([*columns.texts, *columns.numbers, *columns.times, *columns.lists])
    raise ProtocolError(f"filters: unknown field {_short(name)}; known: {known}")
