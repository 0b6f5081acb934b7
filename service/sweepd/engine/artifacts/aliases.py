"""Aliases: names that lead to one version of a collection, and move."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import delete, select, update
from sqlalchemy.dialects.sqlite import insert

from sweepd.engine.access import Need
from sweepd.engine.artifacts import find, names
from sweepd.engine.artifacts.views import CollectionView
from sweepd.engine.texts import clean
from sweepd.engine.views import Account
from sweepd.errors import NotFound, ProtocolError
from sweepd.store import Tx
from sweepd.store import artifact_tables as a

__all__ = ["At", "add", "newest_is_latest", "point", "remove", "set_all"]

_MAX_AT_ONCE = 1_000


@dataclass(frozen=True)
class At:
    """An alias with the address of its collection."""

    entity: str
    project: str
    collection: str
    alias: str


def add(tx: Tx, *, actor: Account, artifact_id: int, wanted: Sequence[At]) -> None:
    """Point aliases at a version that is in their collections; what they pointed at loses them.

    Raises:
        NotFound, Forbidden: for the version or a collection, or if it is not in one of them.
        InvalidInput: if one cannot be an alias.
    """
    find.artifact_by_id(tx, actor=actor, artifact_id=artifact_id, need=Need.READ)
    for one in _not_too_many(wanted):
        collection = _collection(tx, actor, one)
        alias = names.check_alias(one.alias)
        point(tx, collection=collection, artifact_id=artifact_id, names=[alias])


def remove(tx: Tx, *, actor: Account, artifact_id: int, wanted: Sequence[At]) -> None:
    """Take aliases away from a version; those that it does not have are fine.

    Raises:
        NotFound, Forbidden: for the version or a collection.
    """
    find.artifact_by_id(tx, actor=actor, artifact_id=artifact_id, need=Need.READ)
    for one in _not_too_many(wanted):
        collection = _collection(tx, actor, one)
        member_id = _member_id(tx, collection.id, artifact_id)
        c = a.artifact_alias.c
        tx.conn.execute(
            delete(a.artifact_alias).where(c.member_id == member_id, c.name == clean(one.alias))
        )
        _touch(tx, artifact_id)


def _not_too_many(wanted: Sequence[At]) -> Sequence[At]:
    if len(wanted) > _MAX_AT_ONCE:
        raise ProtocolError(f"{len(wanted)} aliases at once; at most {_MAX_AT_ONCE}")
    return wanted


def _collection(tx: Tx, actor: Account, at: At) -> CollectionView:
    return find.get_collection(
        tx,
        actor=actor,
        entity=at.entity,
        project=at.project,
        name=at.collection,
        need=Need.WRITE,
    )


def point(tx: Tx, *, collection: CollectionView, artifact_id: int, names: Iterable[str]) -> None:
    """Point names, checked before, at a version of a collection.

    Raises:
        NotFound: if the version is not in the collection.
    """
    member_id = _member_id(tx, collection.id, artifact_id)
    if member_id is None:
        raise NotFound(f"that version is not in {collection.project}/{collection.name}")
    for name in names:
        tx.conn.execute(
            insert(a.artifact_alias)
            .values(collection_id=collection.id, member_id=member_id, name=name)
            .on_conflict_do_update(
                index_elements=["collection_id", "name"], set_={"member_id": member_id}
            )
        )
    _touch(tx, artifact_id)


def set_all(tx: Tx, *, collection: CollectionView, artifact_id: int, wanted: Sequence[str]) -> None:
    """Give a version exactly these aliases in a collection; raise as `add` does."""
    checked = [names.check_alias(name) for name in wanted if names.version_of(name) is None]
    member_id = _member_id(tx, collection.id, artifact_id)
    c = a.artifact_alias.c
    tx.conn.execute(
        delete(a.artifact_alias).where(c.member_id == member_id, c.name.not_in(checked))
    )
    point(tx, collection=collection, artifact_id=artifact_id, names=checked)


def newest_is_latest(tx: Tx, *, collection_id: int) -> None:
    """Point `latest` at a collection's newest version where nothing has it any more."""
    c = a.artifact_alias.c
    has = select(c.id).where(c.collection_id == collection_id, c.name == names.LATEST)
    if tx.conn.scalar(has) is not None:
        return
    m = a.artifact_member.c
    newest = tx.conn.scalar(
        select(m.id).where(m.collection_id == collection_id).order_by(m.version_index.desc())
        .limit(1)
    )  # fmt: skip
    if newest is not None:
        row = {"collection_id": collection_id, "member_id": newest, "name": names.LATEST}
        tx.conn.execute(insert(a.artifact_alias).values(row))


def _member_id(tx: Tx, collection_id: int, artifact_id: int) -> int | None:
    m = a.artifact_member.c
    found = tx.conn.scalar(
        select(m.id).where(m.collection_id == collection_id, m.artifact_id == artifact_id)
    )
    return int(found) if found is not None else None


def _touch(tx: Tx, artifact_id: int) -> None:
    tx.conn.execute(
        update(a.artifact).where(a.artifact.c.id == artifact_id).values(updated_at=tx.now)
    )
