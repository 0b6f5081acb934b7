"""Fault 2: the service is killed every few seconds in a sweep; it ends complete and exact.

`SWEEPD_KILL_S` seconds of killing (60), a grid of `SWEEPD_KILL_POINTS` points (48); ten minutes and
200 points are those of `bench/faults.py`.
"""

import os
import random
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest
import toy_grid
from crew import agent
from live import Service, wait_for

KILL_S = float(os.environ.get("SWEEPD_KILL_S", "60"))
N_POINTS = int(os.environ.get("SWEEPD_KILL_POINTS", "48"))
N_SLOTS = 8
#: Between two of a trial's four rows, so that the grid is not done before the killing is.
PAUSE_S = KILL_S * N_SLOTS / N_POINTS / 4
LEAST_KILLS = KILL_S / 20
SEED = int(os.environ.get("SWEEPD_SEED", "0"))


@pytest.mark.timeout(KILL_S * 3 + 600)
def test_grid_is_complete_and_exact_after_many_kills(service: Service, tmp_path: Path) -> None:
    rng = random.Random(SEED)
    folder = tmp_path / "work"
    sweep = toy_grid.begin(service, folder, n_points=N_POINTS, pause=PAUSE_S)

    n_kills = 0
    with agent(service, sweep, folder, slots=N_SLOTS) as process:
        ends = time.monotonic() + KILL_S
        # at least so many kills, too, where a start takes long: on a busy machine
        while (time.monotonic() < ends or n_kills <= LEAST_KILLS) and process.poll() is None:
            with suppress(subprocess.TimeoutExpired):
                process.wait(rng.uniform(1, 5))
            service.kill()
            service.start()
            n_kills += 1
        wait_for("the agent's exit", lambda: process.poll() is not None, seconds=KILL_S + 500)

    assert process.returncode == 0
    assert n_kills > LEAST_KILLS
    toy_grid.check(service, sweep, n_points=N_POINTS)
