"""Things for protocol tests: the app in this process, and a service in a process of its own."""

import os
import shutil
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal

from sweepd.app import build, serve
from sweepd.engine import accounts, sessions
from sweepd.settings import Settings
from sweepd.store import Store

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))

from real import started

KEY = "protocoltest" + "k" * 40
BASE = "http://sweeps.test"


class Client:
    """Sends requests to the app in this process, as a client of the key's owner."""

    def __init__(self, portal: BlockingPortal, app: Any, key: str | None) -> None:
        self._portal = portal
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        auth = ("api", key) if key is not None else None
        self._http = httpx.AsyncClient(transport=transport, base_url=BASE, auth=auth)

    def request(self, method: str, url: str, **options: Any) -> httpx.Response:
        return self._portal.call(partial(self._http.request, method, url, **options))

    def execute(self, query: str, operation: str | None = None, **variables: Any) -> httpx.Response:
        body = {"query": query, "variables": variables, "operationName": operation}
        return self.request("POST", "/graphql", json=body)

    def data(self, query: str, **variables: Any) -> Any:
        answer = self.execute(query, **variables)
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]

    def errors(self, query: str, **variables: Any) -> tuple[int, list[str]]:
        answer = self.execute(query, **variables)
        return answer.status_code, [error["message"] for error in answer.json()["errors"]]


@dataclass(frozen=True)
class Service:
    """The app in this process with its store, and clients of it."""

    app: Any
    store: Store
    portal: BlockingPortal

    def client(self, key: str | None = KEY) -> Client:
        return Client(self.portal, self.app, key)


@pytest.fixture
def settings(tmp_path, monkeypatch) -> Settings:
    for name in [name for name in os.environ if name.startswith(("SWEEPD_", "WANDB_"))]:
        monkeypatch.delenv(name)
    return Settings(data=tmp_path / "data", port=0, also_at=(BASE,))


@pytest.fixture(scope="session")
def first_folder(tmp_path_factory) -> Path:
    """A data folder with one user: to copy one is quicker than to make its tables."""
    folder = tmp_path_factory.mktemp("protocol") / "data"
    store = Store.open(folder)
    store.write_sync(accounts.ensure_first_user, name="alice", key=KEY)
    store.close()
    return folder


@contextmanager
def _serving(settings: Settings, folder: Path) -> Iterator[Service]:
    shutil.copytree(folder, settings.data)
    store = Store.open(settings.data)
    try:
        app = build(settings, store=store)
        with (
            start_blocking_portal() as portal,
            portal.wrap_async_context_manager(app.router.lifespan_context(app)),
        ):
            yield Service(app, store, portal)
    finally:
        store.close()


@pytest.fixture
def service(settings, first_folder) -> Iterator[Service]:
    with _serving(settings, first_folder) as service:
        yield service


@pytest.fixture(scope="module")
def fortress(tmp_path_factory, first_folder) -> Iterator[Service]:
    """A service for all tests of a module: those that attack it, and change nothing if it holds."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(("SWEEPD_", "WANDB_"))]:
            patch.delenv(name)
        data = tmp_path_factory.mktemp("fortress") / "data"
        settings = Settings(data=data, port=0, also_at=(BASE,))
    with _serving(settings, first_folder) as service:
        client = service.client()
        client.data(
            'mutation { upsertBucket(input: {name: "r1", modelName: "toy", host: "box"})'
            " { inserted } }"
        )
        yield service


@dataclass(frozen=True)
class Browser:
    """Sends what a signed-in browser does: a cookie, and where the request comes from."""

    http: Client
    cookie: str

    def request(
        self, method: str, path: str, site: str | None = "same-origin", **options: Any
    ) -> httpx.Response:
        headers = {"Cookie": self.cookie, **options.pop("headers", {})}
        if site is not None:
            headers["Sec-Fetch-Site"] = site
        return self.http.request(method, path, headers=headers, **options)


@pytest.fixture(scope="module")
def browser(fortress) -> Browser:
    """A browser that alice has signed in to the fortress."""
    account = fortress.store.read_sync(accounts.list_users)[0]
    token = fortress.store.write_sync(sessions.open_session, account=account)
    return Browser(fortress.client(key=None), f"{sessions.SESSION_COOKIE}={token}")


@pytest.fixture
def client(service) -> Client:
    return service.client()


@pytest.fixture
def start_service():
    """Starts a service of the test's own; a context."""
    return started


@pytest.fixture
def running(settings):
    """Serves in a thread of this process with changed settings; gives what `on_ready` got."""
    ends = []

    def running(**changes):
        ready = Future()
        changed = settings.model_copy(update=changes)

        def run():
            try:
                serve(changed, on_ready=ready.set_result)
            except BaseException as error:
                ready.set_exception(error)

        thread = threading.Thread(target=run)
        thread.start()
        ends.append((ready, thread))
        return ready.result(20)

    yield running
    for ready, thread in ends:
        if ready.done() and ready.exception() is None:
            ready.result().stop()
        thread.join(10)
        assert not thread.is_alive()
