"""The transformer of docs/own-model.md: swept, killed, resumed, exported."""

import json
import re
import runpy
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import yaml
from live import ROOT, Service, run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

EPOCHS = 3
#: Runs the page's program, and kills one trial in the middle, once its first state has arrived.
KILLED = """
import os, runpy, signal, time
from pathlib import Path
import wandb
from sweepd_trainer.resume import RESUME
from sweepd_trainer.step import Step

take, n_taken = Step.__call__, 0

def count(self, batch, drawn):
    global n_taken
    take(self, batch, drawn)
    n_taken += 1
    if n_taken == 20 and not Path("killed").exists():
        Path("killed").write_text(wandb.run.id)
        while not any(f.size for f in wandb.Api().run(wandb.run.path).files(names=[RESUME])):
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGKILL)

Step.__call__ = count
runpy.run_path("letters.py", run_name="__main__")
"""
#: What a sweep's runs are at the server; the best one's checkpoint is fetched.
RUNS = """
import json, sys, wandb
api = wandb.Api()
api.run(sys.argv[2]).file("checkpoint.pt").download()
print(json.dumps([
    {"id": run.id, "state": run.state, "config": run.config, "rows": list(run.scan_history())}
    for run in api.sweep(sys.argv[1]).runs
], default=str))
"""


def on_the_page(kind: str) -> str:
    """Return the program or the definition as docs/own-model.md has it."""
    page = (ROOT / "docs" / "own-model.md").read_text()
    (text,) = re.findall(rf"```{kind}\n(# letters\..*?)```", page, re.DOTALL)
    return str(text)


def attempts(service: Service, sweep: str) -> dict[str, int]:
    """Return how often each run of a sweep was started."""
    with closing(sqlite3.connect(f"file:{service.data}/sweepd.db?mode=ro", uri=True)) as base:
        rows = base.execute(
            "SELECT run.name, attempt FROM trial JOIN run ON run.id = run_id "
            "JOIN sweep ON sweep.id = trial.sweep_id WHERE sweep.name = ?",
            [sweep.rsplit("/", 1)[-1]],
        )
        return dict(rows.fetchall())


def model_of(program: dict[str, Any], run_: dict[str, Any], checkpoint: Path) -> Any:
    """Return the model of a run with the weights of its checkpoint."""
    model = program["build"](run_["config"])
    model.load_state_dict(torch.load(checkpoint, weights_only=True)["weights"])
    return model.eval()


def test_a_transformer_of_ones_own_is_swept_killed_resumed_and_exported(
    service: Service, tmp_path: Path
) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "letters.py").write_text(on_the_page("python"))
    (folder / "killed.py").write_text(KILLED)
    definition = {**yaml.safe_load(on_the_page("yaml")), "program": "killed.py", "run_cap": 3}
    definition["parameters"] |= {
        name: {"value": value}
        for name, value in {
            **{"letters": 25_000, "width": 32, "depth": 1, "batch_size": 32},
            **{"epochs": EPOCHS, "checkpoint_s": 0},
        }.items()
    }
    (folder / "short.yaml").write_text(yaml.safe_dump(definition))

    sweep = json.loads(service.sweep("create", "short.yaml", "--json", cwd=folder))["sweep"]
    service.sweep("agent", sweep, "--slots=1", cwd=folder, timeout=400)
    best = json.loads(service.sweep("best", sweep, "--json", cwd=folder))["best"]["run"]
    ask = [sys.executable, "-c", RUNS, sweep, best]
    runs = json.loads(run(ask, env=service.environment(WANDB_SILENT="true"), cwd=folder))

    killed = (folder / "killed").read_text()
    assert attempts(service, sweep) == {r["id"]: 2 if r["id"] == killed else 1 for r in runs}
    (log,) = folder.glob(f"wandb/sweep-*/{killed}.log")
    assert "resumed after" in log.read_text()
    assert [r["state"] for r in runs] == ["finished"] * 3
    n_rows = {len(r["rows"]) for r in runs}
    assert len(n_rows) == 1
    for one in runs:
        assert [row["_step"] for row in one["rows"]] == list(range(*n_rows))
        epochs = [row["epoch"] for row in one["rows"] if row.get("val_bits") is not None]
        assert epochs == list(range(1, EPOCHS + 1))

    service.sweep("export", sweep, "--model=letters:rebuild", cwd=folder, timeout=200)

    onnx.checker.check_model(str(folder / "model.onnx"), full_check=True)
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    program = runpy.run_path(str(folder / "letters.py"))
    (chosen,) = (one for one in runs if one["id"] == best.rsplit("/", 1)[-1])
    model = model_of(program, chosen, folder / "checkpoint.pt")
    for size in (1, 7, 100):
        tokens = program["data"]({"letters": 25_000}).test.inputs[:size]
        (given,) = session.run(None, {"input": tokens.numpy()})
        with torch.no_grad():
            np.testing.assert_allclose(given, model(tokens).numpy(), atol=1e-4)
