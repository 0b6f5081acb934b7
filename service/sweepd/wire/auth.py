"""Who sends a request: an API key for clients, a session cookie for the pages."""

import base64
import binascii
import time
from dataclasses import replace

from starlette.requests import Request

from sweepd.engine import accounts, keys, sessions
from sweepd.engine.services import Services
from sweepd.engine.views import Account
from sweepd.errors import Forbidden, Unauthorized

__all__ = ["account_of", "read_key"]

_HOW_TO = (
    "on the machine of the service `sweep user add NAME` makes a user and prints a key; "
    "then `wandb login --host={url}`, or set WANDB_API_KEY"
)


async def account_of(request: Request, services: Services, *, url: str) -> Account:
    """Return the account that a request's key or session cookie stands for.

    A cookie counts only for requests that our own pages make: same origin, JSON body. So another
    site's form cannot act in the user's name.

    Raises:
        Unauthorized: with how to get a key, if there is none or an unknown one.
        Forbidden: if a cookie came with another site's request.
    """
    key = read_key(request)
    if key is not None:
        account = services.store.peek(accounts.account_by_key, key=key)
        if account is None:
            why = services.store.peek(keys.why_refused, key=key)
            raise Unauthorized(f"{why}; {_HOW_TO.format(url=url)}")
        if account.key_id is not None:
            services.key_uses.note(account.key_id, at=time.time())
        return _for_person(request, services, account)
    token = request.cookies.get(sessions.SESSION_COOKIE)
    if token:
        _refuse_other_sites(request)
        account = services.store.peek(sessions.account_by_session, token=token)
        if account is not None:
            return account
    raise Unauthorized(f"no API key was sent; {_HOW_TO.format(url=url)}")


def _for_person(request: Request, services: Services, account: Account) -> Account:
    """Return a service account with the person that the client says it works for, if it may."""
    if not account.is_service:
        return account
    name = request.headers.get("x-wandb-username", "")
    email = request.headers.get("x-wandb-user-email", "")
    person = services.store.peek(accounts.person_for, account=account, name=name, email=email)
    return replace(account, person_id=person[0], person=person[1]) if person else account


def read_key(request: Request) -> str | None:
    """Return the key of `Authorization: Basic base64("api:" + key)`; None without the header."""
    header = request.headers.get("authorization")
    if header is None:
        return None
    scheme, _, value = header.partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    if scheme.lower() != "basic":
        return ""
    try:
        return base64.b64decode(value.strip(), validate=True).decode().partition(":")[2]
    except (binascii.Error, UnicodeDecodeError):
        return ""


def _refuse_other_sites(request: Request) -> None:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if request.method != "GET" and kind != "application/json":
        raise Forbidden("a request with a session cookie must have a JSON body")
    origin = request.headers.get("origin")
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        is_own = site == "same-origin"
    else:
        is_own = origin is not None and origin.partition("://")[2] == request.headers.get("host")
    if not is_own:
        raise Forbidden("a session cookie counts only for this service's own pages")
