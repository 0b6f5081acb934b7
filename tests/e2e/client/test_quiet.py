"""In normal use the client warns of nothing, complains of nothing and asks for no upgrade."""

import re

import pytest

pytestmark = pytest.mark.slow

PROGRAM = """
import pathlib
import numpy as np
import wandb

with wandb.init(project="quiet", config={"lr": 0.1}, tags=["a"], notes="n") as run:
    run.define_metric("loss", summary="min")
    for step in range(3):
        run.log({"loss": 1 / (step + 1)})
    run.log({"table": wandb.Table(columns=["a"], data=[[1]]), "spread": wandb.Histogram([1, 2]),
             "picture": wandb.Image(np.zeros((4, 4, 3), dtype=np.uint8))})
    pathlib.Path("model.bin").write_bytes(b"weights")
    run.save("model.bin", policy="now")
    data = wandb.Artifact("weights", "model")
    data.add_file("model.bin")
    run.log_artifact(data).wait()
    run.use_artifact("weights:latest").download()
    run.alert("title", "text")

api = wandb.Api()
found = api.run(f"quiet/{run.id}")
assert len(list(found.scan_history())) == 4
assert found.history(pandas=False) and list(found.files()) and list(found.logged_artifacts())
assert [one.id for one in api.runs("quiet", filters={"state": "finished"})] == [run.id]
assert api.artifact("quiet/weights:latest").version == "v0"

grid = {"method": "grid", "metric": {"name": "loss", "goal": "minimize"},
        "parameters": {"lr": {"values": [0.1]}}}
sweep = wandb.sweep(grid, project="quiet")

def train():
    with wandb.init() as run:
        run.log({"loss": run.config["lr"]})

wandb.agent(sweep, function=train, count=1, project="quiet")
assert wandb.Api().sweep(f"quiet/{sweep}").best_run().state == "finished"
"""
TRIAL = "import wandb\nwith wandb.init() as run:\n    run.log({'loss': run.config['lr']})\n"
DEFINITION = """
program: trial.py
method: grid
metric: {name: loss, goal: minimize}
parameters:
  lr: {values: [0.5]}
"""
#: A program's words, wandb's, Python's, and those of wandb-core in its own log.
COMPLAINT = re.compile(r"warn|error|deprecat|upgrade|out of date|unsupported", re.IGNORECASE)
#: What the client says of itself, whatever the server is.
OF_ITS_OWN = re.compile(
    r"Symlinked 1 file into the W&B run directory"  # by `run.save`
    r"|job builder disabled"  # no launch job is made of a run that used an artifact
    r"|server does not expand metric globs"  # so the client does; up to 0.30
)


def _complaints(text: str) -> list[str]:
    lines = [line for line in text.splitlines() if COMPLAINT.search(line)]
    return [line for line in lines if not OF_ITS_OWN.search(line)]


@pytest.fixture
def quiet_client(real_client):
    (real_client.folder / "trial.py").write_text(TRIAL)
    (real_client.folder / "trial.yaml").write_text(DEFINITION)
    return real_client


def test_runs_artifacts_sweeps_and_reads_in_a_program_say_nothing_bad(quiet_client):
    output = quiet_client.run("python", "-c", PROGRAM, WANDB_SILENT="false")

    assert "View run" in output  # it is not silenced
    assert _complaints(output) == []
    logs = list((quiet_client.folder.parent / "runs").rglob("debug-internal.log"))
    assert logs
    said = re.findall(r'.*"level":"(?:WARN|ERROR)".*', "\n".join(p.read_text() for p in logs))
    assert _complaints("\n".join(said)) == []


def test_login_sweep_agent_and_sync_at_the_command_line_say_nothing_bad(quiet_client):
    output = quiet_client.wandb("login", "--relogin", "--verify", quiet_client.key)
    output += quiet_client.wandb("sweep", "--project", "quietly", "trial.yaml")
    sweep = re.search(r"wandb agent (\S+)", output)[1]
    output += quiet_client.wandb("agent", sweep)
    offline = "import wandb\nwith wandb.init(project='quietly') as run:\n    run.log({'x': 1})\n"
    quiet_client.run("python", "-c", offline, WANDB_MODE="offline")
    (folder,) = (quiet_client.folder.parent / "runs" / "wandb").glob("offline-run-*")
    output += quiet_client.wandb("sync", str(folder))

    assert _complaints(output) == []
