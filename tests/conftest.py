"""What holds for every test: one thread for numerical libraries, the helpers, the patience."""

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from live import PATIENCE

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # two cores are all there is


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Have as much patience with a whole test as with what it waits for."""
    if PATIENCE == 1:
        return
    usual = float(config.getoption("timeout") or config.getini("timeout"))
    for item in items:
        mark = item.get_closest_marker("timeout")
        seconds = mark.args[0] if mark is not None else usual
        item.add_marker(pytest.mark.timeout(seconds * PATIENCE), append=False)
