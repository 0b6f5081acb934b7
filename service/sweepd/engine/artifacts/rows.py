"""Rows of artifacts as views. Nothing here asks anybody's leave: `find` does."""

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, func, select

from sweepd.engine.artifacts.views import (
    Alias,
    ArtifactFile,
    ArtifactView,
    CollectionView,
    MemberView,
    TypeView,
)
from sweepd.store import Tx
from sweepd.store import artifact_tables as a
from sweepd.store import tables as t

__all__ = [
    "artifact_of",
    "artifact_tags",
    "collection_aliases",
    "collection_of",
    "collection_tags",
    "file_of",
    "load_artifact",
    "load_collection",
    "member_aliases",
    "member_of",
    "select_artifacts",
    "select_collections",
    "select_files",
    "select_members",
    "select_types",
    "type_of",
]

_sequence = a.artifact_collection.alias("sequence")
_place = t.project.alias("place")  # of an alias
_owner = t.entity.alias("owner")


def _aliases() -> ColumnElement[str]:
    """Return an artifact's aliases in every collection, as a JSON list."""
    alias, collection = a.artifact_alias, a.artifact_collection
    facts = func.json_array(
        alias.c.id, alias.c.name, collection.c.id, collection.c.name,
        _place.c.id, _place.c.name, _owner.c.name,
    )  # fmt: skip
    return (
        select(func.json_group_array(func.json(facts)))
        .select_from(
            alias.join(a.artifact_member, a.artifact_member.c.id == alias.c.member_id)
            .join(collection, collection.c.id == alias.c.collection_id)
            .join(_place, _place.c.id == collection.c.project_id)
            .join(_owner, _owner.c.id == _place.c.entity_id)
        )
        .where(a.artifact_member.c.artifact_id == a.artifact.c.id)
        .correlate(a.artifact)
        .scalar_subquery()
    )


def artifact_tags() -> ColumnElement[str]:
    """Return a version's tags, as a JSON list."""
    tag = a.artifact_tag
    return (
        select(func.json_group_array(tag.c.name))
        .where(tag.c.artifact_id == a.artifact.c.id)
        .correlate(a.artifact)
        .scalar_subquery()
    )


def collection_tags() -> ColumnElement[str]:
    """Return a collection's tags, as a JSON list."""
    tag, collection = a.collection_tag, a.artifact_collection
    return (
        select(func.json_group_array(tag.c.name))
        .where(tag.c.collection_id == collection.c.id)
        .correlate(collection)
        .scalar_subquery()
    )


def collection_aliases() -> ColumnElement[str]:
    """Return the aliases that a collection has, as a JSON list."""
    alias, collection = a.artifact_alias, a.artifact_collection
    return (
        select(func.json_group_array(alias.c.name))
        .where(alias.c.collection_id == collection.c.id)
        .correlate(collection)
        .scalar_subquery()
    )


def member_aliases() -> ColumnElement[str]:
    """Return the aliases that lead to a version in one collection, as a JSON list."""
    alias, member = a.artifact_alias, a.artifact_member
    return (
        select(func.json_group_array(alias.c.name))
        .where(alias.c.member_id == member.c.id)
        .correlate(member)
        .scalar_subquery()
    )


_ARTIFACT = {
    "id": a.artifact.c.id,
    "sequence_id": _sequence.c.id,
    "sequence": _sequence.c.name,
    "project_id": t.project.c.id,
    "project": t.project.c.name,
    "entity_id": t.entity.c.id,
    "entity": t.entity.c.name,
    "type": a.artifact_type.c.name,
    "state": a.artifact.c.state,
    "version_index": a.artifact.c.version_index,
    "digest": a.artifact.c.digest,
    "description": a.artifact.c.description,
    "metadata": a.artifact.c.metadata,
    "ttl_s": a.artifact.c.ttl_s,
    "history_step": a.artifact.c.history_step,
    "size": a.artifact.c.size,
    "n_files": a.artifact.c.n_files,
    "run_id": a.artifact.c.run_id,
    "user_name": t.user.c.name,
    "created_at": a.artifact.c.created_at,
    "updated_at": a.artifact.c.updated_at,
    "tags": artifact_tags(),
    "aliases": _aliases(),
}
_ARTIFACTS: Select[Any] = select(
    *(column.label(f"artifact_{name}") for name, column in _ARTIFACT.items())
).select_from(
    a.artifact.join(_sequence, _sequence.c.id == a.artifact.c.sequence_id)
    .join(a.artifact_type, a.artifact_type.c.id == _sequence.c.type_id)
    .join(t.project, t.project.c.id == _sequence.c.project_id)
    .join(t.entity, t.entity.c.id == t.project.c.entity_id)
    .outerjoin(t.user, t.user.c.id == a.artifact.c.user_id)
)


