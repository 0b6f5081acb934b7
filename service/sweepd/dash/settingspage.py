"""A user's own page: keys, signed-in browsers, teams, and where their runs go."""

from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from sweepd.dash.forms import Attempt, expiry, submit
from sweepd.dash.sweepshape import address
from sweepd.dash.visit import Visit
from sweepd.engine import keys, service_keys, sessions, teams
from sweepd.engine.views import Account, Role
from sweepd.errors import InvalidInput, NotFound
from sweepd.store import Tx

__all__ = ["add_key", "end_session", "leave_team", "page", "revoke_key", "set_default"]

_HERE = address("-", "settings")
_NOTHING = Attempt()


def _shown(tx: Tx, visit: Visit) -> dict[str, Any]:
    account, token = visit.account, visit.request.cookies[sessions.SESSION_COOKIE]
    mine = teams.list_teams(tx, actor=account)
    return {
        "keys": keys.keys_of(tx, account=account),
        "sessions": sessions.sessions_of(tx, account=account, token=token),
        "teams": [
            {
                "view": team,
                "url": address("-", "teams", team.name),
                "projects_url": f"/{team.name}",
                "is_default": team.id == account.entity_id,
                "may_log": team.role is not Role.VIEWER,
            }
            for team in mine
        ],
    }


async def page(visit: Visit) -> Response:
    """Show it; the client's login prompt points here."""
    return await _show(visit, _NOTHING)


async def _show(visit: Visit, attempt: Attempt, *, key: str | None = None) -> Response:
    shown = await visit.read(_shown, visit)
    return visit.page(
        "settings.html",
        status=attempt.status,
        attempt=attempt,
        key=key,
        base_url=visit.base_url,
        **shown,
    )


async def add_key(visit: Visit) -> Response:
    """Make a key and show it, once."""

    async def change(fields: Mapping[str, str]) -> Response:
        key = await visit.write(_add_key, actor=visit.account, fields=fields)
        return await _show(visit, _NOTHING, key=key)

    return await submit("key", visit.request, change, lambda attempt: _show(visit, attempt))


def _add_key(tx: Tx, *, actor: Account, fields: Mapping[str, str]) -> str:
    _, key = service_keys.add_own_key(
        tx,
        actor=actor,
        description=fields.get("description", ""),
        expires_at=expiry(fields.get("days", ""), now=tx.now),
    )
    return key


async def revoke_key(visit: Visit) -> Response:
    """End a key of the user's."""

    async def change(_: Mapping[str, str]) -> str:
        await visit.write(_revoke_own, actor=visit.account, key_id=visit["key"])
        return f"{_HERE}#keys"

    return await submit("keys", visit.request, change, lambda attempt: _show(visit, attempt))


def _revoke_own(tx: Tx, *, actor: Account, key_id: str) -> None:
    """End a key of the actor's: here, not even an administrator ends another's."""
    mine = keys.keys_of(tx, account=actor, with_ended=True)
    found = [key for key in mine if key.id == key_id]
    if not found:
        raise NotFound(f"there is no key {key_id!r}")
    keys.end_key(tx, key=found[0], by=actor.name)


async def end_session(visit: Visit) -> Response:
    """Sign another browser of the user's out."""

    async def change(_: Mapping[str, str]) -> str:
        session = visit["session"]
        if not await visit.write(sessions.end_session, account=visit.account, session_id=session):
            raise NotFound(f"there is no signed-in browser {session!r}")
        return f"{_HERE}#browsers"

    return await submit("browsers", visit.request, change, lambda attempt: _show(visit, attempt))


async def set_default(visit: Visit) -> Response:
    """Choose where the user's runs go that name no entity."""

    async def change(fields: Mapping[str, str]) -> str:
        team = fields.get("team")
        if team is None:
            raise InvalidInput("choose where your runs go")
        is_own = visit.account.own_id is not None and team == visit.account.name
        await visit.write(teams.set_default, account=visit.account, team=None if is_own else team)
        return f"{_HERE}#teams"

    return await submit("default", visit.request, change, lambda attempt: _show(visit, attempt))


async def leave_team(visit: Visit) -> Response:
    """Take the user out of a team."""

    async def change(_: Mapping[str, str]) -> str:
        account = visit.account
        await visit.write(
            teams.remove_member, actor=account, team=visit["team"], user_id=account.id
        )
        return f"{_HERE}#teams"

    return await submit("teams", visit.request, change, lambda attempt: _show(visit, attempt))
