"""Everybody at once on one database: agents, runs, pages, backups, another process that writes.

No request fails and no answered row is lost. How long heartbeats take meanwhile is printed here and
measured by `bench/heartbeats.py --busy`.
"""

import json
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from connection import Connection
from live import Service, wait_for

N_AGENTS, SECONDS, EVERY_S = 64, 8.0, 0.5
SWEEP = """mutation($config: String!) {
  upsertSweep(input: {config: $config, projectName: "p"}) { sweep { name } } }"""
AGENT = """mutation($sweep: String!, $host: String!) {
  createAgent(input: {host: $host, projectName: "p", sweep: $sweep}) { agent { id } } }"""
BEAT = """mutation($id: ID!, $state: JSONString) {
  agentHeartbeat(input: {id: $id, metrics: "{}", runState: $state}) { commands } }"""
RUN = """mutation($name: String!, $sweep: String!) {
  upsertBucket(input: {name: $name, modelName: "p", sweep: $sweep, host: "h"}) { inserted } }"""
COUNTS = """query($after: String) { project(name: "p") { runs(first: 100, after: $after) {
  edges { node { name state historyLineCount } } } } }"""

#: Copies the database in both ways that SQLite knows, again and again; tells if each copy is good.
BACKUP = """
import os, sqlite3, sys
source, folder = sys.argv[1:]
while True:
    for name in ("api.db", "vacuum.db"):
        place = os.path.join(folder, name)
        if os.path.exists(place):
            os.unlink(place)
        with sqlite3.connect(source, timeout=60) as database:
            if name == "api.db":
                with sqlite3.connect(place) as copy:
                    database.backup(copy, pages=64, sleep=0.001)
            else:
                database.execute("VACUUM INTO ?", (place,))
        with sqlite3.connect(place) as copy:
            (verdict,) = copy.execute("PRAGMA integrity_check").fetchone()
            print(verdict, flush=True)
"""
#: Holds the write lock for a fifth of a second, as a command beside the service may.
WRITER = """
import sqlite3, sys, time
database = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=60)
while True:
    database.execute("BEGIN IMMEDIATE")
    database.execute("UPDATE alembic_version SET version_num = version_num")
    time.sleep(0.2)
    database.execute("COMMIT")
    print("held", flush=True)
    time.sleep(0.3)
"""


class Agent(threading.Thread):
    """Heartbeats for a run that logs a row each time; keeps what was not answered with 200."""

    def __init__(self, service: Service, agent: str, run: str, ends: threading.Event) -> None:
        super().__init__()
        self.run_name, self.n_rows = run, 0
        self.seconds: list[float] = []
        self.refused: list[str] = []
        self._service, self._agent, self._ends = service, agent, ends

    def run(self) -> None:
        state = json.dumps({self.run_name: True})
        beat = {"query": BEAT, "variables": {"id": self._agent, "state": state}}
        path = f"/files/{self._service.user}/p/{self.run_name}/file_stream"
        with closing(Connection(self._service)) as connection:
            while not self._ends.wait(EVERY_S):
                began = time.perf_counter()
                self._note(*connection.post("/graphql", beat))
                self.seconds.append(time.perf_counter() - began)
                row = {"offset": self.n_rows, "content": [json.dumps({"x": self.n_rows})]}
                if self._note(*connection.post(path, {"files": {"wandb-history.jsonl": row}})):
                    self.n_rows += 1

    def _note(self, status: int, text: str, _: object) -> bool:
        if status != 200:
            self.refused.append(f"{status}: {text[:300]}")
        return status == 200


class Reader(threading.Thread):
    """Opens pages and asks for what they show, as a browser that never rests."""

    def __init__(self, service: Service, paths: list[str], ends: threading.Event) -> None:
        super().__init__()
        self.n_read, self.refused = 0, list[str]()
        self._service, self._paths, self._ends = service, paths, ends

    def run(self) -> None:
        with closing(Connection(self._service)) as connection:
            while not self._ends.is_set():
                for path in self._paths:
                    status, text = connection.page(path)
                    self.n_read += 1
                    if status != 200:
                        self.refused.append(f"{path} {status}: {text[:300]}")


@contextmanager
def program(text: str, *arguments: Path) -> Iterator[list[str]]:
    """Run a small program until the end of the block; give the lines that it prints, then."""
    command = [sys.executable, "-c", text, *map(str, arguments)]
    lines: list[str] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield lines
        finally:
            process.terminate()
            lines += process.communicate(timeout=30)[0].splitlines()


def test_agents_pages_backups_and_another_writer_at_once_fail_nobody(
    service: Service, tmp_path: Path
) -> None:
    definition = {
        "method": "random",
        "program": "t.py",
        "parameters": {"x": {"min": 0, "max": 1.5}},
    }
    made = service.graphql(SWEEP, config=json.dumps(definition))
    sweep = made["upsertSweep"]["sweep"]["name"]
    ends = threading.Event()
    agents = []
    for number in range(N_AGENTS):
        made = service.graphql(AGENT, sweep=sweep, host=f"h{number}")
        agent = made["createAgent"]["agent"]["id"]
        command = wait_for("a run", lambda agent=agent: commands(service, agent))[0]
        service.graphql(RUN, name=command["run_id"], sweep=sweep)
        agents.append(Agent(service, agent, command["run_id"], ends))
    project, data = f"/{service.user}/p", f"/-/data/sweep/{service.user}/p/{sweep}"
    run = f"/-/data/run/{service.user}/p/{agents[0].run_name}"
    readers = [Reader(service, [project, data, run], ends) for _ in range(2)]
    database = service.data / "sweepd.db"

    with ExitStack() as stack:
        copies = stack.enter_context(program(BACKUP, database, tmp_path))
        holds = stack.enter_context(program(WRITER, database))
        for thread in (*agents, *readers):
            thread.start()
        ends.wait(SECONDS)
        ends.set()
        for thread in (*agents, *readers):
            thread.join(60)
            assert not thread.is_alive()

    assert [words for thread in (*agents, *readers) for words in thread.refused] == []
    found = service.graphql(COUNTS)["project"]["runs"]["edges"]
    assert {edge["node"]["name"]: edge["node"]["historyLineCount"] for edge in found} == {
        agent.run_name: agent.n_rows for agent in agents
    }
    assert {edge["node"]["state"] for edge in found} == {"running"}
    assert len(holds) > 3
    assert len(copies) > 2
    assert set(copies) == {"ok"}
    with closing(sqlite3.connect(database)) as own:
        assert own.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    beats = sorted(second for agent in agents for second in agent.seconds)
    p99 = beats[len(beats) * 99 // 100]
    print(f"{len(beats)} heartbeats, p99 {p99:.3f} s, worst {beats[-1]:.3f} s")


def commands(service: Service, agent: str) -> list[dict[str, str]]:
    """Return what the service tells an agent that does nothing."""
    answer = service.graphql(BEAT, id=agent, state="{}")
    found: list[dict[str, str]] = json.loads(answer["agentHeartbeat"]["commands"])
    return found
