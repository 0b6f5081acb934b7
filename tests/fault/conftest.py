"""The real service as a subprocess that a test may kill and start again."""

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))

from live import Process, Service, execute
from nursery import nursery


@pytest.fixture(scope="session", autouse=True)
def quick_starts() -> Iterator[None]:
    """Fork services, but for those that set something for the interpreter itself."""
    with nursery() as forks:

        def begin(arguments: Sequence[str], env: Mapping[str, str], log: Path) -> Process:
            is_own = env.get("PYTHONPATH") != os.environ.get("PYTHONPATH")
            return (execute if is_own else forks.start)(arguments, env, log)

        Service.begin = staticmethod(begin)
        yield
        Service.begin = staticmethod(execute)
