"""Faults 12 and 15: a trial's process is killed at every point of its life, or sleeps for long."""

import json
import os
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from crew import agent, family
from invariants import check_folder
from live import Service, wait_for

POINTS = ["before init", "after init", "mid-epoch", "uploading", "after finish"]
PROGRAM = """
import os, signal
import wandb, yaml

with open(os.environ["WANDB_SWEEP_PARAM_PATH"]) as file:
    point = yaml.safe_load(file)["point"]["value"]
marker = "killed at " + point
is_first = not os.path.exists(marker)

def die(here):
    if is_first and here == point:
        open(marker, "w").close()
        os.kill(os.getpid(), signal.SIGKILL)

die("before init")
run = wandb.init()
die("after init")
for epoch in range(3):
    run.log({"epoch": epoch, "loss": 1 / (epoch + 1)})
    if epoch == 1:
        die("mid-epoch")
weights = os.path.join(run.dir, "weights.bin")
with open(weights, "wb") as file:
    file.write(os.urandom(20_000_000))
artifact = wandb.Artifact("model-" + run.id, "model")
artifact.add_file(weights)
run.log_artifact(artifact)
die("uploading")
run.finish()
die("after finish")
"""
DEFINITION = """\
program: train.py
method: grid
metric: {name: loss, goal: minimize}
parameters: {point: {values: %s}}
"""
TRIALS = """SELECT trial.config, trial.reason, trial.attempt, trial.n_values, run.state
  FROM trial JOIN run ON run.id = trial.run_id"""

SLEEPY = """
import os, time
import wandb

with wandb.init() as run:
    first = int(os.environ.get("IS_FIRST", "0"))
    for epoch in range(6):
        run.log({"epoch": epoch, "loss": 1.0 + first, "n": epoch})
        time.sleep(0.5 if first else 0)
"""


def rows(service: Service, query: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(f"file:{service.data}/sweepd.db?mode=ro", uri=True)) as database:
        return database.execute(query).fetchall()


@pytest.mark.timeout(300)
def test_trial_that_is_killed_at_any_point_is_finished_by_its_next_attempt(
    service: Service, tmp_path: Path
) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "train.py").write_text(PROGRAM)
    (folder / "sweep.yaml").write_text(DEFINITION % json.dumps(POINTS))
    sweep = json.loads(service.sweep("create", "sweep.yaml", "--json", cwd=folder))["sweep"]

    with agent(service, sweep, folder, slots=2) as process:
        wait_for("the agent's exit", lambda: process.poll() is not None, seconds=240)

    found = {json.loads(str(row[0]))["point"]: row[1:] for row in rows(service, TRIALS)}
    assert {path.name for path in folder.glob("killed at *")} == {f"killed at {p}" for p in POINTS}
    for point in POINTS:
        attempt = 1 if point == "after finish" else 2
        assert found[point] == ("finished", attempt, 3, "finished"), point
    assert process.returncode == 0
    check_folder(service.data)


@pytest.mark.timeout(300)
def test_agent_that_slept_is_fenced_out_and_its_rows_are_kept(tmp_path: Path) -> None:
    service = Service(tmp_path / "data", SWEEPD_TIME_SCALE="0.1")
    service.start()
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "train.py").write_text(SLEEPY)
    (folder / "sweep.yaml").write_text(DEFINITION.replace("point", "x") % "[1]")
    try:
        sweep = json.loads(service.sweep("create", "sweep.yaml", "--json", cwd=folder))["sweep"]
        with agent(service, sweep, folder, IS_FIRST="1") as sleeper:
            wait_for("the first rows", lambda: rows(service, "SELECT 1 FROM curve"))
            asleep = family(sleeper.pid)
            for pid in asleep:
                os.kill(pid, signal.SIGSTOP)
            with agent(service, sweep, folder) as other:
                wait_for("the other's exit", lambda: other.poll() is not None, seconds=100)
            for pid in reversed(asleep):
                os.kill(pid, signal.SIGCONT)
            wait_for("the sleeper's exit", lambda: sleeper.poll() is not None, seconds=60)
    finally:
        service.stop()

    trial = "SELECT state, reason, attempt, best FROM trial"
    assert rows(service, trial) == [("ended", "finished", 2, 1.0)]
    seen = [
        json.loads(str(body))
        for (body,) in rows(
            service, "SELECT body FROM stream_line WHERE stream = 0 AND attempt = 2 ORDER BY line"
        )
    ]
    assert [row["n"] for row in seen] == list(range(6))
    first = "SELECT count(*) FROM stream_line WHERE stream IN (0, 10) AND attempt = 1"
    assert rows(service, first)[0][0] > 0
    check_folder(service.data)
