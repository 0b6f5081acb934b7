"""The way in, around the whole app: every request gets an id, every answer its headers."""

import asyncio
import json
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from random import getrandbits
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sweepd.edge.gate import Gate
from sweepd.edge.hosts import Hosts
from sweepd.edge.meters import Meters
from sweepd.edge.proxies import Proxies
from sweepd.edge.rates import Rates
from sweepd.edge.ways import Way, masked, way_of
from sweepd.logs import request_id_in_logs
from sweepd.wire.bodies import BodyTooLarge, too_large

__all__ = ["Entrance", "Rules"]

_log = logging.getLogger("sweepd.access")
_errors = logging.getLogger("sweepd.edge")

_RETRY_S = "1"
_OTHER_BODY = 1 << 20  # bytes; forms are smaller still
_LIMITED = frozenset({Way.GRAPHQL, Way.STREAM})

#: For answers that bring no policy of their own, such as JSON: a browser must not show them in
#: a frame, run them, or guess that they are something else.
_POLICY = b"content-security-policy"
_GUARD = (
    (_POLICY, b"default-src 'none'; frame-ancestors 'none'"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"same-origin"),
)


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What requests must keep to. `sizes` are the largest bodies in bytes, by kind of request."""

    hosts: Hosts
    proxies: Proxies
    sizes: Mapping[Way, int]
    rates: Rates | None = None
    is_logged: bool = False


@dataclass
class _Passage:
    """One request on its way through."""

    way: Way
    request_id: str
    status: int = 0
    has_begun: bool = False
    more_headers: list[tuple[bytes, bytes]] = field(default_factory=list)


class _Refused(Exception):  # never leaves this module
    def __init__(self, status: int, words: str, **headers: str) -> None:
        self.status, self.words = status, words
        self.headers = [
            (name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()
        ]
        super().__init__(words)


class Entrance:
    """An ASGI app around the whole service.

    Args:
        app: the app inside.
        rules: what requests must keep to.
        gate: counts who is inside.
        meters: are told about every request.
    """

    def __init__(self, app: ASGIApp, *, rules: Rules, gate: Gate, meters: Meters) -> None:
        self._app = app
        self._rules = rules
        self._gate = gate
        self._meters = meters

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or refuse it in words."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        self._rules.proxies.unwrap(scope)
        passage = _Passage(way_of(scope["method"], scope["path"]), f"{getrandbits(32):08x}")
        scope.setdefault("state", {})["request_id"] = passage.request_id
        with self._gate.passing(), request_id_in_logs(passage.request_id):
            try:
                await self._serve(passage, scope, receive, send)
            finally:
                self._write_down(passage, scope, time.perf_counter() - began)

    async def _serve(self, passage: _Passage, scope: Scope, receive: Receive, send: Send) -> None:
        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                passage.has_begun, passage.status = True, message["status"]
                message["headers"] = self._headers(passage, message.get("headers", ()))
            await send(message)

        try:
            body = self._checked(passage, scope, receive)
            await self._app(scope, body, sending)
        except asyncio.CancelledError:
            if not self._gate.has_ended_stream():
                raise
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        except Exception as failure:  # an edge: whatever it is, it is logged and answered
            if passage.has_begun:
                raise
            await _refuse(_as_refusal(failure, passage, scope), scope, sending)
        finally:
            self._gate.drop_stream()

    def _checked(self, passage: _Passage, scope: Scope, receive: Receive) -> Receive:
        """Return the request's body, which may end in a refusal; or refuse it at once."""
        headers = dict(scope["headers"])
        if passage.way is not Way.PROBE:
            if self._gate.is_closed:
                words = "the service is about to end; repeat the request in a moment"
                raise _Refused(503, words, retry_after=_RETRY_S, connection="close")
            problem = self._rules.hosts.problem(headers.get(b"host", b""))
            if problem is not None:
                raise _Refused(421 if b"host" in headers else 400, problem)
        if self._rules.rates is not None and passage.way in _LIMITED:
            self._take_token(passage, _whose(headers, scope))
        if scope["method"] in ("GET", "HEAD"):
            return receive
        limit = self._rules.sizes.get(passage.way, _OTHER_BODY)
        length = headers.get(b"content-length")
        if length is None:
            return _Measured(receive, limit)
        if length.isdigit() and int(length[:20]) > limit:
            raise too_large(limit)
        return receive

    def _take_token(self, passage: _Passage, whose: bytes) -> None:
        assert self._rules.rates is not None
        found = self._rules.rates.take(whose)
        passage.more_headers += [
            (b"ratelimit-remaining", str(found.n_left).encode()),
            (b"ratelimit-reset", f"{found.reset_s:.3f}".encode()),
        ]
        if not found.is_allowed:
            words = "too many requests with this key; the service's rate limit allows more soon"
            raise _Refused(429, words, retry_after=f"{max(found.retry_s, 0.05):.2f}")

    def _headers(self, passage: _Passage, given: Any) -> list[tuple[bytes, bytes]]:
        headers = [*given, (b"x-request-id", passage.request_id.encode()), *passage.more_headers]
        names = {name.lower() for name, _ in given}
        if _POLICY not in names:
            headers += [item for item in _GUARD if item[0] not in names]
        kind = next((value for name, value in given if name.lower() == b"content-type"), b"")
        if kind.startswith(b"text/event-stream"):
            self._gate.add_stream()
        return headers

    def _write_down(self, passage: _Passage, scope: Scope, seconds: float) -> None:
        state = scope["state"]
        status = passage.status or 499  # they left before there was an answer
        self._meters.saw_request(
            passage.way, scope["method"], status, seconds=seconds, n_rows=state.get("n_rows", 0)
        )
        is_failure = status >= 500 and status != 503
        if self._rules.is_logged or is_failure:
            client = scope.get("client") or ("-", 0)
            _log.log(
                logging.WARNING if is_failure else logging.INFO,
                "%s %s %d %.1f ms from %s",
                scope["method"],
                masked(scope["path"]),
                status,
                seconds * 1e3,
                client[0],
                extra={
                    "method": scope["method"],
                    "path": masked(scope["path"]),
                    "status": status,
                    "ms": round(seconds * 1e3, 1),
                    "client": client[0],
                    "run": scope.get("path_params", {}).get("run"),
                },
            )


