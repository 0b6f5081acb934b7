"""The page of who administers the service: its users and its teams."""

from collections.abc import Awaitable, Callable, Mapping
from functools import wraps
from typing import Any

from starlette.responses import Response

from sweepd.dash.forms import Attempt, submit
from sweepd.dash.sweepshape import address
from sweepd.dash.visit import Visit
from sweepd.engine import accounts, keys, teams
from sweepd.engine.views import Account
from sweepd.errors import InvalidInput, NotFound
from sweepd.store import Tx

__all__ = ["add_team", "add_user", "page", "remove_team", "remove_user", "set_admin"]

_HERE = address("-", "admin")
_NOTHING = Attempt()

Handler = Callable[[Visit], Awaitable[Response]]


def _for_admins(handler: Handler) -> Handler:
    """Tell everybody else what is told of pages that are not there."""

    @wraps(handler)
    async def checked(visit: Visit) -> Response:
        if not visit.account.is_admin:
            raise NotFound(f"there is no page {visit.request.url.path}")
        return await handler(visit)

    return checked


def _shown(tx: Tx, visit: Visit) -> dict[str, Any]:
    last = keys.last_uses(tx)
    everybody = accounts.list_users(tx)
    return {
        "users": [
            {
                "view": user,
                "url": address("-", "admin", "users", user.name),
                "home_url": f"/{user.entity}",
                "used_at": last.get(user.id),
            }
            for user in everybody
        ],
        "teams": [
            {
                "view": team,
                "url": address("-", "teams", team.name),
                "remove_url": address("-", "admin", "teams", team.name, "remove"),
                "projects_url": f"/{team.name}",
            }
            for team in teams.list_teams(tx, actor=visit.account, everybody=True)
        ],
    }


@_for_admins
async def page(visit: Visit) -> Response:
    """Show users and teams."""
    return await _show(visit, _NOTHING)


async def _show(visit: Visit, attempt: Attempt, **done: str) -> Response:
    """Show the page.

    Args:
        visit: the request's.
        attempt: the form that could not be done.
        done: what is said this once: `key` of `whose`, or what `gone` is kept as: `kept`.
    """
    shown = await visit.read(_shown, visit)
    once = {"key": "", "whose": "", "gone": "", "kept": "", **done}
    return visit.page("admin.html", status=attempt.status, attempt=attempt, **once, **shown)


@_for_admins
async def add_user(visit: Visit) -> Response:
    """Add a person, and show their first key, once."""

    async def change(fields: Mapping[str, str]) -> Response:
        name = fields.get("name", "")
        _, key = await visit.write(
            accounts.add_user,
            name=name,
            email=fields.get("email") or None,
            is_admin="admin" in fields,
            by=visit.account.name,
        )
        return await _show(visit, _NOTHING, key=key, whose=name)

    return await submit("user", visit.request, change, lambda attempt: _show(visit, attempt))


@_for_admins
async def set_admin(visit: Visit) -> Response:
    """Make a user an administrator of the service, or one no more."""

    async def change(fields: Mapping[str, str]) -> str:
        choice = fields.get("admin", "")
        if choice not in ("yes", "no"):
            raise InvalidInput(f"admin: must be yes or no, not {choice!r:.40}")
        changed = await visit.write(
            accounts.set_admin,
            name=visit["user"],
            is_admin=choice == "yes",
            by=visit.account.name,
        )
        return _after(visit, changed)

    return await submit("users", visit.request, change, lambda attempt: _show(visit, attempt))


def _after(visit: Visit, changed: Account) -> str:
    is_out = changed.id == visit.account.id and not changed.is_admin
    return "/" if is_out else f"{_HERE}#users"


@_for_admins
async def remove_user(visit: Visit) -> Response:
    """Remove a user; say what their projects are under now."""

    async def change(_: Mapping[str, str]) -> Response | str:
        name = visit["user"]
        kept = await visit.write(accounts.remove_user, name=name, by=visit.account.name)
        if name == visit.account.name:
            return "/"
        return await _gone(visit, name, kept)

    return await submit("users", visit.request, change, lambda attempt: _show(visit, attempt))


async def _gone(visit: Visit, name: str, kept: str | None) -> Response | str:
    if kept is None:
        return _HERE
    return await _show(visit, _NOTHING, gone=name, kept=kept)


@_for_admins
async def add_team(visit: Visit) -> Response:
    """Make a team with its first administrator."""

    async def change(fields: Mapping[str, str]) -> str:
        name = fields.get("name", "")
        await visit.write(
            teams.create_team,
            actor=visit.account,
            name=name,
            admin=fields.get("admin", visit.account.name),
        )
        return address("-", "teams", name)

    return await submit("team", visit.request, change, lambda attempt: _show(visit, attempt))


@_for_admins
async def remove_team(visit: Visit) -> Response:
    """Remove a team; say what its projects are under now."""

    async def change(_: Mapping[str, str]) -> Response | str:
        name = visit["team"]
        kept = await visit.write(teams.remove_team, actor=visit.account, name=name)
        return await _gone(visit, name, kept)

    return await submit("teams", visit.request, change, lambda attempt: _show(visit, attempt))
