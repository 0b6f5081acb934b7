"""The commit: a draft becomes a version, whole and for good, in one transaction.

`plan` says which manifests the draft has, `prepare` reads and joins them (no transaction is open
then), `commit` checks that nothing has changed since and that every byte is here.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import insert, select, update

from sweepd.engine import blobs, events, leases
from sweepd.engine.access import Need
from sweepd.engine.artifacts import aliases, drafts, find, names, rows, uploads
from sweepd.engine.artifacts.manifests import Entry, Kind, Manifest, combine, encode, read_manifest
from sweepd.engine.artifacts.views import ArtifactView
from sweepd.engine.texts import MAX_INT
from sweepd.engine.views import Account
from sweepd.errors import Conflict, NotFound, ProtocolError
from sweepd.store import Blobs, Tx, Written
from sweepd.store import artifact_tables as a

__all__ = [
    "Committed",
    "DraftChanged",
    "Plan",
    "Prepared",
    "commit",
    "next_version",
    "plan",
    "prepare",
]

_MOST_NAMED = 5


class DraftChanged(Conflict):
    """A manifest arrived while the draft was being committed; plan again."""


@dataclass(frozen=True)
class _Source:
    id: int
    kind: Kind
    blob: str


@dataclass(frozen=True)
class Plan:
    """What a draft's contents are read from; `base` is the key of its base's manifest."""

    artifact_id: int
    sources: tuple[_Source, ...]
    base: str | None


@dataclass(frozen=True)
class Prepared:
    """A draft's contents. `written` are the bytes of the joined manifest, None if one is all."""

    plan: Plan
    manifest: Manifest
    written: Written | None


@dataclass(frozen=True)
class Committed:
    """A committed version, where its manifest is kept, and the blobs that nothing needs now."""

    artifact: ArtifactView
    manifest_blob: str
    freed: tuple[str, ...] = ()


def plan(tx: Tx, *, actor: Account, artifact_id: int) -> Plan | None:
    """Return how to commit a draft; None if it is committed already, as a repeat finds it.

    Raises:
        NotFound, Forbidden: for the draft, or if the version that it builds on is gone.
        ProtocolError: if no manifest has arrived.
    """
    view = find.artifact_by_id(tx, actor=actor, artifact_id=artifact_id, need=Need.WRITE)
    if view.is_committed:
        return None
    sources = _sources(tx, view.id)
    if not sources:
        raise ProtocolError(f"no manifest of {view.sequence!r} has arrived: it cannot be committed")
    return Plan(view.id, sources, _base(tx, sources))


def _sources(tx: Tx, artifact_id: int) -> tuple[_Source, ...]:
    c = a.artifact_manifest.c
    found = tx.conn.execute(
        select(c.id, c.kind, c.blob)
        .where(c.artifact_id == artifact_id, c.blob.is_not(None))
        .order_by(c.id)
    )
    return tuple(_Source(number, Kind(kind), blob) for number, kind, blob in found)


def _base(tx: Tx, sources: Sequence[_Source]) -> str | None:
    """Return the manifest of the version that an incremental draft adds to."""
    additions = [source.id for source in sources if source.kind is Kind.INCREMENTAL]
    c = a.artifact_manifest.c
    base_id = tx.conn.scalar(
        select(c.base_id).where(c.id.in_(additions), c.base_id.is_not(None)).order_by(c.id).limit(1)
    )
    if base_id is None:
        return None
    found = tx.conn.scalar(select(a.artifact.c.manifest_blob).where(a.artifact.c.id == base_id))
    if found is None:
        raise NotFound("the version that this one adds to is gone; log it as a whole")
    return str(found)


def prepare(bytes_of: Blobs, plan: Plan) -> Prepared:
    """Read and join a draft's manifests; blocks on the disk.

    Raises:
        ProtocolError: for a manifest that is not as it must be.
        Conflict: if one was replaced meanwhile.
    """
    parts = [(source.kind, _read(bytes_of, source.blob)) for source in plan.sources]
    if parts[-1][0] is Kind.FULL:
        return Prepared(plan, parts[-1][1], None)
    base = _read(bytes_of, plan.base) if plan.base is not None else None
    joined = combine(parts, base)
    with bytes_of.writer() as writer:
        writer.write(encode(joined))
        return Prepared(plan, joined, writer.commit())


def _read(bytes_of: Blobs, key: str) -> Manifest:
    file = bytes_of.open(key)
    if file is None:
        raise DraftChanged("a manifest was replaced while the artifact was being committed")
    with file:
        return read_manifest(file.read())


