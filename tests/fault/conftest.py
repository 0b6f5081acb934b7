"""The real service as a subprocess that a test may kill and start again."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))

from live import PATIENCE, Service


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Have as much patience with a whole test as with what it waits for."""
    for item in items:
        if (mark := item.get_closest_marker("timeout")) is not None:
            item.add_marker(pytest.mark.timeout(mark.args[0] * PATIENCE), append=False)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    service = Service(tmp_path / "data")
    service.start()
    try:
        yield service
    finally:
        service.stop()
