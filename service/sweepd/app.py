"""Composition root: settings -> store -> engine -> the ASGI app, served until told to stop."""

import asyncio
import gc
import json
import logging
import os
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware

from sweepd import dash, wire
from sweepd.background import background_tasks
from sweepd.edge import Entrance, Gate, Hosts, Meters, Proxies, Rates, Rules, Server, Way, probes
from sweepd.edge.listen import is_loopback, listen, local_address
from sweepd.engine import accounts, keys, sessions, watchdog
from sweepd.engine.services import Limits, Services
from sweepd.engine.views import Account
from sweepd.errors import InvalidInput, StoreError
from sweepd.exporter import Exporter
from sweepd.settings import Settings
from sweepd.store import Store
from sweepd.store.words import in_words
from sweepd.suggester import Suggester

__all__ = ["Ready", "build", "serve"]

_log = logging.getLogger("sweepd")

_TURN_S = 0.0005  # for which a thread computes while others wait
_BURST_S = 10.0  # of the rate limit, that a key may use up at once


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
    exporter = Exporter(opened)
    services = Services(
        store=opened,
        public_url=settings.public_url or "",
        limits=limits.scaled(settings.time_scale),
        exporter=exporter,
    )

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        try:  # before the first request
            await opened.write(watchdog.begin)
        except StoreError as error:  # of a full disk: what can be read is served all the same
            _log.warning("how often trials were handed out was not forgotten: %s", error)
        suggester = Suggester(
            services, timeout_s=settings.suggest_s, limit_mib=settings.suggest_mib
        )
        packing = asyncio.create_task(exporter.keep_packing(), name="packer")
        tasks = [*background_tasks(services, settings, suggester), packing]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            suggester.stop()
            services.importances.stop()
            try:
                await opened.write(keys.note_uses, uses=services.key_uses.take())
            except StoreError as error:  # of a full disk: no reason not to end well
                _log.warning("when keys were last used was not written: %s", error)
            await exporter.close()
            if store is None:
                opened.close()

    gate = Gate()
    meters = Meters(services, gate)
    sizes = wire.Sizes(graphql=settings.graphql_mib << 20, stream=settings.stream_mib << 20)
    routes = [
        *probes(services, gate, meters, has_open_metrics=settings.open_metrics),
        *wire.routes(services, also_at=settings.also_at, sizes=sizes),
        *dash.routes(services),
    ]
    entrance = Middleware(Entrance, rules=_rules(settings), gate=gate, meters=meters)
    shortcut = Middleware(wire.Shortcut, routes=routes)
    app = Starlette(routes=routes, lifespan=lifespan, middleware=[entrance, shortcut])
    app.state.services = services
    app.state.gate = gate
    return app


def _rules(settings: Settings) -> Rules:
    urls = [url for url in (settings.public_url, *settings.also_at) if url]
    rates = None
    if settings.rate_limit:
        burst = settings.rate_burst or settings.rate_limit * _BURST_S
        rates = Rates(per_s=settings.rate_limit, burst=burst)
    return Rules(
        hosts=Hosts(
            urls,
            names=[settings.host],
            is_open=settings.public_url is None and not is_loopback(settings.host),
        ),
        proxies=Proxies(settings.trusted_proxies),
        sizes={
            Way.GRAPHQL: settings.graphql_mib << 20,
            Way.STREAM: settings.stream_mib << 20,
            Way.UPLOAD: settings.file_gib << 30,
        },
        rates=rates,
        is_logged=settings.access_log,
    )


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
        with listen(settings) as listener:
            local = local_address(settings, listener)
            if settings.tls_cert is not None and settings.public_url is not None:
                local = settings.public_url  # the name that the certificate is for
            account, key = _first_user(store, settings, url=local)
            app = build(settings, store=store)

            def announce(server: Server) -> None:
                _spare_the_collector()
                _take_turns()
                _write_private(settings.data / "server.json", {"url": local, "pid": os.getpid()})
                if on_ready is not None:
                    url = settings.public_url or local
                    token = store.write_sync(sessions.create_login_link, account=account)
                    login = f"{url}/login/{token}"
                    on_ready(Ready(url, settings.data, account.name, key, login, server.stop))

            server = Server(app, gate=app.state.gate, settings=settings, on_start=announce)
            try:
                server.serve_until_told(listener)
            finally:
                with suppress(OSError):
                    (settings.data / "server.json").unlink(missing_ok=True)
    finally:
        store.close()


def _spare_the_collector() -> None:
    """Leave what a service keeps for all its life out of the searches for garbage.

    That is the schema, the tables and the modules: to walk them again and again takes a tenth of
    the time of a short request, and a stall of milliseconds now and then.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)


def _take_turns() -> None:
    """Let no thread hold the others up for long while it computes.

    A statement of the writer lets go of the interpreter, and then waits for its turn: with Python's
    own 5 ms, one of 0.1 ms takes 12 ms beside a thread that reads a search's trials.
    """
    sys.setswitchinterval(_TURN_S)


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
    _, key = store.write_sync(keys.add_key, account=admin, description="this machine")
    return admin, key


def _write_private(place: Path, content: Mapping[str, Any]) -> None:
    """Write a small JSON file that only its owner can read, whole or not at all."""
    draft = place.with_name(f".{place.name}.{os.getpid()}")
    with in_words(place):
        draft.unlink(missing_ok=True)
        try:
            handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(content, file, indent=2)
            draft.replace(place)
        except OSError:
            draft.unlink(missing_ok=True)
            raise