def commit(
    tx: Tx, *, actor: Account, prepared: Prepared, speaker: leases.Speaker | None = None
) -> Committed:
    """Make a draft a version: give it its number, move its aliases and `latest`.

    One that an attempt logs which a later one has replaced moves no alias that others look for: its
    own is `late-attempt-N`.

    Raises:
        NotFound, Forbidden: for the draft.
        DraftChanged: if another manifest has arrived, or another request has committed it.
        ProtocolError: if bytes are missing, naming the files.
    """
    draft = drafts.draft_by_id(tx, actor=actor, artifact_id=prepared.plan.artifact_id)
    if _sources(tx, draft.id) != prepared.plan.sources:
        raise DraftChanged("a manifest arrived while the artifact was being committed")
    manifest = prepared.manifest
    entries = _entries(tx, draft, manifest)
    if entries:
        tx.conn.execute(insert(a.artifact_entry), entries)
    manifest_blob = prepared.plan.sources[-1].blob
    if prepared.written is not None:
        manifest_blob = blobs.adopt(tx, project_id=draft.project_id, written=prepared.written)
    version = next_version(tx, collection_id=draft.sequence_id)
    c = a.artifact.c
    wanted = json.loads(tx.conn.scalar(select(c.wanted_aliases).where(c.id == draft.id)) or "[]")
    values = {
        "state": "committed",
        "version_index": version,
        "digest": manifest.digest,
        "manifest_blob": manifest_blob,
        "size": min(sum(entry["size"] for entry in entries), MAX_INT),
        "n_files": len(entries),
        "wanted_aliases": "[]",
        "updated_at": tx.now,
    }
    tx.conn.execute(update(a.artifact).where(c.id == draft.id).values(values))
    tx.insert(
        a.artifact_member,
        collection_id=draft.sequence_id,
        artifact_id=draft.id,
        version_index=version,
        created_at=tx.now,
    )
    collection = rows.load_collection(tx, draft.sequence_id)
    assert collection is not None
    pointing = list(dict.fromkeys([names.LATEST, *wanted]))
    if speaker is not None and leases.is_late(tx, speaker, run_id=draft.run_id):
        pointing = [f"late-attempt-{speaker.attempt}"]
    aliases.point(tx, collection=collection, artifact_id=draft.id, names=pointing)
    freed = blobs.release(tx, keys=drafts.clear_draft(tx, artifact_id=draft.id))
    _record(tx, actor, draft, version)
    view = rows.load_artifact(tx, draft.id)
    assert view is not None
    return Committed(view, manifest_blob, tuple(freed))


def _entries(tx: Tx, draft: ArtifactView, manifest: Manifest) -> list[dict[str, Any]]:
    """Return the rows of a version's files; each without a reference must have its bytes here."""
    kept = [entry for entry in manifest.entries.values() if entry.ref is None]
    here = uploads.held(tx, project_id=draft.project_id, digests=[entry.digest for entry in kept])
    missing = [entry.path for entry in kept if entry.digest not in here]
    if missing:
        shown = ", ".join(sorted(missing)[:_MOST_NAMED])
        more = f" and {len(missing) - _MOST_NAMED} more" if len(missing) > _MOST_NAMED else ""
        raise ProtocolError(f"the bytes of {shown}{more} have not been uploaded")
    return [_row(draft.id, entry, here.get(entry.digest)) for entry in manifest.entries.values()]


def _row(artifact_id: int, entry: Entry, same: uploads.Held | None) -> dict[str, Any]:
    held = same if entry.ref is None else None
    return {
        "artifact_id": artifact_id,
        "path": entry.path,
        "digest": entry.digest,
        "size": held.size if held is not None else entry.size,
        "ref": entry.ref,
        "blob": held.key if held is not None else None,
    }


def next_version(tx: Tx, *, collection_id: int) -> int:
    """Give out the next version number of a collection; none is given twice."""
    c = a.artifact_collection.c
    given = tx.conn.scalar(
        update(a.artifact_collection)
        .where(c.id == collection_id)
        .values(n_versions=c.n_versions + 1, updated_at=tx.now)
        .returning(c.n_versions)
    )
    assert given is not None
    return int(given) - 1


def _record(tx: Tx, actor: Account, draft: ArtifactView, version: int) -> None:
    events.record(
        tx,
        actor=actor.name,
        kind="artifact.committed",
        project_id=draft.project_id,
        run_id=draft.run_id,
        data={"name": f"{draft.sequence}:v{version}", "type": draft.type},
    )
