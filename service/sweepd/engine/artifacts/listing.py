"""Lists of artifacts: types, collections, versions, files, and the runs around them."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Select, func, select, tuple_

from sweepd.engine import access, paging
from sweepd.engine.artifacts import rows
from sweepd.engine.artifacts.views import (
    Alias,
    ArtifactFile,
    ArtifactView,
    CollectionView,
    MemberView,
    TypeView,
)
from sweepd.engine.files import check_name
from sweepd.engine.filters import Columns, compile_over
from sweepd.engine.run_views import select_runs, view_of
from sweepd.engine.texts import MAX_INT, clean
from sweepd.engine.views import Account, Page, RunView
from sweepd.errors import ProtocolError
from sweepd.store import Tx
from sweepd.store import artifact_tables as a
from sweepd.store import tables as t

__all__ = [
    "Sorted",
    "artifacts_of_run",
    "list_aliases",
    "list_collections",
    "list_files",
    "list_types",
    "list_versions",
    "memberships",
    "runs_using",
]

T = TypeVar("T")

_MAX_NAMES = 10_000
_MOST_LINKS = 500
_MOST_RUNS = 1_000


@dataclass(frozen=True)
class Sorted:
    """What a client wants to see of a list: which items, in what order, from where, how many.

    `order` is a field with `+` or `-` in front; without one, the newest comes first.
    """

    filters: Mapping[str, Any] | None = None
    order: str | None = None
    after: str | None = None
    first: int = 50


@dataclass(frozen=True)
class _Key:
    """What a listing is sorted by: a column that is never NULL, and an id that breaks ties."""

    value: ColumnElement[Any]
    tie: ColumnElement[Any]
    is_descending: bool


_collection = a.artifact_collection.c
_COLLECTION_COLUMNS = Columns(
    texts={
        "name": _collection.name,
        "description": _collection.description,
        "type": a.artifact_type.c.name,
    },
    times={
        "created_at": _collection.created_at,
        "createdAt": _collection.created_at,
        "updated_at": _collection.updated_at,
        "updatedAt": _collection.updated_at,
    },
    lists={
        "tag": rows.collection_tags(),
        "tags": rows.collection_tags(),
        "alias": rows.collection_aliases(),
        "aliases": rows.collection_aliases(),
    },
)
_COLLECTION_ORDERS: Mapping[str, ColumnElement[Any]] = {
    **_COLLECTION_COLUMNS.times,
    "name": _collection.name,
    "id": _collection.id,
    "ID": _collection.id,
}

_member, _artifact = a.artifact_member.c, a.artifact.c
_VERSION_COLUMNS = Columns(
    texts={
        "state": func.upper(_artifact.state),
        "digest": _artifact.digest,
        "description": _artifact.description,
        "type": a.artifact_type.c.name,
    },
    numbers={
        "versionIndex": _member.version_index,
        "version_index": _member.version_index,
        "size": _artifact.size,
        "fileCount": _artifact.n_files,
        "file_count": _artifact.n_files,
    },
    times={
        "created_at": _artifact.created_at,
        "createdAt": _artifact.created_at,
        "updated_at": _artifact.updated_at,
        "updatedAt": _artifact.updated_at,
    },
    lists={
        "tag": rows.artifact_tags(),
        "tags": rows.artifact_tags(),
        "alias": rows.member_aliases(),
        "aliases": rows.member_aliases(),
    },
)
_VERSION_ORDERS: Mapping[str, ColumnElement[Any]] = {
    **_VERSION_COLUMNS.times,
    **_VERSION_COLUMNS.numbers,
    "version": _member.version_index,
    "id": _artifact.id,
    "ID": _artifact.id,
}


def list_types(
    tx: Tx, *, project_id: int, after: str | None = None, first: int = 50
) -> Page[TypeView]:
    """Return a page of a project's types, the oldest first. Asks nobody's leave."""
    query = rows.select_types().where(a.artifact_type.c.project_id == project_id)
    key = _Key(a.artifact_type.c.id, a.artifact_type.c.id, is_descending=False)
    return _page(tx, query, key, Sorted(after=after, first=first), rows.type_of)


def list_collections(
    tx: Tx, *, project_id: int, wanted: Sorted, type: str | None = None
) -> Page[CollectionView]:
    """Return a page of a project's collections, all or of a type. Asks nobody's leave.

    Raises:
        ProtocolError: for the filter, the order or the cursor.
    """
    query = rows.select_collections().where(
        _collection.project_id == project_id, compile_over(wanted.filters, _COLLECTION_COLUMNS)
    )
    if type is not None:
        query = query.where(a.artifact_type.c.name == clean(type))
    key = _key(wanted.order, _COLLECTION_ORDERS, newest=_collection.id, tie=_collection.id)
    return _page(tx, query, key, wanted, rows.collection_of)


def list_versions(
    tx: Tx, *, actor: Account, collection: CollectionView, wanted: Sorted
) -> Page[MemberView]:
    """Return a page of a collection's versions that the actor may read; raise as above."""
    query = rows.select_members().where(
        _member.collection_id == collection.id,
        access.visible(actor),
        compile_over(wanted.filters, _VERSION_COLUMNS),
    )
    key = _key(
        wanted.order, _VERSION_ORDERS, newest=_member.version_index, tie=_member.version_index
    )
    return _page(tx, query, key, wanted, lambda row: rows.member_of(row, collection))


