"""trainer/train.py with a pack of trials: one process, a run of its own for each."""

import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch
from live import ROOT, Service, run
from packs import events_in, make_pack

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

SCRIPT = ROOT / "trainer" / "train.py"
EPOCHS = 3
DEFINITION = {
    "program": "train.py",
    "method": "grid",
    "metric": {"name": "val_accuracy", "goal": "maximize"},
    "parameters": {
        "slice": {"value": 4},
        "batch_size": {"value": 32},
        "kernels": {"value": [4, 8]},
        "epochs": {"value": EPOCHS},
        "optimizer": {"value": "sgd"},
        "weight_decay": {"value": 0.02},
        "learning_rate": {"values": [0.05, 0.02, 1000.0]},
    },
}
RUN = """SELECT run.id, run.state, run.exit_code, run.config, run.summary FROM run
  WHERE run.name = ?"""
#: Whether the trial's current attempt was begun by a run that showed its lease.
FENCED = """SELECT is_fenced FROM attempt JOIN trial ON trial.id = trial_id
  AND trial.attempt = attempt.number WHERE trial.run_id = ?"""
ROWS = "SELECT body FROM stream_line WHERE run_id = ? AND stream = 0 ORDER BY line"
FILES = "SELECT name, blob FROM run_file WHERE run_id = ?"

CREATE = """mutation($config: String) {
  upsertSweep(input: {projectName: "p", config: $config}) { sweep { name } } }"""
STATUS = """query($name: String!) { sweepdSweep(name: $name) {
  state sweepdStatus { issued finished failed } } }"""


class Stored:
    """A run as the service has it."""

    def __init__(self, service: Service, name: str) -> None:
        with closing(sqlite3.connect(f"file:{service.data}/sweepd.db?mode=ro", uri=True)) as base:
            number, self.state, self.exit_code, config, summary = base.execute(
                RUN, [name]
            ).fetchone()
            self.rows = [json.loads(body) for (body,) in base.execute(ROWS, [number])]
            (self.has_shown_lease,) = base.execute(FENCED, [number]).fetchone()
            files = dict(base.execute(FILES, [number]))
        self.config: dict[str, Any] = json.loads(config)
        self.summary: dict[str, Any] = json.loads(summary)
        self.files = {name: service.data / "blobs" / key[:2] / key for name, key in files.items()}

    def column(self, name: str) -> list[float]:
        return [row[name] for row in self.rows if row.get(name) is not None]


def test_trials_of_a_pack_end_each_in_its_own_way(service: Service, tmp_path: Path) -> None:
    pack = make_pack(service, tmp_path / "pack", DEFINITION, n=3)
    whole, stopped, diverged = pack.runs
    (pack.folder / f"stop-{stopped}").touch()

    run([sys.executable, SCRIPT], env=pack.environment, cwd=tmp_path)

    events = events_in(pack.folder)
    ends = {e["run"]: e for e in events if e["event"] == "ended"}
    assert [e["run"] for e in events if e["event"] == "began"] == pack.runs
    assert {name: e["exit_code"] for name, e in ends.items()} == {
        whole: 0,
        stopped: 143,
        diverged: 1,
    }
    assert ends[whole]["message"] is None
    assert ends[stopped]["message"] == f"stopped on request after epoch 1 of {EPOCHS}"
    assert "the loss is" in ends[diverged]["message"]
    (measured,) = (e for e in events if e["event"] == "measured")
    assert measured["trials"] == 1  # in the one epoch that started nothing up
    assert measured["rows_per_s"] > 0
    assert (measured["peak_bytes"], measured["total_bytes"]) == (None, None)

    runs = [Stored(service, name) for name in pack.runs]
    rates = [one.config["learning_rate"]["value"] for one in runs]
    assert rates == DEFINITION["parameters"]["learning_rate"]["values"]
    assert all(one.has_shown_lease for one in runs)
    assert [one.exit_code for one in runs] == [0, 143, 1]
    assert runs[0].state == "finished"
    assert len(runs[0].column("val_accuracy")) == EPOCHS
    assert len(runs[1].column("val_accuracy")) == 1
    assert len(runs[0].column("test_accuracy")) == 1
    assert runs[0].summary["best_epoch"] >= 1
    assert runs[0].summary["mode"] == "eager, pack of 1"
    assert runs[2].rows[-1]["val_accuracy"] == "NaN"
    assert {"checkpoint.pt", "checkpoint-resume.pt"} & runs[0].files.keys() == {"checkpoint.pt"}
    assert {"checkpoint.pt", "checkpoint-resume.pt"} <= runs[1].files.keys()
    weights = torch.load(runs[0].files["checkpoint.pt"], weights_only=True)
    assert weights["config"]["learning_rate"] == rates[0]

    # The one that was stopped goes on by itself.
    alone = {**pack.environment, **pack.environments[1]}
    del alone["SWEEPD_PACK"]
    said = run([sys.executable, SCRIPT], env=alone, cwd=tmp_path)

    resumed = Stored(service, stopped)
    assert "resumed after 300 examples" in said
    assert len(resumed.column("val_accuracy")) == EPOCHS
    assert [row["_step"] for row in resumed.rows] == list(range(len(resumed.rows)))
    assert resumed.files["checkpoint.pt"].exists()
    assert "checkpoint-resume.pt" not in resumed.files


def test_a_pack_that_cannot_be_trained_together_begins_no_run(
    service: Service, tmp_path: Path
) -> None:
    parameters = {**DEFINITION["parameters"], "model": {"value": "resnet9"}, "width": {"value": 4}}
    pack = make_pack(service, tmp_path / "pack", {**DEFINITION, "parameters": parameters}, n=2)

    done = subprocess.run(
        [sys.executable, str(SCRIPT)], env=pack.environment, cwd=tmp_path, timeout=100, check=False
    )

    (event,) = events_in(pack.folder)
    assert done.returncode == 0
    assert event["event"] == "refused"
    assert "running_mean" in event["message"]


def test_agent_packs_the_trials_of_a_sweep_each_its_own_run(
    service: Service, tmp_path: Path
) -> None:
    rates = {"values": [0.05, 0.04, 0.03, 0.02]}
    definition = {
        **DEFINITION,
        "program": str(SCRIPT),
        "parameters": {**DEFINITION["parameters"], "learning_rate": rates},
    }
    made = service.graphql(CREATE, config=json.dumps(definition))["upsertSweep"]["sweep"]["name"]
    agent = [sys.executable, "-m", "sweepd_agent", f"{service.user}/p/{made}", "--json"]

    said = run(
        [*agent, "--gpus=none", "--slots=1", "--pack=4"], env=service.environment(), cwd=tmp_path
    )

    events = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    started = [event for event in events if event["event"] == "trial_started"]
    assert [event["pack"] for event in started] == [4] * 4
    assert len({event["pid"] for event in started}) == 1
    runs = [Stored(service, event["run"]) for event in started]
    assert [one.state for one in runs] == ["finished"] * 4
    assert [len(one.column("val_accuracy")) for one in runs] == [EPOCHS] * 4
    found = service.graphql(STATUS, name=made)["sweepdSweep"]
    assert found == {
        "state": "FINISHED",
        "sweepdStatus": {"issued": 4, "finished": 4, "failed": 0},
    }
