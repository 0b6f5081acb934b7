"""Rows and console lines, read back by the unmodified client."""

import textwrap

import pytest

pytestmark = pytest.mark.slow

_HEAD = """
import json, math, os, time
import wandb

def read(run):
    return wandb.Api().run(f"{run.entity}/{run.project}/{run.id}")
"""


@pytest.fixture
def outcome(real_client):
    """Runs a program that leaves its answer in `found`."""

    def outcome(program, **environment):
        whole = f"{_HEAD}\n{textwrap.dedent(program)}\nprint(json.dumps(found))"
        return real_client.python(whole, **environment)

    return outcome


def test_sampled_rows_are_read_in_every_form(outcome):
    found = outcome(
        """
        with wandb.init(project="hist") as run:
            for step in range(1200):
                rare = {"rare": step} if step % 100 == 0 else {}
                run.log({"loss": -9 if step == 777 else step, "half": step / 2, **rare})
        got = read(run)
        found = {
            "all": [row["_step"] for row in got.history(pandas=False, samples=10)],
            "two": got.history(keys=["loss", "rare"], pandas=False),
            "axis": got.history(keys=["loss"], x_axis="half", samples=20, pandas=False),
            "none": got.history(keys=["nothing"], pandas=False),
            "system": [type(row).__name__ for row in got.history(stream="system", pandas=False)],
            "last": got.lastHistoryStep,
        }
        """
    )

    assert len(found["all"]) == 10
    assert [found["all"][0], found["all"][-1], found["last"]] == [0, 1199, 1199]
    assert 777 in found["all"]
    assert found["two"] == [
        {"_step": step, "loss": step, "rare": step} for step in range(0, 1200, 100)
    ]
    assert len(found["axis"]) == 20
    assert {"half": 388.5, "loss": -9} in found["axis"]
    assert found["none"] == []
    assert set(found["system"]) <= {"dict"}


def test_a_scan_reads_live_rows_and_files_alike(outcome, tmp_path):
    found = outcome(
        """
        rows = [{"loss": 1 / (n + 1), "n": n, "text": f"t{n}", "deep": {"a": n}} for n in range(40)]
        with wandb.init(project="hist", id="same") as run:
            for n, row in enumerate(rows):
                run.log(row, step=n * 25_000)

        def scan(**options):
            return [
                {key: value for key, value in row.items() if not key.startswith("_")}
                | {"_step": row["_step"]}
                for row in read(run).scan_history(use_cache=False, **options)
            ]

        expected = [{**row, "_step": n * 25_000} for n, row in enumerate(rows)]
        live = scan()
        done = read(run).download_history_exports(os.environ["FOLDER"])
        with wandb.init(project="hist", id="same", resume="must") as run:
            run.log({"loss": 0.0, "n": 40, "text": "t40", "deep": {"a": 40}},
                        step=1_000_000, commit=True)
            after = {**expected[0], "loss": 0, "n": 40, "text": "t40", "deep": {"a": 40}}
            expected.append({**after, "_step": 1_000_000})
            for _ in range(200):
                if len(grown := scan(page_size=500_000)) == 41:
                    break
        found = {
            "live": live == expected[:40],
            "files": [[path.name, path.stat().st_size > 1000] for path in done.paths],
            "grown": grown == expected,
            "ended": scan(page_size=10_000) == expected,
            "keys": scan(keys=["n"]) == [{"n": n, "_step": n * 25_000} for n in range(41)],
            "part": [row["n"] for row in scan(min_step=50_000, max_step=100_000)],
            "n_files": len(read(run).download_history_exports(os.environ["FOLDER"]).paths),
        }
        """,
        FOLDER=str(tmp_path / "exports"),
    )

    assert found == {
        "live": True,
        "files": [["admin_hist_same_0.runhistory.parquet", True]],
        "grown": True,
        "ended": True,
        "keys": True,
        "part": [2, 3],
        "n_files": 2,
    }


def test_rows_that_fit_no_table_are_scanned_as_they_were_logged(outcome):
    found = outcome(
        """
        with wandb.init(project="hist") as run:
            for n in range(30):
                run.log({"loss": n, **({"val": n} if n % 10 == 0 else {}), "x": math.nan})
        got = read(run)
        found = {
            "keys": [sorted(k for k in row if k[0] != "_") for row in got.scan_history()],
            "val": [[row["_step"], row["val"]] for row in got.scan_history(keys=["val"])],
        }
        try:
            got.download_history_exports("exports")
        except Exception as error:
            found["refused"] = type(error).__name__
        """
    )

    assert found["keys"] == [
        ["loss", "val", "x"] if n % 10 == 0 else ["loss", "x"] for n in range(30)
    ]
    assert found["val"] == [[0, 0], [10, 10], [20, 20]]
    assert found["refused"] == "IncompleteRunHistoryError"


