"""The engine, the two images and a compose project, made once for the session."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from engine import TOOLS, Engine
from needs import need

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    need(*TOOLS, what="a docker engine cannot be started")
    engine = Engine()
    try:
        engine.start()
        engine.import_base()
        yield engine
    finally:
        engine.stop()


@pytest.fixture(scope="session")
def images(engine: Engine) -> Engine:
    build = ("build", "--quiet", "--file")
    root = str(ROOT)
    engine.docker(
        *build, f"{root}/service/Dockerfile", "--target=service", "--tag=sweepd-service", root
    )
    engine.docker(
        *build, f"{root}/agent/Dockerfile", "--target=slim", "--tag=sweepd-agent:slim", root
    )
    return engine
