"""A way past the router for the two addresses that nearly all requests are for.

Finding them in the list of routes, and the layers around it, cost more than reading a request.
"""

from collections.abc import Awaitable, Callable, Iterable
from typing import cast

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["STREAM", "Shortcut"]

STREAM = "/files/{entity}/{project}/{run}/file_stream"
_GRAPHQL = "/graphql"
_PARTS = ("entity", "project", "run")

Endpoint = Callable[[Request], Awaitable[Response]]


class Shortcut:
    """Serves GraphQL and live data by their routes' endpoints, and leaves the rest to the app.

    Args:
        app: what it stands before.
        routes: the app's.
    """

    def __init__(self, app: ASGIApp, *, routes: Iterable[BaseRoute]) -> None:
        self._app = app
        endpoints = {route.path: route.endpoint for route in routes if isinstance(route, Route)}
        self._graphql = cast(Endpoint, endpoints[_GRAPHQL])
        self._stream = cast(Endpoint, endpoints[STREAM])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        endpoint = self._endpoint(scope) if scope["type"] == "http" else None
        if endpoint is None:
            await self._app(scope, receive, send)
            return
        answer = await endpoint(Request(scope, receive, send))
        await answer(scope, receive, send)

    def _endpoint(self, scope: Scope) -> Endpoint | None:
        if scope["method"] != "POST":
            return None
        path = scope["path"]
        if path == _GRAPHQL:
            scope["path_params"] = {}
            return self._graphql
        parts = path.split("/")
        if len(parts) == 6 and parts[1] == "files" and parts[5] == "file_stream" and all(parts[2:]):
            scope["path_params"] = dict(zip(_PARTS, parts[2:5], strict=True))
            return self._stream
        return None
