"""Finds artifacts for those who may see them: every lookup that a request leads to.

A version belongs to the project of its sequence, and whoever may read that may read it. A link is
another name for it, in a project that may be another one: it leads only those to the version who
may read both.
"""

from sqlalchemy import Select, select

from sweepd.engine import projects
from sweepd.engine.access import Need
from sweepd.engine.artifacts import names, rows
from sweepd.engine.artifacts.views import (
    ArtifactView,
    CollectionView,
    MemberView,
    TypeView,
)
from sweepd.engine.texts import clean
from sweepd.engine.views import Account
from sweepd.errors import NotFound
from sweepd.store import Tx
from sweepd.store import artifact_tables as a

__all__ = [
    "artifact_by_id",
    "artifact_by_name",
    "artifact_or_none",
    "collection_by_id",
    "find_collection",
    "find_member",
    "find_type",
    "get_collection",
    "is_readable",
    "member_by_alias",
    "member_by_name",
    "server_id",
]


def artifact_by_id(tx: Tx, *, actor: Account, artifact_id: int, need: Need) -> ArtifactView:
    """Return a version or a draft by its id.

    Raises:
        NotFound: if there is none that the actor may see.
        Forbidden: if they may see it, but not do what is needed.
    """
    view = rows.load_artifact(tx, artifact_id)
    if view is None or not is_readable(tx, actor=actor, project_id=view.project_id):
        raise NotFound(f"there is no artifact with id {artifact_id}")
    projects.project_by_id(tx, actor=actor, project_id=view.project_id, need=need)
    return view


def artifact_or_none(tx: Tx, *, actor: Account, artifact_id: int) -> ArtifactView | None:
    """Return a version or a draft by its id, None if there is none that the actor may read."""
    view = rows.load_artifact(tx, artifact_id)
    if view is None or not is_readable(tx, actor=actor, project_id=view.project_id):
        return None
    return view


def is_readable(tx: Tx, *, actor: Account, project_id: int) -> bool:
    """Return whether an account may read a project."""
    try:
        projects.project_by_id(tx, actor=actor, project_id=project_id, need=Need.READ)
    except NotFound:
        return False
    return True


def collection_by_id(tx: Tx, *, actor: Account, collection_id: int, need: Need) -> CollectionView:
    """Return a collection by its id; raise as `artifact_by_id` does."""
    view = rows.load_collection(tx, collection_id)
    if view is None or not is_readable(tx, actor=actor, project_id=view.project_id):
        raise NotFound(f"there is no collection with id {collection_id}")
    projects.project_by_id(tx, actor=actor, project_id=view.project_id, need=need)
    return view


def get_collection(
    tx: Tx, *, actor: Account, entity: str | None, project: str | None, name: str, need: Need
) -> CollectionView:
    """Return the collection of that address; raise as `artifact_by_id` does."""
    place = projects.get_project(tx, actor=actor, entity=entity, name=project, need=need)
    found = find_collection(tx, place.id, name)
    if found is None:
        raise NotFound(f"there is no artifact {place.entity}/{place.name}/{name}")
    return found


def find_collection(
    tx: Tx, project_id: int, name: str, *, type: str | None = None
) -> CollectionView | None:
    """Return a project's collection, None if there is none (of that type). Asks nobody's leave."""
    c = a.artifact_collection.c
    query = rows.select_collections().where(c.project_id == project_id, c.name == clean(name))
    if type is not None:
        query = query.where(a.artifact_type.c.name == clean(type))
    row = tx.conn.execute(query).one_or_none()
    return rows.collection_of(row) if row is not None else None


def find_type(tx: Tx, project_id: int, name: str) -> TypeView | None:
    """Return a project's type, None if there is none. Asks nobody's leave."""
    c = a.artifact_type.c
    query = rows.select_types().where(c.project_id == project_id, c.name == clean(name))
    row = tx.conn.execute(query).one_or_none()
    return rows.type_of(row) if row is not None else None


def member_by_name(tx: Tx, *, actor: Account, project_id: int, name: str) -> MemberView | None:
    """Return the version that `collection:alias` names in a project that the actor may read.

    The alias may be a version, such as v3, or the version's digest; without one the newest is
    meant. None if there is no such version, or it was linked here from where they may not read.
    """
    wanted = names.read_name(name)
    collection = find_collection(tx, project_id, wanted.collection)
    if collection is None:
        return None
    return member_by_alias(tx, actor=actor, collection=collection, alias=wanted.alias)


def member_by_alias(
    tx: Tx, *, actor: Account, collection: CollectionView, alias: str
) -> MemberView | None:
    """Return the version that an alias names in a collection; None as `member_by_name`."""
    found = find_member(tx, collection, alias)
    if found is None:
        return None
    home = found.artifact.project_id
    if home != collection.project_id and not is_readable(tx, actor=actor, project_id=home):
        return None
    return found


def find_member(tx: Tx, collection: CollectionView, alias: str) -> MemberView | None:
    """Return the version that an alias, a version or a digest names. Asks nobody's leave."""
    query = rows.select_members().where(a.artifact_member.c.collection_id == collection.id)
    row = tx.conn.execute(_named(query, collection, clean(alias)).limit(1)).one_or_none()
    return rows.member_of(row, collection) if row is not None else None


def _named(
    query: Select[tuple[object]], collection: CollectionView, alias: str
) -> Select[tuple[object]]:
    version = names.version_of(alias)
    if version is not None:
        return query.where(a.artifact_member.c.version_index == version)
    c = a.artifact_alias.c
    by_alias = select(c.member_id).where(c.collection_id == collection.id, c.name == alias)
    # A digest comes second: an alias that looks like one is still an alias.
    is_alias = a.artifact_member.c.id.in_(by_alias)
    return query.where(is_alias | (a.artifact.c.digest == alias)).order_by(
        is_alias.desc(), a.artifact_member.c.version_index.desc()
    )


def artifact_by_name(tx: Tx, *, actor: Account, project_id: int, name: str) -> ArtifactView | None:
    """Return the version that `collection:alias` names; None as `member_by_name`."""
    found = member_by_name(tx, actor=actor, project_id=project_id, name=name)
    return found.artifact if found is not None else None


def server_id(tx: Tx, *, actor: Account, client_id: str) -> int | None:
    """Return the id of the version that a client called `client_id` when it was its draft."""
    c = a.artifact.c
    found = tx.conn.scalars(
        select(c.id).where(c.client_id == clean(client_id)).order_by(c.id.desc()).limit(10)
    )
    for artifact_id in found:
        if artifact_or_none(tx, actor=actor, artifact_id=artifact_id) is not None:
            return int(artifact_id)
    return None
