"""Drafts: a version from when a client announces it to its commit. Nobody else sees one."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import delete, func, select, update
from sqlalchemy.dialects.sqlite import insert

from sweepd.engine import blobs, projects, runs
from sweepd.engine.access import Need
from sweepd.engine.artifacts import aliases, find, names, rows
from sweepd.engine.artifacts.manifests import Kind
from sweepd.engine.artifacts.views import ArtifactView, CollectionView, Kept, ManifestView
from sweepd.engine.texts import MAX_INT, clean, read_object
from sweepd.engine.views import Account
from sweepd.errors import Conflict, InvalidInput, NotFound, ProtocolError
from sweepd.store import Tx, Written
from sweepd.store import artifact_tables as a

__all__ = [
    "Draft",
    "add_manifest",
    "check_ttl",
    "clear_draft",
    "create",
    "draft_by_id",
    "ensure_collection",
    "ensure_type",
    "latest_of",
    "manifest_to_receive",
    "note_run",
    "project_of",
    "receive_manifest",
    "set_manifest_digest",
    "touch",
]

_MAX_MANIFESTS = 10_000  # of one draft: each writer of a distributed one adds two
_MAX_ALIASES = 100
_FOR_EVER = 0


@dataclass(frozen=True, kw_only=True)
class Draft:
    """What a client wants to log. `digest` is of the contents, `metadata` JSON text.

    Drafts of one collection with the same `distributed_id` are one, written by several runs.
    """

    entity: str | None
    project: str | None
    type: str
    collection: str
    digest: str
    run: str | None = None
    description: str | None = None
    metadata: str | None = None
    aliases: Sequence[str] = ()
    tags: Sequence[str] = ()
    ttl_s: int | None = None
    history_step: int | None = None
    distributed_id: str | None = None
    client_id: str | None = None
    sequence_client_id: str | None = None
    is_deduplicated: bool = False


def create(tx: Tx, *, actor: Account, draft: Draft) -> ArtifactView:
    """Return a new draft, or the committed version of the collection that has the same contents.

    In the second case the draft's aliases move to that version, its tags are added, and its run
    counts as having logged it. A repeated request gets the draft that the first one made.

    Raises:
        NotFound, Forbidden: for the project or the run.
        InvalidInput: for a name, a tag, an alias, or a type that is not the collection's.
        ProtocolError: for metadata that are no JSON object.
    """
    place = projects.ensure_project(
        tx, actor=actor, entity=draft.entity, name=draft.project, need=Need.WRITE
    )
    run_id = _run_id(tx, actor, draft)
    if draft.metadata:
        read_object(draft.metadata, name="metadata")
    wanted = _checked_aliases(draft.aliases)
    tags = [names.check_tag(tag) for tag in dict.fromkeys(draft.tags)]
    collection = ensure_collection(
        tx, project_id=place.id, name=draft.collection, type=draft.type, is_portfolio=False
    )
    known = _known(tx, collection, draft)
    if known is not None and known.is_committed:
        aliases.point(tx, collection=collection, artifact_id=known.id, names=wanted)
    artifact_id = known.id if known is not None else _insert(tx, actor, collection, draft, run_id)
    if known is None or not known.is_committed:
        _want(tx, artifact_id, wanted)
    for tag in tags:
        row = {"artifact_id": artifact_id, "name": tag}
        tx.conn.execute(insert(a.artifact_tag).values(row).on_conflict_do_nothing())
    if run_id is not None:
        note_run(tx, run_id=run_id, artifact_id=artifact_id, role="output")
    found = rows.load_artifact(tx, artifact_id)
    assert found is not None
    return found


def _run_id(tx: Tx, actor: Account, draft: Draft) -> int | None:
    if draft.run is None:
        return None
    run = runs.get_run(
        tx,
        actor=actor,
        entity=draft.entity,
        project=draft.project,
        name=draft.run,
        need=Need.WRITE,
    )
    return run.id


def _checked_aliases(wanted: Sequence[str]) -> list[str]:
    checked = [names.check_alias(alias) for alias in dict.fromkeys(wanted)]
    if len(checked) > _MAX_ALIASES:
        raise InvalidInput(f"{len(checked)} aliases at once; at most {_MAX_ALIASES}")
    return checked


def _known(tx: Tx, collection: CollectionView, draft: Draft) -> ArtifactView | None:
    """Return the version or draft that this one is: asked for again, shared, or of equal bytes."""
    c = a.artifact.c
    mine = c.sequence_id == collection.id
    query = rows.select_artifacts().where(mine).order_by(c.id.desc()).limit(1)
    tries = []
    if draft.client_id:
        asked_again = (c.client_id == clean(draft.client_id), c.digest == clean(draft.digest))
        tries.append(query.where(*asked_again))
    if draft.distributed_id:
        shared = (c.distributed_id == clean(draft.distributed_id), c.state == "pending")
        tries.append(query.where(*shared))
    elif draft.is_deduplicated:
        tries.append(query.where(c.digest == clean(draft.digest), c.state == "committed"))
    for one in tries:
        row = tx.conn.execute(one).one_or_none()
        if row is not None:
            return rows.artifact_of(row)
    return None


def _insert(
    tx: Tx, actor: Account, collection: CollectionView, draft: Draft, run_id: int | None
) -> int:
    return tx.insert(
        a.artifact,
        sequence_id=collection.id,
        state="pending",
        digest=clean(draft.digest),
        client_id=_clean(draft.client_id),
        sequence_client_id=_clean(draft.sequence_client_id),
        run_id=run_id,
        user_id=actor.id,
        description=_clean(draft.description),
        metadata=clean(draft.metadata or "{}"),
        ttl_s=check_ttl(draft.ttl_s),
        history_step=draft.history_step,
        distributed_id=_clean(draft.distributed_id),
        created_at=tx.now,
        updated_at=tx.now,
    )


def _clean(text: str | None) -> str | None:
    return clean(text) if text else None


def _want(tx: Tx, artifact_id: int, wanted: Sequence[str]) -> None:
    """Remember the aliases that a draft is to have; several writers' add up."""
    c = a.artifact.c
    before = json.loads(tx.conn.scalar(select(c.wanted_aliases).where(c.id == artifact_id)) or "[]")
    together = json.dumps(list(dict.fromkeys([*before, *wanted])), ensure_ascii=False)
    tx.conn.execute(
        update(a.artifact)
        .where(c.id == artifact_id)
        .values(wanted_aliases=together, updated_at=tx.now)
    )


