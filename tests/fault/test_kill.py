"""SIGKILL of the service and of an agent in a sweep: exact, complete, every row kept."""

import json
import shutil
from contextlib import ExitStack
from pathlib import Path

import pytest
from crew import agent
from live import ROOT, Service, wait_for

DEFINITION = """\
program: toy.py
method: random
metric: {name: loss, goal: minimize}
run_cap: 12
parameters:
  x: {min: 0.0, max: 1.0}
  pause: {value: 0.5}
"""

TRIALS = """query($s: String!) { sweepdSweep(name: $s) {
  sweepdStatus { issued finished failed }
  runs(first: 100) { edges { node { name state historyLineCount history(samples: 100) } } } } }"""


@pytest.mark.timeout(420)
def test_killed_service_and_killed_agent_neither_lose_nor_double_a_trial(
    service: Service, tmp_path: Path
) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    shutil.copy(ROOT / "tests" / "programs" / "toy.py", folder)
    (folder / "sweep.yaml").write_text(DEFINITION)
    sweep = json.loads(service.sweep("create", "sweep.yaml", "--json", cwd=folder))["sweep"]
    finished = lambda: service.status(sweep)["finished"]  # noqa: E731

    with ExitStack() as stack:
        agents = [stack.enter_context(agent(service, sweep, folder)) for _ in range(3)]
        wait_for("two finished trials", lambda: finished() >= 2, seconds=90)
        service.kill()
        service.start()
        wait_for("four finished trials", lambda: finished() >= 4, seconds=90)
        agents[0].kill()
        stack.enter_context(agent(service, sweep, folder))
        wait_for(
            "the sweep's end",
            lambda: service.status(sweep)["state"] == "FINISHED",
            seconds=240,
        )
        for process in agents[1:]:
            wait_for("the agents' exit", lambda p=process: p.poll() is not None, seconds=60)

    found = service.graphql(TRIALS, s=sweep.rsplit("/", 1)[-1])["sweepdSweep"]
    runs = [edge["node"] for edge in found["runs"]["edges"]]
    assert found["sweepdStatus"] == {"issued": 12, "finished": 12, "failed": 0}
    assert len({run["name"] for run in runs}) == 12
    assert [run["state"] for run in runs] == ["finished"] * 12
    for run in runs:
        epochs = [json.loads(row)["epoch"] for row in run["history"]]
        assert epochs[-4:] == [0, 1, 2, 3], f"{run['name']} lost rows: {epochs}"
    assert [process.returncode for process in agents[1:]] == [0, 0]
