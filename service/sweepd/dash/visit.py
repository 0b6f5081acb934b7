"""A request to the pages: who makes it, what it may read and write, and how failures are shown."""

import gzip
import json
import logging
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Concatenate, ParamSpec, TypeVar
from urllib.parse import quote

from anyio import to_thread
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from sweepd.dash.assets import HEADERS, render
from sweepd.dash.words import trouble
from sweepd.engine import sessions
from sweepd.engine.services import Services
from sweepd.engine.views import Account
from sweepd.errors import Forbidden, SweepdError, Unauthorized
from sweepd.store import Tx

__all__ = [
    "Guard",
    "Visit",
    "base_url",
    "html",
    "is_from_elsewhere",
    "is_own",
    "json_text",
    "packed",
    "safe_path",
]

_log = logging.getLogger("sweepd.dash")

P = ParamSpec("P")
T = TypeVar("T")
Endpoint = Callable[[Request], Awaitable[Response]]

_LARGE = 32_768  # bytes, from which on packing pays

_TITLES = {
    401: "Please sign in",
    403: "This belongs to somebody else",
    404: "Not found",
    409: "That does not fit",
    503: "The service cannot answer now",
}


@dataclass(frozen=True)
class Visit:
    """One request of a signed-in browser."""

    request: Request
    services: Services
    account: Account

    def __getitem__(self, name: str) -> str:
        """Return a part of the address."""
        return str(self.request.path_params[name])

    async def read(
        self, use_case: Callable[Concatenate[Tx, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run a use case that only reads."""
        reading = self.services.store.read(use_case, *args, **kwargs)
        return await self.services.turns.take(self.account.id, reading)

    async def write(
        self, use_case: Callable[Concatenate[Tx, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run a use case that writes; it is durable when this returns."""
        return await self.services.store.write(use_case, *args, **kwargs)

    @property
    def problem(self) -> str | None:
        """Return what the page says above all if the service cannot write, or soon cannot."""
        return trouble(self.services.health.problem)

    def page(self, name: str, *, data: Any = None, status: int = 200, **values: Any) -> Response:
        """Return a page with what every page shows."""
        shown = {"account": self.account, "problem": self.problem, **values}
        return html(render(name, data=data, **shown), status)

    @property
    def base_url(self) -> str:
        """Return the address that people reach this service under."""
        return base_url(self.request, self.services)


Handler = Callable[[Visit], Awaitable[Response]]


def base_url(request: Request, services: Services) -> str:
    """Return the service's address: the configured one, else the request's."""
    return (services.public_url or str(request.base_url)).rstrip("/")


def html(text: str, status: int = 200) -> Response:
    """Return a page with the headers that every page has."""
    return HTMLResponse(text, status, headers=HEADERS)


def json_text(text: str, status: int = 200) -> Response:
    """Return JSON text for a page's script."""
    return Response(text, status, headers=HEADERS, media_type="application/json")


def safe_path(target: str) -> str:
    """Return where to go after signing in: a path of this service, never another site's."""
    is_path = target.startswith("/") and not target.startswith("//") and "\\" not in target
    return target if is_path and target.isprintable() else "/"


def is_own(request: Request) -> bool:
    """Return whether one of our own pages sent this request, as the browser itself says."""
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    origin = request.headers.get("origin")
    return origin is not None and origin.partition("://")[2] == request.headers.get("host")


class Guard:
    """Wraps handlers: pages send strangers to the sign-in form, data answer 401."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def visit(self, request: Request) -> Visit | None:
        """Return a signed-in browser's visit; None for a stranger."""
        token = request.cookies.get(sessions.SESSION_COOKIE)
        if not token:
            return None
        account = await self._services.store.read(sessions.account_by_session, token=token)
        if account is None:
            return None
        if account.key_id is not None:  # a browser works by the key that signed it in
            self._services.key_uses.note(account.key_id, at=time.time())
        return Visit(request, self._services, account)

    def page(self, handler: Handler) -> Endpoint:
        """Serve a page; a stranger is sent to the sign-in form and back."""

        async def endpoint(request: Request) -> Response:
            try:
                visit = await self.visit(request)
                if visit is None:
                    return self._stranger(request)
                return await handler(visit)
            except SweepdError as error:
                return _sorry(request, error)

        return endpoint

    def data(self, handler: Handler) -> Endpoint:
        """Serve a page's script; failures are JSON with the words under `error`."""

        async def endpoint(request: Request) -> Response:
            try:
                visit = await self.visit(request)
                if visit is None:
                    raise Unauthorized("your sign-in has ended: reload the page")
                return await packed(request, await handler(visit))
            except SweepdError as error:
                return json_text(json.dumps({"error": str(error)}), error.http_status)

        return endpoint

    def action(self, handler: Handler) -> Endpoint:
        """Serve a change that one of our own pages asks for; other sites cannot."""

        async def checked(visit: Visit) -> Response:
            if not is_own(visit.request):
                raise Forbidden("only this service's own pages may do this")
            return await handler(visit)

        return self.data(checked)

    def form(self, handler: Handler) -> Endpoint:
        """Serve a form of a page of ours, which answers with a page."""

        async def checked(visit: Visit) -> Response:
            if not is_own(visit.request):
                raise Forbidden("only this service's own pages may do this")
            return await handler(visit)

        return self.page(checked)

    def open(self, handler: Callable[[Request, Services], Awaitable[Response]]) -> Endpoint:
        """Serve what needs no sign-in."""

        async def endpoint(request: Request) -> Response:
            try:
                return await handler(request, self._services)
            except SweepdError as error:
                return _sorry(request, error)

        return endpoint

    def _stranger(self, request: Request) -> Response:
        path = request.scope.get("raw_path", request.url.path.encode()).decode("ascii", "replace")
        target = path + (f"?{request.url.query}" if request.url.query else "")
        # A link on another site brings no cookie along (SameSite=Strict); one hop from a page of
        # our own does. A real stranger lands on the form after it.
        if is_from_elsewhere(request):
            return html(render("opening.html", target=safe_path(target), words="Opening…"))
        if request.method == "POST":  # a form: back to its page, since its own address shows none
            target = _path_of(request.headers.get("referer", ""))
        return RedirectResponse(f"/login?next={quote(target)}", 303, headers=HEADERS)


def _path_of(referer: str) -> str:
    """Return the path of the page that a form is on, `/` if that is not told."""
    return "/" + re.split("[?#]", referer.partition("://")[2].partition("/")[2])[0]


async def packed(request: Request, reply: Response) -> Response:
    """Return a large answer packed, where the browser takes that; streams are left alone."""
    body = getattr(reply, "body", b"")
    if len(body) < _LARGE or "gzip" not in request.headers.get("accept-encoding", ""):
        return reply
    reply.body = await to_thread.run_sync(gzip.compress, body, 1)
    reply.headers["Content-Encoding"] = "gzip"
    reply.headers["Content-Length"] = str(len(reply.body))
    return reply


def is_from_elsewhere(request: Request) -> bool:
    """Return whether a link on another site led here; plain http tells it by the Referer only."""
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site in ("cross-site", "same-site")
    referer = request.headers.get("referer")
    if referer is None:
        return False
    return referer.partition("://")[2].partition("/")[0] != request.headers.get("host")


def _sorry(request: Request, error: SweepdError) -> Response:
    status = error.http_status
    if status >= 500:
        _log.warning("%s: %s", request.url.path, error)
    title = _TITLES.get(status, "That did not work")
    return html(render("error.html", title=title, words=f"{error}."), status)
