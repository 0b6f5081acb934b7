"""Entities: what owns projects, a person or a team."""

from dataclasses import dataclass

from sqlalchemy import func, select

from sweepd.engine import access, projects
from sweepd.engine.access import Need
from sweepd.engine.views import Account
from sweepd.store import Tx
from sweepd.store import tables as t

__all__ = ["EntityView", "get_entity", "is_team"]


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