def note_run(
    tx: Tx, *, run_id: int, artifact_id: int, role: str, used_as: str | None = None
) -> None:
    """Remember that a run logged (`output`) or used (`input`) a version; a repeat is harmless."""
    values = {
        "run_id": run_id,
        "artifact_id": artifact_id,
        "role": role,
        "used_as": clean(used_as) if used_as is not None else None,
        "created_at": tx.now,
    }
    tx.conn.execute(insert(a.artifact_run).values(values).on_conflict_do_nothing())


def check_ttl(seconds: int | None) -> int | None:
    """Return a lifetime as stored: None if it is not set (None, -1), 0 for ever (-2).

    Raises:
        InvalidInput: for 0, or anything else below.
    """
    if seconds is None or seconds == -1:
        return None
    if seconds == -2:
        return _FOR_EVER
    if not 0 < seconds <= MAX_INT:
        raise InvalidInput(
            f"ttlDurationSeconds: a number of seconds, -1 to inherit or -2 for ever, not {seconds}"
        )
    return seconds


def ensure_collection(
    tx: Tx, *, project_id: int, name: str, type: str, is_portfolio: bool
) -> CollectionView:
    """Return a project's collection, made now with its type if it is not there.

    Raises:
        InvalidInput: for a name, or if the collection has another type or is of the other sort.
    """
    found = find.find_collection(tx, project_id, name)
    if found is None:
        type_id = ensure_type(tx, project_id=project_id, name=type)
        made = tx.insert(
            a.artifact_collection,
            project_id=project_id,
            type_id=type_id,
            is_portfolio=int(is_portfolio),
            name=names.check_collection(name),
            created_at=tx.now,
            updated_at=tx.now,
        )
        found = rows.load_collection(tx, made)
        assert found is not None
    if found.type != type:
        raise InvalidInput(
            f"artifact {name!r} already exists with type {found.type!r}; it cannot hold a {type!r}"
        )
    if found.is_portfolio and not is_portfolio:
        raise InvalidInput(
            f"{name!r} is a portfolio, which holds links; log the artifact under another name"
        )
    if is_portfolio and not found.is_portfolio:
        raise InvalidInput(
            f"{name!r} is an artifact of its own; link to a collection of another name"
        )
    return found


def ensure_type(tx: Tx, *, project_id: int, name: str) -> int:
    """Return the id of a project's type, made now if it is not there."""
    found = find.find_type(tx, project_id, name)
    if found is not None:
        return found.id
    return tx.insert(
        a.artifact_type, project_id=project_id, name=names.check_type(name), created_at=tx.now
    )


def latest_of(tx: Tx, *, sequence_id: int) -> ArtifactView | None:
    """Return a sequence's newest version, None while it has none."""
    c = a.artifact.c
    query = rows.select_artifacts().where(c.sequence_id == sequence_id, c.state == "committed")
    row = tx.conn.execute(query.order_by(c.version_index.desc()).limit(1)).one_or_none()
    return rows.artifact_of(row) if row is not None else None


def draft_by_id(tx: Tx, *, actor: Account, artifact_id: int) -> ArtifactView:
    """Return a draft that the actor may write to.

    Raises:
        NotFound, Forbidden: as `find.artifact_by_id`.
        Conflict: if it is committed, and so can change no more.
    """
    view = find.artifact_by_id(tx, actor=actor, artifact_id=artifact_id, need=Need.WRITE)
    if view.is_committed:
        raise Conflict(f"{view.sequence}:v{view.version_index} is committed: it can change no more")
    return view


