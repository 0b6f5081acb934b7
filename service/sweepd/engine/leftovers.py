"""What deleted runs leave behind: rows by the million, deleted some at a time."""

from sqlalchemy import delete, func, select, tuple_, update

from sweepd.store import Prepared, Tx
from sweepd.store.history_tables import deleted_run, history_column
from sweepd.store.tables import curve, event, project, run, stream_line, sweep

__all__ = ["is_any_left", "next_project_id", "next_run_id", "next_sweep_id", "sweep_up"]

#: Rows of one turn: what waits for the writer meanwhile waits some milliseconds.
_AT_ONCE = 2_000
_COLUMNS_AT_ONCE = 50  # these are large
_RUN_IDS = Prepared(
    select(
        select(func.max(run.c.id)).scalar_subquery().label("newest"),
        select(func.max(deleted_run.c.run_id)).scalar_subquery().label("deleted"),
    )
)
_PROJECT_IDS = Prepared(
    select(
        select(func.max(project.c.id)).scalar_subquery().label("newest"),
        select(func.max(event.c.project_id))
        .where(event.c.kind == "project.deleted")
        .scalar_subquery()
        .label("deleted"),
    )
)
_UNSWEPT = Prepared(
    select(deleted_run.c.run_id)
    .where(deleted_run.c.is_swept == 0)
    .order_by(deleted_run.c.run_id)
    .limit(1)
)


def next_run_id(tx: Tx) -> int:
    """Return the id of a new run: one that no run ever had, lest rows of that one be its own."""
    found = _RUN_IDS.row(tx)
    assert found is not None, "a row of two maxima, whatever there is"
    return max(value or 0 for value in found) + 1


def next_sweep_id(tx: Tx) -> int:
    """Return the id of a new sweep: one that no sweep ever had, lest it read that one's events."""
    newest = select(func.max(sweep.c.id)).scalar_subquery()
    noted = select(func.max(event.c.sweep_id)).scalar_subquery()
    found = tx.conn.execute(select(newest, noted)).one()
    return max(value or 0 for value in found) + 1


def next_project_id(tx: Tx) -> int:
    """Return the id of a new project: one that no project ever had.

    A deletion names an id, and one that is sent again must not delete another project.
    """
    found = _PROJECT_IDS.row(tx)
    assert found is not None, "a row of two maxima, whatever there is"
    return max(value or 0 for value in found) + 1


def is_any_left(tx: Tx) -> bool:
    """Return whether a deleted run has left anything."""
    return _unswept(tx) is not None


def sweep_up(tx: Tx, *, at_once: int = _AT_ONCE) -> None:
    """Delete some of what a deleted run has left."""
    run_id = _unswept(tx)
    if run_id is None:
        return
    tables = ((stream_line, at_once), (curve, at_once), (history_column, _COLUMNS_AT_ONCE))
    for table, n_rows in tables:
        of_run = table.c.run_id == run_id
        key = [column for column in table.primary_key if column.name != "run_id"]
        behind = select(*key).where(of_run).order_by(*key).offset(n_rows - 1).limit(1)
        last = tx.conn.execute(behind).one_or_none()
        if last is not None:
            tx.conn.execute(delete(table).where(of_run, tuple_(*key) <= tuple_(*last)))
            return
        tx.conn.execute(delete(table).where(of_run))
    tx.conn.execute(update(deleted_run).where(deleted_run.c.run_id == run_id).values(is_swept=1))


def _unswept(tx: Tx) -> int | None:
    row = _UNSWEPT.row(tx)
    return None if row is None else int(row[0])
