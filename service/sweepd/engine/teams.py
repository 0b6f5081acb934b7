"""Teams: entities that several users share, each in a role."""

import re

from sqlalchemy import bindparam, delete, func, select, update
from sqlalchemy.dialects.sqlite import insert

from sweepd.engine import access, accounts, events
from sweepd.engine.access import Need
from sweepd.engine.views import Account, MemberView, Role, TeamView
from sweepd.errors import Conflict, Forbidden, InvalidInput, NotFound
from sweepd.store import Prepared, Tx
from sweepd.store import tables as t

__all__ = [
    "add_service_account",
    "create_team",
    "get_team",
    "list_members",
    "list_teams",
    "read_role",
    "remove_member",
    "remove_team",
    "set_default",
    "set_role",
    "team_names",
]

_SLUG = re.compile(r"[^a-z0-9]+")
_MAX_SLUG = 40


def read_role(text: str) -> Role:
    """Return a role by its name.

    Raises:
        InvalidInput: with the roles there are, if it is none.
    """
    try:
        return Role(text.lower())
    except ValueError:
        known = ", ".join(Role)
        raise InvalidInput(f"role: must be one of {known}, not {text!r:.100}") from None


def create_team(tx: Tx, *, actor: Account, name: str, admin: str | None = None) -> TeamView:
    """Create a team whose first administrator is the named user, else the actor.

    Raises:
        Forbidden: if the actor does not administer the service.
        InvalidInput, AlreadyExists: for the name, as `accounts.check_free`; for a service account.
        NotFound: if there is no such user.
    """
    if not actor.is_admin:
        raise Forbidden("teams are made by administrators of the service: `sweep team create NAME`")
    accounts.check_free(tx, name=name, kind="team")
    first = accounts.account_by_name(tx, name=admin) if admin is not None else actor
    _check_may_administer(first)
    team_id = tx.insert(t.entity, name=name, kind="team")
    _write(tx, team_id, first, Role.ADMIN)
    events.record(tx, actor=actor.name, kind="team.created", data={"team": name})
    return get_team(tx, actor=actor, name=name, need=Need.READ)


def remove_team(tx: Tx, *, actor: Account, name: str) -> str | None:
    """Remove a team and its service accounts; return what its entity is called now.

    Its projects stay, for administrators of the service, under a name that nobody can take. Without
    projects, nothing stays.

    Raises:
        Forbidden: if the actor does not administer the service.
        NotFound: if there is no such team.
    """
    team = get_team(tx, actor=actor, name=name, need=Need.READ)
    if not actor.is_admin:
        raise Forbidden("teams are removed by administrators of the service")
    own = (t.user.c.entity_id == team.id) & (t.user.c.kind == "service")
    tx.conn.execute(delete(t.user).where(own))
    tx.conn.execute(delete(t.membership).where(t.membership.c.entity_id == team.id))
    kept = accounts.retire_entity(tx, entity_id=team.id)
    data = {"team": name, "kept_as": kept}
    events.record(tx, actor=actor.name, kind="team.removed", data=data)
    return kept


def get_team(tx: Tx, *, actor: Account, name: str, need: Need) -> TeamView:
    """Return a team.

    Raises:
        NotFound: if there is none that the actor is a member of.
        Forbidden: if their role does not allow what is needed.
    """
    missing = f"there is no team {name!r}"
    found = [team for team in list_teams(tx, actor=actor, everybody=True) if team.name == name]
    has = access.level(tx, actor=actor, entity_id=found[0].id) if found else None
    access.allow(has, need, missing=missing, what=f"team {name!r}")
    return found[0]


_NAMES = Prepared(
    select(t.entity.c.name)
    .join(t.membership, t.membership.c.entity_id == t.entity.c.id)
    .where(t.membership.c.user_id == bindparam("user_id"), t.entity.c.kind == "team")
    .order_by(t.entity.c.name)
)


def team_names(tx: Tx, *, user_id: int) -> list[str]:
    """Return the names of a user's teams. Asked at every `wandb.init`: one prepared lookup."""
    return [str(row[0]) for row in _NAMES.rows(tx, user_id=user_id)]


def list_teams(tx: Tx, *, actor: Account, everybody: bool = False) -> list[TeamView]:
    """Return the teams that an account is in, by name.

    Args:
        tx: the transaction.
        actor: whose.
        everybody: all teams there are instead; asks nobody's leave.
    """
    mine = t.membership.alias("mine")
    is_mine = (mine.c.entity_id == t.entity.c.id) & (mine.c.user_id == actor.id)
    n_members = select(func.count()).where(t.membership.c.entity_id == t.entity.c.id)
    n_projects = select(func.count()).where(t.project.c.entity_id == t.entity.c.id)
    query = (
        select(
            t.entity.c.id,
            t.entity.c.name,
            mine.c.role,
            n_members.scalar_subquery(),
            n_projects.scalar_subquery(),
        )
        .join(mine, is_mine, isouter=everybody)
        .where(t.entity.c.kind == "team")
        .order_by(t.entity.c.name)
    )
    return [
        TeamView(team_id, name, Role(role) if role is not None else None, *counts)
        for team_id, name, role, *counts in tx.conn.execute(query)
    ]


def list_members(tx: Tx, *, actor: Account, team: str, need: Need) -> list[MemberView]:
    """Return a team's members as they came; raise as `get_team` does."""
    return _members(tx, get_team(tx, actor=actor, name=team, need=need).id)


