"""A run's files: names, listing, and which checkpoints of a sweep are kept."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, delete, func, or_, select
from sqlalchemy.dialects.sqlite import insert

from sweepd.engine import blobs, events, fronts, paging
from sweepd.engine.texts import clean
from sweepd.engine.views import FileView, Page
from sweepd.errors import NotFound, ProtocolError, Reason
from sweepd.schedule import TrialState
from sweepd.store import Tx, Written
from sweepd.store import tables as t

__all__ = [
    "Registered",
    "check_name",
    "count_files",
    "delete_files",
    "file_by_id",
    "get_file",
    "list_files",
    "prune_checkpoints",
    "pruned_notice",
    "register",
    "uploaded_name",
]

_MAX_NAME = 1_024  # characters
_MAX_NAMES = 10_000
_LATE = "late"  # the folder of what came from an attempt that a later one had replaced
_PRUNED = "run.checkpoint_removed"
_CHECKPOINT = re.compile(
    rf"({_LATE}/attempt-\d+/)?(checkpoint[^/]*\.pt|[^/]*\.safetensors)", re.IGNORECASE
)


def check_name(name: str) -> str:
    r"""Return a file's normalised name ("./x" becomes "x", "a//b" becomes "a/b").

    Raises:
        ProtocolError: if it is empty or too long, absolute, has a control character, or leaves its
            folder, be it on Windows, where a backslash parts folders too.
    """
    if len(name) > _MAX_NAME:
        raise ProtocolError(f"a file's name has at most {_MAX_NAME} characters, not {len(name)}")
    if re.search(r"[\x00-\x1f\x7f]", name):
        raise ProtocolError(f"a file's name has no control character: {name!r}")
    if re.match(r"[/\\]|[A-Za-z]:[/\\]", name):
        raise ProtocolError(f"a file's name is relative to its run's folder: {name!r}")
    parts = [part for part in clean(name).split("/") if part not in ("", ".")]
    if ".." in re.split(r"[/\\]", name):
        raise ProtocolError(f"a file's name stays within its run's folder: {name!r}")
    if not parts or name.endswith("/"):
        raise ProtocolError(f"{name!r} is not a file's name")
    return "/".join(parts)


@dataclass(frozen=True)
class Registered:
    """Where a registered file's bytes are kept, and which blobs nothing needs any more."""

    blob: str
    freed: tuple[str, ...] = ()


def register(
    tx: Tx,
    *,
    run_id: int,
    name: str,
    mimetype: str,
    written: Written,
    attempt: int | None = None,
) -> Registered:
    """Record an uploaded file of a run; the last one of a name counts.

    One of an attempt that a later one has replaced is kept apart, such as
    `late/attempt-1/checkpoint.pt`: the present attempt's own stays what it is.

    Args:
        tx: the transaction.
        run_id: the run.
        name: as the client gave it.
        mimetype: such as `text/plain`.
        written: its bytes; the caller settles them and deletes what was freed after the commit.
        attempt: of the trial that the file is of, if its process told so.

    Raises:
        NotFound: if the run is gone.
        ProtocolError: as `check_name`.
    """
    name = check_name(name)
    project_id = tx.conn.scalar(select(t.run.c.project_id).where(t.run.c.id == run_id))
    if project_id is None:
        raise NotFound(f"there is no run with id {run_id}")
    if attempt is not None and attempt < _present_attempt(tx, run_id):
        apart = f"{_LATE}/attempt-{attempt}/"
        name = apart + name[-(_MAX_NAME - len(apart)) :]
    old = tx.conn.scalar(
        select(t.run_file.c.blob).where(t.run_file.c.run_id == run_id, t.run_file.c.name == name)
    )
    key = blobs.adopt(tx, project_id=project_id, written=written)
    values = {
        "size": written.size,
        "md5": written.md5,
        "mimetype": clean(mimetype),
        "blob": key,
        "updated_at": tx.now,
    }
    tx.conn.execute(
        insert(t.run_file)
        .values(run_id=run_id, name=name, **values)
        .on_conflict_do_update(index_elements=["run_id", "name"], set_=values)
    )
    freed = blobs.release(tx, keys=[old]) if old not in (None, key) else []
    return Registered(key, tuple(freed))


def _present_attempt(tx: Tx, run_id: int) -> int:
    """Return which attempt a run's trial is at; 0 for a run that is no trial."""
    return tx.conn.scalar(select(t.trial.c.attempt).where(t.trial.c.run_id == run_id)) or 0


def list_files(
    tx: Tx,
    *,
    run_id: int,
    names: Sequence[str] = (),
    pattern: str | None = None,
    after: str | None = None,
    first: int = 50,
) -> Page[FileView]:
    r"""Return a page of a run's files by name; no `names` means all, `pattern` is SQL LIKE.

    In a pattern `%` stands for anything, `_` for one character, and ASCII letters for both cases;
    `\%` and `\_` stand for themselves. A name that cannot be a file's is simply not found.

    Raises:
        ProtocolError: for a cursor that is none, a pattern too long, or over 10,000 names.
    """
    if len(names) > _MAX_NAMES:
        raise ProtocolError(f"files: at most {_MAX_NAMES} names, not {len(names)}")
    query = _select().where(t.run_file.c.run_id == run_id)
    if names:
        wanted = [name for name in map(_name_or_none, names) if name is not None]
        members = func.json_each(json.dumps(wanted)).table_valued("value")
        query = query.where(t.run_file.c.name.in_(select(members.c.value)))
    if pattern and len(pattern) > _MAX_NAME:
        raise ProtocolError(f"files: a pattern has at most {_MAX_NAME} characters")
    if pattern:
        query = query.where(t.run_file.c.name.like(clean(pattern), escape="\\"))
    if after is not None:
        query = query.where(t.run_file.c.name > _after(after))
    size = paging.check_first(first)
    rows = tx.conn.execute(query.order_by(t.run_file.c.name).limit(size + 1)).all()
    files = [FileView(*row) for row in rows]
    total = count_files(tx, run_id=run_id)
    return paging.page(files, size, cursor=lambda file: file.name, total=total)


