"""Composition root: settings -> store -> engine -> the ASGI app, served until told to stop."""

import asyncio
import errno
import json
import logging
import os
import signal
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sweepd import dash, wire
from sweepd.background import Worker, background_tasks
from sweepd.engine import accounts
from sweepd.engine.services import Limits, Services
from sweepd.engine.views import Account
from sweepd.errors import Conflict, InvalidInput
from sweepd.settings import Settings
from sweepd.store import Store

__all__ = ["Ready", "build", "serve"]

_log = logging.getLogger("sweepd")

#: How long requests in flight may take to end once the service is told to stop.
_GRACE_S = 1
_WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}


@dataclass(frozen=True)
class Ready:
    """What a person needs once the service answers.

    Attributes:
        url: where people reach it; links are built from it.
        data: the folder of everything it keeps.
        user: the user that `api_key` and `login_url` are of.
        api_key: a key for this machine's own use.
        login_url: signs a browser in, once, within ten minutes.
        stop: ends the service; may be called from any thread.
    """

    url: str
    data: Path
    user: str
    api_key: str
    login_url: str
    stop: Callable[[], None]


def build(settings: Settings, *, store: Store | None = None) -> Starlette:
    """Return the ASGI app; its lifespan runs the background tasks.

    Args:
        settings: of the service.
        store: an open store, which the caller closes; opened here, and closed with the lifespan,
            if left out.

    Raises:
        StoreError: in words, if the data folder cannot be used.
    """
    opened = store if store is not None else Store.open(settings.data)
    limits = Limits(lease_s=settings.lease_s, run_silence_s=settings.crash_s)
    services = Services(
        store=opened,
        public_url=settings.public_url or "",
        limits=limits.scaled(settings.time_scale),
    )

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        worker = Worker()
        tasks = background_tasks(services, settings, worker)
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            worker.stop()
            if store is None:
                opened.close()

    sizes = wire.Sizes(graphql=settings.graphql_mib << 20, stream=settings.stream_mib << 20)
    routes = [
        *wire.routes(services, also_at=settings.also_at, sizes=sizes),
        *dash.routes(services),
    ]
    app = Starlette(routes=routes, lifespan=lifespan)
    app.state.services = services
    return app


def serve(settings: Settings, *, on_ready: Callable[[Ready], None] | None = None) -> None:
    """Serve until SIGINT, SIGTERM or `Ready.stop`, then end within seconds.

    Args:
        settings: of the service.
        on_ready: called once requests are answered.

    Raises:
        Conflict: if the port is taken.
        InvalidInput: if the address is none of this machine's, or the first key is not one.
        StoreError: in words, if the data folder cannot be used.
    """
    store = Store.open(settings.data)
    try:
        with _listen(settings) as listener:
            local = _address(settings, listener)
            account, key = _first_user(store, settings, url=local)
            streams = _Streams(build(settings, store=store))
            config = uvicorn.Config(
                streams,
                http="httptools",
                ws="none",
                lifespan="on",
                access_log=False,
                log_config=None,
                log_level="warning",
                server_header=False,
                timeout_graceful_shutdown=_GRACE_S,
            )

            def announce(server: _Server) -> None:
                _write_private(settings.data / "server.json", {"url": local, "pid": os.getpid()})
                if on_ready is not None:
                    url = settings.public_url or local
                    token = store.write_sync(accounts.create_login_link, account=account)
                    login = f"{url}/login/{token}"
                    on_ready(Ready(url, settings.data, account.name, key, login, server.stop))

            try:
                _Server(config, streams, announce).serve_until_told(listener)
            finally:
                with suppress(OSError):
                    (settings.data / "server.json").unlink(missing_ok=True)
    finally:
        store.close()


