"""Faults 16 and 24 to 26: errors, lost answers, silence and a vanished host between the two."""

import random
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import toy_grid
from between import between
from crew import agent
from live import Service, wait_for
from seeds import SEEDS
from silent_network import silent_network
from vanishing_host import vanishing_host

N_TRIALS = 8


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """A service whose leases last six seconds."""
    service = Service(tmp_path / "data", SWEEPD_TIME_SCALE="0.1")
    service.start()
    yield service
    service.stop()


def _wait_for_trials(service: Service, sweep: str, *, n_finished: int) -> None:
    """Wait until so many trials have finished, and others run."""

    def is_amid() -> bool:
        status = service.status(sweep)
        return bool(status["finished"] >= n_finished and status["running"])

    wait_for(f"{n_finished} finished trials, and others", is_amid, seconds=120)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", SEEDS)
def test_sweep_is_exact_over_a_network_of_errors_and_lost_answers(
    seed: int, service: Service, tmp_path: Path
) -> None:
    rng = random.Random(seed)
    folder = tmp_path / "work"
    sweep = toy_grid.begin(service, folder, n_points=N_TRIALS, pause=0.1)

    def now_and_then(method: str, path: str, size: int) -> int | None:
        return rng.choice([500, 502, 503, 429, 504]) if rng.random() < 0.1 else None

    with (
        between(service.url) as network,
        agent(service, sweep, folder, slots=2, url=network.url) as process,
    ):
        wait_for("the first trial", lambda: service.status(sweep)["running"] > 0, seconds=60)
        network.refuse = network.lose = now_and_then
        wait_for("the agent's exit", lambda: process.poll() is not None, seconds=240)
        bad = [one for one in network.passed if one.status >= 429]

    assert process.returncode == 0
    assert len(bad) > 5, "the network was too good"
    toy_grid.check(service, sweep, n_points=N_TRIALS)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", SEEDS)
def test_partition_of_any_length_heals_and_the_sweep_is_exact(
    seed: int, service: Service, tmp_path: Path
) -> None:
    rng = random.Random(seed)
    n_before, is_longer_than_a_lease = rng.randrange(4), seed % 3 == 0 or rng.random() < 0.5
    folder = tmp_path / "work"
    sweep = toy_grid.begin(service, folder, n_points=N_TRIALS, pause=0.3)

    with (
        silent_network(service.port) as network,
        agent(service, sweep, folder, slots=2, url=network.url) as process,
    ):
        _wait_for_trials(service, sweep, n_finished=n_before)
        network.fall_silent()
        if is_longer_than_a_lease:
            is_lapsed = lambda: service.status(sweep)["running"] == 0  # noqa: E731
            wait_for("the end of the leases", is_lapsed, seconds=60)
        else:
            threading.Event().wait(rng.uniform(0.5, 5))
        network.heal()
        wait_for("the agent's exit", lambda: process.poll() is not None, seconds=200)

    assert process.returncode == 0
    toy_grid.check(service, sweep, n_points=N_TRIALS)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", SEEDS)
def test_trials_of_a_host_that_vanishes_go_to_another_one(
    seed: int, service: Service, tmp_path: Path
) -> None:
    n_before = random.Random(seed).randrange(4)
    folder = tmp_path / "work"
    sweep = toy_grid.begin(service, folder, n_points=N_TRIALS, pause=0.3)
    elsewhere = folder.with_name("elsewhere")
    shutil.copytree(folder, elsewhere)

    with (
        vanishing_host(service.port, tmp_path) as host,
        agent(service, sweep, elsewhere, slots=3, url=host.url, before=host.before) as gone,
    ):
        _wait_for_trials(service, sweep, n_finished=n_before)
        host.vanish()
        with agent(service, sweep, folder, slots=2) as process:
            wait_for("the agent's exit", lambda: process.poll() is not None, seconds=200)
        gone.kill()

    assert process.returncode == 0
    toy_grid.check(service, sweep, n_points=N_TRIALS)
