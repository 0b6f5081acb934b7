"""Things for protocol tests: the app in this process, and a service that real clients talk to."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal

from sweepd.app import build
from sweepd.engine import accounts
from sweepd.settings import Settings
from sweepd.store import Store

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
    return Settings(data=tmp_path / "data", port=0)


@pytest.fixture(scope="session")
def first_folder(tmp_path_factory) -> Path:
    """A data folder with one user: to copy one is quicker than to make its tables."""
    folder = tmp_path_factory.mktemp("protocol") / "data"
    store = Store.open(folder)
    store.write_sync(accounts.ensure_first_user, name="alice", key=KEY)
    store.close()
    return folder


@pytest.fixture
def service(settings, first_folder) -> Iterator[Service]:
    shutil.copytree(first_folder, settings.data)
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
def client(service) -> Client:
    return service.client()


@dataclass(frozen=True)
class LiveService:
    """A service in a process of its own, as a user starts it."""

    url: str
    key: str
    data: Path
    process: "subprocess.Popen[bytes]"


@contextlib.contextmanager
def started(data: Path, *options: str) -> Iterator[LiveService]:
    """Start `sweep serve` on a free port; end it at the end."""
    log = data.with_suffix(".log")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("SWEEPD_", "WANDB_"))}
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "sweepd.cli", "serve", "--port=0", f"--data={data}", *options],
            stdout=output,
            stderr=output,
            env={**environment, "HOME": str(data.parent)},
        )
    try:
        deadline = time.monotonic() + 30
        while not (data / "server.json").exists():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.02)
        url = json.loads((data / "server.json").read_text())["url"]
        key = json.loads((data / "credentials.json").read_text())["api_key"]
        yield LiveService(url, key, data, process)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.wait(10)


@pytest.fixture
def start_service():
    """Starts a service of the test's own; a context."""
    return started


@pytest.fixture(scope="session")
def live_service(tmp_path_factory) -> Iterator[LiveService]:
    with started(tmp_path_factory.mktemp("live") / "data") as live:
        yield live


class RealClient:
    """Runs programs that use the unmodified wandb client, signed in to one service."""

    def __init__(self, folder: Path, live: LiveService) -> None:
        self.folder = folder / "work"
        for name in ("work", "runs"):
            (folder / name).mkdir()
        self.url, self.key = live.url, live.key
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("SWEEPD_", "WANDB_"))}
        self.environment = {
            **kept,
            "HOME": str(folder),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "WANDB_BASE_URL": live.url,
            "WANDB_API_KEY": live.key,
            "WANDB_DIR": str(folder / "runs"),
            "WANDB_CONFIG_DIR": str(folder / "config"),
            "WANDB_CACHE_DIR": str(folder / "cache"),
            "WANDB_DATA_DIR": str(folder / "staging"),
            "WANDB_ERROR_REPORTING": "false",
            "WANDB_X_FILE_STREAM_TRANSMIT_INTERVAL": "1",
            "WANDB_SILENT": "true",
        }

    def run(self, *command: str, is_good: bool = True, **environment: str) -> str:
        """Run a command to its end; return what it printed, both streams together."""
        done = subprocess.run(
            command,
            cwd=self.folder,
            env={**self.environment, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode == 0) == is_good, f"exit {done.returncode}\n{done.stdout}"
        return done.stdout

    def python(self, program: str, **environment: str) -> Any:
        """Run a program; return what it printed last, read as JSON."""
        output = self.run(sys.executable, "-c", program, **environment)
        return json.loads(output.strip().splitlines()[-1])

    def wandb(self, *arguments: str, is_good: bool = True, **environment: str) -> str:
        """Run the `wandb` command."""
        environment = {"WANDB_SILENT": "false", **environment}
        return self.run(sys.executable, "-m", "wandb", *arguments, is_good=is_good, **environment)


@pytest.fixture
def real_client(tmp_path, live_service) -> RealClient:
    return RealClient(tmp_path, live_service)
