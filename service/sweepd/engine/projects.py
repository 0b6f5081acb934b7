"""Projects and the entities that own them."""

import re
from typing import Any

from sqlalchemy import Select, and_, bindparam, func, or_, select, update
from sqlalchemy.dialects.sqlite import insert

from sweepd.engine import access as walls
from sweepd.engine import events, leftovers, paging
from sweepd.engine.access import Need
from sweepd.engine.texts import clean
from sweepd.engine.views import Access, Account, Page, ProjectView
from sweepd.errors import InvalidInput, NotFound
from sweepd.store import Prepared, Tx
from sweepd.store import tables as t

__all__ = [
    "DEFAULT_PROJECT",
    "check_name",
    "ensure_project",
    "get_project",
    "list_projects",
    "project_by_id",
    "resolve_entity",
    "upsert_project",
]

DEFAULT_PROJECT = "uncategorized"  # W&B's name for runs and sweeps that name no project

_MAX_NAME = 128
_BAD_NAME = re.compile(r"[/\\#?%:\x00-\x1f\x7f\ud800-\udfff]")  # the client refuses these too


def resolve_entity(tx: Tx, *, actor: Account, entity: str | None, need: Need) -> tuple[int, str]:
    """Return id and name of an entity; None or "" means the actor's default.

    To read, it is enough that the actor may read one of its projects.

    Raises:
        NotFound: if there is none that the actor may see.
        Forbidden: if they may see it, but not do what is needed.
    """
    name = entity or actor.entity
    if actor.own_id is not None and name == actor.entity and actor.entity_id == actor.own_id:
        return actor.own_id, name
    found = tx.conn.scalar(select(t.entity.c.id).where(t.entity.c.name == clean(name)))
    has = walls.level_in_entity(tx, actor=actor, entity_id=found) if found is not None else None
    if found is None or has is None:
        yours = _names(tx, actor)
        raise NotFound(f"there is no entity {name!r}; with this key you may use: {yours}")
    walls.allow(has, need, missing="", what=f"entity {name!r}")
    return found, name


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


def ensure_project(
    tx: Tx, *, actor: Account, entity: str | None, name: str | None, need: Need
) -> ProjectView:
    """Return the project of that name, made now if it is not there.

    Raises:
        NotFound, Forbidden: as `resolve_entity`.
        InvalidInput: as `check_name`.
    """
    entity_id, _ = resolve_entity(tx, actor=actor, entity=entity, need=max(need, Need.WRITE))
    wanted = name or DEFAULT_PROJECT
    found = _find(tx, entity_id, wanted)
    if found is None:
        tx.conn.execute(
            insert(t.project)
            .values(
                id=leftovers.next_project_id(tx),
                entity_id=entity_id,
                name=check_name(wanted),
                user_id=actor.author_id,
                created_at=tx.now,
            )
            .on_conflict_do_nothing()
        )
        found = _find(tx, entity_id, wanted)
        assert found is not None
    return found


def get_project(
    tx: Tx, *, actor: Account, entity: str | None, name: str | None, need: Need
) -> ProjectView:
    """Return the project of that name.

    Raises:
        NotFound: if there is none that the actor may see.
        Forbidden: if they may see it, but not do what is needed.
    """
    entity_id, entity_name = resolve_entity(tx, actor=actor, entity=entity, need=Need.READ)
    wanted = name or DEFAULT_PROJECT
    found = _find(tx, entity_id, wanted)
    missing = f"there is no project {entity_name}/{wanted}"
    if found is None:
        raise NotFound(missing)
    return _allowed(tx, actor, found, need, missing)


def project_by_id(tx: Tx, *, actor: Account, project_id: int, need: Need) -> ProjectView:
    """Return the project of that id; raise as `get_project` does."""
    row = tx.conn.execute(_select().where(t.project.c.id == project_id)).one_or_none()
    missing = f"there is no project with id {project_id}"
    if row is None:
        raise NotFound(missing)
    return _allowed(tx, actor, _view(row), need, missing)


