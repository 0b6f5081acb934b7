"""The unmodified wandb client, in processes of its own, against a service of its own."""

import re
import textwrap

import pytest

pytestmark = pytest.mark.slow


def test_login_verifies_the_key(real_client):
    good = real_client.wandb("login", "--relogin", f"--host={real_client.url}", real_client.key)
    bad = real_client.wandb(
        "login", "--relogin", f"--host={real_client.url}", "x" * 40, is_good=False
    )

    assert "admin" in good
    assert "sweep user add NAME" in bad


def test_a_run_with_everything_is_read_back(real_client):
    found = real_client.python(
        textwrap.dedent(
            """
            import json, math, pathlib
            import numpy as np
            import wandb

            pathlib.Path("model.onnx").write_bytes(bytes(range(256)) * 20)
            pathlib.Path("empty ü.txt").write_bytes(b"")
            run = wandb.init(
                project="one", name="first", config={"lr": 0.1, "net": {"width": 8}},
                tags=["a", "b"], notes="mine", group="g", job_type="train",
            )
            run.define_metric("acc", summary="max")
            for step in range(5):
                run.log({
                    "loss": 1 / (step + 1), "acc": [0.1, 0.9, 0.5, 0.2, 0.3][step],
                    "nan": math.nan, "h": wandb.Histogram(np.arange(20)),
                    "nest": {"deep": step},
                })
            run.log({"table": wandb.Table(columns=["a"], data=[[1]])})
            run.log({"picture": wandb.Image(np.zeros((4, 4, 3), dtype=np.uint8))})
            print("a line on the console")
            run.save("model.onnx")
            run.save("empty ü.txt")
            run.alert("hot", "very", wait_duration=1)
            run.finish()

            got = wandb.Api().run(f"one/{run.id}")
            files = {file.name: file for file in got.files()}
            model = files["model.onnx"].download(root="back", replace=True)
            print(json.dumps({
                "state": got.state, "config": got.config, "tags": got.tags,
                "names": [got.name, got.notes, got.group, got.job_type, got.entity],
                "loss": got.summary["loss"], "acc": dict(got.summary["acc"]),
                "history": got.history(keys=["loss"], pandas=False),
                "scanned": [row["loss"] for row in got.scan_history() if "loss" in row],
                "deep": [row["nest.deep"] for row in got.scan_history(keys=["nest.deep"])],
                "rows": len(got.history(pandas=False)), "last": got.lastHistoryStep,
                "files": sorted(files), "sizes": [files["model.onnx"].size,
                files["empty ü.txt"].size],
                "same": pathlib.Path(model.name).read_bytes() == bytes(range(256)) * 20,
                "metadata": got.metadata["python"], "log": pathlib.Path(
                    got.file("output.log").download(root="back").name).read_text(),
                "user": got.user.username,
            }))
            """
        )
    )

    assert found["state"] == "finished"
    assert found["config"] == {"lr": 0.1, "net": {"width": 8}}
    assert found["tags"] == ["a", "b"]
    assert found["names"] == ["first", "mine", "g", "train", "admin"]
    assert found["loss"] == 0.2
    assert found["acc"] == {"max": 0.9}
    losses = [1 / (step + 1) for step in range(5)]
    assert [row["loss"] for row in found["history"]] == pytest.approx(losses)
    assert found["scanned"] == pytest.approx(losses)
    assert found["deep"] == [0, 1, 2, 3, 4]
    assert (found["rows"], found["last"]) == (7, 6)
    assert {"config.yaml", "wandb-metadata.json", "wandb-summary.json"} <= set(found["files"])
    assert any(name.startswith("media/table/") for name in found["files"])
    assert any(name.startswith("media/images/") for name in found["files"])
    assert found["sizes"] == [5120, 0]
    assert found["same"]
    assert found["metadata"].startswith("CPython")
    assert "a line on the console" in found["log"]
    assert found["user"] == "admin"


def test_runs_resume_in_every_mode_and_change_afterwards(real_client):
    found = real_client.python(
        textwrap.dedent(
            """
            import json
            import wandb

            def log(n, **options):
                with wandb.init(project="resumed", **options) as run:
                    for _ in range(n):
                        run.log({"x": 1})
                    return run.starting_step, run.resumed

            found = {"new": log(2, id="r", resume="allow"), "again": log(2, id="r", resume="allow"),
                     "must": log(1, id="r", resume="must")}
            for name, options in {
                "never": {"id": "r", "resume": "never"}, "absent": {"id": "s", "resume": "must"},
            }.items():
                try:
                    log(1, **options)
                except wandb.errors.Error as error:
                    found[name] = str(error)
            run = wandb.Api().run("resumed/r")
            run.tags.append("late")
            run.config["lr"] = 0.5
            run.summary["extra"] = 7
            run.update()
            again = wandb.Api().run("resumed/r")
            found["rows"] = [row["_step"] for row in again.scan_history()]
            found["changed"] = [again.tags, again.config["lr"], again.summary["extra"], again.state]
            again.delete()
            found["left"] = len(wandb.Api().runs("resumed"))
            print(json.dumps(found))
            """
        )
    )

    assert found["new"] == [0, False]
    assert found["again"] == [2, True]
    assert found["must"] == [4, True]
    assert "already exists" in found["never"]
    assert "does not exist" in found["absent"] or "must" in found["absent"]
    assert found["rows"] == [0, 1, 2, 3, 4]
    assert found["changed"] == [["late"], 0.5, 7, "finished"]
    assert found["left"] == 0


