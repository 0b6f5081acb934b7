"""Values of the fields that people filter and sort runs by, set apart in tables with an index.

A field is set apart once it has been asked for in a project of many runs. Triggers note the runs
that change; before the next query that wants a field, what has changed is brought up to date. So
logging pays next to nothing, and whoever reads without asking for that reads the runs themselves.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, case, delete, func, insert, literal, select, update

from sweepd.engine import projects
from sweepd.engine.access import Need
from sweepd.engine.filters import compile_filters, compile_order
from sweepd.engine.run_fields import Fields, Value, document_field, sorted_value
from sweepd.engine.views import Account
from sweepd.store import Tx
from sweepd.store import tables as t
from sweepd.store.run_tables import run_column, run_stale, run_value

__all__ = ["fields_of", "prepare", "ready", "wants"]

_MANY = 500  # runs of a project from which on it is worth it
_MOST = 16  # fields of one project; the one that was wanted least lately goes
_LONGEST = 500  # characters of a field's name
_STEP = 2_000  # runs brought up to date in one write, so that others may write between


def fields_of(filters: Mapping[str, Any] | None, order: str | None = None) -> Sequence[str]:
    """Return the fields that a query asks for and that may be set apart.

    Raises:
        ProtocolError: for the filter or the order.
    """
    fields = Fields()
    compile_filters(filters, fields)
    compile_order(order, fields)
    return [name for name in fields.wanted if len(name) <= _LONGEST][:_MOST]


def ready(tx: Tx, *, project_id: int) -> dict[str, int]:
    """Return the columns of a project, by field, that say what its runs say; asks nobody's leave.

    None do while a run has changed since.
    """
    stale = select(run_stale.c.run_id).where(run_stale.c.project_id == project_id).limit(1)
    if tx.conn.scalar(stale) is not None:
        return {}
    query = select(run_column.c.name, run_column.c.id).where(
        run_column.c.project_id == project_id, run_column.c.is_ready == 1
    )
    return {name: column_id for name, column_id in tx.conn.execute(query)}


def wants(tx: Tx, *, actor: Account, project_id: int, fields: Sequence[str]) -> bool:
    """Return whether `prepare` has something to do before a query for these fields.

    Raises:
        NotFound: if there is no such project that the actor may see.
    """
    projects.project_by_id(tx, actor=actor, project_id=project_id, need=Need.READ)
    if ready(tx, project_id=project_id).keys() >= set(fields):
        return False
    of_project = select(t.run.c.id).where(t.run.c.project_id == project_id)
    return tx.conn.scalar(of_project.offset(_MANY - 1).limit(1)) is not None


def prepare(tx: Tx, *, actor: Account, project_id: int, fields: Sequence[str]) -> bool:
    """Bring values of these fields up to date by one step; return whether that was the last.

    Raises:
        NotFound: as `wants`.
    """
    projects.project_by_id(tx, actor=actor, project_id=project_id, need=Need.READ)
    _register(tx, project_id, fields)
    of_project = select(run_column).where(run_column.c.project_id == project_id)
    columns = tx.conn.execute(of_project).all()
    stale = list(
        tx.conn.scalars(
            select(run_stale.c.run_id).where(run_stale.c.project_id == project_id).limit(_STEP)
        )
    )
    if stale:
        for column in columns:
            of_column = run_value.c.column_id == column.id
            tx.conn.execute(delete(run_value).where(of_column, run_value.c.run_id.in_(stale)))
            _fill(tx, column, t.run.c.id.in_(stale))
        tx.conn.execute(delete(run_stale).where(run_stale.c.run_id.in_(stale)))
        return False
    filling = next((column for column in columns if not column.is_ready), None)
    if filling is None:
        return True
    _fill_on(tx, filling)
    return False


def _register(tx: Tx, project_id: int, fields: Sequence[str]) -> None:
    """Note that these fields are wanted; let go of those that are one too many."""
    of_project = run_column.c.project_id == project_id
    known = set(tx.conn.scalars(select(run_column.c.name).where(of_project)))
    tx.conn.execute(
        update(run_column).where(of_project, run_column.c.name.in_(fields)).values(used_at=tx.now)
    )
    for name in fields:
        if name not in known:
            tx.insert(run_column, project_id=project_id, name=name, used_at=tx.now)
    too_many = (
        select(run_column.c.id)
        .where(of_project, run_column.c.name.not_in(fields))
        .order_by(run_column.c.used_at.desc())
        .offset(_MOST - len(fields))
    )
    tx.conn.execute(delete(run_column).where(run_column.c.id.in_(too_many)))


def _fill_on(tx: Tx, column: Any) -> None:
    """Fill a new column for the next runs of its project."""
    following = (t.run.c.project_id == column.project_id) & (t.run.c.id > column.filled_to)
    ids = select(t.run.c.id).where(following).order_by(t.run.c.id).limit(_STEP).subquery()
    last = tx.conn.scalar(select(func.max(ids.c.id)))
    values: dict[str, int] = {"is_ready": 1}
    if last is not None:
        _fill(tx, column, following & (t.run.c.id <= last))
        values = {"filled_to": last}
    tx.conn.execute(update(run_column).where(run_column.c.id == column.id).values(values))


def _fill(tx: Tx, column: Any, which: ColumnElement[bool]) -> None:
    """Set the values of some runs apart; they must have none in the column, or the same."""
    value: Value
    kind: Value
    if column.name.startswith(("+", "-")):
        value = sorted_value(column.name[1:], is_descending=column.name.startswith("-"))
        kind = func.typeof(value)
        is_there = value.is_not(None)
    else:
        field = document_field(column.name)
        kind, is_there = field.kind, field.kind.is_not(None)
        # No filter compares with a list or an object, and they may be large.
        value = case((kind.in_(("object", "array")), None), else_=field.value)
    rows = select(literal(column.id), t.run.c.id, kind, value).where(
        t.run.c.project_id == column.project_id, which, is_there
    )
    names = ["column_id", "run_id", "kind", "value"]
    tx.conn.execute(insert(run_value).prefix_with("OR REPLACE").from_select(names, rows))
