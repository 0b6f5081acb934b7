"""What holds for every test: one thread for numerical libraries, the helpers, the patience."""

import os
import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from live import PATIENCE, Service

if sys.dont_write_bytecode:
    # Hundreds of processes would each compile the client, or torch, anew. Whoever wants no files
    # beside their sources gets none.
    sys.dont_write_bytecode = False
    sys.pycache_prefix = str(Path(__file__).parents[1] / ".pytest_cache" / "bytecode")
    os.environ["PYTHONPYCACHEPREFIX"] = sys.pycache_prefix
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # two cores are all there is


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Have as much patience with a whole test as with what it waits for."""
    if PATIENCE == 1 or not config.pluginmanager.hasplugin("timeout"):
        return
    usual = float(config.getoption("timeout") or config.getini("timeout"))
    for item in items:
        mark = item.get_closest_marker("timeout")
        seconds = mark.args[0] if mark is not None else usual
        item.add_marker(pytest.mark.timeout(seconds * PATIENCE), append=False)


@pytest.fixture(scope="session", autouse=True)
def _statements_are_compiled_once() -> Iterator[None]:
    """Let the stores of all tests share their compiled statements, as all requests of one do.

    A store compiles each statement once, which takes longer than to run it; a test's is soon gone.
    """
    if find_spec("sqlalchemy") is None:  # the trainer's own tests need torch alone
        yield
        return
    database = import_module("sweepd.store.database")
    make, compiled = database.create_engine, import_module("sqlalchemy.util").LRUCache(5_000)
    dialects: list[Any] = []  # compiled statements are kept for one

    def create_engine(*args: Any, **options: Any) -> Any:
        engine = make(*args, **options)
        if not dialects:
            dialects.append(engine.dialect)
        engine.dialect = dialects[0]
        engine.update_execution_options(compiled_cache=compiled)
        return engine

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(database, "create_engine", create_engine)
        yield


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """A service of the test's own, as a process."""
    service = Service(tmp_path / "data")
    service.start()
    try:
        yield service
    finally:
        service.stop()
