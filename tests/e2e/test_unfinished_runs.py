"""Programs that call no `run.finish()`, as the plainest do: all that they logged arrives."""

import json
import sqlite3
from contextlib import closing

import pytest
from agents import events_of

pytestmark = pytest.mark.timeout(240)

PROGRAM = """
import sys
import wandb

run = wandb.init()
for step in range(3):
    run.log({"loss": run.config["x"] + 2 - step})
run.summary["accuracy"] = 0.9
"""


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        pytest.param(PROGRAM, "finished", id="ends"),
        pytest.param(PROGRAM + "sys.exit(0)", "finished", id="exits"),
        pytest.param(PROGRAM + "raise ValueError('no')", "error", id="fails"),
        pytest.param(PROGRAM + "sys.exit(3)", "error", id="exits with 3"),
        pytest.param(PROGRAM + "run.finish()", "finished", id="finishes"),
        pytest.param(
            PROGRAM + "run.finish()\nmore = wandb.init(id=run.id, resume='must')",
            "finished",
            id="two",
        ),
    ],
)
def test_all_that_was_logged_arrives_though_no_run_is_finished(
    service, sweep, start, trials_of, program, reason
):
    name = sweep(program, run_cap=2)

    events_of(start(name, "--slots=1"))

    assert [(trial.reason, trial.rows) for trial in trials_of(name)] == [(reason, 3)] * 2
    with closing(sqlite3.connect(f"file:{service.data}/sweepd.db?mode=ro", uri=True)) as base:
        summaries = [json.loads(text) for (text,) in base.execute("SELECT summary FROM run")]
    assert [summary["accuracy"] for summary in summaries] == [0.9] * 2
