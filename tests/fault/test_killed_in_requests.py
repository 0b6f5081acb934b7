"""Faults 1 and 7: the service is killed in the middle of requests, and stays away for a while."""

import random
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from invariants import check_folder
from live import PATIENCE, Service
from protocol_agent import ProtocolAgent
from seeds import SEEDS

DEFINITION = """{method: random, run_cap: %d, metric: {name: loss, goal: minimize},
  parameters: {x: {min: 0.0, max: 1.0}}}"""
CREATE = """mutation($config: String) { upsertSweep(input: {projectName: "p", config: $config})
  { sweep { name } } }"""
STATUS = "query($s: String!) { sweepdSweep(name: $s) { state sweepdStatus { issued finished } } }"
N_TRIALS = 36


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """A service whose leases last six seconds."""
    service = Service(tmp_path / "data", SWEEPD_TIME_SCALE="0.1")
    service.start()
    yield service
    service.stop()


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_that_was_answered_is_lost_and_no_trial_is_doubled(
    seed: int, service: Service
) -> None:
    rng = random.Random(seed)
    ends = threading.Event()
    made = service.graphql(CREATE, config=DEFINITION % N_TRIALS)
    sweep = made["upsertSweep"]["sweep"]["name"]
    crowd = [ProtocolAgent(service, sweep, seed=100 * seed + n, ends=ends) for n in range(6)]
    try:
        for one in crowd:
            one.start()
        n_kills = 0
        while not any(one.given for one in crowd) and any(one.is_alive() for one in crowd):
            ends.wait(0.002)
        while any(one.is_alive() for one in crowd) and n_kills < 5:
            # The first time soon: a quick machine is done with all trials in half a second.
            ends.wait(rng.uniform(0.05, 0.7) if n_kills else rng.uniform(0.0, 0.1))
            service.kill()
            if n_kills == 2:  # longer than a lease of 6 s
                ends.wait(8)
            service.start()
            n_kills += 1
        for one in crowd:
            one.join(120 * PATIENCE)
    finally:
        ends.set()

    found = service.graphql(STATUS, s=sweep)["sweepdSweep"]
    assert [one.error for one in crowd if one.error is not None] == []
    assert sum(one.n_repeats for one in crowd) > 0, "no request was ever interrupted"
    assert found["state"] == "FINISHED"
    assert found["sweepdStatus"] == {"issued": N_TRIALS, "finished": N_TRIALS}
    given = [(run, attempt) for one in crowd for run in one.given for attempt in one.given[run]]
    assert len(set(given)) == len(given), "two agents were given the same attempt"
    acknowledged: dict[str, set[str]] = {}
    for one in crowd:
        for run, numbers in one.acknowledged.items():
            acknowledged.setdefault(run, set()).update(numbers)
    check_folder(service.data, acknowledged=acknowledged)
