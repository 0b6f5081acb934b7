"""Collections: renamed, described, tagged, moved to another type."""

from collections.abc import Sequence

from sqlalchemy import delete, update
from sqlalchemy.dialects.sqlite import insert

from sweepd.engine.access import Need
from sweepd.engine.artifacts import drafts, find, names, rows
from sweepd.engine.artifacts.views import CollectionView
from sweepd.engine.texts import clean
from sweepd.engine.views import Account
from sweepd.errors import AlreadyExists, InvalidInput, ProtocolError
from sweepd.store import Tx
from sweepd.store import artifact_tables as a

__all__ = ["add_tags", "move", "remove_tags", "update_collection"]

_MAX_TAGS = 1_000


def update_collection(
    tx: Tx,
    *,
    actor: Account,
    collection_id: int,
    is_portfolio: bool,
    name: str | None,
    description: str | None,
) -> CollectionView:
    """Rename and describe a collection; None leaves a thing as it is.

    Raises:
        NotFound, Forbidden: as `find.collection_by_id`.
        InvalidInput: for the name, or if it is of the other sort.
        AlreadyExists: if the project has another one of that name.
    """
    view = find.collection_by_id(tx, actor=actor, collection_id=collection_id, need=Need.WRITE)
    if view.is_portfolio != is_portfolio:
        raise InvalidInput(f"{view.name!r} is a {'portfolio' if view.is_portfolio else 'sequence'}")
    values: dict[str, object] = {"updated_at": tx.now}
    if name is not None and name != view.name:
        if find.find_collection(tx, view.project_id, names.check_collection(name)) is not None:
            raise AlreadyExists(f"{view.project} has an artifact {name!r} already")
        values["name"] = name
    if description is not None:
        values["description"] = clean(description)
    return _change(tx, view, values)


def move(tx: Tx, *, actor: Account, collection_id: int, type: str) -> CollectionView:
    """Give a sequence, and with it its versions, another type, made now if it is not there.

    Raises:
        NotFound, Forbidden: as `find.collection_by_id`.
        InvalidInput: for the type's name, or if the collection is a portfolio.
    """
    view = find.collection_by_id(tx, actor=actor, collection_id=collection_id, need=Need.WRITE)
    if view.is_portfolio:
        raise InvalidInput(f"{view.name!r} is a portfolio, whose type is that of what it holds")
    type_id = drafts.ensure_type(tx, project_id=view.project_id, name=type)
    return _change(tx, view, {"type_id": type_id, "updated_at": tx.now})


def add_tags(
    tx: Tx, *, actor: Account, entity: str, project: str, name: str, tags: Sequence[str]
) -> list[str]:
    """Tag a collection; return the tags that were given.

    Raises:
        NotFound, Forbidden: as `find.get_collection`.
        InvalidInput: for a tag.
    """
    view = _tagged(tx, actor, entity, project, name, tags)
    checked = [names.check_tag(tag) for tag in dict.fromkeys(tags)]
    for tag in checked:
        row = {"collection_id": view.id, "name": tag}
        tx.conn.execute(insert(a.collection_tag).values(row).on_conflict_do_nothing())
    _change(tx, view, {"updated_at": tx.now})
    return checked


def remove_tags(
    tx: Tx, *, actor: Account, entity: str, project: str, name: str, tags: Sequence[str]
) -> None:
    """Take tags off a collection; those that it does not have are fine. Raise as `add_tags`."""
    view = _tagged(tx, actor, entity, project, name, tags)
    c = a.collection_tag.c
    gone = [clean(tag) for tag in tags]
    tx.conn.execute(delete(a.collection_tag).where(c.collection_id == view.id, c.name.in_(gone)))
    _change(tx, view, {"updated_at": tx.now})


def _tagged(
    tx: Tx, actor: Account, entity: str, project: str, name: str, tags: Sequence[str]
) -> CollectionView:
    if len(tags) > _MAX_TAGS:
        raise ProtocolError(f"{len(tags)} tags at once; at most {_MAX_TAGS}")
    return find.get_collection(
        tx, actor=actor, entity=entity, project=project, name=name, need=Need.WRITE
    )


def _change(tx: Tx, view: CollectionView, values: dict[str, object]) -> CollectionView:
    mine = a.artifact_collection.c.id == view.id
    tx.conn.execute(update(a.artifact_collection).where(mine).values(values))
    changed = rows.load_collection(tx, view.id)
    assert changed is not None
    return changed
