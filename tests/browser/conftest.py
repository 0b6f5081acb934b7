"""A seeded service on a free port, and a headless Chromium that looks at it."""

import os
import shutil
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import uvicorn

sys.path.insert(0, str(Path(__file__).parent))

from browser_seed import Lab, Seeded, seed
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from sweepd.app import build
from sweepd.engine import sessions
from sweepd.settings import Settings

_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

expect.set_options(timeout=20_000)  # a busy machine is slow, not wrong

#: Pictures for the docs are taken of a search that really searched; it takes a minute.
TAKES_PICTURES = os.environ.get("SWEEPD_PICTURES") == "1"


def wait_for(what: str, condition: Callable[[], Any], *, seconds: float = 20) -> Any:
    """Return the condition's first true answer; fail in words at the deadline."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds} s"
        time.sleep(0.02)
    return found


@pytest.fixture(scope="session")
def seeded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seeded]:
    """A data folder with a sweep in full swing and a hostile one."""
    folder = tmp_path_factory.mktemp("seeded") / "data"
    n_done = 47 if TAKES_PICTURES else 14
    seeded = seed(folder, now=time.time(), n_done=n_done, is_searching=TAKES_PICTURES)
    yield seeded
    seeded.store.close()


@pytest.fixture(scope="session")
def lab(seeded: Seeded) -> Lab:
    """What makes things happen in the folder while a page looks on."""
    return Lab(seeded.store, seeded.clock, seeded.account)


class Server:
    """The app on a port of its own, in a thread; it can go away and come back."""

    def __init__(self, seeded: Seeded) -> None:
        self._seeded = seeded
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        # Nothing in these tests waits for an agent to fall silent, so let that take for ever.
        settings = Settings(data=self._seeded.store.folder, time_scale=1e6)
        app = build(settings, store=self._seeded.store)
        config = uvicorn.Config(
            app, port=self.port, log_level="warning", ws="none", timeout_graceful_shutdown=1
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, name="sweepd-browser-tests")
        self._thread.start()
        wait_for("the start of the server", lambda: self._server.started)

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(20)
        assert not self._thread.is_alive()


@pytest.fixture(scope="session")
def server(seeded: Seeded) -> Iterator[Server]:
    server = Server(seeded)
    yield server
    server.stop()


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        missing = "chromium is not installed (apt install chromium)"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=_ARGUMENTS)
        yield browser
        browser.close()


@dataclass
class Tab:
    """A browser tab on the service; whatever goes wrong in it is kept."""

    page: Page
    context: BrowserContext
    url: str
    problems: list[str] = field(default_factory=list)

    def open(self, path: str) -> Page:
        self.page.goto(self.url + path)
        return self.page

    def watch(self) -> None:
        def heard(message: Any) -> None:
            if message.type in ("error", "warning"):
                self.problems.append(f"{message.type}: {message.text}")

        self.page.on("console", heard)
        self.page.on("pageerror", lambda error: self.problems.append(f"thrown: {error}"))


@pytest.fixture
def stranger(chromium: Browser, server: Server) -> Iterator[Tab]:
    """A tab of somebody who has not signed in."""
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(15_000)
    tab = Tab(context.new_page(), context, server.url)
    tab.watch()
    yield tab
    context.close()


@pytest.fixture
def tab(stranger: Tab, seeded: Seeded) -> Tab:
    """A tab of somebody who has signed in."""
    token = seeded.store.write_sync(sessions.open_session, account=seeded.account)
    cookie = {"name": sessions.SESSION_COOKIE, "value": token, "url": stranger.url}
    stranger.context.add_cookies([{**cookie, "sameSite": "Strict", "httpOnly": True}])
    return stranger
