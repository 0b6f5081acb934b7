"""Searches that run in a client: W&B's scheduler with its engines, and W&B's local controller."""

import textwrap

import pytest

pytestmark = pytest.mark.slow

PROGRAM = """
import wandb

with wandb.init() as run:
    c = dict(run.config)
    for step in range(2):
        run.log({"loss": (c["x"] - 0.3) ** 2 + c.get("depth", 0) + 1 / (step + 1)})
"""
SEARCH = """
import optuna

def space(trial):
    kind = trial.suggest_categorical("kind", ["flat", "deep"])
    params = {"kind": kind, "x": trial.suggest_float("x", 0.0, 1.0)}
    if kind == "deep":
        params["depth"] = trial.suggest_int("depth", 1, 4)
    return params

def study(sweep):
    sampler = optuna.samplers.RandomSampler(seed=3)
    return optuna.create_study(direction="minimize", sampler=sampler)
"""


@pytest.fixture
def scheduled(real_client, needs_client):
    needs_client("0.31", why="`wandb sweep-scheduler` came with it")
    (real_client.folder / "toy.py").write_text(PROGRAM)
    (real_client.folder / "search.py").write_text(SEARCH)
    return real_client


def test_a_scheduler_that_starts_late_knows_what_ran_and_what_runs(scheduled):
    found = scheduled.python(
        textwrap.dedent(
            """
            import json, signal, subprocess, sys, threading
            import wandb

            sweep = wandb.sweep({"method": "grid", "scheduler": {"engine": "wandb"},
                "metric": {"name": "loss", "goal": "minimize"},
                "parameters": {"x": {"values": [0.1, 0.2, 0.3]}}}, project="late")
            of_sweep = {"project": "late", "settings": wandb.Settings(sweep_id=sweep)}
            with wandb.init(**of_sweep, id="was0001", config={"x": 0.1}) as run:
                run.log({"loss": 1.0})
            runs = wandb.init(**of_sweep, id="is0002", config={"x": 0.2})
            scheduler = subprocess.Popen([sys.executable, "-m", "wandb", "sweep-scheduler",
                "--batch-size=1", "--poll-interval=5", f"admin/late/{sweep}"],
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            guard = threading.Timer(40, scheduler.kill)
            guard.start()
            seen = []
            for line in scheduler.stdout:
                seen.append(line)
                if all(name in "".join(seen) for name in ("was0001", "is0002")):
                    break
            scheduler.send_signal(signal.SIGINT)
            scheduler.communicate()
            guard.cancel()
            runs.finish()
            print(json.dumps("".join(seen)))
            """
        ),
        timeout_s=80,
        WANDB_SILENT="false",
    )

    assert "was0001" in found
    assert "is0002" in found


def test_the_clients_scheduler_searches_and_agents_run_what_it_enqueues(scheduled):
    found = scheduled.python(
        textwrap.dedent(
            """
            import json, subprocess, sys
            import wandb

            common = {"program": "toy.py", "metric": {"name": "loss", "goal": "minimize"}}
            sweeps = {
                "optuna": wandb.sweep({**common, "method": "custom", "run_cap": 3, "scheduler": {
                    "engine": "optuna", "source": "search.py", "search_space": "space",
                    "optimizer": "study"}}, project="scheduled"),
                "wandb": wandb.sweep({**common, "method": "grid", "parameters": {
                    "x": {"values": [0.1, 0.2]}}, "scheduler": {"engine": "wandb"}},
                    project="scheduled"),
            }
            paths = {name: f"admin/scheduled/{sweep}" for name, sweep in sweeps.items()}
            command = [sys.executable, "-m", "wandb"]
            schedule = [*command, "sweep-scheduler", "--batch-size=3", "--poll-interval=5"]
            schedulers = {name: subprocess.Popen([*schedule, path], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True) for name, path in paths.items()}
            agents = [subprocess.Popen([*command, "agent", path], stdout=subprocess.DEVNULL,
                      stderr=subprocess.DEVNULL) for path in paths.values()]
            found = {}
            for name, scheduler in schedulers.items():
                output, _ = scheduler.communicate(timeout=120)
                sweep = wandb.Api().sweep(paths[name])
                found[name] = {
                    "exit": scheduler.returncode, "state": sweep.state, "output": output[-3000:],
                    "configs": [run.config for run in sweep.runs],
                    "states": [run.state for run in sweep.runs],
                    "best": sweep.best_run().summary["loss"],
                }
            found["agents"] = [agent.wait(timeout=40) for agent in agents]
            print(json.dumps(found))
            """
        ),
        timeout_s=180,
        WANDB_SILENT="false",
    )

    assert found["agents"] == [0, 0]
    optuna, grid = found["optuna"], found["wandb"]
    assert (optuna["exit"], optuna["state"]) == (0, "FINISHED"), optuna["output"]
    assert optuna["states"].count("finished") == 3
    assert all(("depth" in c) == (c["kind"] == "deep") for c in optuna["configs"])
    assert "run cap was hit" in optuna["output"] or "sweep is FINISHED" in optuna["output"]
    assert (grid["exit"], grid["state"]) == (0, "FINISHED"), grid["output"]
    assert sorted(c["x"] for c in grid["configs"]) == [0.1, 0.2]
    assert grid["states"] == ["finished", "finished"]
