"""Uvicorn's server, which says when it answers and takes its leave politely."""

import asyncio
import signal
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from sweepd.edge.connections import Patience, Patient, Patrol, most_connections
from sweepd.edge.gate import Gate
from sweepd.edge.tls import Certificate
from sweepd.settings import Settings

__all__ = ["Server"]


class Server(uvicorn.Server):
    """Serves one app on one socket, until a signal or `stop`.

    Args:
        app: the app.
        gate: of that app; it is closed before the end.
        settings: of the service.
        on_start: called in another thread once requests are answered.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        gate: Gate,
        settings: Settings,
        on_start: Callable[["Server"], None],
    ) -> None:
        self._certificate: Certificate | None = None
        if settings.tls_cert is not None and settings.tls_key is not None:
            self._certificate = Certificate(settings.tls_cert, settings.tls_key)
        most = most_connections()
        patience = Patience(most=min(settings.max_connections or most, most))
        self._patience = patience.scaled(settings.time_scale)
        super().__init__(_config(app, self._patience, self._certificate))
        self._gate = gate
        self._settings = settings
        self._on_start = on_start
        self._failure: Exception | None = None
        self._chores: list[asyncio.Task[None]] = []

    def serve_until_told(self, listener: socket.socket) -> None:
        """Serve on a bound socket until a signal or `stop`; raise what `on_start` raised."""
        self.run(sockets=[listener])
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """End the service; may be called from any thread."""
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to answer, then say so."""
        await super().startup(sockets)
        if not self.started:
            return
        self._do(Patrol(self.server_state.connections, self._patience).run())
        if self._certificate is not None:
            self._do(self._certificate.keep_fresh())
        try:
            await asyncio.to_thread(self._on_start, self)
        except Exception as failure:  # carried past uvicorn, which would lose it
            self._failure = failure
            self.stop()

    def _do(self, chore: Coroutine[Any, Any, None]) -> None:
        self._chores.append(asyncio.create_task(chore))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Refuse new requests in words, let those in flight end, wait for no event stream."""
        self._gate.close()
        await self._gate.wait_empty(least_s=self._settings.drain_s, most_s=self._longest_s)
        for chore in self._chores:
            chore.cancel()
        await super().shutdown(sockets)

    @property
    def _longest_s(self) -> float:
        return max(self._settings.grace_s, self._settings.drain_s)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle signals without raising them again at the end: a told exit is a good one."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        signals = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.signal(number, self.handle_exit) for number in signals}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _config(app: ASGIApp, patience: Patience, certificate: Certificate | None) -> uvicorn.Config:
    protocol = type("_Patient", (Patient,), {"most": patience.most})
    config = uvicorn.Config(
        app,
        http=protocol,
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,  # ours, which trusts nobody unless told
        timeout_graceful_shutdown=1,  # what was in flight has had its time by then
    )
    config.load()
    if certificate is not None:
        config.ssl = certificate.context
    return config