def test_steps_logged_again_after_a_resume_are_read_once(outcome):
    found = outcome(
        """
        with wandb.init(project="hist", id="again") as run:
            for n in range(6):
                run.log({"a": n, "b": n})
        first = [row["a"] for row in read(run).scan_history()]  # and the files are made
        import urllib.request, base64, os
        rows = [json.dumps({"_step": n, "a": n * 10, "_timestamp": 1e9}) for n in (3, 4, 5, 6)]
        body = {"files": {"wandb-history.jsonl": {"offset": 6, "content": rows}}}
        url = f"{os.environ['WANDB_BASE_URL']}/files/{run.entity}/hist/again/file_stream"
        key = base64.b64encode(f"api:{os.environ['WANDB_API_KEY']}".encode()).decode()
        urllib.request.urlopen(urllib.request.Request(
            url, json.dumps(body).encode(), {"Authorization": f"Basic {key}"}))
        again = list(read(run).scan_history())
        found = {"first": first, "a": [row["a"] for row in again], "b": [r.get("b") for r in again]}
        """
    )

    assert found["first"] == [0, 1, 2, 3, 4, 5]
    assert found["a"] == [0, 1, 2, 30, 40, 50, 60]
    assert found["b"] == [0, 1, 2, 3, 4, 5, None]


def test_console_lines_are_read_in_pages_and_from_the_end(outcome):
    found = outcome(
        """
        import sys, time
        with wandb.init(project="hist", settings=wandb.Settings(console="wrap")) as run:
            for n in range(120):
                print(f"line {n}")
            print("\\x1b[31mred\\x1b[0m")
            print("broken", file=sys.stderr)
            for part in range(3):
                sys.stdout.write(f"\\rprogress {part}")
            print()
        got = read(run)
        if not hasattr(got, "console_logs"):  # an older client
            found = None
        else:
            lines = [line for line in got.console_logs(per_page=50)]
            tail = [line for line in got.console_logs(last=5)]
            found = {
                "numbers": [line.number for line in lines] == list(range(len(lines))),
                "texts": [l.content for l in lines if l.content.startswith("line ")],
                "red": any("\\x1b[31mred" in line.content for line in lines),
                "error": [line.level for line in lines if line.content == "broken"],
                "progress": [l.content for l in lines if "progress" in l.content],
                "tail": [line.number for line in tail] == [line.number for line in lines][-5:],
                "timed": all(line.timestamp is not None for line in lines if line.content),
            }
        """
    )

    if found is not None:
        assert found == {
            "numbers": True,
            "texts": [f"line {n}" for n in range(120)],
            "red": True,
            "error": ["error"],
            "progress": ["progress 2"],
            "tail": True,
            "timed": True,
        }


def test_the_rows_of_several_runs_are_read_together_and_scanned_the_older_way(outcome):
    found = outcome(
        """
        for name in ("a", "b"):
            with wandb.init(project="together", id=name) as run:
                for step in range(30):
                    run.log({"x": step, **({"odd": step} if step % 2 else {})})
        runs = wandb.Api().runs("together", order="+name")
        got = read(run)
        rows = runs.histories(samples=100, keys=["odd"], format="default")
        frame = runs.histories(samples=10, format="pandas")
        found = {
            "rows": [[row["run_id"], row["odd"]] for row in rows],
            "frame": [len(frame), sorted(set(frame["run_id"]))],
            "none": wandb.Api().runs("together", {"tags": "none"}).histories(format="default"),
            "older": [row["odd"] for row in got.beta_scan_history(keys=["odd"], page_size=4)],
            "part": [row["x"] for row in got.beta_scan_history(min_step=5, max_step=8)],
        }
        scan = got.scan_history(page_size=3)
        found["begun"] = [next(scan)["x"], next(scan)["x"]]
        found["again"] = [row["x"] for row in scan] == list(range(30))
        """
    )

    odd = list(range(1, 30, 2))
    assert found["rows"] == [[name, step] for name in "ab" for step in odd]
    assert found["frame"] == [20, ["a", "b"]]
    assert found["none"] == []
    assert found["older"] == odd
    assert found["part"] == [5, 6, 7]
    assert found["begun"] == [0, 1]
    assert found["again"]
