"""The life of a run, as the real client leads it: resumed, rewound, forked, changed, stopped."""

import textwrap

import pytest

pytestmark = pytest.mark.slow


def test_a_run_goes_back_and_another_begins_where_it_was(real_client):
    found = real_client.python(
        textwrap.dedent(
            """
            import json, wandb

            def log(values, **options):
                with wandb.init(project="branches", **options) as run:
                    for value in values:
                        run.log({"x": value})
                    print("said", values)
                    return run.starting_step

            def rows(name):
                run = wandb.Api().run(f"branches/{name}")
                lines = [line.content for line in run.console_logs() if "said" in line.content]
                return [[[row["_step"], row["x"]] for row in run.scan_history()], run.state,
                        run.summary["x"], lines]

            found = {"first": log(range(6), id="base"),
                     "rewound": log([100, 101], resume_from="base?_step=2"),
                     "forked": log([7], id="fork", fork_from="base?_step=3")}
            found["base"], found["fork"] = rows("base"), rows("fork")
            try:
                log([1], id="lost", fork_from="nosuch?_step=3")
            except wandb.errors.CommError as error:
                found["refused"] = str(error)
            print(json.dumps(found))
            """
        )
    )

    assert (found["first"], found["rewound"], found["forked"]) == (0, 3, 4)
    rows = [[0, 0], [1, 1], [2, 2], [3, 100], [4, 101]]
    assert found["base"] == [rows, "finished", 101, ["said [100, 101]"]]
    assert found["fork"] == [[*rows[:4], [4, 7]], "finished", 7, ["said [7]"]]
    assert "no run nosuch in this project to fork from" in found["refused"]


def test_a_run_is_resumed_by_its_folder_and_by_the_environment(real_client):
    found = real_client.python(
        textwrap.dedent(
            """
            import json, os, subprocess, sys, wandb

            code = (
                "import os, time, wandb\\n"
                "run = wandb.init(project='resumes', tags=['a'])\\n"
                "run.log({'x': 1})\\n"
                "time.sleep(3)\\n"
                "os._exit(1)"
            )
            environment = {**os.environ, "WANDB_RESUME": "auto"}
            subprocess.run([sys.executable, "-c", code], env=environment,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            (died,) = wandb.Api().runs("resumes")

            def go_on(mode, **options):
                with wandb.init(project="resumes", resume=mode, **options) as run:
                    run.tags += ("b",)
                    run.log({"x": 2})
                    return [run.id, run.starting_step, run.resumed, list(run.tags)]

            found = {"died": died.id, "auto": go_on("auto"), "new": go_on("allow", id="given"),
                     "again": go_on("allow", id="given")}
            found["tags"] = wandb.Api().run("resumes/given").tags
            print(json.dumps(found))
            """
        ),
        timeout_s=100,
    )

    assert found["auto"] == [found["died"], 1, True, ["a", "b"]]
    assert found["new"] == ["given", 0, False, ["b"]]
    assert found["again"][:3] == ["given", 1, True]
    assert found["tags"] == ["b"]


def test_define_metric_in_all_its_forms_is_summed_up_ordered_and_filtered(real_client):
    found = real_client.python(
        textwrap.dedent(
            """
            import json, wandb

            def run(name, values):
                with wandb.init(project="metrics", id=name) as run:
                    run.define_metric("epoch", hidden=True)
                    run.define_metric("val/*", step_metric="epoch", step_sync=True)
                    run.define_metric("low", summary="min")
                    run.define_metric("high", summary="max")
                    run.define_metric("mid", summary="mean,first,last")
                    run.define_metric("kept", summary="copy")
                    run.define_metric("gone", summary="none")
                    for epoch, value in enumerate(values):
                        keys = ("low", "high", "mid", "kept", "gone", "val/loss")
                        run.log({"epoch": epoch, **dict.fromkeys(keys, value)})

            run("a", [3, 1, 2])
            run("b", [9, 0, 4])
            api = wandb.Api()
            summary = dict(api.run("metrics/a").summary)
            def names(**query):
                return [run.id for run in wandb.Api().runs("metrics", **query)]
            print(json.dumps({
                "summary": {key: value if isinstance(value, (int, float)) else dict(value)
                    for key, value in summary.items() if not key.startswith("_")},
                "low": names(order="+summary_metrics.low"),
                "high": names(order="-summary_metrics.high.max"),
                "few": names(filters={"summary_metrics.low": {"$gt": 0.5}}),
                "member": names(filters={"summary_metrics.high.max": {"$gte": 9}}),
                "none": names(filters={"summary_metrics.gone": {"$exists": True}}),
            }))
            """
        )
    )

    summary = found["summary"]
    assert (summary["low"], summary["high"]) == ({"min": 1}, {"max": 3})
    assert summary["mid"] == {"mean": 2, "first": 3, "last": 2}
    assert summary["kept"] == 2
    assert "gone" not in summary
    assert (found["low"], found["high"]) == (["b", "a"], ["b", "a"])
    assert (found["few"], found["member"], found["none"]) == (["a"], ["b"], [])


