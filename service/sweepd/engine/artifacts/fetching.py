"""What of a version is sent to whom."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, select

from sweepd.engine.access import Need
from sweepd.engine.artifacts import find
from sweepd.engine.texts import clean
from sweepd.engine.views import Account
from sweepd.errors import NotFound
from sweepd.store import Tx
from sweepd.store import artifact_tables as a
from sweepd.store import tables as t

__all__ = ["Stored", "file_of", "manifest_of", "readable_file"]

_MISSING = "there is no such file"


@dataclass(frozen=True)
class Stored:
    """Bytes that are kept: their key, the last part of their name, size and MD5 in base64."""

    blob: str
    name: str
    size: int
    md5: str


def file_of(tx: Tx, *, artifact_id: int, path: str) -> Stored:
    """Return a committed version's file by its path; a signed link is all the leave it takes.

    Raises:
        NotFound: if there is none, or it is a reference.
    """
    c = a.artifact_entry.c
    return _stored(tx, _files().where(c.artifact_id == artifact_id, c.path == clean(path)))


def manifest_of(tx: Tx, *, artifact_id: int) -> Stored:
    """Return a committed version's manifest; a signed link is all the leave it takes.

    Raises:
        NotFound: if there is no such version.
    """
    query = (
        select(t.blob.c.key, t.blob.c.size, t.blob.c.md5)
        .join(a.artifact, a.artifact.c.manifest_blob == t.blob.c.key)
        .where(a.artifact.c.id == artifact_id)
    )
    row = tx.conn.execute(query).one_or_none()
    if row is None:
        raise NotFound(_MISSING)
    return Stored(row.key, "wandb_manifest.json", row.size, row.md5)


def readable_file(
    tx: Tx,
    *,
    actor: Account,
    entity: str,
    project: str,
    collection: str,
    artifact_id: int | None,
    digest: str,
) -> Stored:
    """Return a file by its MD5, base64, from a version of a collection, or from any of them.

    Raises:
        NotFound: if there is none that the actor may read.
    """
    found = find.get_collection(
        tx, actor=actor, entity=entity, project=project, name=collection, need=Need.READ
    )
    c, member = a.artifact_entry.c, a.artifact_member
    query = (
        _files()
        .add_columns(a.artifact_collection.c.project_id)
        .join(member, member.c.artifact_id == c.artifact_id)
        .join(a.artifact, a.artifact.c.id == c.artifact_id)
        .join(a.artifact_collection, a.artifact_collection.c.id == a.artifact.c.sequence_id)
        .where(member.c.collection_id == found.id, c.digest == clean(digest))
        .order_by(c.artifact_id.desc())
        .limit(100)
    )
    if artifact_id is not None:
        query = query.where(c.artifact_id == artifact_id)
    for row in tx.conn.execute(query):
        if find.is_readable(tx, actor=actor, project_id=row.project_id):
            return Stored(row.key, row.path.rpartition("/")[2], row.size, row.md5)
    raise NotFound(_MISSING)


def _files() -> Select[Any]:
    c, blob = a.artifact_entry.c, t.blob.c
    return select(c.path, blob.key, blob.size, blob.md5).join(t.blob, blob.key == c.blob)


def _stored(tx: Tx, query: Select[Any]) -> Stored:
    row = tx.conn.execute(query).one_or_none()
    if row is None:
        raise NotFound(_MISSING)
    path, key, size, md5 = row
    return Stored(key, path.rpartition("/")[2], size, md5)