def list_aliases(
    tx: Tx, *, collection: CollectionView, after: str | None = None, first: int = 50
) -> Page[Alias]:
    """Return a page of a collection's aliases. Asks nobody's leave."""
    c, place = a.artifact_alias.c, collection
    query = select(c.id, c.name).where(c.collection_id == collection.id)
    key = _Key(c.id, c.id, is_descending=False)
    return _page(
        tx,
        query,
        key,
        Sorted(after=after, first=first),
        lambda row: Alias(
            row[0], row[1], place.id, place.name, place.project_id, place.project, place.entity
        ),
    )


def list_files(
    tx: Tx,
    *,
    artifact_id: int,
    names: Sequence[str] = (),
    after: str | None = None,
    first: int = 50,
) -> Page[ArtifactFile]:
    """Return a page of a version's files by path, references included. Asks nobody's leave.

    A name that cannot be a file's is simply not found; no `names` means all.

    Raises:
        ProtocolError: for a cursor that is none, or over 10,000 names.
    """
    if len(names) > _MAX_NAMES:
        raise ProtocolError(f"files: at most {_MAX_NAMES} names, not {len(names)}")
    c = a.artifact_entry.c
    query = rows.select_files().where(c.artifact_id == artifact_id)
    if names:
        paths = [path for path in map(_path_or_none, names) if path is not None]
        members = func.json_each(json.dumps(paths)).table_valued("value")
        query = query.where(c.path.in_(select(members.c.value)))
    key = _Key(c.path, c.path, is_descending=False)
    return _page(tx, query, key, Sorted(after=after, first=first), rows.file_of)


def _path_or_none(name: str) -> str | None:
    try:
        return check_name(name)
    except ProtocolError:
        return None


def artifacts_of_run(
    tx: Tx, *, actor: Account, run_id: int, role: str, after: str | None = None, first: int = 50
) -> Page[ArtifactView]:
    """Return a page of the versions that a run used (`input`) or logged (`output`), oldest first.

    Those that the actor may not read are left out.
    """
    link = a.artifact_run.c
    query = (
        rows.select_artifacts()
        .join(a.artifact_run, link.artifact_id == _artifact.id)
        .where(link.run_id == run_id, link.role == role, _artifact.state == "committed")
        .where(access.visible(actor))
    )
    key = _Key(_artifact.id, _artifact.id, is_descending=False)
    return _page(tx, query, key, Sorted(after=after, first=first), rows.artifact_of)


def runs_using(tx: Tx, *, actor: Account, artifact_id: int) -> list[RunView]:
    """Return the runs that used a version and that the actor may read, the latest first."""
    link = a.artifact_run.c
    query = (
        select_runs()
        .join(a.artifact_run, link.run_id == t.run.c.id)
        .where(link.artifact_id == artifact_id, link.role == "input", access.visible(actor))
        .order_by(link.created_at.desc(), t.run.c.id.desc())
        .limit(_MOST_RUNS)
    )
    return [view_of(row) for row in tx.conn.execute(query)]


def memberships(tx: Tx, *, actor: Account, artifact: ArtifactView) -> list[MemberView]:
    """Return where a version is, its sequence first, as far as the actor may read."""
    query = (
        rows.select_collections()
        .add_columns(_member.id, _member.version_index, _member.created_at)
        .join(a.artifact_member, _member.collection_id == _collection.id)
        .where(_member.artifact_id == artifact.id, access.visible(actor))
        .order_by(_collection.is_portfolio, _member.id)
        .limit(_MOST_LINKS)
    )
    return [
        MemberView(row[-3], rows.collection_of(row), row[-2], row[-1], artifact)
        for row in tx.conn.execute(query)
    ]


def _key(
    order: str | None,
    orders: Mapping[str, ColumnElement[Any]],
    *,
    newest: ColumnElement[Any],
    tie: ColumnElement[Any],
) -> _Key:
    name = (order or "").strip()
    if not name:
        return _Key(newest, tie, is_descending=True)
    value = orders.get(name.lstrip("+-"))
    if value is None:
        raise ProtocolError(f"order: unknown field {name[:60]!r}; known: {', '.join(orders)}")
    return _Key(value, tie, is_descending=name.startswith("-"))


def _page(
    tx: Tx, query: Select[Any], key: _Key, wanted: Sorted, view: Callable[[Any], T]
) -> Page[T]:
    """Return a page of a query, whose cursors hold the sorted value and the tie-break of a row."""
    counting = query.with_only_columns(func.count(), maintain_column_froms=True)
    total = tx.conn.scalar(counting) or 0
    size = paging.check_first(wanted.first)
    if wanted.after is not None:
        value, tie = _read_cursor(wanted.after)
        place = tuple_(key.value, key.tie)
        query = query.where(
            place < tuple_(value, tie) if key.is_descending else place > tuple_(value, tie)
        )
    columns = (key.value, key.tie)
    query = query.order_by(*(c.desc() if key.is_descending else c.asc() for c in columns))
    found = tx.conn.execute(query.add_columns(*columns).limit(size + 1)).all()
    shown = found[:size]
    return Page(
        items=tuple(view(row[:-2]) for row in shown),
        cursors=tuple(paging.encode([row[-2], row[-1]]) for row in shown),
        has_next=len(found) > size,
        total=total,
    )


def _read_cursor(cursor: str) -> tuple[Any, Any]:
    found = paging.read(cursor)
    if not isinstance(found, list) or len(found) != 2 or not all(map(_is_key, found)):
        raise ProtocolError(f"after: {cursor[:100]!r} is not a cursor of this listing")
    return found[0], found[1]


def _is_key(value: object) -> bool:
    if isinstance(value, str):
        return clean(value) == value
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) <= MAX_INT
