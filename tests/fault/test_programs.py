"""Fault 20: programs that go wrong in every way; each trial ends by the table of outcomes.

Fault 21 is one of them: a program that hangs, while its client's threads go on sending.
"""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from bad_program import HANGS, KINDS, PROGRAM
from crew import agent
from invariants import check_folder
from live import Service, wait_for

DEFINITION = """\
program: train.py
method: grid
metric: {name: loss, goal: minimize}
parameters: {kind: {values: %s}}
"""
TRIALS = """SELECT trial.config, trial.reason, coalesce(trial.message, ''), trial.attempt,
  run.log_lines FROM trial JOIN run ON run.id = trial.run_id"""


@pytest.mark.timeout(400)
def test_each_way_to_go_wrong_has_its_outcome_and_ends_no_sweep(
    service: Service, tmp_path: Path
) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "train.py").write_text(PROGRAM)
    (folder / "sweep.yaml").write_text(DEFINITION % json.dumps(list(KINDS)))
    sweep = json.loads(service.sweep("create", "sweep.yaml", "--json", cwd=folder))["sweep"]

    with agent(service, sweep, folder, slots=3) as process:
        wait_for("the agent's exit", lambda: process.poll() is not None, seconds=300)

    with closing(sqlite3.connect(f"file:{service.data}/sweepd.db?mode=ro", uri=True)) as database:
        found = {json.loads(row[0])["kind"]: row[1:] for row in database.execute(TRIALS)}
    assert {kind: row[0] for kind, row in found.items()} == {
        kind: reason for kind, (reason, _) in KINDS.items()
    }
    for kind, (_, words) in KINDS.items():
        assert (words or "") in found[kind][1], f"{kind}: {found[kind][1]}"
        assert found[kind][2] == 1, f"{kind} was tried {found[kind][2]} times"
    assert found["flood"][3] >= 100_000
    assert service.status(sweep)["state"] == "FINISHED"
    assert process.returncode == 0
    check_folder(service.data)


@pytest.mark.timeout(300)
def test_program_that_hangs_is_timed_out_and_holds_up_no_sweep(
    service: Service, tmp_path: Path
) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "train.py").write_text(PROGRAM)
    limit = "sweepd: {timeout: {silent_minutes: 0.4}}\n"
    (folder / "sweep.yaml").write_text(DEFINITION % json.dumps(list(HANGS)) + limit)
    sweep = json.loads(service.sweep("create", "sweep.yaml", "--json", cwd=folder))["sweep"]

    with agent(service, sweep, folder, slots=3) as process:
        wait_for("the agent's exit", lambda: process.poll() is not None, seconds=200)

    with closing(sqlite3.connect(f"file:{service.data}/sweepd.db?mode=ro", uri=True)) as database:
        found = {json.loads(row[0])["kind"]: row[1:] for row in database.execute(TRIALS)}
    assert {kind: row[0] for kind, row in found.items()} == HANGS
    for kind in ("hangs", "hangs before init"):
        assert found[kind][1:3] == ("timed out: it logged nothing for 0.4 minutes", 1)
    assert service.status(sweep)["state"] == "FINISHED"
    check_folder(service.data)
