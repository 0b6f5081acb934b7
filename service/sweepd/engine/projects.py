"""Projects and the entities that own them."""

import re
from typing import Any

from sqlalchemy import Select, func, select
from sqlalchemy.dialects.sqlite import insert

from sweepd.engine import paging
from sweepd.engine.views import Account, Page, ProjectView
from sweepd.errors import Forbidden, InvalidInput, NotFound
from sweepd.store import Tx
from sweepd.store import tables as t

__all__ = [
    "DEFAULT_PROJECT",
    "check_name",
    "ensure_project",
    "get_project",
    "list_projects",
    "project_by_id",
    "resolve_entity",
]

DEFAULT_PROJECT = "uncategorized"  # W&B's name for runs and sweeps that name no project

_MAX_NAME = 128
_BAD_NAME = re.compile(r"[/\\#?%:\x00-\x1f\x7f\ud800-\udfff]")  # the client refuses these too


def resolve_entity(tx: Tx, *, actor: Account, entity: str | None) -> tuple[int, str]:
    """Return id and name of an entity that the actor may use; None or "" means their own.

    Raises:
        NotFound: if there is no such entity.
        Forbidden: if it belongs to somebody else.
    """
    if not entity or entity == actor.entity:
        return actor.entity_id, actor.entity
    found = tx.conn.execute(
        select(t.entity.c.id).where(t.entity.c.name == entity)
    ).scalar_one_or_none()
    if found is None:
        yours = _names(tx, actor)
        raise NotFound(f"there is no entity {entity!r}; with this key you may use: {yours}")
    if not actor.is_admin:
        raise Forbidden(
            f"entity {entity!r} is not yours; with this key you may use: {actor.entity}"
        )
    return found, entity


def check_name(name: str, *, kind: str = "project's name") -> str:
    r"""Return the name of a project or the id of a run if it may be one.

    Raises:
        InvalidInput: if it is empty, longer than 128 characters, or has one of `/ \ # ? % :`, a
            control character, or a space at an end.
    """
    bad = _BAD_NAME.search(name)
    if bad is not None:
        raise InvalidInput(f"a {kind} may not contain {bad[0]!r}: {name[:200]!r}")
    if name in ("", ".", ".."):
        raise InvalidInput(f"{name!r} cannot be a {kind}")
    if name != name.strip():
        raise InvalidInput(f"a {kind} may not begin or end with a space: {name[:200]!r}")
    if len(name) > _MAX_NAME:
        raise InvalidInput(f"a {kind} has at most {_MAX_NAME} characters, not {len(name)}")
    return name


def ensure_project(tx: Tx, *, actor: Account, entity: str | None, name: str | None) -> ProjectView:
    """Return the project of that name, made now if it is not there.

    Raises:
        NotFound, Forbidden: as `resolve_entity`.
        InvalidInput: as `check_name`.
    """
    entity_id, _ = resolve_entity(tx, actor=actor, entity=entity)
    wanted = name or DEFAULT_PROJECT
    found = _find(tx, entity_id, wanted)
    if found is None:
        tx.conn.execute(
            insert(t.project)
            .values(
                entity_id=entity_id,
                name=check_name(wanted),
                user_id=actor.id,
                created_at=tx.now,
            )
            .on_conflict_do_nothing()
        )
        found = _find(tx, entity_id, wanted)
        assert found is not None
    return found


def get_project(tx: Tx, *, actor: Account, entity: str | None, name: str | None) -> ProjectView:
    """Return the project of that name.

    Raises:
        NotFound, Forbidden: if there is none, or as `resolve_entity`.
    """
    entity_id, entity_name = resolve_entity(tx, actor=actor, entity=entity)
    wanted = name or DEFAULT_PROJECT
    found = _find(tx, entity_id, wanted)
    if found is None:
        raise NotFound(f"there is no project {entity_name}/{wanted}")
    return found


def project_by_id(tx: Tx, *, actor: Account, project_id: int) -> ProjectView:
    """Return the project of that id.

    Raises:
        NotFound, Forbidden: if there is none, or it is somebody else's.
    """
    row = tx.conn.execute(_select().where(t.project.c.id == project_id)).one_or_none()
    if row is None:
        raise NotFound(f"there is no project with id {project_id}")
    view = ProjectView(*row)
    resolve_entity(tx, actor=actor, entity=view.entity)
    return view


def list_projects(
    tx: Tx, *, actor: Account, entity: str | None, after: str | None = None, first: int = 50
) -> Page[ProjectView]:
    """Return a page of an entity's projects, the newest first.

    Raises:
        NotFound, Forbidden: as `resolve_entity`.
        ProtocolError: if `after` is not a cursor of this listing.
    """
    entity_id, _ = resolve_entity(tx, actor=actor, entity=entity)
    where = t.project.c.entity_id == entity_id
    query = _select().where(where).order_by(t.project.c.id.desc())
    if after is not None:
        query = query.where(t.project.c.id < paging.read_int(after))
    rows = tx.conn.execute(query.limit(paging.check_first(first) + 1)).all()
    total = tx.conn.execute(select(func.count()).select_from(t.project).where(where))
    views = [ProjectView(*row) for row in rows]
    return paging.page(views, first, cursor=lambda view: view.id, total=total.scalar_one())


def _select() -> Select[Any]:
    """Return a query for the columns of a ProjectView, in its order."""
    return select(
        t.project.c.id,
        t.project.c.name,
        t.project.c.entity_id,
        t.entity.c.name,
        t.project.c.description,
        t.project.c.created_at,
        t.user.c.name,
    ).select_from(t.project.join(t.entity).outerjoin(t.user, t.user.c.id == t.project.c.user_id))


def _find(tx: Tx, entity_id: int, name: str) -> ProjectView | None:
    row = tx.conn.execute(
        _select().where(t.project.c.entity_id == entity_id, t.project.c.name == name)
    ).one_or_none()
    return ProjectView(*row) if row is not None else None


def _names(tx: Tx, actor: Account) -> str:
    """Return the entities that the actor may write to, in words."""
    if not actor.is_admin:
        return actor.entity
    names = tx.conn.execute(select(t.entity.c.name).order_by(t.entity.c.name).limit(20))
    return ", ".join(names.scalars())