def set_role(tx: Tx, *, actor: Account, team: str, user: str, role: Role) -> MemberView:
    """Make a user a member of a team, or change their role in it.

    Raises:
        NotFound: if there is no such team, or no such user.
        Forbidden: if the actor does not administer the team.
        InvalidInput: if a service account would administer it.
        Conflict: if it would leave the team without an administrator.
    """
    found = get_team(tx, actor=actor, name=team, need=Need.ADMIN)
    account = accounts.account_by_name(tx, name=user)
    if role is Role.ADMIN:
        _check_may_administer(account)
    else:
        _keep_an_admin(tx, found, account.id)
    _write(tx, found.id, account, role)
    data = {"team": team, "user": user, "role": role}
    events.record(tx, actor=actor.name, kind="team.role", data=data)
    return next(member for member in _members(tx, found.id) if member.user_id == account.id)


def remove_member(tx: Tx, *, actor: Account, team: str, user_id: int) -> bool:
    """Take a user out of a team; return whether they were in it. Everybody may leave by themselves.

    A service account whose own team it is goes for good.

    Raises:
        NotFound: if there is no such team.
        Forbidden: if the actor does not administer the team, and means somebody else.
        Conflict: if it would leave the team without an administrator.
    """
    need = Need.READ if user_id == actor.id else Need.ADMIN
    found = get_team(tx, actor=actor, name=team, need=need)
    _keep_an_admin(tx, found, user_id)
    is_it = (t.membership.c.entity_id == found.id) & (t.membership.c.user_id == user_id)
    if not tx.conn.execute(delete(t.membership).where(is_it)).rowcount:
        return False
    of_team = (t.user.c.id == user_id) & (t.user.c.kind == "service")
    tx.conn.execute(delete(t.user).where(of_team, t.user.c.entity_id == found.id))
    data = {"team": team, "user_id": user_id}
    events.record(tx, actor=actor.name, kind="team.left", data=data)
    return True


def set_default(tx: Tx, *, account: Account, team: str | None) -> Account:
    """Choose where an account works unless told otherwise: a team of theirs, None for their own.

    Raises:
        NotFound: if they are in no such team.
        InvalidInput: if a service account would have none, or they may only read there.
    """
    if team is None and account.own_id is None:
        raise InvalidInput("a service account has no entity of its own; name one of its teams")
    mine = t.membership.c.user_id == account.id
    teams = {view.name: view for view in list_teams(tx, actor=account)}
    if team is not None and team not in teams:
        raise NotFound(f"{account.name} is in no team {team!r}")
    if team is not None and teams[team].role is Role.VIEWER:
        raise InvalidInput(
            f"{account.name} is a viewer in {team!r}, where runs of theirs cannot go"
        )
    tx.conn.execute(update(t.membership).where(mine).values(is_default=0))
    if team is not None:
        is_it = mine & (t.membership.c.entity_id == teams[team].id)
        tx.conn.execute(update(t.membership).where(is_it).values(is_default=1))
    found = accounts.account_by_id(tx, account.id, key_id=account.key_id)
    assert found is not None, "it was there above"
    return found


def add_service_account(
    tx: Tx, *, actor: Account, team: str, name: str | None = None, description: str = ""
) -> Account:
    """Add a service account to a team, as a member, without a key.

    Args:
        tx: the transaction.
        actor: who asks.
        team: whose it is.
        name: its name; made of the description if left out.
        description: what it is for.

    Raises:
        NotFound, Forbidden: as `get_team`, for who administers the team.
        InvalidInput, AlreadyExists: for the name.
    """
    found = get_team(tx, actor=actor, name=team, need=Need.ADMIN)
    if name is None:
        slug = _SLUG.sub("-", description.lower()).strip("-")[:_MAX_SLUG].strip("-")
        name = f"{slug or 'service'}-{tx.new_id(4)}"
    account = accounts.create_user(
        tx, name=name, email=f"{name}@service", team_id=found.id, by=actor.name
    )
    _write(tx, found.id, account, Role.MEMBER)
    return set_default(tx, account=account, team=found.name)


def _members(tx: Tx, team_id: int) -> list[MemberView]:
    query = (
        select(
            t.user.c.id,
            t.user.c.name,
            t.user.c.email,
            t.membership.c.role,
            t.user.c.kind,
            t.membership.c.is_default,
            t.membership.c.created_at,
        )
        .join(t.membership, t.membership.c.user_id == t.user.c.id)
        .where(t.membership.c.entity_id == team_id)
        .order_by(t.membership.c.created_at, t.user.c.id)
    )
    return [
        MemberView(
            user_id=row.id,
            name=row.name,
            email=row.email,
            role=Role(row.role),
            is_service=row.kind == "service",
            is_default=bool(row.is_default),
            created_at=row.created_at,
        )
        for row in tx.conn.execute(query)
    ]


def _write(tx: Tx, team_id: int, account: Account, role: Role) -> None:
    row = {"entity_id": team_id, "user_id": account.id, "role": role, "created_at": tx.now}
    tx.conn.execute(
        insert(t.membership)
        .values(row)
        .on_conflict_do_update(index_elements=["entity_id", "user_id"], set_={"role": role})
    )


def _check_may_administer(account: Account) -> None:
    """Refuse machines: whoever got hold of one of their keys would say who is in the team."""
    if account.is_service:
        raise InvalidInput(f"{account.name!r} is a service account, which administers nothing")


def _keep_an_admin(tx: Tx, team: TeamView, user_id: int) -> None:
    """Refuse that a team's last administrator goes."""
    admins = {member.user_id for member in _members(tx, team.id) if member.role == Role.ADMIN}
    if admins == {user_id}:
        raise Conflict(f"team {team.name!r} must keep an administrator: name another one first")
