"""Who may see and change what. Every lookup that a request leads to asks here.

Whoever may not see a thing is told what is told about things that do not exist, in the same words:
a wall that answers "not yours" tells where to knock. Whoever sees it but may not change it is told
so.
"""

from enum import IntEnum

from sqlalchemy import ColumnElement, bindparam, or_, select, true

from sweepd.engine.views import Access, Account, Role
from sweepd.errors import Forbidden, NotFound
from sweepd.store import Prepared, Tx
from sweepd.store import tables as t

__all__ = ["Need", "allow", "level", "level_in_entity", "visible"]


class Need(IntEnum):
    """What a caller wants to do; more holds less."""

    READ = 1
    WRITE = 2
    ADMIN = 3  # of a team: its members, its projects' visibility


_OF_ROLE = {Role.VIEWER: Need.READ, Role.MEMBER: Need.WRITE, Role.ADMIN: Need.ADMIN}

_ROLE = Prepared(
    select(t.membership.c.role).where(
        t.membership.c.entity_id == bindparam("entity_id"),
        t.membership.c.user_id == bindparam("user_id"),
    )
)
_OPEN = Prepared(
    select(t.project.c.id)
    .where(
        t.project.c.entity_id == bindparam("entity_id"),
        t.project.c.access == bindparam("access"),
    )
    .limit(1)
)


def level(tx: Tx, *, actor: Account, entity_id: int, access: str = Access.ENTITY) -> Need | None:
    """Return the most that an account may do in a project of an entity; None for nothing.

    Args:
        tx: the transaction.
        actor: who asks.
        entity_id: the entity that the project belongs to.
        access: the project's; what is no project's is the entity's own affair.
    """
    if actor.is_admin or entity_id == actor.own_id:
        return Need.ADMIN
    found = _ROLE.row(tx, entity_id=entity_id, user_id=actor.id)
    if found is not None:
        return _OF_ROLE[found[0]]
    return Need.READ if access == Access.EVERYBODY else None


def level_in_entity(tx: Tx, *, actor: Account, entity_id: int) -> Need | None:
    """Return the most that an account may do in an entity; who may read one project may see it."""
    found = level(tx, actor=actor, entity_id=entity_id)
    if found is None and _OPEN.row(tx, entity_id=entity_id, access=Access.EVERYBODY):
        return Need.READ
    return found


def allow(has: Need | None, need: Need, *, missing: str, what: str) -> None:
    """Let a caller pass who has what is needed.

    Args:
        has: as `level` returns.
        need: what the caller is about to do.
        missing: what is said of such a thing when it does not exist.
        what: the thing, in words.

    Raises:
        NotFound: with `missing`, if the caller may not even see it.
        Forbidden: naming `what`, if the caller may see it and no more.
    """
    if has is None:
        raise NotFound(missing)
    if has < need:
        may = "read" if has is Need.READ else "read and change"
        not_may = "change" if need is Need.WRITE else "administer"
        raise Forbidden(f"with this key you may {may} {what}, not {not_may} it")


def visible(actor: Account) -> ColumnElement[bool]:
    """Return the clause, over projects, of those that an account may read."""
    if actor.is_admin:
        return true()
    teams = select(t.membership.c.entity_id).where(t.membership.c.user_id == actor.id)
    mine = [t.project.c.entity_id == actor.own_id] if actor.own_id is not None else []
    return or_(*mine, t.project.c.access == Access.EVERYBODY, t.project.c.entity_id.in_(teams))
