"""Bundles: trials that run while there is no service, and are merged when there is one again."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from live import SWEEP, run, wait_for

PROGRAM = """
import os, signal, time
from pathlib import Path
import wandb

with wandb.init() as run:
    x = run.config["x"]
    for step in range(4):
        run.log({"loss": x + 1 / (step + 1)})
    print("trial of", x)
    if x == 2:
        raise ValueError("two is too many")
    mark = Path("killed.txt")
    if x == 3 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    waits = Path("waits.txt")
    if x == 4 and waits.exists():
        Path("begun.txt").touch()
        while waits.exists():
            time.sleep(0.05)
"""
DEFINITION = """\
program: train.py
project: away
method: grid
metric: {name: loss, goal: minimize}
parameters: {x: {values: [0, 1, 2, 3, 4]}}
"""
TRIALS = """
SELECT json_extract(trial.config, '$.x'), trial.state, trial.attempt, trial.reason, trial.message,
       run.state, trial.n_values, attempt.device
FROM trial JOIN run ON run.id = trial.run_id
LEFT JOIN attempt ON attempt.trial_id = trial.id AND attempt.number = trial.attempt
ORDER BY trial.number
"""
EVENTS = "SELECT count(*) FROM event WHERE kind IN ('trial.ended', 'trial.corrected')"


class Place:
    """A service, a sweep of it, and a folder with the program."""

    def __init__(self, service, folder: Path) -> None:
        self.service, self.folder = service, folder
        folder.mkdir()
        (folder / "train.py").write_text(PROGRAM)
        (folder / "sweep.yaml").write_text(DEFINITION)
        self.sweep = json.loads(service.sweep("create", "sweep.yaml", "--json", cwd=folder))[
            "sweep"
        ]

    def make(self, n: int, *more: str) -> dict:
        """Make the bundle `away`."""
        arguments = ("make", self.sweep, "-n", str(n), "-o", "away", "--json", *more)
        return json.loads(self.service.sweep("bundle", *arguments, cwd=self.folder))

    def merge(self, *more: str) -> dict:
        return json.loads(
            self.service.sweep("bundle", "merge", "away", "--json", *more, cwd=self.folder)
        )

    @property
    def cut_off(self) -> dict[str, str]:
        """The environment of the other machine: no key, and a server that nobody reaches."""
        environment = self.service.environment(WANDB_BASE_URL="http://127.0.0.1:9")
        del environment["WANDB_API_KEY"]
        return environment

    @contextmanager
    def agent(self, *more: str):
        with (self.folder / "agent.log").open("ab") as log:
            process = subprocess.Popen(
                [*SWEEP, "agent", "--offline", "away", "--gpus", "none", "--slots", "2", *more],
                env=self.cut_off,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()

    def run_all(self) -> str:
        return run(
            [*SWEEP, "agent", "--offline", "away", "--gpus", "none", "--slots", "2", "--json"],
            env=self.cut_off,
            cwd=self.folder,
            timeout=200,
        )

    def query(self, text: str) -> list[tuple]:
        with closing(
            sqlite3.connect(f"file:{self.service.data}/sweepd.db?mode=ro", uri=True)
        ) as db:
            return db.execute(text).fetchall()

    def events(self) -> int:
        return self.query(EVENTS)[0][0]


@pytest.fixture
def place(service, tmp_path) -> Place:
    return Place(service, tmp_path / "work")


def count(events: str, kind: str) -> int:
    return sum(json.loads(line)["event"] == kind for line in events.splitlines())


@pytest.mark.timeout(300)
def test_bundle_runs_without_a_service_and_every_end_is_as_if_it_had_been_there(place, service):
    made = place.make(10)
    service.stop()

    told = place.run_all()
    again = place.run_all()
    service.start()
    first = place.merge()
    events = place.events()
    second = place.merge()

    assert made["trials"] == 5
    assert count(told, "trial_ended") == 6  # one was killed from outside, and ran again
    assert count(again, "trial_ended") == 0
    assert first == {
        "merged": 5, "late": 0, "deleted": 0, "not_run": 0, "failed": 0, "problems": {}
    }  # fmt: skip
    assert second == first
    assert place.events() == events == 5
    rows = place.query(TRIALS)
    assert [row[:4] for row in rows] == [
        (0, "ended", 1, "finished"),
        (1, "ended", 1, "finished"),
        (2, "ended", 1, "error"),
        (3, "ended", 1, "finished"),
        (4, "ended", 1, "finished"),
    ]
    assert rows[2][4] == "ValueError: two is too many"
    assert [row[5] for row in rows] == ["finished", "finished", "failed", "finished", "finished"]
    assert [row[6:] for row in rows] == [(4, "cpu")] * 5
    status = service.status(place.sweep)
    assert (status["state"], status["finished"], status["failed"]) == ("FINISHED", 4, 1)
    facts = json.loads(service.sweep("status", place.sweep, "--json", cwd=place.folder))
    assert (facts["best"], facts["bundled"]) == (0.25, 0)
    lines = service.graphql(
        "query($s: String!) { sweepdSweep(name: $s) { sweepdBundles { out given }"
        " runs(first: 1) { edges { node { historyLineCount logLines(last: 20) {"
        " edges { node { line } } } } } } } }",
        s=place.sweep.rpartition("/")[2],
    )["sweepdSweep"]
    assert lines["sweepdBundles"] == [{"out": 0, "given": 5}]
    (node,) = [edge["node"] for edge in lines["runs"]["edges"]]
    assert node["historyLineCount"] == 4
    assert any("trial of" in edge["node"]["line"] for edge in node["logLines"]["edges"])


@pytest.mark.timeout(300)
def test_agent_that_was_killed_goes_on_where_it_was(place):
    place.make(5)
    (place.folder / "waits.txt").touch()

    with place.agent() as process:
        wait_for("the trial that waits", (place.folder / "begun.txt").exists, seconds=120)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    (place.folder / "waits.txt").unlink()
    partly = place.merge()
    place.run_all()
    rest = place.merge()

    assert partly["not_run"] >= 1
    assert partly["merged"] + partly["not_run"] == 5
    assert (rest["merged"], rest["not_run"]) == (5, 0)
    assert [row[6] for row in place.query(TRIALS)] == [4] * 5


@pytest.mark.timeout(300)
def test_merging_that_was_killed_does_nothing_twice(place, service):
    place.make(5)
    place.run_all()
    command = [*SWEEP, "bundle", "merge", "away"]
    merging = subprocess.Popen(
        command,
        env=service.environment(),
        cwd=place.folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    wait_for("the first end that is told", lambda: place.events() > 0, seconds=120)
    os.killpg(merging.pid, signal.SIGKILL)
    merging.wait()

    merged = place.merge()

    assert (merged["merged"], merged["failed"]) == (5, 0)
    assert place.events() == 5
    assert [row[6] for row in place.query(TRIALS)] == [4] * 5
    assert service.status(place.sweep)["state"] == "FINISHED"


@pytest.mark.timeout(300)
def test_bundle_that_comes_back_too_late_changes_nothing(place, service):
    place.make(1)
    place.run_all()
    bundle = json.loads((place.folder / "away" / "bundle.json").read_text())
    give_back = "mutation($id: ID!) { sweepdGiveBackBundle(input: {id: $id}) { bundle { out } } }"
    service.graphql(give_back, id=bundle["id"])
    run(
        [sys.executable, "-m", "sweepd_agent", place.sweep, "--gpus", "none", "--slots", "1"],
        env=service.environment(),
        cwd=place.folder,
        timeout=200,
    )
    before, events = place.query(TRIALS), place.events()

    merged = place.merge()

    assert (merged["merged"], merged["late"]) == (0, 1)
    assert place.query(TRIALS) == before
    assert place.events() == events
    assert before[0][:4] == (0, "ended", 2, "finished")


@pytest.mark.timeout(300)
def test_what_a_bundle_did_not_run_is_given_back_at_once(place, service):
    place.make(5)
    with place.agent("--count", "2") as process:
        assert process.wait(200) == 0

    merged = place.merge("--give-back")

    assert (merged["merged"], merged["not_run"]) == (2, 3)
    assert service.status(place.sweep)["queued"] == 3


@pytest.mark.timeout(300)
def test_bundle_that_cannot_be_written_leaves_its_trials_to_others(place, service):
    (place.folder / "away").mkdir()
    (place.folder / "away" / "bundle.json").symlink_to("nowhere")

    with pytest.raises(AssertionError, match="there is a bundle in away"):
        place.make(5)

    facts = json.loads(service.sweep("status", place.sweep, "--json", cwd=place.folder))
    assert (facts["bundled"], facts["queued"]) == (0, 5)