def count_files(tx: Tx, *, run_id: int) -> int:
    """Return how many files a run has."""
    query = select(func.count()).select_from(t.run_file).where(t.run_file.c.run_id == run_id)
    return tx.conn.scalar(query) or 0


def get_file(tx: Tx, *, run_id: int, name: str) -> FileView:
    """Return a run's file by name.

    Raises:
        NotFound: if there is none.
        ProtocolError: as `check_name`.
    """
    name = check_name(name)
    query = _select().where(t.run_file.c.run_id == run_id, t.run_file.c.name == name)
    row = tx.conn.execute(query).one_or_none()
    if row is None:
        raise NotFound(f"the run has no file {name!r}")
    return FileView(*row)


def file_by_id(tx: Tx, *, file_id: int) -> FileView:
    """Return a file by its id; raise NotFound if there is none."""
    row = tx.conn.execute(_select().where(t.run_file.c.id == file_id)).one_or_none()
    if row is None:
        raise NotFound(f"there is no file with id {file_id}")
    return FileView(*row)


def delete_files(tx: Tx, *, file_ids: Sequence[int]) -> list[str]:
    """Delete files; return the keys of the blobs that were freed. Missing ones are fine.

    Whether the caller may is for the caller to ask: each file's run says whose it is.
    """
    members = func.json_each(json.dumps(list(file_ids))).table_valued("value")
    gone = delete(t.run_file).where(t.run_file.c.id.in_(select(members.c.value)))
    return blobs.release(tx, keys=set(tx.conn.scalars(gone.returning(t.run_file.c.blob))))


def prune_checkpoints(tx: Tx, *, sweep_id: int, keep: int = 5) -> list[str]:
    """Delete the checkpoints of a sweep's ended trials but the best `keep`; return freed blobs.

    With several metrics the best are the whole front, however many they are. One that failed is
    none of the best while others have finished.
    A checkpoint is a file at a run's root, or one that came late (see `register`), named
    `checkpoint*.pt` or `*.safetensors`. Trials that run, or wait for another attempt or a
    promotion, keep theirs. Each removal is an event of its run.
    """
    name = t.run_file.c.name
    looks_like_one = or_(name.like("%checkpoint%.pt"), name.like("%.safetensors"))
    ended = (t.trial.c.sweep_id == sweep_id, t.trial.c.state == TrialState.ENDED)
    best = (
        select(t.trial.c.run_id)
        .where(*ended, t.trial.c.objective.is_not(None))
        .order_by(t.trial.c.reason != Reason.FINISHED, t.trial.c.objective, t.trial.c.number)
        .limit(keep)
    )
    front = fronts.front_runs(tx, sweep_id)
    found = tx.conn.execute(
        select(t.run_file.c.id, t.run_file.c.run_id, t.run.c.project_id, name, t.run_file.c.size)
        .join(t.trial, t.trial.c.run_id == t.run_file.c.run_id)
        .join(t.run, t.run.c.id == t.run_file.c.run_id)
        .where(*ended, t.trial.c.is_paused == 0, looks_like_one)
        .where(t.run_file.c.run_id.not_in(front or best))
        .order_by(t.run_file.c.id)
    ).all()
    freed = []
    for file_id, run_id, project_id, file_name, size in found:
        if not _CHECKPOINT.fullmatch(file_name):
            continue
        freed += delete_files(tx, file_ids=[file_id])
        events.record(
            tx,
            actor=events.SERVICE,
            kind=_PRUNED,
            project_id=project_id,
            sweep_id=sweep_id,
            run_id=run_id,
            data={"name": file_name, "size": size, "kept": None if front else keep},
        )
    return freed


def pruned_notice(tx: Tx, *, run_id: int) -> str | None:
    """Return in words what `prune_checkpoints` removed from this run, None if nothing."""
    texts = tx.conn.scalars(
        select(t.event.c.data)
        .where(t.event.c.run_id == run_id, t.event.c.kind == _PRUNED)
        .order_by(t.event.c.id)
    ).all()
    removed = {data["name"]: data for data in map(json.loads, texts)}
    present = set(tx.conn.scalars(select(t.run_file.c.name).where(t.run_file.c.run_id == run_id)))
    gone = [data for name, data in removed.items() if name not in present]
    if not gone:
        return None
    names = ", ".join(f"{data['name']} ({data['size'] / 1e6:.1f} MB)" for data in gone)
    kept = gone[-1]["kept"]
    best = "front" if kept is None else f"best {kept} trials"
    return f"removed: {names}; a sweep keeps the checkpoints of its {best}"


def _select() -> Select[Any]:
    """Return a query for the columns of a FileView, in its order."""
    c = t.run_file.c
    return select(c.id, c.run_id, c.name, c.size, c.md5, c.mimetype, c.blob, c.updated_at)


def uploaded_name(name: str) -> str:
    """Return the name under which the client uploads a file from outside its folder.

    It calls `../a.txt` `__/a.txt` then, but asks for it by the path that it was given.
    """
    return "/".join("__" if part == ".." else part for part in name.split("/"))


def _name_or_none(name: str) -> str | None:
    try:
        return check_name(name)
    except ProtocolError:
        return None


def _after(cursor: str) -> str:
    value = paging.read(cursor)
    if not isinstance(value, str):
        raise ProtocolError(f"after: {cursor[:100]!r} is not a cursor of this listing")
    return clean(value)
