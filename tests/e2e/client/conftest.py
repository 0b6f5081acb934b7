"""One service for all tests of the unmodified client, each of which has a folder of its own."""

from collections.abc import Iterator

import pytest
from real import LiveService, RealClient, started


@pytest.fixture(scope="session")
def live_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveService]:
    with started(tmp_path_factory.mktemp("live") / "data") as live:
        yield live


@pytest.fixture
def real_client(tmp_path, live_service) -> RealClient:
    return RealClient(tmp_path, live_service)
