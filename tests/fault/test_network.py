"""Faults 16 and 24 to 26: errors, lost answers, silence and a vanished host between the two."""

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from between import between
from crew import agent
from invariants import check_folder
from live import ROOT, Service, wait_for
from seeds import SEEDS
from silent_network import silent_network

N_TRIALS = 8
DEFINITION = """\
program: toy.py
method: grid
metric: {name: loss, goal: minimize}
parameters:
  x: {values: %s}
  pause: {value: %s}
"""
RUNS = """query($s: String!) { sweepdSweep(name: $s) { state
  sweepdStatus { issued finished failed } runs(first: 100) { edges { node { name state
  history(samples: 100) } } } } }"""


@pytest.fixture
def begin(tmp_path: Path) -> Callable[..., tuple[Service, str, Path]]:
    """Start a service whose leases last six seconds, and a sweep; return them and a folder."""

    def begin(service: Service, *, pause: float) -> tuple[str, Path]:
        folder = tmp_path / "work"
        folder.mkdir()
        shutil.copy(ROOT / "tests" / "programs" / "toy.py", folder)
        points = [round(n / N_TRIALS, 4) for n in range(N_TRIALS)]
        (folder / "sweep.yaml").write_text(DEFINITION % (points, pause))
        made = json.loads(service.sweep("create", "sweep.yaml", "--json", cwd=folder))
        return made["sweep"], folder

    return begin


@pytest.fixture
def service(tmp_path: Path):
    service = Service(tmp_path / "data", SWEEPD_TIME_SCALE="0.1")
    service.start()
    yield service
    service.stop()


def check_all(service: Service, sweep: str) -> None:
    found = service.graphql(RUNS, s=sweep.rsplit("/", 1)[-1])["sweepdSweep"]
    runs = [edge["node"] for edge in found["runs"]["edges"]]
    assert found["state"] == "FINISHED"
    assert found["sweepdStatus"] == {"issued": N_TRIALS, "finished": N_TRIALS, "failed": 0}
    assert len({run["name"] for run in runs}) == N_TRIALS
    for run in runs:
        epochs = [json.loads(row)["epoch"] for row in run["history"]]
        assert epochs == [0, 1, 2, 3], f"{run['name']} shows the rows {epochs}"
    check_folder(service.data)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", SEEDS)
def test_sweep_is_exact_over_a_network_of_errors_and_lost_answers(
    seed: int, service: Service, begin: Callable[..., tuple[str, Path]]
) -> None:
    rng = random.Random(seed)
    sweep, folder = begin(service, pause=0.1)

    def now_and_then(method: str, path: str, size: int) -> int | None:
        return rng.choice([500, 502, 503, 429, 504]) if rng.random() < 0.1 else None

    with (
        between(service.url) as network,
        agent(service, sweep, folder, slots=2, url=network.url) as process,
    ):
        wait_for("the first trial", lambda: service.status(sweep, folder)["running"] > 0)
        network.refuse = network.lose = now_and_then
        wait_for("the agent's exit", lambda: process.poll() is not None, seconds=240)
        bad = [one for one in network.passed if one.status >= 429]

    assert process.returncode == 0
    assert len(bad) > 5, "the network was too good"
    check_all(service, sweep)


@pytest.mark.timeout(300)
def test_partition_longer_than_a_lease_heals_and_the_sweep_is_exact(
    service: Service, begin: Callable[..., tuple[str, Path]]
) -> None:
    sweep, folder = begin(service, pause=0.5)

    with (
        silent_network(service.port) as network,
        agent(service, sweep, folder, slots=2, url=network.url) as process,
    ):
        wait_for("a finished trial", lambda: service.status(sweep, folder)["finished"] > 0)
        network.fall_silent()
        wait_for(
            "the end of the leases",
            lambda: service.status(sweep, folder)["running"] == 0,
            seconds=60,
        )
        network.heal()
        wait_for("the agent's exit", lambda: process.poll() is not None, seconds=200)

    assert process.returncode == 0
    check_all(service, sweep)


@pytest.mark.timeout(300)
def test_trials_of_a_host_that_vanishes_go_to_another_one(
    service: Service, begin: Callable[..., tuple[str, Path]]
) -> None:
    sweep, folder = begin(service, pause=0.3)
    elsewhere = folder.with_name("elsewhere")
    shutil.copytree(folder, elsewhere)

    with (
        silent_network(service.port) as network,
        agent(service, sweep, elsewhere, slots=3, url=network.url) as gone,
    ):
        wait_for("three running trials", lambda: service.status(sweep, folder)["running"] == 3)
        network.fall_silent()
        with agent(service, sweep, folder, slots=2) as process:
            wait_for("the agent's exit", lambda: process.poll() is not None, seconds=200)
        gone.kill()

    assert process.returncode == 0
    check_all(service, sweep)
