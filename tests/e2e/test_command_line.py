"""`sweep …` as a person uses it: real services, agents, programs and signals."""

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from live import ROOT, SWEEP, Service, run, wait_for

TOY = """\
program: toy.py
method: random
metric: {name: loss, goal: minimize}
run_cap: %d
parameters:
  x: {min: 0.0, max: 1.0}
  pause: {value: %s}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    shutil.copy(ROOT / "tests" / "programs" / "toy.py", folder)
    (folder / "toy.yaml").write_text(TOY % (3, 0))
    return folder


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    """The environment of somebody who has configured nothing."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("WANDB_", "SWEEPD_", "XDG_"))}
    home = str(tmp_path / "home")
    return {**kept, "HOME": home, "WANDB_ERROR_REPORTING": "false", "OMP_NUM_THREADS": "1"}


def ask(*arguments: object, env: dict[str, str], cwd: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*SWEEP, *map(str, arguments)],
        env=env,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )


def children_of(marker: str) -> list[str]:
    """Return the command lines of the processes that have `marker` in theirs."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if marker in line:
            found.append(line)
    return found


@pytest.mark.timeout(240)
def test_run_of_a_program_without_checkpoints_ends_with_the_best_runs_and_a_note(
    folder: Path, home: dict[str, str], tmp_path: Path
) -> None:
    data = tmp_path / "data"

    done = ask("run", "toy.yaml", "--agents", "2", "--data", data, "--json", env=home, cwd=folder)

    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    assert told["sweep"]["state"] == "FINISHED"
    assert told["sweep"]["finished"] == 3
    assert len(told["selection"]["ranking"]) == 3
    assert told["selection"]["best"]["value"] == told["sweep"]["best"]
    assert told["export"] is None
    assert "no checkpoint.pt, so there is no model to export" in done.stderr
    assert "Traceback" not in done.stderr
    assert children_of(str(data)) == []
    assert children_of(told["sweep"]["sweep"]) == []
    assert not (folder / "out").exists()


@pytest.mark.timeout(240)
def test_run_says_why_every_trial_failed_and_leaves_with_1(
    folder: Path, home: dict[str, str], tmp_path: Path
) -> None:
    (folder / "toy.py").write_text("import a_module_that_is_not_there\n")

    done = ask(
        "run", "toy.yaml", "--agents", "1", "--data", tmp_path / "data", env=home, cwd=folder
    )

    assert done.returncode == 1
    assert "every trial failed the same way: ModuleNotFoundError" in done.stderr
    assert "no trial finished" in done.stderr


@pytest.mark.timeout(240)
def test_run_ends_cleanly_when_interrupted_once_and_serve_shows_the_results_again(
    folder: Path, home: dict[str, str], tmp_path: Path
) -> None:
    (folder / "toy.yaml").write_text(TOY % (100, 0.5))
    data, log = tmp_path / "data", tmp_path / "printed"
    with log.open("wb") as printed:
        process = subprocess.Popen(
            [*SWEEP, "run", "toy.yaml", "--agents", "2", "--data", str(data)],
            env=home,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=printed,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        wait_for("a finished trial", lambda: " best loss" in log.read_text(), seconds=90)
        process.send_signal(signal.SIGINT)
        code = process.wait(90)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()

    text = log.read_text()
    assert code == 130, text
    assert "interrupted: no new trials; those running finish" in text
    assert "lowest loss of" in text
    assert "sweep serve" in text
    assert children_of(str(data)) == []

    service = Service(data)
    service.start()
    try:
        (row,) = json.loads(service.sweep("ls", "--json", cwd=folder))
    finally:
        service.stop()
    assert row["state"] == "FINISHED"
    assert row["running"] == 0
    assert row["finished"] == row["issued"] >= 1


@pytest.mark.timeout(240)
def test_run_that_is_killed_leaves_neither_service_nor_trials(
    folder: Path, home: dict[str, str], tmp_path: Path
) -> None:
    (folder / "toy.yaml").write_text(TOY % (100, 60))
    data, log = tmp_path / "data", tmp_path / "printed"
    with log.open("wb") as printed:
        process = subprocess.Popen(
            [*SWEEP, "run", "toy.yaml", "--agents", "1", "--data", str(data)],
            env=home,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=printed,
            stderr=subprocess.STDOUT,
        )
    wait_for("a running trial", lambda: "1 running" in log.read_text(), seconds=90)
    sweep = log.read_text().partition("sweep ")[2].split()[0]
    assert children_of(str(data)) != []
    assert children_of(sweep) != []

    process.kill()
    process.wait(20)

    wait_for("the service's end", lambda: children_of(str(data)) == [])
    wait_for("the agent's end", lambda: children_of(sweep) == [], seconds=60)


@pytest.mark.timeout(240)
def test_create_agent_best_and_delete_against_a_service(service: Service, folder: Path) -> None:
    created = json.loads(
        service.sweep("create", "toy.yaml", "--project", "toys", "--json", cwd=folder)
    )
    sweep = created["sweep"]
    assert created["url"] == f"{service.url}/{service.user}/toys/sweeps/{sweep.rsplit('/')[-1]}"
    service.sweep("agent", created["url"], "--slots", "2", cwd=folder)

    lines = service.sweep("watch", sweep, "--json", cwd=folder).splitlines()
    best = json.loads(service.sweep("best", sweep, "--limit", "2", "--json", cwd=folder))
    refused = ask("export", best["best"]["run"], env=service.environment(), cwd=folder)
    ended = ask("resume", sweep, env=service.environment(), cwd=folder)
    asked = ask("rm", sweep, env=service.environment(), cwd=folder)
    service.sweep("rm", best["best"]["run"], "--yes", cwd=folder)
    left = service.status(sweep)
    service.sweep("rm", created["url"], "--yes", cwd=folder)

    assert json.loads(lines[-1])["state"] == "FINISHED"
    assert [len(best["ranking"]), best["rule"]] == [2, "best"]
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "has no file checkpoint.pt" in refused.stderr
    assert ended.returncode == 1
    assert "has ended (run_cap reached: all 3 trials have ended)" in ended.stderr
    assert "`sweep retry` takes failed trials up" in ended.stderr
    assert asked.returncode == 2
    assert left["finished"] == 2
    assert json.loads(service.sweep("ls", "--json", cwd=folder)) == []


@pytest.mark.timeout(240)
def test_agents_that_are_started_where_the_program_is_not_cost_a_sweep_nothing(
    service: Service, folder: Path, tmp_path: Path
) -> None:
    sweep = json.loads(service.sweep("create", "toy.yaml", "--json", cwd=folder))["sweep"]
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()

    for command in (["agent"], ["launch", "--on", "local"]):
        refused = ask(*command, sweep, env=service.environment(), cwd=elsewhere)

        assert refused.returncode == 2, refused.stderr
        assert f"no trial of {sweep} can be started here: the program toy.py" in refused.stderr
        assert f"does not exist in {elsewhere}" in refused.stderr
    assert [service.status(sweep)[name] for name in ("state", "issued")] == ["PENDING", 0]


@pytest.mark.timeout(240)
def test_users_come_and_go_while_the_service_runs(service: Service, folder: Path) -> None:
    data = str(service.data)
    key = service.sweep("user", "add", "bob", "--data", data, cwd=folder).strip()
    bob = service.environment(WANDB_API_KEY=key)

    mine = ask("create", "toy.yaml", "--json", env=bob, cwd=folder)
    hers = ask("status", "x", env=service.environment(WANDB_API_KEY="w" * 40), cwd=folder)
    service.sweep("user", "remove", "bob", "--data", data, cwd=folder)
    gone = ask("ls", env=bob, cwd=folder)

    assert json.loads(mine.stdout)["sweep"].startswith("bob/")
    for refused in (hers, gone):
        assert refused.returncode == 1
        assert "does not know that API key" in refused.stderr
        assert "sweep user add" in refused.stderr


def test_a_port_in_use_and_a_folder_in_use_are_one_sentence(
    service: Service, folder: Path, home: dict[str, str], tmp_path: Path
) -> None:
    taken = ask("serve", "--port", service.port, "--data", tmp_path / "more", env=home, cwd=folder)
    locked = ask("serve", "--port", "0", "--data", service.data, env=home, cwd=folder)

    assert (taken.returncode, locked.returncode) == (1, 75)
    assert f"port {service.port} on 127.0.0.1 is taken" in taken.stderr
    assert "another sweepd service" in locked.stderr
    assert len(taken.stderr.splitlines()) == len(locked.stderr.splitlines()) == 1


def test_serve_prints_what_plain_wandb_needs_at_once(
    folder: Path, home: dict[str, str], tmp_path: Path
) -> None:
    log = tmp_path / "printed"
    with log.open("wb") as printed:
        process = subprocess.Popen(
            [*SWEEP, "serve", "--port", "0", "--data", str(tmp_path / "data")],
            env=home,
            cwd=folder,
            stdout=printed,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_for("the greeting", lambda: "/login/" in log.read_text(), seconds=60)
        lines = log.read_text().splitlines()
        exports = dict(line.split("export ")[1].split("=", 1) for line in lines if "export" in line)
        listed = run([*SWEEP, "ls", "--json"], env={**home, **exports}, cwd=folder)
    finally:
        process.terminate()
        code = process.wait(20)

    assert json.loads(listed) == []
    assert code == 0


@pytest.mark.timeout(240)
def test_run_exports_the_model_of_a_program_that_lies_beside_its_definition(
    folder: Path, home: dict[str, str], tmp_path: Path
) -> None:
    import onnxruntime

    shutil.copy(ROOT / "tests" / "programs" / "linear.py", folder)
    (folder / "linear.yaml").write_text(
        "program: linear.py\nmethod: grid\nmetric: {name: loss, goal: minimize}\n"
        "parameters: {lr: {values: [0.1, 0.3]}}\n"
    )
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()

    done = ask(
        *("run", folder / "linear.yaml", "--agents", "1", "--model", "linear:build", "--json"),
        *("--data", tmp_path / "data"),
        env=home,
        cwd=elsewhere,
    )

    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)["export"]
    assert told["max_abs_diff"] <= 1e-4
    session = onnxruntime.InferenceSession(told["path"])
    assert [item.name for item in session.get_outputs()] == ["output"]
