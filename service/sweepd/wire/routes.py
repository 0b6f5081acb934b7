"""The addresses of the protocol, and how failures leave there."""

import logging
import re
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from anyio import to_thread
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route

from sweepd.engine import streams
from sweepd.engine.services import Services
from sweepd.engine.texts import clean, clean_all, load
from sweepd.errors import ProtocolError, SweepdError
from sweepd.wire import storage
from sweepd.wire.acquaintances import Acquaintances
from sweepd.wire.artifact_storage import FALLBACKS, Bytes
from sweepd.wire.auth import account_of
from sweepd.wire.bodies import read_body
from sweepd.wire.context import Context, base_url, read_lease, read_writer
from sweepd.wire.execution import Api, make_schema
from sweepd.wire.jobs import Jobs
from sweepd.wire.resolvers import TABLES
from sweepd.wire.shortcut import STREAM

__all__ = ["Sizes", "routes"]

_log = logging.getLogger("sweepd.wire")

Handler = Callable[[Request], Awaitable[Response]]

_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_IN_THREAD = 2**18  # bytes; smaller bodies are parsed at once


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """The largest request bodies that are taken, in bytes.

    The client sends up to 10 MB at once: `wandb verify` in GraphQL, any run in its live data.
    """

    graphql: int = 16 << 20
    stream: int = 32 << 20


_SIZES = Sizes()


def routes(
    services: Services, *, also_at: Collection[str] = (), sizes: Sizes = _SIZES
) -> Sequence[BaseRoute]:
    """Return the protocol's routes.

    Args:
        services: with an open store.
        also_at: addresses beside the public one that clients come by, without a trailing slash.
        sizes: the largest request bodies.
    """
    served = _Protocol(services, also_at, sizes)
    bytes_routes = [
        *served.artifacts.routes(_guarded),
        Route(
            "/history/{run_id:int}/{number:int}.parquet",
            _guarded(served.get_export),
            methods=["GET"],
        ),
        Route("/{run_id}/{name:path}", _guarded(served.put_file), methods=["PUT"]),
        Route("/{run_id}/{name:path}", _guarded(served.get_file), methods=["GET"]),
    ]
    cors = Middleware(
        CORSMiddleware,
        allow_origins=["*"],
        allow_methods=["GET", "HEAD", "PUT"],
        allow_headers=["*"],
        expose_headers=["ETag", "Content-Length", "Content-Range"],
    )
    return [
        Route("/graphql", _guarded(served.graphql), methods=["POST"]),
        Route(STREAM, _guarded(served.file_stream), methods=["POST"]),
        Mount("/storage", routes=bytes_routes, middleware=[cors]),
        *(Route(path, _guarded(served.get_artifact), methods=["GET"]) for path in FALLBACKS),
    ]


@cache
def _api() -> Api:
    """Return the schema with all resolvers and the documents read; no service's own."""
    return Api(make_schema(TABLES))


class _Protocol:
    """The handlers, with what they share."""

    def __init__(self, services: Services, also_at: Collection[str], sizes: Sizes) -> None:
        self._services = services
        self._also_at = also_at
        self._sizes = sizes
        self._api = _api()
        self.artifacts = Bytes(services)
        self._jobs = Jobs()
        self._acquaintances = Acquaintances()

    async def graphql(self, request: Request) -> Response:
        url = base_url(request, self._services, also_at=self._also_at)
        account = await account_of(request, self._services, url=url)
        body = await read_body(request, limit=self._sizes.graphql)
        context = Context(
            services=self._services,
            account=account,
            base_url=url,
            request_id=request.state.request_id,
            lease=read_lease(request),
            is_shared=read_writer(request) is not None,
            jobs=self._jobs,
        )
        reply = await self._api.answer(await _parsed(body), context)
        return Response(
            reply.encode(), reply.status, headers=reply.headers, media_type="application/json"
        )

    async def file_stream(self, request: Request) -> Response:
        url = base_url(request, self._services, also_at=self._also_at)
        account, key = await self._acquaintances.recognize(request, self._services, url=url)
        body = await read_body(request, limit=self._sizes.stream)
        if len(body) > _IN_THREAD:
            parsed = await to_thread.run_sync(streams.parse_body, body)
        else:
            parsed = streams.parse_body(body)
        run, lease = request.path_params["run"], read_lease(request)
        if lease is not None and lease.run != run:
            lease = None
        post = streams.Post(
            actor=account,
            entity=request.path_params["entity"],
            project=request.path_params["project"],
            run=run,
            body=parsed,
            attempt=lease.attempt if lease else None,
            token=lease.token if lease else None,
            limits=self._services.limits,
            key=key,
            writer=read_writer(request),
        )
        reply = await self._services.store.write_together(streams.append_all, post)
        request.state.n_rows = parsed.n_lines
        return JSONResponse({"stopped": reply.stopped})

    async def put_file(self, request: Request) -> Response:
        return await storage.upload(request, self._services)

    async def get_export(self, request: Request) -> Response:
        return await storage.download_export(request, self._services)

    async def get_file(self, request: Request) -> Response:
        return await storage.download(request, self._services)

    async def get_artifact(self, request: Request) -> Response:
        url = base_url(request, self._services, also_at=self._also_at)
        account = await account_of(request, self._services, url=url)
        return await self.artifacts.get_fallback(request, account)


async def _parsed(body: bytes) -> Any:
    try:
        if len(body) > _IN_THREAD:
            return await to_thread.run_sync(_load, body)
        return _load(body)
    except ValueError as error:
        raise ProtocolError(f"the body is not JSON: {error}") from None


def _load(body: bytes) -> Any:
    """Parse a request; half a surrogate pair in a text becomes `?`, which can be stored."""
    value = load(body.decode())
    return clean_all(value) if _SURROGATE.search(body) else value


def _guarded(handler: Handler) -> Handler:
    """Turn what a handler raises into an answer that the client shows in our own words."""

    async def guarded(request: Request) -> Response:
        request_id = request.state.request_id
        try:
            return await handler(request)
        except ClientDisconnect:
            return Response(status_code=499)
        except SweepdError as error:
            if error.http_status >= 500:
                _log.warning("[%s] %s", request_id, error)
            return _refusal(str(error), error.http_status)
        except Exception:  # the edge: whatever it is, it is logged and the request gets an answer
            _log.exception("[%s] %s failed", request_id, request.url.path)
            words = f"internal error; the service's log has it under {request_id}"
            return _refusal(words, 500)

    return guarded


def _refusal(words: str, status: int) -> Response:
    headers = {"Retry-After": "1"} if status == 503 else {}
    body = {"errors": [{"message": clean(words)}], "data": None}
    return JSONResponse(body, status, headers=headers)
