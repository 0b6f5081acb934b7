"""`sweep launch --on slurm` on a real Slurm of two nodes, one of which dies."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))

from live import Service, wait_for
from needs import need
from slurm import TOOLS, Cluster

pytestmark = pytest.mark.timeout(400)

PROGRAM = """
import time
import wandb

with wandb.init() as run:
    for step in range(4):
        run.log({"loss": run.config["x"] / (step + 1)})
        time.sleep(0.3)
"""
DEFINITION = """
program: train.py
method: grid
metric: {name: loss, goal: minimize}
parameters: {x: {values: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]}}
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    need(*TOOLS, what="a Slurm cluster cannot be started")
    cluster = Cluster()
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    service = Service(tmp_path / "data", SWEEPD_TIME_SCALE="0.1")
    service.start()
    try:
        yield service
    finally:
        service.stop()


def test_sweep_on_slurm_ends_complete_and_exact_though_a_node_dies(
    cluster: Cluster, service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {**cluster.environment, "XDG_STATE_HOME": str(tmp_path / "state")}.items():
        monkeypatch.setenv(name, value)
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "train.py").write_text(PROGRAM)
    (folder / "sweep.yaml").write_text(DEFINITION)
    sweep = json.loads(service.sweep("create", "sweep.yaml", "--json", cwd=folder))["sweep"]

    def agents() -> list[dict[str, object]]:
        found: list[dict[str, object]] = json.loads(
            service.sweep("launch", sweep, "--status", "--json", cwd=folder)
        )
        return found

    options = ("--on=slurm", "--agents=2", "--gpus=none", "--slots=1", "--set", "cpus=2")
    service.sweep("launch", sweep, *options, cwd=folder)
    wait_for("two agents", lambda: [a["state"] for a in agents()] == ["running"] * 2, seconds=60)
    wait_for("a finished trial", lambda: service.status(sweep)["finished"], seconds=60)
    cluster.kill_node("n2")
    wait_for(
        "the sweep's end",
        lambda: service.status(sweep)["state"] == "FINISHED",
        seconds=200,
    )

    status = service.status(sweep)
    assert (status["finished"], status["failed"]) == (12, 0)
    said = service.sweep("launch", sweep, "--logs", cwd=folder)
    assert "the agent leaves" in said
    service.sweep("launch", sweep, "--stop", cwd=folder)
    wait_for("no agent", lambda: all(a["state"] in ("ended", "lost") for a in agents()), seconds=60)
