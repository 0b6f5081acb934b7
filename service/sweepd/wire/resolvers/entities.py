"""Entities: what a user or a team owns; teams, their members, and changing both."""

from collections.abc import Mapping, Sequence
from typing import Any

from sweepd.engine import accounts, entities, projects, teams
from sweepd.engine.access import Need
from sweepd.engine.views import Account, MemberView, Role, TeamView
from sweepd.errors import AlreadyExists, InvalidInput, NotFound
from sweepd.store import Tx
from sweepd.wire.context import Info, Resolvers
from sweepd.wire.ids import read_int_id, wire_id
from sweepd.wire.resolvers.common import Named, constant

__all__ = ["FIELDS"]


async def _entity(root: None, info: Info, name: str) -> Named | None:
    context = info.context
    found = await context.read_or_none(
        projects.resolve_entity, actor=context.account, entity=name, need=Need.READ
    )
    return Named(found[1]) if found is not None else None


def _from(column: str) -> Any:
    """Return a resolver for what is read of an entity that the caller may see."""

    async def resolve(entity: Named, info: Info) -> Any:
        context = info.context
        found = await context.read(
            entities.get_entity, actor=context.account, name=entity.name, need=Need.READ
        )
        return getattr(found, column)

    return resolve


async def _kind(entity: Named, info: Info) -> str:
    return "team" if await _from("is_team")(entity, info) else "user"


async def _is_read_only(entity: Named, info: Info) -> bool:
    return bool(await _from("level")(entity, info) < Need.WRITE)


async def _user(entity: Named, info: Info) -> Any:
    if await _from("is_team")(entity, info):
        return None
    account = info.context.account
    return account if account.name == entity.name else Named(entity.name)


async def _project(entity: Named, info: Info, name: str | None = None) -> Any:
    context = info.context
    return await context.read_or_none(
        projects.get_project,
        actor=context.account,
        entity=entity.name,
        name=name,
        need=Need.READ,
    )


async def _members(entity: Named, info: Info) -> Sequence[MemberView]:
    """List a team's members to its members; nobody else learns who they are."""
    context = info.context
    found = await context.read_or_none(
        entities.list_members, actor=context.account, name=entity.name
    )
    return found or ()


async def _create_team(root: None, info: Info, input: Mapping[str, Any]) -> Mapping[str, Any]:
    context = info.context
    team: TeamView = await context.write(
        teams.create_team,
        actor=context.account,
        name=input["teamName"],
        admin=input.get("teamAdminUserName") or None,
    )
    return {"entity": Named(team.name)}


async def _invite(root: None, info: Info, input: Mapping[str, Any]) -> Mapping[str, Any]:
    context = info.context
    member = await context.write(
        _add_member,
        actor=context.account,
        team=input["entityName"],
        user=input.get("username") or None,
        email=input.get("email") or None,
        role=Role.ADMIN if input.get("admin") else Role.MEMBER,
    )
    return {"invite": member}


def _add_member(
    tx: Tx, *, actor: Account, team: str, user: str | None, email: str | None, role: Role
) -> MemberView:
    """Make a user, named or by their address, a member at once: there is nothing to accept."""
    members = teams.list_members(tx, actor=actor, team=team, need=Need.ADMIN)
    if user is None and email is None:
        raise InvalidInput("an invitation needs a username or an email")
    if user is None:
        found = [one.name for one in accounts.list_users(tx) if one.email == email]
        if len(found) != 1:
            raise NotFound(f"there is no user with the address {email!r:.100}")
        user = found[0]
    if any(member.name == user for member in members):
        raise AlreadyExists(f"{user!r} is in team {team!r} already")
    return teams.set_role(tx, actor=actor, team=team, user=user, role=role)


async def _remove_member(root: None, info: Info, input: Mapping[str, Any]) -> Mapping[str, Any]:
    context = info.context
    if not input.get("id") or not input.get("entityName"):
        raise InvalidInput("to remove a member takes their id and the name of the team")
    gone = await context.write(
        teams.remove_member,
        actor=context.account,
        team=input["entityName"],
        user_id=read_int_id("Member", input["id"]),
    )
    return {"success": gone}


async def _add_service(root: None, info: Info, input: Mapping[str, Any]) -> Mapping[str, Any]:
    context = info.context
    account = await context.write(
        teams.add_service_account,
        actor=context.account,
        team=input["entityName"],
        description=input["description"],
    )
    return {"user": account}


def _is_admin(member: MemberView, info: Info) -> bool:
    return member.role is Role.ADMIN


def _member_type(member: MemberView, info: Info) -> str:
    return "SERVICE" if member.is_service else "USER"


FIELDS: Resolvers = {
    "Query": {"entity": _entity, "organization": constant(None)},
    "Mutation": {
        "createTeam": _create_team,
        "createInvite": _invite,
        "deleteInvite": _remove_member,
        "createServiceAccount": _add_service,
    },
    "Entity": {
        "id": lambda entity, info: wire_id("Entity", entity.name),
        "available": constant(False),
        "readOnly": _is_read_only,
        "readOnlyAdmin": constant(False),
        "isTeam": _from("is_team"),
        "entityType": _kind,
        "privateOnly": constant(False),
        "storageBytes": _from("size"),
        "codeSavingEnabled": constant(False),
        "defaultAccess": constant("PRIVATE"),
        "isPaid": constant(False),
        "limits": constant(None),
        "photoUrl": constant(None),
        "members": _members,
        "organization": constant(None),
        "user": _user,
        "xxhashDigestsEnabled": constant(False),
        "project": _project,
    },
    "Member": {
        "id": lambda member, info: wire_id("Member", member.user_id),
        "admin": _is_admin,
        "pending": constant(False),
        "username": lambda member, info: member.name,
        "photoUrl": constant(None),
        "accountType": _member_type,
        "apiKey": constant(None),
    },
    "Invite": {
        "id": lambda member, info: wire_id("Member", member.user_id),
        "createdAt": lambda member, info: member.created_at,
        "toUser": lambda member, info: Named(member.name),
    },
}
