"""The real service as a subprocess, and an environment that holds only the client from PyPI."""

import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from agents import DEFINITION, TRIALS, UPSERT, Trial
from live import plain_client


@pytest.fixture(scope="session")
def client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of an environment with nothing but wandb in it."""
    return plain_client(tmp_path_factory.mktemp("plain"))


@pytest.fixture
def sweep(service, tmp_path):
    """Make a sweep of a program and return its name."""

    def make(text, **more):
        (tmp_path / "train.py").write_text(text)
        config = json.dumps({**DEFINITION, **more})
        found = service.graphql(UPSERT, config=config)["upsertSweep"]["sweep"]
        home = found["project"]
        return f"{home['entity']['name']}/{home['name']}/{found['name']}"

    return make


@pytest.fixture
def start(service, tmp_path):
    processes = []

    def start_agent(sweep, *arguments, **more):
        process = subprocess.Popen(
            [sys.executable, "-m", "sweepd_agent", sweep, "--gpus=none", "--json", *arguments],
            cwd=tmp_path,
            env=service.environment(**more),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        processes.append(process)
        return process

    yield start_agent
    for process in processes:
        process.kill()
        process.communicate()


@pytest.fixture
def trials_of(service):
    """Read a sweep's trials where the service keeps them."""

    def read(sweep):
        with closing(sqlite3.connect(f"file:{service.data}/sweepd.db?mode=ro", uri=True)) as base:
            return [Trial(*row) for row in base.execute(TRIALS, [sweep.rsplit("/", 1)[-1]])]

    return read
