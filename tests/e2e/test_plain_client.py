"""The unmodified client and command line, alone in their environment, against `sweep serve`."""

import json
import re
import shutil
from pathlib import Path

import pytest
from live import ROOT, Service, run, wait_for

PROGRAMS = ROOT / "tests" / "programs"

DEFINITION = """\
program: toy.py
method: random
metric: {name: loss, goal: minimize}
run_cap: %d
parameters:
  x: {min: 0.0, max: 1.0}
  pause: {value: %s}
"""

FUNCTION_AGENT = """
import json, wandb

def train():
    with wandb.init() as run:
        for epoch in range(3):
            run.log({"loss": (run.config["x"] - 0.3) ** 2 + 1 / (epoch + 1)})

sweep = wandb.sweep(
    {
        "method": "random",
        "metric": {"name": "loss", "goal": "minimize"},
        "run_cap": 2,
        "parameters": {"x": {"min": 0.0, "max": 1.0}},
    },
    project="functions",
)
wandb.agent(sweep, function=train, count=2)
found = wandb.Api().sweep(f"functions/{sweep}")
print("RESULT", json.dumps({"state": found.state, "runs": [r.state for r in found.runs]}))
"""

READ_BACK = """
import json, pathlib, sys, wandb

sweep = wandb.Api().sweep(sys.argv[1])
best = sweep.best_run()
best.file("note.txt").download(root=".", replace=True)
print("RESULT", json.dumps({
    "losses": sorted(r.summary["loss"] for r in sweep.runs),
    "best": best.summary["loss"],
    "x": best.config["x"],
    "history": [row["loss"] for row in best.history(pandas=False)],
    "scanned": [row["loss"] for row in best.scan_history(keys=["loss"])],
    "files": sorted(f.name for f in best.files()),
    "note": pathlib.Path("note.txt").read_text(),
    "state": sweep.state,
    "expected": sweep.expected_run_count,
}))
"""


def result(output: str) -> dict[str, object]:
    line = next(line for line in output.splitlines() if line.startswith("RESULT "))
    found: dict[str, object] = json.loads(line.removeprefix("RESULT "))
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    shutil.copy(PROGRAMS / "toy.py", folder)
    return folder


def register(service: Service, client: Path, folder: Path, definition: str) -> str:
    (folder / "sweep.yaml").write_text(definition)
    run(
        [client / "wandb", "sweep", "--project", "toys", "sweep.yaml"],
        env=service.environment(PATH=f"{client}:/usr/bin:/bin"),
        cwd=folder,
    )
    data = service.graphql(
        "query { sweepdSweeps(first: 1) { edges { node { name project { name entityName } } } } }"
    )
    node = data["sweepdSweeps"]["edges"][0]["node"]
    return f"{node['project']['entityName']}/{node['project']['name']}/{node['name']}"


def test_login_saves_a_key_that_the_service_knows(
    service: Service, client: Path, folder: Path
) -> None:
    env = {k: v for k, v in service.environment().items() if k != "WANDB_API_KEY"}

    run([client / "wandb", "login", f"--host={service.url}", service.key], env=env, cwd=folder)

    assert service.key in (service.home / ".netrc").read_text()


def test_login_with_a_wrong_key_says_how_to_get_one(
    service: Service, client: Path, folder: Path
) -> None:
    env = {k: v for k, v in service.environment().items() if k != "WANDB_API_KEY"}

    with pytest.raises(AssertionError) as caught:
        run([client / "wandb", "login", f"--host={service.url}", "w" * 40], env=env, cwd=folder)

    assert "sweep user add" in str(caught.value)


@pytest.mark.timeout(240)
def test_command_line_agent_finishes_a_sweep_that_reads_back_whole(
    service: Service, client: Path, folder: Path
) -> None:
    env = service.environment(PATH=f"{client}:/usr/bin:/bin")
    sweep = register(service, client, folder, DEFINITION % (3, 0))

    run([client / "wandb", "agent", sweep], env=env, cwd=folder, timeout=180)
    found = result(run([client / "python", "-c", READ_BACK, sweep], env=env, cwd=folder))

    assert found["state"] == "FINISHED"
    assert found["expected"] == 3
    losses = found["losses"]
    assert isinstance(losses, list)
    assert len(losses) == 3
    assert found["best"] == losses[0]
    assert found["history"] == found["scanned"]
    assert len(found["history"]) == 4  # type: ignore[arg-type]
    assert found["note"] == f"x was {found['x']}\n"
    files = found["files"]
    assert isinstance(files, list)
    assert {"note.txt", "output.log", "config.yaml", "wandb-summary.json"} <= set(files)


def test_function_agent_finishes_a_sweep(service: Service, client: Path, folder: Path) -> None:
    output = run([client / "python", "-c", FUNCTION_AGENT], env=service.environment(), cwd=folder)

    assert result(output) == {"state": "FINISHED", "runs": ["finished", "finished"]}


@pytest.mark.timeout(240)
def test_pause_resume_stop_and_cancel_from_the_clients_command_line(
    service: Service, client: Path, folder: Path
) -> None:
    env = service.environment(PATH=f"{client}:/usr/bin:/bin")
    seen = []
    for verbs in (["--pause", "--resume", "--stop"], ["--cancel"]):
        sweep = register(service, client, folder, DEFINITION % (100, 0))
        run([client / "wandb", "agent", "--count=1", sweep], env=env, cwd=folder)
        for verb in verbs:
            run([client / "wandb", "sweep", verb, sweep], env=env, cwd=folder)
            seen.append(service.status(sweep)["state"])

    assert seen == ["PAUSED", "RUNNING", "FINISHED", "CANCELED"]


@pytest.mark.timeout(240)
def test_cancel_stops_a_running_trial_of_the_clients_agent(
    service: Service, client: Path, folder: Path
) -> None:
    import subprocess

    env = service.environment(PATH=f"{client}:/usr/bin:/bin")
    sweep = register(service, client, folder, DEFINITION % (100, 30))
    agent = subprocess.Popen(
        [client / "wandb", "agent", sweep],
        env=env,
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        wait_for("a running trial", lambda: service.status(sweep)["running"], seconds=60)
        run([client / "wandb", "sweep", "--cancel", sweep], env=env, cwd=folder)
        wait_for("the agent's end", lambda: agent.poll() is not None, seconds=90)
    finally:
        if agent.poll() is None:
            agent.kill()
            agent.wait()

    status = service.status(sweep)
    assert status["issued"] == 1
    assert status["running"] == 0


def test_a_definition_the_search_cannot_read_is_refused_in_words(
    service: Service, client: Path, folder: Path
) -> None:
    (folder / "wrong.yaml").write_text(
        "method: bayes\nmetric: {name: loss}\nparameters: {x: {min: 1.0, max: 0.5}}\n"
    )

    with pytest.raises(AssertionError) as caught:
        run(
            [client / "wandb", "sweep", "--project", "toys", "wrong.yaml"],
            env=service.environment(),
            cwd=folder,
        )

    assert re.search(r"parameters\.x.*min 1\.0.*max 0\.5", str(caught.value))
    data = service.graphql("query { sweepdSweeps(first: 1) { edges { node { name } } } }")
    assert data["sweepdSweeps"]["edges"] == []
