"""Fault 20: a trial that prints without end: 1 GB to the agent, and what a service is sent of it.

The client captures some hundred kilobytes a second of what a program prints, and nothing of what
its children do; so the service's part is sent here in the client's place: four times what is kept.
Memory and disk stay within bounds that docs/agent.md and docs/service.md name.
"""

import json
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest
from connection import Connection
from crew import agent
from invariants import check_folder
from live import Service, wait_for

PROGRAM = """
import os
import wandb, yaml

with open(os.environ["WANDB_SWEEP_PARAM_PATH"]) as file:
    size = yaml.safe_load(file)["size"]["value"]
run = wandb.init()
run.log({"loss": 1.0})
part = (b"x" * 127 + b"\\n") * 8192
for _ in range(size // len(part)):
    os.write(1, part)
print("the last word")
run.finish()
"""
DEFINITION = """\
program: train.py
method: grid
metric: {name: loss, goal: minimize}
parameters: {size: {values: [1073741824, 0]}}
"""
RUN = 'mutation { upsertBucket(input: {name: "loud", modelName: "p", host: "h"}) { inserted } }'
LINES = """{ project(name: "p") { run(name: "loud") { logLineCount
  logLines(last: 1) { edges { node { line } } } } } }"""
MIB = 1 << 20
N_POSTS = 34  # of 8 MB


class Gauge(threading.Thread):
    """Watches the memory of processes; `most` is the largest that each had, in MiB."""

    def __init__(self, **pids: int) -> None:
        super().__init__()
        self.most = dict.fromkeys(pids, 0)
        self._pids, self._ends = pids, threading.Event()

    def run(self) -> None:
        while not self._ends.wait(0.1):
            for name, pid in self._pids.items():
                self.most[name] = max(self.most[name], memory_of(pid))

    def __enter__(self) -> "Gauge":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        self.join()


def memory_of(pid: int) -> int:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return pages * 4096 // MIB


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) // MIB


@pytest.mark.timeout(200)
def test_agent_keeps_the_ends_of_a_flood_and_runs_the_next_trial(
    service: Service, tmp_path: Path
) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "train.py").write_text(PROGRAM)
    (folder / "sweep.yaml").write_text(DEFINITION)
    sweep = json.loads(service.sweep("create", "sweep.yaml", "--json", cwd=folder))["sweep"]

    with (
        agent(service, sweep, folder) as process,
        Gauge(agent=process.pid, service=service.pid) as gauge,
    ):
        wait_for("the agent's exit", lambda: process.poll() is not None, seconds=120)

    assert process.returncode == 0
    status = service.status(sweep)
    assert (status["state"], status["finished"]) == ("FINISHED", 2)
    logs = [path.read_text() for path in folder.rglob("wandb/sweep-*/*.log")]
    loud = max(logs, key=len)
    assert " bytes left out ...]" in loud
    assert "the last word" in loud[-2000:]
    assert size_of(folder) < 10
    print(gauge.most)
    assert gauge.most["agent"] < 100
    assert gauge.most["service"] < 300
    check_folder(service.data)


@pytest.mark.timeout(200)
def test_service_keeps_the_ends_of_a_flood_of_console_lines(service: Service) -> None:
    service.graphql(RUN)
    path, line = f"/files/{service.user}/p/loud/file_stream", "x" * 8000 + "\n"
    n_lines = 1_000

    with closing(Connection(service)) as connection, Gauge(service=service.pid) as gauge:
        before = memory_of(service.pid)
        for number in range(N_POSTS):
            chunk = {"offset": number * n_lines, "content": [line] * n_lines}
            status, text, _ = connection.post(path, {"files": {"output.log": chunk}})
            assert status == 200, text

    found = service.graphql(LINES)["project"]["run"]
    assert found["logLineCount"] == N_POSTS * n_lines
    assert found["logLines"]["edges"][0]["node"]["line"].startswith("xxx")
    with closing(sqlite3.connect(f"file:{service.data}/sweepd.db?mode=ro", uri=True)) as database:
        query = "SELECT body FROM stream_line WHERE body LIKE '[... % lines left out: of a run%'"
        assert len(database.execute(query).fetchall()) == 1
    print(before, gauge.most, size_of(service.data))
    assert size_of(service.data) < 200
    assert gauge.most["service"] < before + 250
    check_folder(service.data)
