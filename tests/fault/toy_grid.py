"""A grid of toy trials that a fault is done to, and what must be true of it afterwards."""

import json
import shutil
from pathlib import Path

from invariants import check_folder
from live import ROOT, Service

__all__ = ["begin", "check"]

_DEFINITION = """\
program: toy.py
method: grid
metric: {name: loss, goal: minimize}
parameters:
  x: {values: %s}
  pause: {value: %s}
"""
_CREATE = """mutation($config: String) { upsertSweep(input: {projectName: "p", config: $config})
  { sweep { name } } }"""
_RUNS = """query($s: String!) { sweepdSweep(name: $s) { state
  sweepdStatus { issued finished failed } runs(first: 1000) { edges { node { name state
  history(samples: 100) } } } } }"""


def begin(service: Service, folder: Path, *, n_points: int, pause: float, more: str = "") -> str:
    """Make a new folder with the program, and a sweep of so many points; return its address.

    Each trial logs four rows, `pause` seconds apart. `more` ends the definition.
    """
    folder.mkdir()
    shutil.copy(ROOT / "tests" / "programs" / "toy.py", folder)
    points = [round(n / n_points, 4) for n in range(n_points)]
    definition = _DEFINITION % (points, pause) + more
    made = service.graphql(_CREATE, config=definition)["upsertSweep"]["sweep"]
    return f"{service.user}/p/{made['name']}"


def check(service: Service, sweep: str, *, n_points: int) -> None:
    """Raise AssertionError unless each point was finished once, with the rows of one attempt."""
    found = service.graphql(_RUNS, s=sweep.rsplit("/", 1)[-1])["sweepdSweep"]
    runs = [edge["node"] for edge in found["runs"]["edges"]]
    assert found["state"] == "FINISHED"
    assert found["sweepdStatus"] == {"issued": n_points, "finished": n_points, "failed": 0}
    assert len({run["name"] for run in runs}) == n_points
    for run in runs:
        epochs = [json.loads(row)["epoch"] for row in run["history"]]
        assert epochs == [0, 1, 2, 3], f"{run['name']} shows the rows {epochs}"
    check_folder(service.data)
