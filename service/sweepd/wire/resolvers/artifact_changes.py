"""Artifacts: logging, committing, linking, tagging, deleting."""

from collections.abc import Mapping, Sequence
from typing import Any

from anyio import to_thread

from sweepd.engine.access import Need
from sweepd.engine.artifacts import (
    aliases,
    changes,
    collections,
    commit,
    drafts,
    find,
    joining,
    removal,
    uploads,
)
from sweepd.engine.artifacts.manifests import Kind
from sweepd.engine.artifacts.views import ArtifactView, DraftFile, ManifestView, Part, Upload
from sweepd.errors import Conflict, InvalidInput, NotFound, ProtocolError
from sweepd.wire.artifact_storage import (
    FOLDER,
    manifest_upload_link,
    part_link,
    settle,
    upload_link,
)
from sweepd.wire.context import Context, Info, Resolvers
from sweepd.wire.ids import read_int_id, wire_id
from sweepd.wire.resolvers.common import at_most

__all__ = ["FIELDS"]

_Input = Mapping[str, Any]

_MANIFEST = "wandb_manifest.json"
_REGION = "default"  # the only one: the client puts it into the addresses it falls back on
_TRIES = 5  # at a commit, while other writers of the draft keep sending manifests


async def _create(root: None, info: Info, input: _Input) -> _Input:
    context = info.context
    if input["digestAlgorithm"] != "MANIFEST_MD5":
        raise ProtocolError(
            f"digestAlgorithm: must be MANIFEST_MD5, not {input['digestAlgorithm']}"
        )
    if input.get("storageRegion") not in (None, "", _REGION):
        raise InvalidInput(
            f"storageRegion: must be {_REGION!r}, not {input['storageRegion']!r}: this service "
            "keeps everything in one place"
        )
    collection = _collection_name(input)
    draft = drafts.Draft(
        entity=input["entityName"],
        project=input["projectName"],
        type=input["artifactTypeName"],
        collection=collection,
        digest=input["digest"],
        run=input.get("runName") or None,
        description=input.get("description"),
        metadata=input.get("metadata"),
        aliases=_aliases_for(collection, input.get("aliases")),
        tags=_tag_names(input.get("tags")),
        ttl_s=input.get("ttlDurationSeconds"),
        history_step=input.get("historyStep"),
        distributed_id=input.get("distributedID") or None,
        client_id=input.get("clientID"),
        sequence_client_id=input.get("sequenceClientID"),
        is_deduplicated=bool(input.get("enableDigestDeduplication")),
    )
    made = await context.write(drafts.create, actor=context.account, draft=draft)
    return {"artifact": made}


def _collection_name(input: _Input) -> str:
    named = input.get("artifactCollectionNames") or []
    if input.get("artifactCollectionName"):
        named = [input["artifactCollectionName"]]
    if len(named) != 1:
        raise ProtocolError(f"an artifact belongs to one collection, not {len(named)}")
    return str(named[0])


def _aliases_for(collection: str, given: Sequence[_Input] | None) -> list[str]:
    """Return the aliases; each names its collection, which must be the one at hand."""
    for alias in given or ():
        if alias["artifactCollectionName"] != collection:
            raise ProtocolError(
                f"alias {alias['alias']!r} is for {alias['artifactCollectionName']!r}, not for "
                f"{collection!r}"
            )
    return [alias["alias"] for alias in given or ()]


def _tag_names(given: Sequence[_Input] | None) -> list[str]:
    return [tag["tagName"] for tag in at_most(given or (), "tags")]


async def _create_manifest(root: None, info: Info, input: _Input) -> _Input:
    context = info.context
    kind, base = input.get("type") or "FULL", input.get("baseArtifactID")
    made = await context.write(
        drafts.add_manifest,
        actor=context.account,
        artifact_id=read_int_id("Artifact", input["artifactID"]),
        kind=Kind(kind.lower()),
        digest=input["digest"],
        base_id=read_int_id("Artifact", base) if base else None,
    )
    return _draft_manifest(context, made)


