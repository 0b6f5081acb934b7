"""A team's page: who is in it, in which role, and its service accounts with their keys."""

from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from sweepd.dash.forms import Attempt, expiry, submit
from sweepd.dash.sweepshape import address
from sweepd.dash.visit import Visit
from sweepd.engine import access, service_keys, teams
from sweepd.engine.access import Need
from sweepd.engine.views import Account, Role
from sweepd.errors import InvalidInput, NotFound
from sweepd.store import Tx

__all__ = [
    "add_key",
    "add_member",
    "add_service",
    "page",
    "remove_member",
    "revoke_key",
    "set_role",
]

_NOTHING = Attempt()


def _here(visit: Visit) -> str:
    return address("-", "teams", visit["team"])


def _shown(tx: Tx, visit: Visit) -> dict[str, Any]:
    """Return what the page shows: to administrators of the team the keys of its machines, too."""
    name, actor = visit["team"], visit.account
    team = teams.get_team(tx, actor=actor, name=name, need=Need.READ)
    may_change = access.level(tx, actor=actor, entity_id=team.id) is Need.ADMIN
    services = service_keys.service_keys(tx, actor=actor, team=name) if may_change else {}
    return {
        "team": team,
        "may_change": may_change,
        "members": teams.list_members(tx, actor=actor, team=name, need=Need.READ),
        "services": services,
    }


async def page(visit: Visit) -> Response:
    """Show it to the team's members."""
    return await _show(visit, _NOTHING)


async def _show(
    visit: Visit, attempt: Attempt, *, key: str | None = None, whose: str = ""
) -> Response:
    shown = await visit.read(_shown, visit)
    return visit.page(
        "team.html",
        status=attempt.status,
        attempt=attempt,
        here=_here(visit),
        roles=list(Role),
        key=key,
        whose=whose,
        **shown,
    )


async def add_member(visit: Visit) -> Response:
    """Add a user to the team."""

    async def change(fields: Mapping[str, str]) -> str:
        await visit.write(
            _add_member,
            actor=visit.account,
            team=visit["team"],
            user=fields.get("user", ""),
            role=fields.get("role", ""),
        )
        return f"{_here(visit)}#members"

    return await submit("add", visit.request, change, lambda attempt: _show(visit, attempt))


def _add_member(tx: Tx, *, actor: Account, team: str, user: str, role: str) -> None:
    members = teams.list_members(tx, actor=actor, team=team, need=Need.ADMIN)
    if not user:
        raise InvalidInput("user: say who is to be added")
    if any(member.name == user for member in members):
        raise InvalidInput(f"{user!r} is in the team already: change the role above")
    teams.set_role(tx, actor=actor, team=team, user=user, role=teams.read_role(role))


async def set_role(visit: Visit) -> Response:
    """Change a member's role."""

    async def change(fields: Mapping[str, str]) -> str:
        await visit.write(
            _set_role,
            actor=visit.account,
            team=visit["team"],
            user=visit["user"],
            role=fields.get("role", ""),
        )
        return f"{_here(visit)}#members"

    return await submit("members", visit.request, change, lambda attempt: _show(visit, attempt))


def _set_role(tx: Tx, *, actor: Account, team: str, user: str, role: str) -> None:
    _member(tx, actor=actor, team=team, user=user)
    teams.set_role(tx, actor=actor, team=team, user=user, role=teams.read_role(role))


def _member(tx: Tx, *, actor: Account, team: str, user: str) -> int:
    """Return the storage id of a member, for who administers the team."""
    members = teams.list_members(tx, actor=actor, team=team, need=Need.ADMIN)
    found = [member.user_id for member in members if member.name == user]
    if not found:
        raise NotFound(f"{user!r} is not in team {team!r}")
    return found[0]


async def remove_member(visit: Visit) -> Response:
    """Take a member out of the team; a service account of the team's own goes for good."""

    async def change(_: Mapping[str, str]) -> str:
        await visit.write(
            _remove_member, actor=visit.account, team=visit["team"], user=visit["user"]
        )
        is_self = visit["user"] == visit.account.name and not visit.account.is_admin
        return "/-/settings#teams" if is_self else f"{_here(visit)}#members"

    return await submit("members", visit.request, change, lambda attempt: _show(visit, attempt))


def _remove_member(tx: Tx, *, actor: Account, team: str, user: str) -> None:
    user_id = _member(tx, actor=actor, team=team, user=user)
    teams.remove_member(tx, actor=actor, team=team, user_id=user_id)


async def add_service(visit: Visit) -> Response:
    """Add a service account, and show its first key, once."""

    async def change(fields: Mapping[str, str]) -> Response:
        name, key = await visit.write(
            _add_service, actor=visit.account, team=visit["team"], fields=fields
        )
        return await _show(visit, _NOTHING, key=key, whose=name)

    return await submit("service", visit.request, change, lambda attempt: _show(visit, attempt))


def _add_service(
    tx: Tx, *, actor: Account, team: str, fields: Mapping[str, str]
) -> tuple[str, str]:
    account = teams.add_service_account(
        tx,
        actor=actor,
        team=team,
        name=fields.get("name") or None,
        description=fields.get("description", ""),
    )
    return account.name, _add_key(tx, actor=actor, team=team, user=account.name, fields=fields)


async def add_key(visit: Visit) -> Response:
    """Make another key of a service account's, and show it, once."""

    async def change(fields: Mapping[str, str]) -> Response:
        team, user = visit["team"], visit["user"]
        key = await visit.write(_add_key, actor=visit.account, team=team, user=user, fields=fields)
        return await _show(visit, _NOTHING, key=key, whose=user)

    form = f"key of {visit['user']}"
    return await submit(form, visit.request, change, lambda attempt: _show(visit, attempt))


def _add_key(tx: Tx, *, actor: Account, team: str, user: str, fields: Mapping[str, str]) -> str:
    _, key = service_keys.add_service_key(
        tx,
        actor=actor,
        team=team,
        user=user,
        description=fields.get("description", ""),
        expires_at=expiry(fields.get("days", ""), now=tx.now),
    )
    return key


async def revoke_key(visit: Visit) -> Response:
    """End a key of a service account's."""

    async def change(_: Mapping[str, str]) -> str:
        await visit.write(
            service_keys.revoke_service_key,
            actor=visit.account,
            team=visit["team"],
            user=visit["user"],
            key_id=visit["key"],
        )
        return f"{_here(visit)}#services"

    return await submit("services", visit.request, change, lambda attempt: _show(visit, attempt))
