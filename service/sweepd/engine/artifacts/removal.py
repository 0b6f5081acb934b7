"""What goes: versions, collections, links, drafts that were given up, versions past their time."""

from collections.abc import Sequence

from sqlalchemy import delete, exists, select

from sweepd.engine import blobs, events
from sweepd.engine.access import Need
from sweepd.engine.artifacts import aliases, drafts, find, rows
from sweepd.engine.artifacts.views import ArtifactView, CollectionView
from sweepd.engine.views import Account
from sweepd.errors import Conflict, InvalidInput, NotFound
from sweepd.store import Tx
from sweepd.store import artifact_tables as a

__all__ = [
    "delete_artifact",
    "delete_collection",
    "delete_made",
    "expire",
    "made_by_run",
    "unlink",
]

#: A draft that nobody has worked on for this long is given up. Offline runs send theirs at once.
_DRAFT_S = 7 * 24 * 3600.0
_AT_ONCE = 100


def delete_artifact(
    tx: Tx, *, actor: Account, artifact_id: int, with_aliases: bool
) -> tuple[ArtifactView, list[str]]:
    """Delete a version, its links included; return it and the blobs that nothing needs any more.

    Raises:
        NotFound, Forbidden: as `find.artifact_by_id`.
        Conflict: if aliases lead to it and they are not to go with it.
    """
    view = find.artifact_by_id(tx, actor=actor, artifact_id=artifact_id, need=Need.WRITE)
    if view.aliases and not with_aliases:
        named = ", ".join(alias.name for alias in view.aliases)
        raise Conflict(
            f"{view.sequence}:v{view.version_index} has aliases: {named}; delete them too "
            "(delete_aliases=True) or move them first"
        )
    freed = _delete(tx, [artifact_id])
    _record(tx, view, actor.name, "artifact.deleted")
    return view, freed


def _delete(tx: Tx, artifact_ids: Sequence[int]) -> list[str]:
    """Delete versions and drafts with all that hangs on them; return the blobs that are free."""
    entries, members = a.artifact_entry.c, a.artifact_member.c
    keys: set[str] = set()
    for artifact_id in artifact_ids:
        keys |= drafts.clear_draft(tx, artifact_id=artifact_id)
        held = select(entries.blob).where(entries.artifact_id == artifact_id)
        keys |= set(tx.conn.scalars(held.where(entries.blob.is_not(None)).distinct()))
        manifest = select(a.artifact.c.manifest_blob).where(a.artifact.c.id == artifact_id)
        keys |= {key for key in tx.conn.scalars(manifest) if key is not None}
        collections = tx.conn.scalars(
            select(members.collection_id).where(members.artifact_id == artifact_id)
        ).all()
        tx.conn.execute(delete(a.artifact).where(a.artifact.c.id == artifact_id))
        for collection_id in collections:
            aliases.newest_is_latest(tx, collection_id=collection_id)
    return blobs.release(tx, keys=keys)


def _record(tx: Tx, view: ArtifactView, actor: str, kind: str) -> None:
    events.record(
        tx,
        actor=actor,
        kind=kind,
        project_id=view.project_id,
        run_id=view.run_id,
        data={"name": f"{view.sequence}:v{view.version_index}", "type": view.type},
    )


def made_by_run(tx: Tx, *, run_id: int) -> list[int]:
    """Return the ids of the versions and drafts that a run made. Asks nobody's leave."""
    return list(tx.conn.scalars(select(a.artifact.c.id).where(a.artifact.c.run_id == run_id)))


def delete_made(tx: Tx, *, artifact_ids: Sequence[int]) -> list[str]:
    """Delete versions and drafts with their aliases and links; return the blobs that are free.

    Whether the caller may is for the caller to ask.
    """
    return _delete(tx, artifact_ids)


def delete_collection(
    tx: Tx, *, actor: Account, collection_id: int, is_portfolio: bool
) -> tuple[CollectionView, list[str]]:
    """Delete a sequence with its versions, or a portfolio with its links; return freed blobs too.

    Raises:
        NotFound, Forbidden: as `find.collection_by_id`.
        InvalidInput: if it is of the other sort.
    """
    view = find.collection_by_id(tx, actor=actor, collection_id=collection_id, need=Need.WRITE)
    if view.is_portfolio != is_portfolio:
        raise InvalidInput(f"{view.name!r} is a {'portfolio' if view.is_portfolio else 'sequence'}")
    made = tx.conn.scalars(
        select(a.artifact.c.id).where(a.artifact.c.sequence_id == collection_id)
    ).all()
    freed = _delete(tx, made)
    tx.conn.execute(delete(a.artifact_collection).where(a.artifact_collection.c.id == view.id))
    events.record(
        tx,
        actor=actor.name,
        kind="artifact.collection_deleted",
        project_id=view.project_id,
        data={"name": view.name, "type": view.type},
    )
    return view, freed


def unlink(tx: Tx, *, actor: Account, artifact_id: int, collection_id: int) -> None:
    """Take a version's link out of a portfolio.

    Raises:
        NotFound, Forbidden: for the version or the portfolio, or if it is not linked there.
        InvalidInput: if the collection is the version's own.
    """
    collection = find.collection_by_id(
        tx, actor=actor, collection_id=collection_id, need=Need.WRITE
    )
    find.artifact_by_id(tx, actor=actor, artifact_id=artifact_id, need=Need.READ)
    if not collection.is_portfolio:
        raise InvalidInput(f"{collection.name!r} is the artifact's own; delete the version instead")
    c = a.artifact_member.c
    gone = tx.conn.execute(
        delete(a.artifact_member).where(
            c.collection_id == collection_id, c.artifact_id == artifact_id
        )
    )
    if gone.rowcount == 0:
        raise NotFound(f"that version is not linked to {collection.name!r}")
    aliases.newest_is_latest(tx, collection_id=collection_id)


def expire(tx: Tx) -> list[str]:
    """Delete some versions past their time and drafts that were given up; return freed blobs.

    A version that is linked into a portfolio stays as long as it is.
    """
    c, member, collection = a.artifact.c, a.artifact_member, a.artifact_collection
    is_linked = exists().where(
        member.c.artifact_id == c.id,
        member.c.collection_id == collection.c.id,
        collection.c.is_portfolio == 1,
    )
    past = select(c.id).where(c.state == "committed", c.ttl_s > 0)
    past = past.where(c.created_at + c.ttl_s < tx.now, ~is_linked)
    given_up = select(c.id).where(c.state == "pending", c.updated_at < tx.now - _DRAFT_S)
    freed: list[str] = []
    for query in (past, given_up):
        for artifact_id in tx.conn.scalars(query.limit(_AT_ONCE)).all():
            view = rows.load_artifact(tx, artifact_id)
            assert view is not None
            freed += _delete(tx, [artifact_id])
            if view.is_committed:
                _record(tx, view, events.SERVICE, "artifact.expired")
    return freed