def select_artifacts() -> Select[Any]:
    """Return a query of versions; `project` is the one that each was made in."""
    return _ARTIFACTS


def artifact_of(row: Row[Any] | Sequence[Any]) -> ArtifactView:
    """Return a row of `select_artifacts` as a view."""
    values = dict(zip(_ARTIFACT, row, strict=False))
    values["tags"] = tuple(sorted(json.loads(values["tags"])))
    values["aliases"] = tuple(Alias(*facts) for facts in sorted(json.loads(values["aliases"])))
    return ArtifactView(**values)


def load_artifact(tx: Tx, artifact_id: int) -> ArtifactView | None:
    """Return the version of that id, a draft too; None if there is none."""
    row = tx.conn.execute(_ARTIFACTS.where(a.artifact.c.id == artifact_id)).one_or_none()
    return artifact_of(row) if row is not None else None


_COLLECTION = {
    "id": a.artifact_collection.c.id,
    "project_id": a.artifact_collection.c.project_id,
    "project": t.project.c.name,
    "entity": t.entity.c.name,
    "type": a.artifact_type.c.name,
    "is_portfolio": a.artifact_collection.c.is_portfolio,
    "name": a.artifact_collection.c.name,
    "description": a.artifact_collection.c.description,
    "created_at": a.artifact_collection.c.created_at,
    "updated_at": a.artifact_collection.c.updated_at,
    "tags": collection_tags(),
}
_COLLECTIONS: Select[Any] = select(
    *(column.label(f"collection_{name}") for name, column in _COLLECTION.items())
).select_from(
    a.artifact_collection.join(
        a.artifact_type, a.artifact_type.c.id == a.artifact_collection.c.type_id
    )
    .join(t.project, t.project.c.id == a.artifact_collection.c.project_id)
    .join(t.entity, t.entity.c.id == t.project.c.entity_id)
)


def select_collections() -> Select[Any]:
    """Return a query of collections, their type, project and entity joined."""
    return _COLLECTIONS


def collection_of(row: Row[Any] | Sequence[Any]) -> CollectionView:
    """Return a row of `select_collections` as a view."""
    values = dict(zip(_COLLECTION, row, strict=False))
    values["tags"] = tuple(sorted(json.loads(values["tags"])))
    values["is_portfolio"] = bool(values["is_portfolio"])
    return CollectionView(**values)


def load_collection(tx: Tx, collection_id: int) -> CollectionView | None:
    """Return the collection of that id, None if there is none."""
    query = _COLLECTIONS.where(a.artifact_collection.c.id == collection_id)
    row = tx.conn.execute(query).one_or_none()
    return collection_of(row) if row is not None else None


_member = a.artifact_member
_MEMBERS: Select[Any] = _ARTIFACTS.add_columns(
    _member.c.id, _member.c.version_index, _member.c.created_at
).join(_member, _member.c.artifact_id == a.artifact.c.id)


def select_members() -> Select[Any]:
    """Return a query of the places that versions have in collections."""
    return _MEMBERS


def member_of(row: Row[Any], collection: CollectionView) -> MemberView:
    """Return a row of `select_members` as a view of a place in `collection`."""
    member_id, version_index, created_at = row[len(_ARTIFACT) : len(_ARTIFACT) + 3]
    return MemberView(member_id, collection, version_index, created_at, artifact_of(row))


def select_types() -> Select[Any]:
    """Return a query of types."""
    c = a.artifact_type.c
    return select(c.id, c.project_id, c.name, c.description, c.created_at)


def type_of(row: Row[Any] | Sequence[Any]) -> TypeView:
    """Return a row of `select_types` as a view."""
    return TypeView(*tuple(row))


def select_files() -> Select[Any]:
    """Return a query of the files of versions."""
    c = a.artifact_entry.c
    return select(
        c.artifact_id, c.path, c.digest, c.size, c.ref, c.blob, a.artifact.c.created_at
    ).select_from(a.artifact_entry.join(a.artifact, a.artifact.c.id == c.artifact_id))


def file_of(row: Row[Any] | Sequence[Any]) -> ArtifactFile:
    """Return a row of `select_files` as a view."""
    return ArtifactFile(*tuple(row))
