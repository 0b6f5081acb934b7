"""Sweeps beyond the plain ones: earlier runs, edits, enqueued runs, controllers, addresses."""

import textwrap

import pytest

pytestmark = pytest.mark.slow

PRIOR = """query($sweep: String!) { sweepdSweep(name: $sweep) { runCountExpected
  priorRuns { edges { node { name } } } } }"""


def test_a_search_learns_from_earlier_runs_and_goes_on_by_an_edited_definition(real_client, query):
    (real_client.folder / "more.yaml").write_text(
        "method: grid\nmetric: {name: loss}\nparameters: {a: {values: [1, 2, 4]}}\n"
    )
    (real_client.folder / "other.yaml").write_text(
        "method: grid\nmetric: {name: acc}\nparameters: {a: {values: [1, 2, 3]}}\n"
    )
    found = real_client.python(
        textwrap.dedent(
            """
            import json, subprocess, sys
            import wandb

            for name, a in {"r1": 1, "r2": 5}.items():
                with wandb.init(project="proto", id=name, config={"a": a}) as run:
                    run.log({"loss": a})
            definition = {"method": "grid", "metric": {"name": "loss"},
                          "parameters": {"a": {"values": [1, 2, 3]}}}
            sweep = wandb.sweep(definition, project="proto", prior_runs=["r1", "r2"])
            given = []

            def train():
                with wandb.init() as run:
                    given.append(run.config["a"])
                    run.log({"loss": 1})

            def update(file):
                command = ["sweep", "--update", f"admin/proto/{sweep}", file]
                done = subprocess.run([sys.executable, "-m", "wandb", *command],
                    stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
                return [done.returncode, done.stdout]

            wandb.agent(sweep, function=train, project="proto", count=1)
            updated, refused = update("more.yaml"), update("other.yaml")
            wandb.agent(sweep, function=train, project="proto", count=1)
            try:
                wandb.sweep(definition, project="proto", prior_runs=["nosuch"])
            except Exception as error:
                words = str(error)
            print(json.dumps([sweep, given, updated, refused, words]))
            """
        ),
        timeout_s=180,
        WANDB_SILENT="false",
    )

    sweep, given, updated, refused, words = found
    seen = query(PRIOR, sweep=sweep)["sweepdSweep"]
    assert [edge["node"]["name"] for edge in seen["priorRuns"]["edges"]] == ["r1", "r2"]
    assert given == [2, 4]  # 1 was tried by a prior run
    assert updated[0] == 0, updated[1]
    assert seen["runCountExpected"] == 3
    assert refused[0] != 0
    assert "cannot change the metric's name and goal" in refused[1]
    assert "there is no run 'nosuch' in admin/proto" in words


def test_the_local_controller_schedules_and_an_agent_runs(real_client):
    pytest.importorskip("sweeps")
    (real_client.folder / "toy.py").write_text(
        "import wandb\nwith wandb.init() as run:\n    run.log({'loss': run.config['a']})\n"
    )
    found = real_client.python(
        textwrap.dedent(
            """
            import json, subprocess, sys, time
            import wandb

            tuner = wandb.controller()
            tuner.configure({"method": "grid", "program": "toy.py", "metric": {"name": "loss"},
                "controller": {"type": "local"}, "parameters": {"a": {"values": [1, 2]}},
                "project": "controlled"})
            sweep = tuner.create()
            agent = subprocess.Popen([sys.executable, "-m", "wandb", "agent", sweep],
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            deadline = time.monotonic() + 120
            while not tuner.done() and time.monotonic() < deadline:
                tuner.step()
                time.sleep(0.5)
            code = agent.wait(timeout=40)
            got = wandb.Api().sweep(f"admin/controlled/{sweep}")
            print(json.dumps([got.state, sorted(r.config["a"] for r in got.runs),
                              [r.state for r in got.runs], code]))
            """
        ),
        timeout_s=200,
    )

    assert found == ["FINISHED", [1, 2], ["finished", "finished"], 0]


def test_a_sweep_of_a_team_is_reached_by_every_kind_of_address(real_client):
    found = real_client.python(
        textwrap.dedent(
            """
            import json, os
            import wandb

            wandb.Api().create_team("crew")
            definition = {"method": "grid", "parameters": {"a": {"values": [1, 2, 3, 4]}}}
            sweep = wandb.sweep(definition, entity="crew", project="shared")
            seen = []

            def train():
                with wandb.init(project="elsewhere") as run:
                    seen.append([run.entity, run.project, run.config["a"]])

            for name in ("WANDB_ENTITY", "WANDB_PROJECT"):
                os.environ.pop(name, None)
            wandb.agent(f"crew/shared/{sweep}", function=train, count=1)
            wandb.agent(sweep, entity="crew", project="shared", function=train, count=1)
            os.environ |= {"WANDB_ENTITY": "crew", "WANDB_PROJECT": "shared"}
            wandb.agent(sweep, function=train, count=1)
            os.environ["WANDB_PROJECT"] = "other"
            words = ""
            try:
                wandb.agent(f"crew/other/{sweep}", function=train, count=1)
            except Exception as error:
                words = str(error)
            run = wandb.Api().sweep(f"crew/shared/{sweep}").enqueue_run({"a": {"value": 9}}) if (
                hasattr(wandb.apis.public.sweeps.Sweep, "enqueue_run")) else None
            wandb.agent(f"crew/shared/{sweep}", function=train, count=1)
            print(json.dumps([seen, words, run]))
            """
        ),
        timeout_s=180,
    )

    seen, words, run = found
    assert [one[:2] for one in seen] == [["crew", "shared"]] * 4
    assert [one[2] for one in seen] == [1, 2, 3, 9 if run else 4]
    assert "there is no" in words or "not found" in words