async def _update_manifest(root: None, info: Info, input: _Input) -> _Input:
    context = info.context
    base = input.get("baseArtifactID")
    changed = await context.write(
        drafts.set_manifest_digest,
        actor=context.account,
        manifest_id=read_int_id("DraftManifest", input["artifactManifestID"]),
        digest=input.get("digest"),
        base_id=read_int_id("Artifact", base) if base else None,
    )
    return _draft_manifest(context, changed)


def _draft_manifest(context: Context, manifest: ManifestView) -> _Input:
    number = wire_id("DraftManifest", manifest.id)
    file = {
        "id": number,
        "name": _MANIFEST,
        "displayName": _MANIFEST,
        "uploadUrl": manifest_upload_link(context, manifest.id),
        "uploadHeaders": [],
    }
    return {"artifactManifest": {"id": number, "file": file}}


async def _create_files(root: None, info: Info, input: _Input) -> _Input:
    """Answer one upload per file, in the order asked."""
    context = info.context
    files = [
        DraftFile(
            artifact_id=read_int_id("Artifact", spec["artifactID"]),
            path=spec["name"],
            digest=spec["md5"],
            parts=_parts(spec.get("uploadPartsInput")),
        )
        for spec in at_most(input["artifactFiles"], "files")
    ]
    announced, freed = await context.write(uploads.announce, actor=context.account, files=files)
    await context.delete_blobs(freed)
    return {"files": {"edges": [{"node": _upload(context, one)} for one in announced]}}


def _parts(given: Sequence[_Input] | None) -> tuple[Part, ...]:
    parts = [Part(part["partNumber"], part["hexMD5"].strip('"').lower()) for part in given or ()]
    return tuple(sorted(parts, key=lambda part: part.number))


def _upload(context: Context, upload: Upload) -> _Input:
    in_parts = None
    if upload.parts and not upload.is_here:
        in_parts = {
            "uploadID": wire_id("ArtifactUpload", upload.id),
            "uploadUrlParts": [
                {
                    "partNumber": part.number,
                    "uploadUrl": part_link(context, upload.id, part.number),
                }
                for part in upload.parts
            ],
        }
    return {
        "id": wire_id("ArtifactUpload", upload.id),
        "name": upload.path,
        "displayName": upload.path,
        "storagePath": f"{FOLDER}/{upload.artifact_id}/{upload.path}",
        "uploadUrl": None if upload.is_here else upload_link(context, upload),
        "uploadHeaders": [],
        "uploadMultipartUrls": in_parts,
        "artifact": {"id": wire_id("Artifact", upload.birth_id)},
    }


async def _complete_upload(root: None, info: Info, input: _Input) -> _Input:
    context = info.context
    artifact_id = read_int_id("Artifact", input["artifactID"])
    upload_id = read_int_id("ArtifactUpload", input["uploadID"])
    parts = await context.read(
        uploads.parts_of,
        actor=context.account,
        artifact_id=artifact_id,
        upload_id=upload_id,
        announced=_parts(input["completedParts"]),
    )

    async def join() -> None:
        assert parts is not None
        blobs = context.services.store.blobs
        written = await to_thread.run_sync(joining.join, blobs, parts)
        received = uploads.Received(upload_id, written)
        recording = context.services.store.write_together(uploads.receive, received)
        await settle(context.services, written, recording)

    if parts is not None:
        what = "putting the parts of a file together"
        await context.jobs.run(("join", upload_id), join, what=what)
    digest = await context.read(uploads.whole_digest, upload_id=upload_id)
    return {"digest": digest}


async def _commit(root: None, info: Info, input: _Input) -> _Input:
    context = info.context
    artifact_id = read_int_id("Artifact", input["artifactID"])
    for _ in range(_TRIES):
        plan = await context.read(commit.plan, actor=context.account, artifact_id=artifact_id)
        if plan is None:
            found = await context.read(
                find.artifact_or_none, actor=context.account, artifact_id=artifact_id
            )
            return {"artifact": found}
        try:
            return {"artifact": await _commit_once(context, plan)}
        except commit.DraftChanged:
            continue
    raise Conflict("other writers keep changing the artifact; commit it when they are done")