def test_a_sweep_runs_inside_a_program_and_its_best_run_is_found(real_client):
    found = real_client.python(
        textwrap.dedent(
            """
            import json
            import wandb

            sweep = wandb.sweep(
                {"method": "random", "metric": {"name": "loss", "goal": "minimize"}, "run_cap": 9,
                 "parameters": {"lr": {"min": 0.0, "max": 1.0}, "net": {"parameters": {
                 "width": {"values": [8, 16]}}}}, "sweepd": {"seed": 1}},
                project="inside",
            )
            seen = []

            def train():
                with wandb.init() as run:
                    seen.append(run.config["lr"])
                    for step in range(3):
                        run.log({"loss": (run.config["lr"] - 0.3) ** 2 + 1 / (step + 1)})

            wandb.agent(sweep, function=train, count=2, project="inside")
            got = wandb.Api().sweep(f"inside/{sweep}")
            best = got.best_run()
            print(json.dumps({
                "seen": seen, "best": best.config, "loss": best.summary["loss"],
                "history": [row["loss"] for row in best.scan_history(keys=["loss"])],
                "states": [run.state for run in got.runs], "expected": got.expected_run_count,
                "names": [run.sweep_name for run in got.runs], "sweep": sweep,
                "config": got.config["run_cap"], "state": got.state,
                "agents": [agent.total_runs for agent in got.agents()],
                "of_agent": len(list(got.agents()[0].runs())),
                "all": [s.id for s in wandb.Api().project("inside").sweeps()],
            }))
            """
        )
    )

    assert len(set(found["seen"])) == 2
    best = min(found["seen"], key=lambda lr: (lr - 0.3) ** 2)
    assert found["best"]["lr"] == best
    assert found["best"]["net"]["width"] in (8, 16)
    assert found["loss"] == pytest.approx(found["history"][-1])
    assert len(found["history"]) == 3
    assert found["states"] == ["finished", "finished"]
    assert found["expected"] == found["config"] == 9
    assert found["names"] == [found["sweep"]] * 2
    assert found["state"] == "RUNNING"
    assert found["agents"] == [2]
    assert found["of_agent"] == 2
    assert found["all"] == [found["sweep"]]


@pytest.fixture
def toy(real_client):
    """A definition and its program, in the folder where the client's commands run."""
    program = """
        import argparse
        import wandb

        parser = argparse.ArgumentParser()
        parser.add_argument("--lr", type=float)
        given = parser.parse_args()
        with wandb.init() as run:
            assert run.config["lr"] == given.lr
            run.log({"loss": given.lr})
    """
    definition = """
        program: toy.py
        method: grid
        metric: {name: loss, goal: maximize}
        parameters:
          lr: {values: [0.25, 0.5]}
    """
    (real_client.folder / "toy.py").write_text(textwrap.dedent(program))
    (real_client.folder / "toy.yaml").write_text(textwrap.dedent(definition))
    return "toy.yaml"


def _created(output):
    return re.search(r"wandb agent (\S+)", output)[1]


def test_the_command_line_runs_a_grid_to_its_end(real_client, toy):
    sweep = _created(real_client.wandb("sweep", "--project", "cli", toy))

    output = real_client.wandb("agent", sweep)

    found = real_client.python(
        f"import json, wandb; s = wandb.Api().sweep({sweep!r}); print(json.dumps([s.state,"
        " s.best_run().config, sorted(r.summary['loss'] for r in s.runs), s.expected_run_count]))"
    )
    assert "exit" in output
    assert found == ["FINISHED", {"lr": 0.5}, [0.25, 0.5], 2]


def test_the_command_lines_verbs_move_a_sweep(real_client, toy):
    sweep = _created(real_client.wandb("sweep", "--project", "verbs", toy))

    seen, refused = real_client.python(
        textwrap.dedent(
            f"""
            import json
            import wandb
            from wandb.cli.cli import cli

            seen = []
            for verb in ("resume", "pause", "resume", "stop"):
                cli(["sweep", "--" + verb, {sweep!r}], standalone_mode=False)
                seen.append(wandb.Api().sweep({sweep!r}).state)
            try:
                cli(["sweep", "--cancel", {sweep!r}], standalone_mode=False)
            except Exception as error:
                refused = str(error)
            print(json.dumps([seen, refused]))
            """
        )
    )

    assert seen == ["RUNNING", "PAUSED", "RUNNING", "FINISHED"]
    assert "already finished" in refused


def test_what_is_wrong_is_told_in_the_services_words(real_client, toy):
    (real_client.folder / "bad.yaml").write_text(
        "method: bayes\nparameters: {lr: {min: 1, max: 0}}"
    )

    bad = real_client.wandb("sweep", "--project", "bad", "bad.yaml", is_good=False)
    unknown = real_client.wandb("agent", "admin/cli/nosuch", is_good=False)

    assert "metric" in bad
    assert "lr" in bad
    assert "nosuch not found" in unknown


def test_a_cancelled_sweep_stops_what_runs(real_client):
    found = real_client.python(
        textwrap.dedent(
            """
            import json, subprocess, sys, time
            import wandb

            sweep = wandb.sweep({"method": "random", "parameters": {"a": {"min": 0.0, "max": 1.0}}},
                                project="cancelled")
            path = f"cancelled/{sweep}"

            def train():
                run = wandb.init()
                cancel = ["sweep", "--cancel", f"admin/{path}"]
                subprocess.run([sys.executable, "-m", "wandb", *cancel], check=True)
                while True:  # only the cancellation ends it
                    run.log({"x": 1})
                    time.sleep(0.05)

            wandb.agent(sweep, function=train, project="cancelled")
            got = wandb.Api().sweep(path)
            print(json.dumps([got.state, [r.state for r in got.runs]]))
            """
        )
    )

    state, runs = found
    assert state == "CANCELED"
    assert runs == ["killed"]
