"""Pages and counts of a project's runs, filtered and ordered.

A page is found in two steps: the ids of its runs by as narrow a scan as there is, then those rows.
Values of JSON fields come from `run_value` where they stand there, see `run_values`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, and_, exists, false, func, or_, select, type_coerce
from sqlalchemy.sql.selectable import FromClause
from sqlalchemy.types import NullType

from sweepd.engine import paging, projects, run_values
from sweepd.engine.access import Need
from sweepd.engine.filters import Ordering, compile_filters, compile_order
from sweepd.engine.run_fields import Fields
from sweepd.engine.run_views import select_runs, view_of
from sweepd.engine.texts import MAX_INT, clean
from sweepd.engine.views import Account, Page, RunView
from sweepd.errors import ProtocolError
from sweepd.store import Tx
from sweepd.store import tables as t
from sweepd.store.run_tables import run_value

__all__ = ["count_runs", "query_runs"]

_Found = list[tuple[int, list[Any]]]  # ids with the values that they are sorted by


def query_runs(
    tx: Tx,
    *,
    actor: Account,
    project_id: int,
    need: Need,
    filters: Mapping[str, Any] | None = None,
    order: str | None = None,
    after: str | None = None,
    first: int = 50,
) -> Page[RunView]:
    """Return a page of a project's runs that pass `filters`, in `order` (default: oldest first).

    A cursor holds the sorted values of its run, so that a page neither repeats nor skips a run that
    stayed where it was, whatever has been added or deleted meanwhile.

    Raises:
        NotFound, Forbidden: for the project.
        ProtocolError: for the filter, the order or the cursor.
    """
    projects.project_by_id(tx, actor=actor, project_id=project_id, need=need)
    fields = Fields(run_values.ready(tx, project_id=project_id))
    orderings = compile_order(order, fields)
    clause = compile_filters(filters, fields)
    cursor = _read_cursor(after, len(orderings)) if after is not None else None
    size = paging.check_first(first)
    if len(orderings) == 1 and orderings[0].column is not None:
        found = _by_column(tx, project_id, fields, clause, orderings[0], cursor, size + 1)
    else:
        found = _by_scan(tx, project_id, fields, clause, orderings, cursor, size + 1)
    shown = found[:size]
    views = _views(tx, [run_id for run_id, _ in shown])
    return Page(
        items=tuple(views[run_id] for run_id, _ in shown),
        cursors=tuple(paging.encode([*values, run_id]) for run_id, values in shown),
        has_next=len(found) > size,
    )


def count_runs(
    tx: Tx,
    *,
    actor: Account,
    project_id: int,
    need: Need,
    filters: Mapping[str, Any] | None = None,
) -> int:
    """Return how many runs of a project pass `filters`; raise as `query_runs` does."""
    projects.project_by_id(tx, actor=actor, project_id=project_id, need=need)
    fields = Fields(run_values.ready(tx, project_id=project_id))
    clause = compile_filters(filters, fields)
    passing = select(func.count()).select_from(_joined(t.run, fields))
    return tx.conn.scalar(passing.where(_of(project_id), clause)) or 0


def _of(project_id: int) -> ColumnElement[bool]:
    return t.run.c.project_id == project_id


def _joined(source: FromClause, fields: Fields) -> FromClause:
    """Return runs with what the fields of a query need beside them."""
    for table, on in fields.joins:
        source = source.outerjoin(table, on)
    return source


def _by_scan(
    tx: Tx,
    project_id: int,
    fields: Fields,
    clause: ColumnElement[bool],
    orderings: Sequence[Ordering],
    cursor: list[Any] | None,
    most: int,
) -> _Found:
    """Return the first runs of a page by looking at all that pass, or along an index."""
    keys = [ordering.value.label(f"key_{n}") for n, ordering in enumerate(orderings)]
    query = select(t.run.c.id, *keys).select_from(_joined(t.run, fields))
    query = query.where(_of(project_id), clause)
    if cursor is not None:
        query = query.where(_after(orderings, cursor))
    for ordering in orderings:
        value = ordering.value
        if not ordering.is_always_there:
            query = query.order_by(value.is_(None))
        query = query.order_by(value.desc() if ordering.is_descending else value.asc())
    rows = tx.conn.execute(query.order_by(t.run.c.id).limit(most))
    return [(row[0], list(row[1:])) for row in rows]


def _by_column(
    tx: Tx,
    project_id: int,
    fields: Fields,
    clause: ColumnElement[bool],
    ordering: Ordering,
    cursor: list[Any] | None,
    most: int,
) -> _Found:
    """Return the first runs of a page along the index of a column: those with a value, the rest."""
    value, run_id = cursor if cursor is not None else (None, 0)
    found: _Found = []
    if cursor is None or value is not None:
        found = _with_value(tx, fields, clause, ordering, cursor, most)
        run_id = 0
    if len(found) < most:
        has_value = exists().where(
            run_value.c.column_id == ordering.column, run_value.c.run_id == t.run.c.id
        )
        rest = (
            select(t.run.c.id)
            .select_from(_joined(t.run, fields))
            .where(_of(project_id), clause, ~has_value, t.run.c.id > run_id)
            .order_by(t.run.c.id)
            .limit(most - len(found))
        )
        found += [(found_id, [None]) for found_id in tx.conn.scalars(rest)]
    return found


def _with_value(
    tx: Tx,
    fields: Fields,
    clause: ColumnElement[bool],
    ordering: Ordering,
    cursor: list[Any] | None,
    most: int,
) -> _Found:
    of_column = run_value.alias("sorted")
    value = type_coerce(of_column.c.value, NullType())
    source = _joined(of_column.join(t.run, t.run.c.id == of_column.c.run_id), fields)
    query = select(of_column.c.run_id, value).select_from(source)
    query = query.where(of_column.c.column_id == ordering.column, clause)
    if cursor is not None:
        bound, run_id = cursor
        reached = value <= bound if ordering.is_descending else value >= bound
        query = query.where(reached, or_(value != bound, of_column.c.run_id > run_id))
    by_value = value.desc() if ordering.is_descending else value.asc()
    rows = tx.conn.execute(query.order_by(by_value, of_column.c.run_id).limit(most))
    return [(row[0], [row[1]]) for row in rows]


def _views(tx: Tx, run_ids: Sequence[int]) -> dict[int, RunView]:
    """Return whole runs by their ids."""
    rows = tx.conn.execute(select_runs().where(t.run.c.id.in_(run_ids))) if run_ids else ()
    return {view.id: view for view in map(view_of, rows)}


def _after(orderings: Sequence[Ordering], cursor: list[Any]) -> ColumnElement[bool]:
    """Return the clause of what stands behind a cursor: equal so far, and then behind."""
    *values, run_id = cursor
    behind: list[ColumnElement[bool]] = []
    equal: list[ColumnElement[bool]] = []
    for ordering, value in zip(orderings, values, strict=True):
        column = ordering.value
        if value is None:
            further: ColumnElement[bool] = false()
        else:
            beyond = column < value if ordering.is_descending else column > value
            further = or_(column.is_(None), beyond)
        behind.append(and_(*equal, further))
        equal.append(column.is_(None) if value is None else column == value)
    behind.append(and_(*equal, t.run.c.id > run_id))
    leading, start = orderings[0], values[0]
    if start is None:
        return or_(*behind)
    # Said once more in a way that an index can follow; runs without a value stand behind.
    reached = leading.value <= start if leading.is_descending else leading.value >= start
    if not leading.is_always_there:
        reached = or_(reached, leading.value.is_(None))
    return and_(reached, or_(*behind))


def _read_cursor(after: str, n_keys: int) -> list[Any]:
    cursor = paging.read(after)
    if not _is_cursor(cursor, n_keys):
        raise ProtocolError("after: this cursor is of another order")
    assert isinstance(cursor, list)
    return cursor


def _is_cursor(cursor: object, n_keys: int) -> bool:
    if not isinstance(cursor, list) or len(cursor) != n_keys + 1:
        return False
    *values, run_id = cursor
    if not isinstance(run_id, int) or isinstance(run_id, bool) or abs(run_id) >= 2**63:
        return False
    return all(map(_is_key, values))


def _is_key(value: object) -> bool:
    """Return whether a cursor's value is one that a row can have."""
    if isinstance(value, str):
        return clean(value) == value
    return value is None or isinstance(value, float) or _is_whole(value)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and abs(value) <= MAX_INT