async def _commit_once(context: Context, plan: commit.Plan) -> ArtifactView:
    blobs = context.services.store.blobs
    prepared = await to_thread.run_sync(commit.prepare, blobs, plan)
    written = prepared.written
    try:
        done = await context.write(
            commit.commit, actor=context.account, prepared=prepared, speaker=context.speaker
        )
    except Exception:  # not of a cancellation: the row may be committed all the same
        if written is not None:
            await to_thread.run_sync(blobs.delete, written.key)
        raise
    if written is not None:
        await to_thread.run_sync(blobs.settle, written, done.manifest_blob)
    await context.delete_blobs(done.freed)
    return done.artifact


async def _use(root: None, info: Info, input: _Input) -> _Input:
    context = info.context
    used = await context.write(
        changes.use,
        actor=context.account,
        artifact_id=read_int_id("Artifact", input["artifactID"]),
        entity=input["entityName"],
        project=input["projectName"],
        run=input["runName"],
        used_as=input.get("usedAs"),
    )
    return {"artifact": used}


async def _update(root: None, info: Info, input: _Input) -> _Input:
    context = info.context
    given = input.get("aliases")
    changed = await context.write(
        changes.update_artifact,
        actor=context.account,
        artifact_id=read_int_id("Artifact", input["artifactID"]),
        change=changes.Change(
            description=input.get("description"),
            metadata=input.get("metadata"),
            aliases=[alias["alias"] for alias in given] if given is not None else None,
            tags_to_add=_tag_names(input.get("tagsToAdd")),
            tags_to_delete=_tag_names(input.get("tagsToDelete")),
            ttl_s=input.get("ttlDurationSeconds"),
        ),
    )
    return {"artifact": changed}


async def _delete(root: None, info: Info, input: _Input) -> _Input:
    context = info.context
    gone, freed = await context.write(
        removal.delete_artifact,
        actor=context.account,
        artifact_id=read_int_id("Artifact", input["artifactID"]),
        with_aliases=bool(input.get("deleteAliases")),
    )
    await context.delete_blobs(freed)
    return {"artifact": gone}


async def _link(root: None, info: Info, input: _Input) -> _Input:
    context = info.context
    entity, project = input.get("entityName"), input.get("projectName")
    portfolio = input.get("artifactPortfolioName")
    if input.get("artifactPortfolioID"):
        place = await context.read(
            find.collection_by_id,
            actor=context.account,
            collection_id=read_int_id("ArtifactCollection", input["artifactPortfolioID"]),
            need=Need.WRITE,
        )
        entity, project, portfolio = place.entity, place.project, place.name
    if not portfolio:
        raise ProtocolError("artifactPortfolioName: which collection to link to")
    member = await context.write(
        changes.link,
        actor=context.account,
        artifact_id=await _linked_id(context, input),
        entity=entity,
        project=project,
        portfolio=portfolio,
        wanted=_aliases_for(portfolio, input.get("aliases")),
        speaker=context.speaker,
    )
    return {"versionIndex": member.version_index, "artifactMembership": member}


async def _linked_id(context: Context, input: _Input) -> int:
    if input.get("artifactID"):
        return read_int_id("Artifact", input["artifactID"])
    if not input.get("clientID"):
        raise ProtocolError("which artifact to link: artifactID or clientID")
    found = await context.read(find.server_id, actor=context.account, client_id=input["clientID"])
    if found is None:
        raise NotFound("there is no artifact of that clientID")
    return found


async def _unlink(root: None, info: Info, input: _Input) -> _Input:
    context = info.context
    await context.write(
        removal.unlink,
        actor=context.account,
        artifact_id=read_int_id("Artifact", input["artifactID"]),
        collection_id=read_int_id("ArtifactCollection", input["artifactPortfolioID"]),
    )
    return {"success": True}