def list_projects(
    tx: Tx,
    *,
    actor: Account,
    entity: str | None,
    need: Need,
    after: str | None = None,
    first: int = 50,
) -> Page[ProjectView]:
    """Return a page of an entity's projects that the actor may read, the newest first.

    Raises:
        NotFound, Forbidden: as `resolve_entity`.
        ProtocolError: if `after` is not a cursor of this listing.
    """
    entity_id, _ = resolve_entity(tx, actor=actor, entity=entity, need=need)
    where = and_(t.project.c.entity_id == entity_id, walls.visible(actor))
    query = _select().where(where).order_by(t.project.c.id.desc())
    if after is not None:
        query = query.where(t.project.c.id < paging.read_int(after))
    rows = tx.conn.execute(query.limit(paging.check_first(first) + 1)).all()
    total = tx.conn.execute(select(func.count()).select_from(t.project).where(where))
    views = [_view(row) for row in rows]
    return paging.page(views, first, cursor=lambda view: view.id, total=total.scalar_one())


def upsert_project(
    tx: Tx,
    *,
    actor: Account,
    project_id: int | None = None,
    entity: str | None = None,
    name: str | None = None,
    description: str | None = None,
    access: Access | None = None,
) -> tuple[ProjectView, bool]:
    """Make or change a project; return it and whether it was made now. None leaves a thing be.

    Args:
        tx: the transaction.
        actor: who asks.
        project_id: finds one that is there; without it, entity and name do.
        entity: its owner, the actor's default if left out.
        name: of the project.
        description: in words.
        access: who may read it; who changes that administers its entity.

    Raises:
        NotFound, Forbidden: as `get_project`, and if only the entity's admins may.
        InvalidInput: as `check_name`, or if a project would get another name.
    """
    is_new = False
    if project_id is not None:
        found = project_by_id(tx, actor=actor, project_id=project_id, need=Need.WRITE)
        if name is not None and name != found.name:
            raise InvalidInput(f"project {found.entity}/{found.name} cannot be renamed")
    else:
        home = resolve_entity(tx, actor=actor, entity=entity, need=Need.READ)[0]
        is_new = _find(tx, home, name or DEFAULT_PROJECT) is None
        found = ensure_project(tx, actor=actor, entity=entity, name=name, need=Need.WRITE)
    values: dict[str, str] = {}
    if description is not None:
        values["description"] = clean(description)
    if access is not None and access != found.access:
        _allowed(tx, actor, found, Need.ADMIN, f"there is no project with id {found.id}")
        values["access"] = access
    if values:
        tx.conn.execute(update(t.project).where(t.project.c.id == found.id).values(values))
        events.record(
            tx,
            actor=actor.name,
            kind="project.changed",
            project_id=found.id,
            data={name: value for name, value in values.items() if name == "access"},
        )
    return project_by_id(tx, actor=actor, project_id=found.id, need=Need.READ), is_new


def _select() -> Select[Any]:
    """Return a query for the columns of a ProjectView."""
    return select(
        t.project.c.id,
        t.project.c.name,
        t.project.c.entity_id,
        t.entity.c.name.label("entity"),
        t.project.c.description,
        t.project.c.created_at,
        t.user.c.name.label("user_name"),
        t.project.c.access,
    ).select_from(t.project.join(t.entity).outerjoin(t.user, t.user.c.id == t.project.c.user_id))


_NAMED = Prepared(
    _select().where(
        t.project.c.entity_id == bindparam("owner"), t.project.c.name == bindparam("project")
    )
)


def _find(tx: Tx, entity_id: int, name: str) -> ProjectView | None:
    row = _NAMED.one(tx, owner=entity_id, project=name)
    return _view(row) if row is not None else None


def _view(row: Any) -> ProjectView:
    return ProjectView(**{**row._asdict(), "access": Access(row.access)})


def _allowed(tx: Tx, actor: Account, found: ProjectView, need: Need, missing: str) -> ProjectView:
    has = walls.level(tx, actor=actor, entity_id=found.entity_id, access=found.access)
    what = f"project {found.entity}/{found.name}"
    walls.allow(has, need, missing=missing, what=what)
    return found


def _names(tx: Tx, actor: Account) -> str:
    """Return the entities that the actor is at home in, in words."""
    query = select(t.entity.c.name).order_by(t.entity.c.name).limit(20)
    if not actor.is_admin:
        teams = select(t.membership.c.entity_id).where(t.membership.c.user_id == actor.id)
        query = query.where(or_(t.entity.c.id == actor.own_id, t.entity.c.id.in_(teams)))
    return ", ".join(tx.conn.scalars(query))
