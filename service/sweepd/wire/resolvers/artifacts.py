"""Artifacts: what is read of types, collections, versions, files and lineage."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sweepd.engine import projects, runs
from sweepd.engine.access import Need
from sweepd.engine.artifacts import drafts, find, listing
from sweepd.engine.artifacts.listing import Sorted
from sweepd.engine.artifacts.views import (
    Alias,
    ArtifactFile,
    ArtifactView,
    CollectionView,
    MemberView,
    TypeView,
)
from sweepd.engine.views import Account, Page, ProjectView, RunView
from sweepd.wire.artifact_storage import manifest_link
from sweepd.wire.context import TYPE_OF, Info, Resolvers
from sweepd.wire.ids import read_int_id, wire_id
from sweepd.wire.resolvers.accounts import user_of
from sweepd.wire.resolvers.common import (
    Named,
    attribute,
    connection,
    constant,
    ident,
    page_size,
    read_object,
)

__all__ = ["FIELDS"]

_MAX_FILES = 500  # of a page: the client asks for 5,000, and goes on for more
_MAX_ENTRIES = 5_000


async def _artifact_by_id(root: None, info: Info, id: str) -> ArtifactView | None:
    context = info.context
    return await context.read(
        find.artifact_or_none, actor=context.account, artifact_id=read_int_id("Artifact", id)
    )


async def _collection_by_id(root: None, info: Info, id: str) -> CollectionView | None:
    context = info.context
    return await context.read_or_none(
        find.collection_by_id,
        actor=context.account,
        collection_id=read_int_id("ArtifactCollection", id),
        need=Need.READ,
    )


async def _client_id_mapping(root: None, info: Info, clientID: str) -> Mapping[str, str] | None:
    context = info.context
    found = await context.read(find.server_id, actor=context.account, client_id=clientID)
    return {"serverID": wire_id("Artifact", found)} if found is not None else None


# Of a project.


async def _type(project: ProjectView, info: Info, name: str) -> TypeView | None:
    return await info.context.read(find.find_type, project_id=project.id, name=name)


async def _types(
    project: ProjectView,
    info: Info,
    after: str | None = None,
    first: int | None = None,
    includeAll: bool | None = None,
) -> Mapping[str, Any]:
    page = await info.context.read(
        listing.list_types, project_id=project.id, after=after, first=page_size(first)
    )
    return connection(page)


async def _collection(
    source: ProjectView | TypeView, info: Info, name: str
) -> CollectionView | None:
    is_type = isinstance(source, TypeView)
    return await info.context.read(
        find.find_collection,
        project_id=source.project_id if isinstance(source, TypeView) else source.id,
        name=name,
        type=source.name if is_type else None,
    )


async def _collections(
    source: ProjectView | TypeView,
    info: Info,
    after: str | None = None,
    first: int | None = None,
    filters: str | None = None,
    order: str | None = None,
) -> Mapping[str, Any]:
    is_type = isinstance(source, TypeView)
    page = await info.context.read(
        listing.list_collections,
        project_id=source.project_id if isinstance(source, TypeView) else source.id,
        type=source.name if is_type else None,
        wanted=_sorted(filters, order, after, first),
    )
    return connection(page)


def _sorted(filters: str | None, order: str | None, after: str | None, first: int | None) -> Sorted:
    return Sorted(read_object(filters, "filters"), order, after, page_size(first))


async def _member_by_name(project: ProjectView, info: Info, name: str) -> MemberView | None:
    context = info.context
    return await context.read(
        find.member_by_name, actor=context.account, project_id=project.id, name=name
    )


async def _artifact_by_name(project: ProjectView, info: Info, name: str) -> ArtifactView | None:
    found = await _member_by_name(project, info, name)
    return found.artifact if found is not None else None


# Of a collection.


def _type_of_collection(source: CollectionView, *_: Any) -> str:
    return "ArtifactPortfolio" if source.is_portfolio else "ArtifactSequence"


async def _project_of(source: Any, info: Info) -> ProjectView | None:
    """Return the project of anything; null for who may not read it."""
    context = info.context
    return await context.once(
        projects.project_by_id,
        actor=context.account,
        project_id=source.project_id,
        need=Need.READ,
    )


async def _type_of(source: CollectionView | ArtifactView, info: Info) -> TypeView | None:
    return await info.context.once(find.find_type, project_id=source.project_id, name=source.type)


def _tags_of_collection(source: CollectionView, info: Info) -> Mapping[str, Any]:
    return {"edges": [{"node": tag} for tag in _tags(source, info)]}


def _tags(source: CollectionView | ArtifactView, info: Info) -> Sequence[Mapping[str, str]]:
    return [{"id": wire_id("Tag", tag), "name": tag} for tag in source.tags]


async def _aliases_of_collection(
    source: CollectionView, info: Info, after: str | None = None, first: int | None = None
) -> Mapping[str, Any]:
    page = await info.context.read(
        listing.list_aliases, collection=source, after=after, first=page_size(first)
    )
    return connection(page)


async def _versions(
    source: CollectionView,
    info: Info,
    after: str | None = None,
    first: int | None = None,
    order: str | None = None,
    filters: str | None = None,
) -> Mapping[str, Any]:
    context = info.context
    page: Page[MemberView] = await context.read(
        listing.list_versions,
        actor=context.account,
        collection=source,
        wanted=_sorted(filters, order, after, first),
    )
    shape = connection(page)
    edges = [
        {**edge, "node": edge["node"].artifact, "version": f"v{edge['node'].version_index}"}
        for edge in shape["edges"]
    ]
    return {**shape, "edges": edges}


async def _member(source: CollectionView, info: Info, aliasName: str) -> MemberView | None:
    context = info.context
    return await context.read(
        find.member_by_alias, actor=context.account, collection=source, alias=aliasName
    )


async def _latest(source: CollectionView, info: Info) -> ArtifactView | None:
    return await info.context.read(drafts.latest_of, sequence_id=source.id)


# Of a version.


async def _sequence(source: ArtifactView, info: Info) -> CollectionView | None:
    context = info.context
    return await context.once(
        find.collection_by_id,
        actor=context.account,
        collection_id=source.sequence_id,
        need=Need.READ,
    )


async def _aliases(source: ArtifactView | MemberView, info: Info) -> Sequence[Alias]:
    """Return the aliases, without those in projects that the caller may not read."""
    aliases = source.aliases
    return [alias for alias in aliases if await _project_of(alias, info) is not None]


async def _collection_of_alias(source: Alias, info: Info) -> CollectionView | None:
    context = info.context
    return await context.once(
        find.collection_by_id,
        actor=context.account,
        collection_id=source.collection_id,
        need=Need.READ,
    )


def _ttl(source: ArtifactView, info: Info) -> int:
    return source.ttl_s or -1


def _is_ttl_inherited(source: ArtifactView, info: Info) -> bool:
    return source.ttl_s is None


def _commit_hash(source: ArtifactView, info: Info) -> str | None:
    if not source.is_committed:
        return None
    text = f"{source.sequence_id}:{source.version_index}:{source.digest}"
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


def _manifest(source: ArtifactView, info: Info) -> Mapping[str, Any] | None:
    if not source.is_committed:
        return None
    number = wire_id("ArtifactManifest", source.id)
    file = {"id": number, "directUrl": manifest_link(info.context, source.id)}
    return {"id": number, "digest": source.digest, "file": file}


async def _created_by(source: ArtifactView, info: Info) -> Any:
    context = info.context
    if source.run_id is not None:
        return await context.read_or_none(
            runs.run_by_id, actor=context.account, run_id=source.run_id, need=Need.READ
        )
    return user_of(source, info)


def _type_of_creator(source: RunView | Account | Named, *_: Any) -> str:
    return "Run" if isinstance(source, RunView) else "User"


async def _used_by(source: ArtifactView, info: Info) -> Mapping[str, Any]:
    context = info.context
    found = await context.read(listing.runs_using, actor=context.account, artifact_id=source.id)
    return {
        "edges": [{"node": run, "cursor": str(run.id)} for run in found],
        "pageInfo": {"endCursor": None, "hasNextPage": False},
        "totalCount": len(found),
    }


async def _memberships(source: ArtifactView, info: Info) -> Mapping[str, Any]:
    context = info.context
    found = await context.read(listing.memberships, actor=context.account, artifact=source)
    return {"edges": [{"node": member} for member in found]}


async def _files(
    source: ArtifactView | MemberView,
    info: Info,
    names: Sequence[str | None] | None = None,
    after: str | None = None,
    first: int | None = None,
) -> Mapping[str, Any]:
    artifact = source.artifact if isinstance(source, MemberView) else source
    page: Page[ArtifactFile] = await info.context.read(
        listing.list_files,
        artifact_id=artifact.id,
        names=[name for name in names or () if name],
        after=after,
        first=min(page_size(first), _MAX_FILES),
    )
    return connection(page)


async def _files_by_entries(
    source: ArtifactView,
    info: Info,
    storageLayout: str,
    manifestVersion: str,
    entries: Sequence[Mapping[str, Any]] | None = None,
    storageRegion: str | None = None,
) -> Mapping[str, Any]:
    """Return the files of these entries of the version, those that it has."""
    names = [entry["name"] for entry in (entries or ())[:_MAX_ENTRIES]]
    if not names:
        return connection(Page(items=(), cursors=(), has_next=False, total=0))
    page = await info.context.read(
        listing.list_files, artifact_id=source.id, names=names, first=_MAX_ENTRIES
    )
    return connection(page)


# Of a run.


def _of_run(role: str) -> Any:
    async def resolve(
        run: RunView, info: Info, after: str | None = None, first: int | None = None
    ) -> Mapping[str, Any]:
        context = info.context
        page = await context.read(
            listing.artifacts_of_run,
            actor=context.account,
            run_id=run.id,
            role=role,
            after=after,
            first=page_size(first),
        )
        return connection(page)

    return resolve


_COLLECTION: Mapping[str, Callable[..., Any]] = {
    "id": ident("ArtifactCollection"),
    "createdAt": attribute("created_at"),
    "updatedAt": attribute("updated_at"),
    "project": _project_of,
    "defaultArtifactType": _type_of,
    "tags": _tags_of_collection,
    "state": constant("READY"),
    "aliases": _aliases_of_collection,
    "artifacts": _versions,
    "artifactMembership": _member,
}

FIELDS: Resolvers = {
    "Query": {
        "artifact": _artifact_by_id,
        "artifactCollection": _collection_by_id,
        "clientIDMapping": _client_id_mapping,
    },
    "Project": {
        "artifactType": _type,
        "artifactTypes": _types,
        "artifactCollection": _collection,
        "artifactCollections": _collections,
        "artifactCollectionMembership": _member_by_name,
        "artifact": _artifact_by_name,
    },
    "Run": {"inputArtifacts": _of_run("input"), "outputArtifacts": _of_run("output")},
    "ArtifactType": {
        "id": ident("ArtifactType"),
        "createdAt": attribute("created_at"),
        "artifactCollection": _collection,
        "artifactCollections": _collections,
    },
    "ArtifactCollection": {TYPE_OF: _type_of_collection},
    "ArtifactSequence": {
        **_COLLECTION,
        "latestArtifact": _latest,
        "digestAlgorithm": constant("MANIFEST_MD5"),
    },
    "ArtifactPortfolio": _COLLECTION,
    "ArtifactAlias": {
        "id": ident("ArtifactAlias"),
        "alias": attribute("name"),
        "artifactCollection": _collection_of_alias,
    },
    "ArtifactCreator": {TYPE_OF: _type_of_creator},
    "Artifact": {
        "id": ident("Artifact"),
        "artifactSequence": _sequence,
        "versionIndex": attribute("version_index"),
        "artifactType": _type_of,
        "ttlDurationSeconds": _ttl,
        "ttlIsInherited": _is_ttl_inherited,
        "tags": _tags,
        "historyStep": attribute("history_step"),
        "state": lambda artifact, info: artifact.state.upper(),
        "digestAlgorithm": constant("MANIFEST_MD5"),
        "commitHash": _commit_hash,
        "fileCount": attribute("n_files"),
        "createdAt": attribute("created_at"),
        "updatedAt": attribute("updated_at"),
        "aliases": _aliases,
        "currentManifest": _manifest,
        "createdBy": _created_by,
        "usedBy": _used_by,
        "artifactMemberships": _memberships,
        "files": _files,
        "filesByManifestEntries": _files_by_entries,
    },
    "ArtifactCollectionMembership": {
        "id": ident("ArtifactCollectionMembership"),
        "versionIndex": attribute("version_index"),
        "createdAt": attribute("created_at"),
        "aliases": _aliases,
        "artifactCollection": attribute("collection"),
        "files": _files,
    },
}
