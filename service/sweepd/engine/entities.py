"""Entities: what owns projects, a person or a team."""

from dataclasses import dataclass

from sqlalchemy import func, select

from sweepd.engine import access, projects, teams
from sweepd.engine.access import Need
from sweepd.engine.views import Account, MemberView, Role
from sweepd.errors import NotFound
from sweepd.store import Tx
from sweepd.store import tables as t

__all__ = ["EntityView", "get_entity", "is_team", "list_members"]


@dataclass(frozen=True)
class EntityView:
    """An entity; `size` is in bytes of files, of the projects that the caller may read."""

    id: int
    name: str
    is_team: bool
    level: Need
    size: int


def is_team(tx: Tx, *, entity_id: int) -> bool:
    """Return whether an entity that the caller may see is a team's."""
    return tx.conn.scalar(select(t.entity.c.kind).where(t.entity.c.id == entity_id)) == "team"


def get_entity(tx: Tx, *, actor: Account, name: str, need: Need) -> EntityView:
    """Return an entity and what the actor may do there; raise as `projects.resolve_entity`."""
    entity_id, name = projects.resolve_entity(tx, actor=actor, entity=name, need=need)
    has = access.level_in_entity(tx, actor=actor, entity_id=entity_id)
    size = tx.conn.scalar(
        select(func.coalesce(func.sum(t.blob.c.size), 0))
        .join(t.project, t.project.c.id == t.blob.c.project_id)
        .where(t.project.c.entity_id == entity_id, access.visible(actor))
    )
    assert has is not None, "it was resolved above"
    return EntityView(entity_id, name, is_team(tx, entity_id=entity_id), has, int(size or 0))


def list_members(tx: Tx, *, actor: Account, name: str) -> list[MemberView]:
    """Return a team's members, or the one person whose entity it is: to them, nobody else.

    Raises:
        NotFound: if there is no such entity, or its people are not the actor's affair.
    """
    entity_id, name = projects.resolve_entity(tx, actor=actor, entity=name, need=Need.READ)
    owner = tx.conn.execute(
        select(t.user.c.id, t.user.c.email, t.user.c.created_at)
        .join(t.entity, t.entity.c.id == t.user.c.entity_id)
        .where(t.entity.c.id == entity_id, t.entity.c.kind == "user")
    ).one_or_none()
    if owner is None:
        return teams.list_members(tx, actor=actor, team=name, need=Need.READ)
    if access.level(tx, actor=actor, entity_id=entity_id) is not Need.ADMIN:
        raise NotFound(f"there is no team {name!r}")
    return [
        MemberView(
            user_id=owner.id,
            name=name,
            email=owner.email,
            role=Role.ADMIN,
            is_service=False,
            is_default=True,
            created_at=owner.created_at,
        )
    ]