def add_manifest(
    tx: Tx, *, actor: Account, artifact_id: int, kind: Kind, digest: str, base_id: int | None
) -> ManifestView:
    """Add a manifest to a draft; its bytes come later, by a link.

    Raises:
        NotFound, Forbidden, Conflict: as `draft_by_id`; also for the base.
        ProtocolError: if the draft has too many.
    """
    draft = draft_by_id(tx, actor=actor, artifact_id=artifact_id)
    if base_id is not None:
        find.artifact_by_id(tx, actor=actor, artifact_id=base_id, need=Need.READ)
    c = a.artifact_manifest.c
    n_before = tx.conn.scalar(select(func.count(c.id)).where(c.artifact_id == draft.id)) or 0
    if n_before >= _MAX_MANIFESTS:
        raise ProtocolError(f"a draft has at most {_MAX_MANIFESTS} manifests")
    made = tx.insert(
        a.artifact_manifest,
        artifact_id=draft.id,
        kind=kind,
        digest=clean(digest),
        base_id=base_id,
    )
    touch(tx, draft.id)
    return ManifestView(made, draft.id, digest)


def set_manifest_digest(
    tx: Tx, *, actor: Account, manifest_id: int, digest: str | None, base_id: int | None
) -> ManifestView:
    """Say what the bytes of a draft's manifest will be; raise as `add_manifest` does."""
    row = _manifest(tx, manifest_id)
    owner = row.artifact_id if row is not None else 0
    if row is None or find.artifact_or_none(tx, actor=actor, artifact_id=owner) is None:
        raise NotFound(f"there is no manifest with id {manifest_id}")
    draft_by_id(tx, actor=actor, artifact_id=row.artifact_id)
    if base_id is not None:
        find.artifact_by_id(tx, actor=actor, artifact_id=base_id, need=Need.READ)
    given = {"digest": clean(digest) if digest is not None else None, "base_id": base_id}
    values = {name: value for name, value in given.items() if value is not None}
    if values:
        mine = a.artifact_manifest.c.id == manifest_id
        tx.conn.execute(update(a.artifact_manifest).where(mine).values(values))
    touch(tx, row.artifact_id)
    return ManifestView(manifest_id, row.artifact_id, digest if digest is not None else row.digest)


def manifest_to_receive(tx: Tx, *, manifest_id: int) -> ManifestView:
    """Return a draft's manifest whose bytes a signed link lets somebody send.

    Raises:
        NotFound: if there is none, because its draft is committed or gone.
    """
    row = _manifest(tx, manifest_id)
    if row is None:
        raise NotFound("there is no such draft any more")
    return row


def receive_manifest(tx: Tx, *, manifest_id: int, written: Written) -> Kept:
    """Record the bytes of a draft's manifest; the last ones count.

    Raises:
        NotFound: as `manifest_to_receive`.
    """
    manifest = manifest_to_receive(tx, manifest_id=manifest_id)
    c = a.artifact_manifest.c
    before = tx.conn.scalar(select(c.blob).where(c.id == manifest_id))
    place = project_of(tx, artifact_id=manifest.artifact_id)
    key = blobs.adopt(tx, project_id=place, written=written)
    tx.conn.execute(update(a.artifact_manifest).where(c.id == manifest_id).values(blob=key))
    freed = blobs.release(tx, keys=[before]) if before not in (None, key) else []
    return Kept(key, tuple(freed))


def project_of(tx: Tx, *, artifact_id: int) -> int:
    """Return the id of the project that a version or a draft belongs to."""
    found = tx.conn.scalar(
        select(a.artifact_collection.c.project_id)
        .join(a.artifact, a.artifact.c.sequence_id == a.artifact_collection.c.id)
        .where(a.artifact.c.id == artifact_id)
    )
    assert found is not None
    return int(found)


def _manifest(tx: Tx, manifest_id: int) -> ManifestView | None:
    c = a.artifact_manifest.c
    row = tx.conn.execute(
        select(c.id, c.artifact_id, c.digest).where(c.id == manifest_id)
    ).one_or_none()
    return ManifestView(*row) if row is not None else None


def touch(tx: Tx, artifact_id: int) -> None:
    """Note that a draft is being worked on, so that it is not given up."""
    tx.conn.execute(
        update(a.artifact).where(a.artifact.c.id == artifact_id).values(updated_at=tx.now)
    )


def clear_draft(tx: Tx, *, artifact_id: int) -> set[str]:
    """Forget what was announced and uploaded for a draft; return the keys to be released."""
    manifests, uploads, parts = a.artifact_manifest, a.artifact_upload, a.artifact_part
    mine = select(uploads.c.id).where(uploads.c.artifact_id == artifact_id)
    keys = {
        *tx.conn.scalars(select(parts.c.blob).where(parts.c.upload_id.in_(mine))),
        *tx.conn.scalars(select(manifests.c.blob).where(manifests.c.artifact_id == artifact_id)),
        *tx.conn.scalars(select(uploads.c.blob).where(uploads.c.artifact_id == artifact_id)),
    }
    tx.conn.execute(delete(uploads).where(uploads.c.artifact_id == artifact_id))
    tx.conn.execute(delete(manifests).where(manifests.c.artifact_id == artifact_id))
    return {key for key in keys if key is not None}
