"""Signing in by key or one-time link, and signing out."""

import time
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from sweepd.dash.assets import HEADERS, render
from sweepd.dash.forms import read_fields
from sweepd.dash.visit import Visit, base_url, html, is_from_elsewhere, is_own, safe_path
from sweepd.engine import accounts, keys, sessions
from sweepd.engine.services import Services
from sweepd.engine.views import Account
from sweepd.errors import Forbidden

__all__ = ["form", "leave", "link", "sign_in"]

_USED = "This link was used already, or is too old. Sign in with a key."


async def form(request: Request, services: Services) -> Response:
    """Show the sign-in form."""
    return _form(request.query_params.get("next", "/"))


def _form(target: str, problem: str | None = None, status: int = 200) -> Response:
    return html(render("login.html", next=safe_path(target), problem=problem), status)


async def sign_in(request: Request, services: Services) -> Response:
    """Sign a browser in with a key, or with a link whose page asked first."""
    if not is_own(request):
        raise Forbidden("only this service's own sign-in form may do this")
    fields = await read_fields(request)
    target = safe_path(fields.get("next", "/"))
    token, key = fields.get("link", ""), fields.get("key", "")
    if token:
        account = await services.store.write(sessions.redeem_login_link, token=token)
        problem = _USED
    else:
        account = await services.store.read(accounts.account_by_key, key=key) if key else None
        why = await services.store.read(keys.why_refused, key=key)
        problem = f"{why[0].upper()}{why[1:]}."
    if account is None:
        return _form(target, problem, 401)
    reply = RedirectResponse(target, 303, headers=HEADERS)
    return await _remember(reply, request, services, account)


async def link(request: Request, services: Services) -> Response:
    """Sign a browser in with a one-time link. A HEAD request does not use it up.

    Who comes by another site's link, or is signed in as somebody else, is asked first: otherwise a
    stranger's link would have them work, unknowingly, in the stranger's name.
    """
    if request.method == "HEAD":
        return html("")
    token = request.path_params["token"]
    target = safe_path(request.query_params.get("next", "/"))
    owner = await services.store.read(sessions.link_owner, token=token)
    if owner is None:
        return _form("/", _USED, 401)
    if is_from_elsewhere(request) or await _is_another(request, services, owner):
        return html(render("confirm.html", who=owner.name, token=token, next=target))
    account = await services.store.write(sessions.redeem_login_link, token=token)
    if account is None:
        return _form("/", _USED, 401)
    reply = html(render("opening.html", target=target, words="Signed in."))
    return await _remember(reply, request, services, account)


async def _is_another(request: Request, services: Services, owner: Account) -> bool:
    """Return whether the browser is signed in as somebody other than a link's owner."""
    cookie = request.cookies.get(sessions.SESSION_COOKIE)
    if not cookie:
        return False
    present = await services.store.read(sessions.account_by_session, token=cookie)
    return present is not None and present.id != owner.id


async def _remember(
    reply: Response, request: Request, services: Services, account: Account
) -> Response:
    if account.key_id is not None:
        services.key_uses.note(account.key_id, at=time.time())
    browser = request.headers.get("user-agent", "")
    token = await services.store.write(sessions.open_session, account=account, browser=browser)
    reply.set_cookie(
        sessions.SESSION_COOKIE,
        token,
        max_age=int(sessions.SESSION_S),
        httponly=True,
        samesite="strict",
        secure=_is_https(request, services),
        path="/",
    )
    return reply


def _is_https(request: Request, services: Services) -> bool:
    """Return whether the browser came by the public address, and that is an https one."""
    public = urlsplit(base_url(request, services))
    return public.scheme == "https" and public.netloc == request.headers.get("host")


async def leave(visit: Visit) -> Response:
    """Sign a browser out."""
    token = visit.request.cookies[sessions.SESSION_COOKIE]
    await visit.write(sessions.close_session, token=token)
    reply = RedirectResponse("/login", 303, headers=HEADERS)
    reply.delete_cookie(sessions.SESSION_COOKIE, path="/")
    return reply
