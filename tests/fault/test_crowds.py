"""Faults 29 and 40: a crowd asks for trials at the same instant, and ends sweeps at the same time.

Three sweeps at once: a discrete space with more agents than points, a cap with more agents than
trials, and a target that several runs may reach together.
"""

import json
import random
import sqlite3
import threading
from contextlib import closing

import pytest
from invariants import check_folder
from live import PATIENCE, Service
from protocol_agent import ProtocolAgent
from seeds import SEEDS

METRIC = "metric: {name: loss, goal: minimize%s}"
N_POINTS, N_CAPPED, N_AGENTS = 24, 16, 64
DISCRETE = (
    "{method: %s, " + METRIC % "" + ", parameters: {a: {values: [1, 2, 3, 4, 5, 6]}, "
    "b: {values: [null, false, '', x]}}}"
)
CAPPED = (
    "{method: %s, " + METRIC % "" + f", run_cap: {N_CAPPED}, "
    "parameters: {x: {min: 0.0, max: 1.0}}}"
)
TARGET = "{method: %s, " + METRIC % ", target: 0.05" + ", parameters: {x: {min: 0.0, max: 1.0}}}"
CREATE = """mutation($config: String) { upsertSweep(input: {projectName: "p", config: $config})
  { sweep { name } } }"""
STATUS = """query($s: String!) { sweepdSweep(name: $s) { state
  sweepdStatus { issued finished running stopReason } } }"""


@pytest.mark.timeout(240)
@pytest.mark.parametrize("seed", SEEDS)
def test_crowd_that_asks_at_once_gets_each_trial_once_and_ends_each_sweep_once(
    service: Service, seed: int
) -> None:
    rng = random.Random(seed)
    ends = threading.Event()
    methods = ["random", "bayes", rng.choice(["random", "bayes", "grid"])]
    texts = [TARGET % methods[0], CAPPED % methods[1], DISCRETE % methods[2]]
    names = [service.graphql(CREATE, config=t)["upsertSweep"]["sweep"]["name"] for t in texts]
    crowd = [
        ProtocolAgent(service, names[n % 3], seed=1000 * seed + n, ends=ends)
        for n in range(N_AGENTS)
    ]
    rng.shuffle(crowd)

    try:
        for one in crowd:
            one.start()
        for one in crowd:
            one.join(120 * PATIENCE)
            assert not one.is_alive(), "an agent is not told to exit"
    finally:
        ends.set()

    assert [one.error for one in crowd if one.error is not None] == []
    target, capped, discrete = (service.graphql(STATUS, s=name)["sweepdSweep"] for name in names)
    for found in (target, capped, discrete):
        assert found["state"] == "FINISHED"
        assert found["sweepdStatus"]["running"] == 0
    assert capped["sweepdStatus"]["issued"] == capped["sweepdStatus"]["finished"] == N_CAPPED
    assert discrete["sweepdStatus"]["issued"] == discrete["sweepdStatus"]["finished"] == N_POINTS
    assert "target" in target["sweepdStatus"]["stopReason"]
    with closing(sqlite3.connect(f"file:{service.data}/sweepd.db?mode=ro", uri=True)) as database:
        points = database.execute(
            "SELECT config FROM trial JOIN sweep ON sweep.id = trial.sweep_id WHERE sweep.name = ?",
            [names[2]],
        ).fetchall()
        for name in names:
            query = """SELECT kind FROM event JOIN sweep ON sweep.id = event.sweep_id
              WHERE sweep.name = ? AND kind IN ('trial.issued', 'sweep.finished')
              ORDER BY event.id"""
            kinds = [kind for (kind,) in database.execute(query, [name])]
            assert kinds.count("sweep.finished") == 1
            assert kinds[-1] == "sweep.finished", "I9: a trial was handed out after the end"
    assert len({json.dumps(json.loads(point), sort_keys=True) for (point,) in points}) == N_POINTS
    acknowledged: dict[str, set[str]] = {}
    for one in crowd:
        for run, numbers in one.acknowledged.items():
            acknowledged.setdefault(run, set()).update(numbers)
    check_folder(service.data, acknowledged=acknowledged)