class _Streams:
    """An ASGI app around another, which can end the event streams that would never end."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._open: set[asyncio.Task[Any]] = set()
        self._is_closing = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        task = asyncio.current_task()
        assert task is not None

        async def watching(message: Message) -> None:
            if message["type"] == "http.response.start":
                kind = dict(message.get("headers", ())).get(b"content-type", b"")
                if kind.startswith(b"text/event-stream"):
                    self._open.add(task)
            await send(message)

        try:
            await self._app(scope, receive, watching)
        except asyncio.CancelledError:
            if not self._is_closing or task not in self._open:
                raise
            task.uncancel()
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            self._open.discard(task)

    def close(self) -> None:
        """End every event stream: its page reconnects to the next service by itself."""
        self._is_closing = True
        for task in self._open:
            task.cancel()


class _Server(uvicorn.Server):
    """Uvicorn's server, which says when it answers and leaves quietly on a signal."""

    def __init__(
        self, config: uvicorn.Config, streams: _Streams, on_start: "Callable[[_Server], None]"
    ) -> None:
        super().__init__(config)
        self._streams = streams
        self._on_start = on_start
        self._failure: Exception | None = None

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
        if self.started:
            try:
                await asyncio.to_thread(self._on_start, self)
            except Exception as failure:  # carried past uvicorn, which would lose it
                self._failure = failure
                self.stop()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let requests in flight end, but wait for no event stream."""
        self._streams.close()
        await super().shutdown(sockets)

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


@contextmanager
def _listen(settings: Settings) -> Iterator[socket.socket]:
    """Give a socket that listens where the settings say."""
    try:
        found = socket.getaddrinfo(
            settings.host or None, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except socket.gaierror as error:
        raise InvalidInput(f"host {settings.host!r} is not an address: {error.strerror}") from None
    family, kind, protocol, _, address = found[0]
    with socket.socket(family, kind, protocol) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(address)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or not settings.any_port:
                raise _refused(error, settings) from None
            listener.bind((address[0], 0, *address[2:]))
        yield listener


def _refused(error: OSError, settings: Settings) -> Conflict | InvalidInput:
    where = f"port {settings.port} on {settings.host}"
    if error.errno == errno.EADDRINUSE:
        return Conflict(f"{where} is taken by another program; choose one with --port")
    if error.errno == errno.EACCES:
        return InvalidInput(f"{where} needs privileges; choose one from 1024 on with --port")
    return InvalidInput(f"cannot listen on {where}: {error.strerror}")


def _address(settings: Settings, listener: socket.socket) -> str:
    """Return where this machine reaches the listener."""
    host = _WILDCARDS.get(settings.host, settings.host)
    port = listener.getsockname()[1]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _first_user(store: Store, settings: Settings, *, url: str) -> tuple[Account, str]:
    """Return a user and a key for this machine's own use, both made at the first start."""
    place = settings.data / "credentials.json"
    if settings.api_key == "" and not store.read_sync(accounts.list_users):
        raise InvalidInput(
            "WANDB_API_KEY is set but empty: set it to 40 or more letters and digits, which the "
            "service then adopts, or unset it to have a key made"
        )
    made = store.write_sync(
        accounts.ensure_first_user, name=settings.user, key=settings.api_key or None
    )
    account, key = made or _known_user(store, place) or _another_key(store)
    _write_private(place, {"user": account.name, "api_key": key, "url": url})
    if settings.api_key and store.read_sync(accounts.account_by_key, key=settings.api_key) is None:
        _log.warning(
            "WANDB_API_KEY is not a key of this service, which has users already; "
            "`sweep user add NAME --api-key KEY` adds it"
        )
    return account, key


def _known_user(store: Store, place: Path) -> tuple[Account, str] | None:
    try:
        key = str(json.loads(place.read_text("utf-8"))["api_key"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    account = store.read_sync(accounts.account_by_key, key=key)
    return (account, key) if account is not None else None


def _another_key(store: Store) -> tuple[Account, str]:
    """Make another key for an administrator: the file with the first one is gone."""
    users = store.read_sync(accounts.list_users)
    admin = next((user for user in users if user.is_admin), None)
    if admin is None:
        raise InvalidInput(
            "the file with this machine's key is gone and no user is an administrator; "
            "add one: sweep user add NAME --admin"
        )
    _, key = store.write_sync(accounts.add_key, account=admin, description="this machine")
    return admin, key


def _write_private(place: Path, content: Mapping[str, Any]) -> None:
    """Write a small JSON file that only its owner can read, whole or not at all."""
    draft = place.with_name(f".{place.name}.{os.getpid()}")
    with suppress(FileNotFoundError):
        draft.unlink()
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        json.dump(content, file, indent=2)
    draft.replace(place)
