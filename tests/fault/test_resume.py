"""A trial that trains is killed at a random step: its next attempt ends with the same bits.

One state at least has arrived by then; later ones may be on their way.
"""

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from random import Random

import pytest
import torch
from crew import agent
from invariants import check_folder
from live import Service, wait_for
from seeds import SEEDS

TRAINER = Path(__file__).parents[2] / "trainer"
N_STEPS = 12 * 19
PROGRAM = f"""
import os, signal, sys, time

sys.path.insert(0, {str(TRAINER)!r})
import train
import wandb
from sweepd_trainer.resume import RESUME
from sweepd_trainer.step import Step
from sweepd_trainer.tracking import run_script

take, n_taken = Step.__call__, 0

def count(self, batch, drawn):
    global n_taken
    take(self, batch, drawn)
    n_taken += 1
    if n_taken == int(os.environ["KILL_AT"]) and not os.path.exists("killed"):
        while not any(f.size for f in wandb.Api().run(wandb.run.path).files(names=[RESUME])):
            time.sleep(0.05)  # the first state is on its way
        open("killed", "w").close()
        os.kill(os.getpid(), signal.SIGKILL)

Step.__call__ = count
code = run_script(train.main, sys.argv[1:])
with open("taken", "w") as file:
    file.write(str(n_taken))
sys.exit(code)
"""
DEFINITION = """
program: train.py
method: grid
metric: {name: val_accuracy, goal: maximize}
parameters:
  slice: {value: 4}
  batch_size: {value: 16}
  epochs: {value: 12}
  dropout: {value: 0.2}
  shift: {value: 1}
  schedule: {value: onecycle}
  ema: {value: 0.9}
  checkpoint_s: {value: 0}
  seed: {values: [3]}
"""
ROWS = "SELECT body FROM stream_line WHERE run_id = ? AND stream = 0 ORDER BY line"
NOISE = ("_runtime", "_timestamp", "samples_per_s", "perf/images_per_s", "perf/step_ms")


def numbers(body: str) -> dict[str, float]:
    """Return what a row says, without what depends on the clock, and without histograms."""
    row = json.loads(body)
    return {k: v for k, v in row.items() if k not in NOISE and isinstance(v, int | float)}


class Trial:
    """The one trial of a sweep, as the service keeps it."""

    def __init__(self, service: Service, sweep: str) -> None:
        with closing(sqlite3.connect(f"file:{service.data}/sweepd.db?mode=ro", uri=True)) as base:
            self.reason, self.attempt, run_id = base.execute(
                "SELECT reason, attempt, run_id FROM trial JOIN sweep ON sweep.id = sweep_id "
                "WHERE sweep.name = ?",
                [sweep.rsplit("/", 1)[-1]],
            ).fetchone()
            self.rows = [numbers(body) for (body,) in base.execute(ROWS, [run_id])]
            files = "SELECT name, blob FROM run_file WHERE run_id = ?"
            self.files = dict(base.execute(files, [run_id]))
        key = self.files["checkpoint.pt"]
        path = service.data / "blobs" / key[:2] / key
        self.weights = torch.load(path, weights_only=True)["weights"]


def train(service: Service, folder: Path, *, kill_at: int) -> Trial:
    folder.mkdir()
    (folder / "train.py").write_text(PROGRAM)
    (folder / "sweep.yaml").write_text(DEFINITION)
    sweep = json.loads(service.sweep("create", "sweep.yaml", "--json", cwd=folder))["sweep"]
    with agent(service, sweep, folder, KILL_AT=str(kill_at)) as process:
        wait_for("the agent's exit", lambda: process.poll() is not None, seconds=100)
    assert (folder / "killed").exists() == bool(kill_at)
    return Trial(service, sweep)


@pytest.mark.timeout(300)
def test_trial_killed_at_any_step_ends_with_the_weights_and_rows_of_one_that_was_not(
    service: Service, tmp_path: Path
) -> None:
    whole = train(service, tmp_path / "whole", kill_at=0)
    assert len(whole.rows) > 12
    assert [row["_step"] for row in whole.rows] == list(range(len(whole.rows)))

    for seed in SEEDS:
        kill_at = Random(seed).randint(N_STEPS // 4, N_STEPS - 1)
        resumed = train(service, tmp_path / str(seed), kill_at=kill_at)

        assert (resumed.reason, resumed.attempt) == ("finished", 2), kill_at
        assert int((tmp_path / str(seed) / "taken").read_text()) < N_STEPS, "it began anew"
        assert resumed.rows == whole.rows, kill_at
        assert resumed.weights.keys() == whole.weights.keys()
        for name, weight in whole.weights.items():
            assert torch.equal(resumed.weights[name], weight), (kill_at, name)
        assert "checkpoint-resume.pt" not in resumed.files
    check_folder(service.data)
