"""A small server, an agent in a thread, and a nursery without an agent."""

import os
import queue
import sys
import threading
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))

import fake_wandb
from fake_wandb import KEY, FakeServer

from sweepd_agent import AgentEvent, EventKind, Options, run_agent
from sweepd_agent.events import Report
from sweepd_agent.nursery import Ended, Nursery


@pytest.fixture
def wait_for():
    return fake_wandb.wait_for


@pytest.fixture
def make_server():
    servers = []

    def make(**values):
        servers.append(FakeServer(**values))
        return servers[-1]

    yield make
    for server in servers:
        server.close()


class Agent:
    """An agent that runs in a thread of the test."""

    def __init__(self, options: Options, report: Report | None = None) -> None:
        self.events: list[AgentEvent] = []
        self.report = report or self.events.append
        self.code: int | None = None
        self.error: BaseException | None = None
        self.thread = threading.Thread(target=self._run, args=(options,))
        self.thread.start()

    def _run(self, options: Options) -> None:
        try:
            self.code = run_agent(options, report=self.report)
        except BaseException as error:
            self.error = error

    def wait(self, timeout_s: float = 40.0) -> int | None:
        self.thread.join(timeout_s)
        assert not self.thread.is_alive(), [event.text for event in self.events]
        if self.error:
            raise self.error
        return self.code

    def of(self, kind: EventKind) -> list[AgentEvent]:
        return [event for event in self.events if event.kind == kind]


@pytest.fixture
def make_agent(tmp_path, monkeypatch):
    for name in ("WANDB_BASE_URL", "WANDB_PROJECT", "WANDB_ENTITY", "WANDB_DIR"):
        monkeypatch.delenv(name, raising=False)
    agents = []

    def make(server, *, report=None, **values) -> Agent:
        options = {
            "sweep": "alice/toy/sw1",
            "base_url": server.url,
            "api_key": KEY,
            "gpus": "none",
            "slots": 1,
            "folder": str(tmp_path),
        }
        agents.append(Agent(Options(**{**options, **values}), report))
        return agents[-1]

    yield make
    for agent in agents:
        agent.thread.join(40)


@pytest.fixture
def write_program(tmp_path):
    def write(text: str, name: str = "train.py") -> Path:
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


@pytest.fixture
def make_nursery(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "lib"))
    (tmp_path / "lib").mkdir()
    nurseries = []
    notices = []

    def make(*modules, handshake_s=20.0, threads=1):
        nursery = Nursery(
            folder=tmp_path,
            modules=modules,
            threads=threads,
            handshake_s=handshake_s,
            log=tmp_path / "warm.log",
            notice=notices.append,
        )
        nursery.open()
        nursery.notices = notices
        nurseries.append(nursery)
        return nursery

    yield make
    for nursery in nurseries:
        nursery.close()


@pytest.fixture
def start(tmp_path):
    def start_program(nursery, text, *, name="program", **values):
        """Return a function that returns all events of the trial, up to its end."""
        (tmp_path / f"{name}.py").write_text(text)
        job = {
            "mode": "fork",
            "waits": False,
            "program": f"{name}.py",
            "function": False,
            "argv": [],
            "config": {},
            "exec": [sys.executable, f"{name}.py"],
            "env": dict(os.environ),
            "cwd": str(tmp_path),
            **values,
        }
        events = queue.SimpleQueue()
        with (tmp_path / f"{name}.txt").open("wb") as log:
            assert nursery.start(job, log.fileno(), events.put) is not None

        def watch(timeout=20):
            seen = [events.get(timeout=timeout)]
            while not isinstance(seen[-1], Ended):
                seen.append(events.get(timeout=timeout))
            return seen

        return watch

    return start_program


@pytest.fixture
def run(start, tmp_path):
    def run_program(nursery, text, **values):
        seen = start(nursery, text, **values)()
        return seen, (tmp_path / "program.txt").read_text()

    return run_program
