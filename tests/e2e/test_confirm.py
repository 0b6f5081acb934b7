"""`sweep confirm` on a real service: a lucky winner is found out, and reported."""

import json
from pathlib import Path

import pytest
from live import Service

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

#: The configuration a is worth 0.5 and had luck with its seed; b is worth 0.3 whatever the seed.
PROGRAM = """\
import wandb

with wandb.init() as run:
    worth, luck = {"a": (0.5, 0.4), "b": (0.3, 0.0)}[run.config["kind"]]
    seed = run.config["seed"]
    run.log({"loss": worth - (luck if seed == 0 else 0.01 * seed * bool(luck))})
"""
DEFINITION = """\
program: luck.py
method: grid
metric: {name: loss, goal: minimize}
run_cap: 2
parameters:
  kind: {values: [a, b]}
  seed: {value: 0}
"""


def test_the_lucky_winner_of_an_ended_sweep_falls_behind_with_fresh_seeds(
    service: Service, tmp_path: Path
) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "luck.py").write_text(PROGRAM)
    (folder / "luck.yaml").write_text(DEFINITION)
    path = json.loads(service.sweep("create", "luck.yaml", "--json", cwd=folder))["sweep"]
    service.sweep("agent", path, cwd=folder)
    before = json.loads(service.sweep("best", path, "--json", cwd=folder))

    begun = json.loads(
        service.sweep("confirm", path, "--top", "2", "--seeds", "2", "--json", cwd=folder)
    )
    (again,) = begun["created"]
    service.sweep("agent", again, cwd=folder)
    told = json.loads(service.sweep("confirm", path, "--wait", "--json", cwd=folder))
    after = json.loads(service.sweep("best", path, "--json", cwd=folder))

    assert before["best"]["config"]["kind"] == "a"
    assert (begun["waiting"], told["waiting"], told["created"]) == (4, 0, [])
    assert [one["n"] for one in told["leaders"]] == [2, 2]
    assert [one["mean"] for one in told["leaders"]] == pytest.approx([0.3, 0.485])
    assert told["leaders"][1]["fall"] == pytest.approx(0.385)
    assert after["best"]["config"]["kind"] == "b"
    assert after["best_single"]["run"] == before["best"]["run"]
    service.sweep("report", path, "--out", "r.html", cwd=folder)
    report = (folder / "r.html").read_text()
    assert "Confirmed with fresh seeds" in report
    assert "needs 20 finished runs; there are 2" in report
    status = json.loads(service.sweep("status", path, "--json", cwd=folder))
    assert (status["state"], status["issued"]) == ("FINISHED", 2)
