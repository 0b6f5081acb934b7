"""Fault 2: the service is killed every few seconds in a sweep; it ends complete and exact.

`SWEEPD_KILL_S` seconds of killing (60), a grid of `SWEEPD_KILL_POINTS` points (48); ten minutes and
200 points are those of `bench/faults.py`.
"""

import json
import os
import random
import shutil
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest
from crew import agent
from invariants import check_folder
from live import ROOT, Service, wait_for

KILL_S = float(os.environ.get("SWEEPD_KILL_S", "60"))
N_POINTS = int(os.environ.get("SWEEPD_KILL_POINTS", "48"))
LEAST_KILLS = KILL_S / 20
SEED = int(os.environ.get("SWEEPD_SEED", "0"))
DEFINITION = """\
program: toy.py
method: grid
metric: {name: loss, goal: minimize}
parameters:
  x: {values: %s}
  pause: {value: 0.3}
"""
RUNS = """query($s: String!) { sweepdSweep(name: $s) { sweepdStatus { issued finished failed }
  runs(first: 1000) { edges { node { name state history(samples: 100) } } } } }"""


@pytest.mark.timeout(KILL_S * 3 + 600)
def test_grid_is_complete_and_exact_after_many_kills(service: Service, tmp_path: Path) -> None:
    rng = random.Random(SEED)
    folder = tmp_path / "work"
    folder.mkdir()
    shutil.copy(ROOT / "tests" / "programs" / "toy.py", folder)
    points = [round(n / N_POINTS, 4) for n in range(N_POINTS)]
    (folder / "sweep.yaml").write_text(DEFINITION % points)
    sweep = json.loads(service.sweep("create", "sweep.yaml", "--json", cwd=folder))["sweep"]

    n_kills = 0
    with agent(service, sweep, folder, slots=8) as process:
        ends = time.monotonic() + KILL_S
        # at least so many kills, too, where a start takes long: on a busy machine
        while (time.monotonic() < ends or n_kills <= LEAST_KILLS) and process.poll() is None:
            with suppress(subprocess.TimeoutExpired):
                process.wait(rng.uniform(1, 5))
            service.kill()
            service.start()
            n_kills += 1
        wait_for("the agent's exit", lambda: process.poll() is not None, seconds=KILL_S + 500)

    found = service.graphql(RUNS, s=sweep.rsplit("/", 1)[-1])["sweepdSweep"]
    runs = [edge["node"] for edge in found["runs"]["edges"]]
    assert process.returncode == 0
    assert n_kills > LEAST_KILLS
    assert found["sweepdStatus"] == {"issued": N_POINTS, "finished": N_POINTS, "failed": 0}
    assert len({run["name"] for run in runs}) == N_POINTS
    for run in runs:
        epochs = [json.loads(row)["epoch"] for row in run["history"]]
        assert epochs == [0, 1, 2, 3], f"{run['name']} shows the rows {epochs}"
    check_folder(service.data)
