"""One service for each file of tests of the unmodified client; each test has a folder of its own.

The files are dealt to the processes by chance: with a service in common, the projects of one would
now and then be found by another.
"""

import base64
import json
import re
import signal
import subprocess
import urllib.request
from collections.abc import Iterator

import pytest
from real import CLIENT, LiveService, RealClient, started


@pytest.fixture(scope="session", autouse=True)
def _interruptible() -> Iterator[None]:
    """Take SIGINT again: what a script starts behind its back ignores it, and so do its children.

    The client interrupts its own program by it when somebody stops the run.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="module")
def live_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveService]:
    with started(tmp_path_factory.mktemp("live") / "data") as live:
        yield live


@pytest.fixture
def real_client(tmp_path, live_service) -> RealClient:
    return RealClient(tmp_path, live_service)


@pytest.fixture
def query(live_service):
    """Asks the service itself, as its first user."""

    def query(document, **variables):
        token = base64.b64encode(f"api:{live_service.key}".encode()).decode()
        request = urllib.request.Request(
            f"{live_service.url}/graphql",
            data=json.dumps({"query": document, "variables": variables}).encode(),
            headers={"Content-Type": "application/json", "Authorization": f"Basic {token}"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)["data"]

    return query


@pytest.fixture(scope="session")
def client_version() -> tuple[int, ...]:
    """The version of the client that the tests use, such as (0, 31, 0)."""
    code = "import importlib.metadata as m; print(m.version('wandb'))"
    text = subprocess.run([CLIENT, "-c", code], stdout=subprocess.PIPE, text=True, check=True)
    return tuple(int(part) for part in re.findall(r"\d+", text.stdout)[:3])


@pytest.fixture
def needs_client(client_version):
    """Skips a test of what an older client does not have."""

    def needs_client(version: str, *, why: str) -> None:
        if client_version < tuple(map(int, version.split("."))):
            pytest.skip(f"needs wandb {version}: {why}")

    return needs_client
