"""Successive halving as programs meet it: a sweep that pauses and promotes, and what must be so."""

import json
import sys
from collections.abc import Callable
from itertools import pairwise

import pytest
from real import RealClient

__all__ = ["check_halving"]

#: A model that resumes: its weights after every epoch, and the run's own step says which count.
TRAIN = """
import json, os, pathlib, time
import wandb

def train():
    with wandb.init(resume="allow") as run:
        path, start = pathlib.Path(f"{run.id}.json"), run.starting_step
        weights = json.loads(path.read_text()) if run.resumed else [1.0]
        del weights[start + 1 :]
        for epoch in range(start, 9):
            weights.append(weights[-1] * 0.8)
            pathlib.Path(f"{run.id}.new").write_text(json.dumps(weights))
            os.replace(f"{run.id}.new", path)
            run.log({"epoch": epoch, "loss": run.config["x"] + weights[-1], "was": weights[-2]})
            if epoch + 1 in (1, 3):  # a rung: time for the answer
                for _ in range(80):
                    time.sleep(0.1)
"""
DEFINITION = """
program: train.py
project: halving
method: random
metric: {name: loss, goal: minimize}
parameters: {x: {min: 0.0, max: 1.0}}
run_cap: 4
sweepd:
  stop: {rule: asha, min_iter: 1, max_iter: 9, eta: 3, promote: true}
"""
READ = """
import json, sys
import wandb

sweep = wandb.Api().sweep(sys.argv[1])
keys = ["_step", "epoch", "loss", "was"]
rows = {run.id: list(run.scan_history(keys=keys)) for run in sweep.runs}
xs = {run.id: run.config["x"] for run in sweep.runs}
print(json.dumps([sweep.state, rows, xs]))
"""


def check_halving(real_client: RealClient, agent: Callable[[RealClient, str], None]) -> None:
    """Let an agent do a sweep of four runs of nine epochs; most of them end at a rung."""
    folder = real_client.folder
    (folder / "train.py").write_text(TRAIN + '\nif __name__ == "__main__":\n    train()\n')
    (folder / "sweep.yaml").write_text(DEFINITION)
    output = real_client.wandb("sweep", "sweep.yaml")
    sweep = output.split("wandb agent ")[-1].split()[0]

    agent(real_client, sweep)

    found = real_client.run(sys.executable, "-c", READ, sweep).strip().splitlines()[-1]
    state, rows, xs = json.loads(found)
    assert state == "FINISHED"
    assert len(rows) == 4
    lengths = {run: len(of_run) for run, of_run in rows.items()}
    best = min(xs, key=xs.__getitem__)
    assert lengths[best] == 9
    assert sum(lengths.values()) < 4 * 9 * 2 / 3
    for of_run in rows.values():
        assert [row["epoch"] for row in of_run] == list(range(len(of_run)))
        for before, after in pairwise(of_run):
            assert after["was"] == pytest.approx(before["was"] * 0.8)  # from its own checkpoint
