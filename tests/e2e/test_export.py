"""`sweep export` on a real service: a model of one's own, its files, and where they belong."""

import json
import sys
from pathlib import Path

import pytest
from live import Service, run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

PROGRAM = """\
import torch
from torch import nn
from sweepd_trainer import Rows, fit, rebuilt_by, split


def build(config):
    return nn.Sequential(nn.Embedding(7, config["width"]), nn.Linear(config["width"], 7))


def data(config):
    start = torch.randint(0, 7, (300, 1), generator=torch.Generator().manual_seed(0))
    texts = (start + torch.arange(9)) % 7
    return split(Rows(texts[:, :-1], texts[:, 1:]))


rebuild = rebuilt_by(build, data)

if __name__ == "__main__":
    fit({"batch_size": 25, "learning_rate": 0.05}, data, build)
"""
DEFINITION = """\
program: circle.py
name: Around the circle!
method: grid
metric: {name: val_accuracy, goal: maximize}
parameters:
  width: {values: [16]}
  epochs: {value: 12}
"""
#: What a run is at the server, but for its files and the client's own notes of itself.
STATE = """\
import json, sys, wandb
api = wandb.Api()
run = api.run(sys.argv[1])
told = {name: value for name, value in run._attrs.items() if name != "rawconfig"}
own = run._attrs["rawconfig"]["_wandb"]
told |= {"config": run.config, "metrics": own["m"], "environment": own["e"]}
print(json.dumps({
    "run": {**told, "rows": list(run.scan_history()), "state": run.state},
    "logged": [[one.name, one.type, sorted(one.aliases)] for one in run.logged_artifacts()],
    "files": sorted(file.name for file in run.files()),
}, default=str, sort_keys=True))
"""
MADE_BY = """\
import json, sys, wandb
one = wandb.Api().artifact(sys.argv[1], type="model")
print(json.dumps({"by": one.logged_by().id, "files": sorted(file.name for file in one.files())}))
"""


def test_a_model_of_ones_own_is_exported_and_registered_and_its_run_stays_as_it_was(
    service: Service, tmp_path: Path
) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "circle.py").write_text(PROGRAM)
    (folder / "circle.yaml").write_text(DEFINITION)

    def ask(script: str, *arguments: str) -> dict:
        command = [sys.executable, "-c", script, *arguments]
        return json.loads(run(command, env=service.environment(WANDB_SILENT="true"), cwd=folder))

    path = json.loads(service.sweep("create", "circle.yaml", "--json", cwd=folder))["sweep"]
    service.sweep("agent", path, cwd=folder)
    best = json.loads(service.sweep("best", path, "--json", cwd=folder))["best"]["run"]
    before = ask(STATE, best)

    options = ("--model", "circle:rebuild", "--precision", "fp16", "--precision", "int8")
    report = json.loads(service.sweep("export", path, *options, "--json", cwd=folder, timeout=200))

    after = ask(STATE, best)
    names = ["model.fp16.onnx", "model.int8.onnx", "model.md", "model.onnx"]
    sweep_id = path.rsplit("/", 1)[-1]
    assert [file["accuracy"] for file in report["files"]] == [1.0, 1.0, 1.0]
    assert report["warning"] is None
    assert after["run"] == before["run"]
    assert after["files"] == sorted([*before["files"], *names])
    aliases = ["Around-the-circle", "best", "latest"]
    assert after["logged"] == [[f"{sweep_id}:v0", "model", aliases]]
    assert report["artifact"].endswith(f"/{sweep_id}:v0")
    made = ask(MADE_BY, f"{path}:best")
    assert made == {"by": best.rsplit("/", 1)[-1], "files": names}
    assert sorted(one.name for one in folder.glob("model*")) == names