def _change_aliases(use_case: Any) -> Any:
    async def resolve(root: None, info: Info, input: _Input) -> _Input:
        context = info.context
        wanted = [
            aliases.At(
                entity=alias["entityName"],
                project=alias["projectName"],
                collection=alias["artifactCollectionName"],
                alias=alias["alias"],
            )
            for alias in input["aliases"]
        ]
        await context.write(
            use_case,
            actor=context.account,
            artifact_id=read_int_id("Artifact", input["artifactID"]),
            wanted=wanted,
        )
        return {"success": True}

    return resolve


def _delete_collection(argument: str, *, is_portfolio: bool) -> Any:
    async def resolve(root: None, info: Info, input: _Input) -> _Input:
        context = info.context
        gone, freed = await context.write(
            removal.delete_collection,
            actor=context.account,
            collection_id=read_int_id("ArtifactCollection", input[argument]),
            is_portfolio=is_portfolio,
        )
        await context.delete_blobs(freed)
        return {"artifactCollection": gone}

    return resolve


def _update_collection(argument: str, *, is_portfolio: bool) -> Any:
    async def resolve(root: None, info: Info, input: _Input) -> _Input:
        context = info.context
        changed = await context.write(
            collections.update_collection,
            actor=context.account,
            collection_id=read_int_id("ArtifactCollection", input[argument]),
            is_portfolio=is_portfolio,
            name=input.get("name"),
            description=input.get("description"),
        )
        return {"artifactCollection": changed}

    return resolve


async def _move(root: None, info: Info, input: _Input) -> _Input:
    context = info.context
    moved = await context.write(
        collections.move,
        actor=context.account,
        collection_id=read_int_id("ArtifactCollection", input["artifactSequenceID"]),
        type=input["destinationArtifactTypeName"],
    )
    return {"artifactCollection": moved}


async def _add_tags(root: None, info: Info, input: _Input) -> _Input:
    tags = await _change_tags(info, input, collections.add_tags)
    return {"tags": [{"id": wire_id("Tag", tag), "name": tag} for tag in tags]}


async def _remove_tags(root: None, info: Info, input: _Input) -> _Input:
    await _change_tags(info, input, collections.remove_tags)
    return {"success": True}


async def _change_tags(info: Info, input: _Input, use_case: Any) -> Any:
    context = info.context
    return await context.write(
        use_case,
        actor=context.account,
        entity=input["entityName"],
        project=input["projectName"],
        name=input["artifactCollectionName"],
        tags=_tag_names(input["tags"]),
    )


_SEQUENCE, _PORTFOLIO = "artifactSequenceID", "artifactPortfolioID"

FIELDS: Resolvers = {
    "Mutation": {
        "createArtifact": _create,
        "createArtifactManifest": _create_manifest,
        "updateArtifactManifest": _update_manifest,
        "createArtifactFiles": _create_files,
        "completeMultipartUploadArtifact": _complete_upload,
        "commitArtifact": _commit,
        "useArtifact": _use,
        "updateArtifact": _update,
        "deleteArtifact": _delete,
        "linkArtifact": _link,
        "unlinkArtifact": _unlink,
        "addAliases": _change_aliases(aliases.add),
        "deleteAliases": _change_aliases(aliases.remove),
        "deleteArtifactSequence": _delete_collection(_SEQUENCE, is_portfolio=False),
        "deleteArtifactPortfolio": _delete_collection(_PORTFOLIO, is_portfolio=True),
        "updateArtifactSequence": _update_collection(_SEQUENCE, is_portfolio=False),
        "updateArtifactPortfolio": _update_collection(_PORTFOLIO, is_portfolio=True),
        "moveArtifactSequence": _move,
        "createArtifactCollectionTagAssignments": _add_tags,
        "deleteArtifactCollectionTagAssignments": _remove_tags,
    },
}