def test_a_run_is_stopped_deleted_and_marked_from_outside(real_client, query):
    found = real_client.python(
        textwrap.dedent(
            """
            import json, signal, time, wandb
            asked = []
            signal.signal(signal.SIGINT, lambda *_: asked.append(True))
            api = wandb.Api()
            run = wandb.init(project="outside", id="r1", config={"lr": 1}, group="g",
                             job_type="train")
            got = api.run("outside/r1")
            got.stop()
            while not asked:
                run.log({"x": 1})
                time.sleep(0.05)
            run.finish(exit_code=1)
            made = wandb.apis.public.Run.create(api=wandb.Api(), run_id="made",
                                                project="outside", state="pending")
            states = [wandb.Api().run("outside/r1").state, made.state]
            made.update_state("failed")
            states.append(wandb.Api().run("outside/made").state)
            got = wandb.Api().run("outside/r1")
            got.config["lr"] = 2
            got.notes, got.group, got.name = "seen", "h", "renamed"
            got.update()
            again = wandb.Api().run("outside/r1")
            changed = [again.config, again.notes, again.group, again.job_type, again.name]
            live = wandb.init(project="outside", id="r2")
            live.log({"x": 1})
            gone = wandb.Api().run("outside/r2")
            gone.delete()
            gone.delete()
            live.log({"x": 2})
            live.finish()
            print(json.dumps({"states": states, "changed": changed,
                "left": [run.id for run in wandb.Api().runs("outside")]}))
            """
        ),
        WANDB_X_STOP_POLLING_INTERVAL="1",
    )

    assert found["states"] == ["killed", "pending", "failed"]
    assert found["changed"] == [{"lr": 2}, "seen", "h", "train", "renamed"]
    assert found["left"] == ["r1", "made"]


WRITER = """
import sys, time, wandb
label = sys.argv[1]
options = wandb.Settings(mode="shared", x_primary=label == "a", x_label=label,
    x_update_finish_state=label == "a", console="wrap")
run = wandb.init(project="shared", id="one", settings=options, config={label: 1})
for step in range(5):
    run.log({f"{label}/loss": step})
    print("from", label, step)
    time.sleep(0.2)
run.summary[f"{label}/done"] = True
run.finish()
"""


def test_several_processes_write_one_run_and_lose_nothing(real_client):
    (real_client.folder / "writer.py").write_text(WRITER)
    found = real_client.python(
        textwrap.dedent(
            """
            import json, subprocess, sys, wandb

            writers = [subprocess.Popen([sys.executable, "writer.py", label]) for label in "ab"]
            codes = [writer.wait(60) for writer in writers]
            run = wandb.Api().run("shared/one")
            rows = list(run.scan_history())
            print(json.dumps({
                "codes": codes, "state": run.state, "config": sorted(run.config),
                "a": [row["a/loss"] for row in rows if row.get("a/loss") is not None],
                "b": [row["b/loss"] for row in rows if row.get("b/loss") is not None],
                "done": [run.summary.get("a/done"), run.summary.get("b/done")],
                "lines": sorted(line.content for line in run.console_logs()
                    if line.content.startswith("from")),
            }))
            """
        ),
        timeout_s=100,
    )

    assert found["codes"] == [0, 0]
    assert found["state"] == "finished"
    assert found["config"] == ["a", "b"]
    assert found["a"] == found["b"] == [0, 1, 2, 3, 4]
    assert found["done"] == [True, True]
    assert found["lines"] == [f"from {label} {step}" for label in "ab" for step in range(5)]
