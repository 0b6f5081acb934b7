"""Which of a run's rows are in Parquet files, and which are only to be had live.

A client keeps the files that it once downloaded, under their number. So a file that was handed out
stays as it is: rows that come later go into a further one, and once lines that are in a file are
written over, or later rows reach back into its steps, the run's rows are only to be had live. And a
client that reads both adds the live rows of a page to those of the files, so that rows which are in
both would come twice: either all rows are in files, or all are live.
"""

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import ColumnElement, exists, func, insert, select
from sqlalchemy.dialects.sqlite import insert as upsert

from sweepd.engine import blobs
from sweepd.engine.parquet import Exported, ExportJob
from sweepd.engine.stream_bodies import HISTORY
from sweepd.engine.views import RunView
from sweepd.errors import NotFound
from sweepd.states import is_terminal
from sweepd.store import Tx
from sweepd.store.history_tables import history_export, history_refusal, history_rewrite
from sweepd.store.tables import blob, run, stream_line

__all__ = [
    "ExportFile",
    "Exports",
    "blobs_of",
    "export_file",
    "exports",
    "n_rewrites_of",
    "rewritten",
    "store",
]


@dataclass(frozen=True)
class Exports:
    """What there is of a run's rows.

    Attributes:
        n_files: Parquet files: 0, 1, …; together they have every row, or there are none.
        live_from: the first step, if the rows are only to be had live.
        job: what could be exported now.
    """

    n_files: int = 0
    live_from: int | None = None
    job: ExportJob | None = None


@dataclass(frozen=True)
class ExportFile:
    """A file's blob, its size in bytes, and its MD5 in base64."""

    blob: str
    size: int
    md5: str


def exports(tx: Tx, *, view: RunView, folder: Path) -> Exports:
    """Return what there is of a run's rows; the data folder is for the job."""
    c = history_export.c
    query = select(c.end_line, c.last_step, c.n_rewrites)
    files = tx.conn.execute(query.where(c.run_id == view.id).order_by(c.number)).all()
    n_rewrites = n_rewrites_of(tx, view.id)
    last = files[-1] if files else None
    is_void = any(file.n_rewrites != n_rewrites for file in files)
    if last is not None and not is_void and last.end_line >= view.history_lines:
        return Exports(n_files=len(files))
    live_from = _first_step(tx, view.id)
    if live_from is None or is_void or not is_terminal(view.state):
        return Exports(live_from=live_from)
    if _is_refused(tx, view.id, n_rewrites):
        return Exports(live_from=live_from)
    if last is not None and _reaches_back(tx, view.id, line=last.end_line, step=last.last_step):
        return Exports(live_from=live_from)
    job = ExportJob(
        folder=str(folder),
        run_id=view.id,
        number=len(files),
        after_step=last.last_step if last is not None else None,
        end_line=view.history_lines,
        n_rewrites=n_rewrites,
    )
    return Exports(live_from=live_from, job=job)


def store(tx: Tx, *, job: ExportJob, made: Exported) -> list[str]:
    """Keep a file, unless the run changed while it was made; return the blobs to delete."""
    dropped = [made.written.key] if made.written is not None else []
    row = tx.conn.execute(
        select(run.c.project_id, run.c.history_lines).where(run.c.id == job.run_id)
    ).one_or_none()
    if row is None or row.history_lines != job.end_line:
        return dropped
    if n_rewrites_of(tx, job.run_id) != job.n_rewrites:
        return dropped
    if made.written is None:
        refusal = upsert(history_refusal).values(
            run_id=job.run_id, n_rewrites=job.n_rewrites, why=made.why_not
        )
        now = {"n_rewrites": refusal.excluded.n_rewrites, "why": refusal.excluded.why}
        tx.conn.execute(refusal.on_conflict_do_update(index_elements=["run_id"], set_=now))
        return []
    key = blobs.adopt(tx, project_id=row.project_id, written=made.written)
    tx.conn.execute(
        insert(history_export).values(
            run_id=job.run_id,
            number=job.number,
            end_line=job.end_line,
            last_step=made.last_step,
            n_rewrites=job.n_rewrites,
            blob=key,
            created_at=tx.now,
        )
    )
    return dropped if key != made.written.key else []


def export_file(tx: Tx, *, run_id: int, number: int) -> ExportFile:
    """Return a file of a run; a signed link is the leave to ask for it.

    Raises:
        NotFound: if there is none.
    """
    query = (
        select(blob.c.key, blob.c.size, blob.c.md5)
        .join(history_export, history_export.c.blob == blob.c.key)
        .where(history_export.c.run_id == run_id, history_export.c.number == number)
    )
    row = tx.conn.execute(query).one_or_none()
    if row is None:
        raise NotFound("there is no such file")
    return ExportFile(*row)


def blobs_of(tx: Tx, runs: ColumnElement[bool]) -> set[str]:
    """Return the blobs of the files of all runs that a clause on `run` says."""
    c = history_export.c
    return set(tx.conn.scalars(select(c.blob).join(run, run.c.id == c.run_id).where(runs)))


def rewritten(tx: Tx, *, run_id: int) -> None:
    """Note that lines of a run's history were written over, deleted, or came out of order."""
    first = upsert(history_rewrite).values(run_id=run_id, n_rewrites=1)
    again = {"n_rewrites": history_rewrite.c.n_rewrites + 1}
    tx.conn.execute(first.on_conflict_do_update(index_elements=["run_id"], set_=again))


def n_rewrites_of(tx: Tx, run_id: int) -> int:
    """Return how often lines of a run's history were written over, deleted, or out of order."""
    c = history_rewrite.c
    return tx.conn.scalar(select(c.n_rewrites).where(c.run_id == run_id)) or 0


def _first_step(tx: Tx, run_id: int) -> int | None:
    c = stream_line.c
    where = (c.run_id == run_id, c.stream == HISTORY, c.step.is_not(None))
    found: int | None = tx.conn.scalar(select(func.min(c.step)).where(*where))
    return found


def _reaches_back(tx: Tx, run_id: int, *, line: int, step: int) -> bool:
    """Return whether a line from `line` on is of a step up to `step`."""
    c = stream_line.c
    further = (c.run_id == run_id, c.stream == HISTORY, c.line >= line)
    return bool(tx.conn.scalar(select(exists().where(*further, c.step <= step))))


def _is_refused(tx: Tx, run_id: int, n_rewrites: int) -> bool:
    c = history_refusal.c
    where = (c.run_id == run_id, c.n_rewrites == n_rewrites)
    return bool(tx.conn.scalar(select(exists().where(*where))))
