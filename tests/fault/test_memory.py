"""Fault 20: the kernel kills a trial for memory, alone or in one group with its agent."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from crew import agent
from invariants import check_folder
from live import Service, wait_for
from memory_group import memory_group

PROGRAM = """
import os, sys, time
import wandb, yaml

with open(os.environ["WANDB_SWEEP_PARAM_PATH"]) as file:
    kind = yaml.safe_load(file)["kind"]["value"]
run = wandb.init()
run.log({"loss": 1.0})
if kind == "eats":
    held = []
    while True:
        held.append(b"x" * (32 << 20))
if kind == "its child eats":
    import subprocess
    eater = "held = []\\nwhile True: held.append(b'x' * (32 << 20))"
    subprocess.run([sys.executable, "-c", eater], check=True)
run.finish()
"""
DEFINITION = """\
program: train.py
method: grid
metric: {name: loss, goal: minimize}
parameters: {kind: {values: %s}}
"""
KINDS = {"eats": "oom", "its child eats": "oom", "fine": "finished"}
TRIALS = """SELECT trial.config, trial.reason, trial.message, trial.attempt, run.state
  FROM trial JOIN run ON run.id = trial.run_id"""


@pytest.mark.timeout(300)
def test_trial_that_is_killed_at_the_memory_limit_ends_as_such_and_its_agent_goes_on(
    service: Service, tmp_path: Path
) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "train.py").write_text(PROGRAM)
    (folder / "sweep.yaml").write_text(DEFINITION % json.dumps(list(KINDS)))
    sweep = json.loads(service.sweep("create", "sweep.yaml", "--json", cwd=folder))["sweep"]

    with memory_group(1 << 30) as inside, agent(service, sweep, folder, before=inside) as process:
        wait_for("the agent's exit", lambda: process.poll() is not None, seconds=200)

    with closing(sqlite3.connect(f"file:{service.data}/sweepd.db?mode=ro", uri=True)) as database:
        found = {json.loads(row[0])["kind"]: row[1:] for row in database.execute(TRIALS)}
    assert {kind: row[0] for kind, row in found.items()} == KINDS
    for kind in ("eats", "its child eats"):
        _, message, attempt, state = found[kind]
        assert "the memory limit was reached" in message
        assert (attempt, state) == (1, "failed"), f"{kind} was tried again"
    assert process.returncode == 0
    assert service.status(sweep)["state"] == "FINISHED"
    check_folder(service.data)