class _Measured:
    """A request's body of unknown length, which ends in a refusal where it grows too long."""

    def __init__(self, receive: Receive, limit: int) -> None:
        self._receive, self._limit, self._size = receive, limit, 0

    async def __call__(self) -> Message:
        message = await self._receive()
        self._size += len(message.get("body", b""))
        if self._size > self._limit:
            raise too_large(self._limit)
        return message


def _as_refusal(failure: Exception, passage: _Passage, scope: Scope) -> _Refused:
    if isinstance(failure, _Refused):
        return failure
    if isinstance(failure, BodyTooLarge):
        return _Refused(413, str(failure))
    _errors.error("%s %s failed", scope["method"], masked(scope["path"]), exc_info=failure)
    return _Refused(500, f"internal error; the service's log has it under {passage.request_id}")


def _whose(headers: Mapping[bytes, bytes], scope: Scope) -> bytes:
    """Return a name for whose requests are counted: a key's, a session's, else an address's."""
    client = scope.get("client") or ("", 0)
    secret = headers.get(b"authorization") or headers.get(b"cookie") or client[0].encode()
    return blake2b(secret, digest_size=16).digest()  # the secret itself is kept nowhere


async def _refuse(refusal: _Refused, scope: Scope, send: Send) -> None:
    """Answer in words: as GraphQL does for clients, as plain text for people."""
    accepted = dict(scope["headers"]).get(b"accept", b"")
    if b"text/html" in accepted:
        kind, body = b"text/plain; charset=utf-8", f"{refusal.words}\n".encode()
    else:
        answer = {"errors": [{"message": refusal.words}], "data": None}
        kind, body = b"application/json", json.dumps(answer).encode()
    headers = [
        (b"content-type", kind),
        (b"content-length", str(len(body)).encode()),
        *refusal.headers,
    ]
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})
