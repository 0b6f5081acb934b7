"""The real service as a subprocess, and an environment that holds only the client from PyPI."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from live import Service, plain_client


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    service = Service(tmp_path / "data")
    service.start()
    try:
        yield service
    finally:
        service.stop()


@pytest.fixture(scope="session")
def client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of an environment with nothing but wandb in it."""
    return plain_client(tmp_path_factory.mktemp("plain"))
