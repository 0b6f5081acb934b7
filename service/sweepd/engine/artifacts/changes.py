"""Changes to versions: what is said of them, where they are linked, which runs use them."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import delete, update
from sqlalchemy.dialects.sqlite import insert

from sweepd.engine import projects, runs
from sweepd.engine.access import Need
from sweepd.engine.artifacts import aliases, commit, drafts, find, names, rows
from sweepd.engine.artifacts.views import ArtifactView, CollectionView, MemberView
from sweepd.engine.leases import Speaker, is_late
from sweepd.engine.texts import clean, read_object
from sweepd.engine.views import Account
from sweepd.errors import Conflict, LeaseLost
from sweepd.store import Tx
from sweepd.store import artifact_tables as a

__all__ = ["Change", "link", "update_artifact", "use"]

_MAX_TAGS = 1_000


@dataclass(frozen=True, kw_only=True)
class Change:
    """What is to be changed of a version; None leaves a thing as it is.

    `aliases` is the full set in the version's own sequence; `ttl_s` as the client gives it: -1 to
    inherit, -2 for ever.
    """

    description: str | None = None
    metadata: str | None = None
    aliases: Sequence[str] | None = None
    tags_to_add: Sequence[str] = ()
    tags_to_delete: Sequence[str] = ()
    ttl_s: int | None = None


def update_artifact(tx: Tx, *, actor: Account, artifact_id: int, change: Change) -> ArtifactView:
    """Change what is said of a version or a draft.

    Raises:
        NotFound, Forbidden: as `find.artifact_by_id`.
        InvalidInput: for a tag, an alias or a lifetime.
        ProtocolError: for metadata that are no JSON object.
    """
    view = find.artifact_by_id(tx, actor=actor, artifact_id=artifact_id, need=Need.WRITE)
    values: dict[str, object] = {"updated_at": tx.now}
    if change.description is not None:
        values["description"] = clean(change.description)
    if change.metadata is not None:
        read_object(change.metadata, name="metadata")
        values["metadata"] = clean(change.metadata)
    if change.ttl_s is not None:
        values["ttl_s"] = drafts.check_ttl(change.ttl_s)
    tx.conn.execute(update(a.artifact).where(a.artifact.c.id == view.id).values(values))
    _change_tags(tx, view, change)
    if change.aliases is not None:
        if not view.is_committed:
            raise Conflict("a draft gets its aliases when it is committed")
        collection = rows.load_collection(tx, view.sequence_id)
        assert collection is not None
        aliases.set_all(tx, collection=collection, artifact_id=view.id, wanted=change.aliases)
    changed = rows.load_artifact(tx, view.id)
    assert changed is not None
    return changed


def _change_tags(tx: Tx, view: ArtifactView, change: Change) -> None:
    for tag in change.tags_to_add[:_MAX_TAGS]:
        row = {"artifact_id": view.id, "name": names.check_tag(tag)}
        tx.conn.execute(insert(a.artifact_tag).values(row).on_conflict_do_nothing())
    gone = [clean(tag) for tag in change.tags_to_delete[:_MAX_TAGS]]
    if gone:
        c = a.artifact_tag.c
        tx.conn.execute(delete(a.artifact_tag).where(c.artifact_id == view.id, c.name.in_(gone)))


def link(
    tx: Tx,
    *,
    actor: Account,
    artifact_id: int,
    entity: str | None,
    project: str | None,
    portfolio: str,
    wanted: Sequence[str],
    speaker: Speaker | None = None,
) -> MemberView:
    """Link a version into a portfolio, made now if it is not there; the newest is `latest`.

    A version that is linked there keeps its number; its aliases are added to.

    Raises:
        NotFound, Forbidden: for the version or the portfolio's project.
        Conflict: if it is a draft.
        InvalidInput: for a name, an alias, or a portfolio of another type.
        LeaseLost: if the attempt that logged the version has been replaced by a later one.
    """
    view = find.artifact_by_id(tx, actor=actor, artifact_id=artifact_id, need=Need.READ)
    if not view.is_committed:
        raise Conflict("a draft cannot be linked: commit it first")
    if speaker is not None and is_late(tx, speaker, run_id=view.run_id):
        raise LeaseLost(f"run {speaker.run}: a later attempt follows attempt {speaker.attempt}")
    place = projects.ensure_project(tx, actor=actor, entity=entity, name=project, need=Need.WRITE)
    checked = [names.check_alias(alias) for alias in dict.fromkeys(wanted)]
    collection = drafts.ensure_collection(
        tx, project_id=place.id, name=portfolio, type=view.type, is_portfolio=True
    )
    if not _is_member(tx, collection, view.id):
        tx.insert(
            a.artifact_member,
            collection_id=collection.id,
            artifact_id=view.id,
            version_index=commit.next_version(tx, collection_id=collection.id),
            created_at=tx.now,
        )
        checked = [names.LATEST, *checked]
    aliases.point(tx, collection=collection, artifact_id=view.id, names=checked)
    c = a.artifact_member.c
    row = tx.conn.execute(
        rows.select_members().where(c.collection_id == collection.id, c.artifact_id == view.id)
    ).one()
    return rows.member_of(row, collection)


def _is_member(tx: Tx, collection: CollectionView, artifact_id: int) -> bool:
    c = a.artifact_member.c
    mine = a.artifact_member.select().where(
        c.collection_id == collection.id, c.artifact_id == artifact_id
    )
    return tx.conn.execute(mine).first() is not None


def use(
    tx: Tx,
    *,
    actor: Account,
    artifact_id: int,
    entity: str | None,
    project: str | None,
    run: str,
    used_as: str | None,
) -> ArtifactView:
    """Remember that a run uses a version.

    Raises:
        NotFound, Forbidden: for the version, which the actor must be able to read, or the run.
        Conflict: if it is a draft.
    """
    view = find.artifact_by_id(tx, actor=actor, artifact_id=artifact_id, need=Need.READ)
    if not view.is_committed:
        raise Conflict("a draft cannot be used: commit it first")
    using = runs.get_run(tx, actor=actor, entity=entity, project=project, name=run, need=Need.WRITE)
    drafts.note_run(tx, run_id=using.id, artifact_id=view.id, role="input", used_as=used_as)
    return view
