"""Runs that were written offline, synced by the real client: late, twice, from two copies."""

import shutil
import textwrap

import pytest

pytestmark = pytest.mark.slow

PROGRAM = """
import json, time, wandb
often = wandb.Settings(x_stats_sampling_interval=0.2)
run = wandb.init(project="offline", id="off", config={"lr": 0.1}, tags=["a"], settings=often)
run.define_metric("loss", summary="min")
for step in range(4):
    run.log({"loss": [3, 1, 2, 2.5][step], "x": step})
    print("line", step)
time.sleep(0.5)
run.alert("hot", "very")
run.finish()
print(json.dumps(run.settings.sync_dir))
"""
READ = """
import json, wandb
api = wandb.Api()
run = api.run("offline/off")
print(json.dumps({
    "rows": [[row["_step"], row["loss"]] for row in run.scan_history()],
    "sampled": [row["loss"] for row in run.history(keys=["loss"], pandas=False)],
    "counts": {key: entry["typeCounts"] for key, entry in run._attrs["historyKeys"]["keys"].items()}
        if "historyKeys" in run._attrs else run.load_full_data() and None,
    "lines": [line.content for line in run.console_logs()],
    "state": run.state, "created": run.created_at, "heard": run.heartbeat_at,
    "runtime": run.summary["_wandb"]["runtime"], "min": run.summary["loss"]["min"],
    "tags": run.tags, "lr": run.config["lr"],
}))
"""
ALERTS = """{ project(name: "offline") { run(name: "off") { sweepdAlerts { title repeats } } } }"""


def test_a_folder_counts_once_however_often_and_from_wherever_it_is_synced(real_client, query):
    folder = real_client.python(PROGRAM, WANDB_MODE="offline")
    copy = real_client.folder / "copy" / folder.rsplit("/", 1)[1]
    shutil.copytree(folder, copy)

    real_client.wandb("sync", folder)
    first = real_client.python(READ)
    real_client.wandb("sync", "--include-synced", folder)
    real_client.wandb("sync", str(copy))
    later = real_client.python(READ)

    assert first["rows"] == [[0, 3], [1, 1], [2, 2], [3, 2.5]]
    assert first["sampled"] == [3, 1, 2, 2.5]
    assert [line for line in first["lines"] if "line" in line] == [f"line {n}" for n in range(4)]
    assert (first["state"], first["min"], first["tags"], first["lr"]) == ("finished", 1, ["a"], 0.1)
    assert first["created"] < first["heard"]
    assert later == first
    (alert,) = query(ALERTS)["project"]["run"]["sweepdAlerts"]
    assert alert == {"title": "hot", "repeats": 2}


def test_a_trial_that_ran_offline_counts_for_its_sweep_even_when_that_is_over(real_client, query):
    found = real_client.python(
        textwrap.dedent(
            """
            import json, os, subprocess, sys, wandb

            sweep = wandb.sweep({"method": "grid", "metric": {"name": "loss", "goal": "minimize"},
                "parameters": {"a": {"values": [1]}}}, project="offsweep")

            def train():
                code = "import wandb; run = wandb.init(mode='offline'); " \\
                    "run.log({'loss': run.config['a']}); run.finish()"
                subprocess.run([sys.executable, "-c", code], check=True)

            wandb.agent(sweep, function=train, count=1, project="offsweep")
            print(json.dumps(sweep))
            """
        ),
        timeout_s=100,
    )
    real_client.wandb("sweep", "--stop", f"admin/offsweep/{found}")

    folders = (real_client.folder.parent / "runs" / "wandb").glob("offline-run-*")
    real_client.wandb("sync", *map(str, folders))

    status = query(
        "query($name: String!) { sweepdSweep(name: $name) { state sweepdStatus {"
        " finished failed bestValue } runs { edges { node { state } } } } }",
        name=found,
    )["sweepdSweep"]
    assert status["state"] == "FINISHED"
    assert [edge["node"]["state"] for edge in status["runs"]["edges"]] == ["finished"]
    assert status["sweepdStatus"] == {"finished": 1, "failed": 0, "bestValue": 1.0}
