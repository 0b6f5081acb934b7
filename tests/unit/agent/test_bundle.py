"""A bundle on the disk, its journal, and the agent that works through it without a server."""

import errno
import json
import os
from dataclasses import replace

import pytest

from sweepd.errors import AlreadyExists, Conflict, InvalidInput, Reason
from sweepd_agent import EventKind
from sweepd_agent.api import Outcome, Sweep
from sweepd_agent.bundle import Bundle, Ended, Journal
from sweepd_agent.offline import BundleSource

TOY = """
import json, os, sys
names = ["WANDB_MODE", "WANDB_RUN_ID", "WANDB_SWEEP_ID", "WANDB_DIR", "WANDB_API_KEY"]
with open("notes.jsonl", "a") as file:
    file.write(json.dumps({name: os.environ.get(name) for name in names}) + "\\n")
"""
CRASHES = "import os; os.kill(os.getpid(), 9)"
FAILS = "raise ValueError('as ever')"


def trial(run):
    return {
        "type": "run",
        "run_id": run,
        "program": "train.py",
        "args": {"lr": {"value": 0.1}},
        "sweepd": {"attempt": 1, "token": f"token-{run}"},
    }


@pytest.fixture
def bundle(tmp_path):
    made = Bundle(
        tmp_path / "away",
        id="QnVuZGxl",
        server="http://nowhere.invalid",
        sweep=Sweep("alice", "toy", "sw1", program="train.py", command=None),
        retries=1,
        until=2e9,
        commands=(trial("one"), trial("two"), trial("three")),
    )
    made.write()
    return made


@pytest.fixture
def run_offline(bundle, make_agent, tmp_path, monkeypatch):
    monkeypatch.delenv("WANDB_API_KEY", raising=False)

    class NoServer:
        url = None

    def start(**values):
        options = {"sweep": "", "api_key": None, "offline": str(bundle.folder)}
        agent = make_agent(NoServer, **{**options, **values})
        agent.wait()
        return agent

    return start


def ended(number, reason, **values):
    return Ended(number, Outcome(reason, **values), host="box", device="cpu", seconds=1.0)


def test_bundle_that_was_written_is_read_as_it_was(bundle):
    assert Bundle.read(bundle.folder) == bundle
    assert Bundle.read(bundle.folder / "bundle.json") == bundle


def test_leases_in_a_bundle_are_for_its_owner_alone(bundle):
    assert os.stat(bundle.folder / "bundle.json").st_mode & 0o077 == 0


def test_bundle_is_never_written_over(bundle):
    with pytest.raises(AlreadyExists):
        replace(bundle, id="other").write()


def test_bundle_that_the_disk_does_not_take_leaves_no_part_of_it(bundle, monkeypatch):
    def is_full(fd):
        raise OSError(errno.ENOSPC, "No space left on device")

    other = replace(bundle, folder=bundle.folder / "other")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", is_full)
        with pytest.raises(OSError, match="No space left"):
            other.write()

    other.write()
    assert Bundle.read(other.folder) == other


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param(None, "no bundle", id="missing"),
        pytest.param("{", "cannot be read", id="torn"),
        pytest.param('{"format": 2}', "format 2; this sweepd reads 1", id="newer"),
        pytest.param('{"format": 1}', "cannot be read", id="empty"),
        pytest.param("[]", "cannot be read", id="of another shape"),
    ],
)
def test_what_is_no_bundle_is_told_in_words(tmp_path, text, words):
    if text is not None:
        (tmp_path / "bundle.json").write_text(text)

    with pytest.raises(InvalidInput, match=words):
        Bundle.read(tmp_path)


def test_two_cannot_work_on_a_bundle_at_once(bundle):
    with bundle.lock(), pytest.raises(Conflict, match="something else works on"), bundle.lock():
        pass

    with bundle.lock():
        pass


@pytest.mark.parametrize(
    ("reasons", "is_done"),
    [
        pytest.param([], False, id="never tried"),
        pytest.param(["finished"], True, id="finished"),
        pytest.param(["error"], True, id="failed by itself"),
        pytest.param(["preempted"], False, id="ended with its agent"),
        pytest.param(["preempted"] * 4, False, id="ended with its agent, often"),
        pytest.param(["crashed"], False, id="crashed once"),
        pytest.param(["crashed", "crashed"], True, id="crashed too often"),
        pytest.param(["crashed", "finished"], True, id="finished at last"),
    ],
)
def test_trial_is_done_when_it_would_be_with_the_service(bundle, reasons, is_done):
    journal = Journal(bundle)
    for reason in reasons:
        number = journal.begin("one")
        journal.end("one", ended(number, Reason(reason)))

    for seen in (journal, Journal(bundle)):
        assert (seen.result("one") is not None) is is_done


@pytest.mark.parametrize(
    ("tries", "is_done"),
    [
        pytest.param([("oom", True)], False, id="beside others"),
        pytest.param([("oom", False)], True, id="alone"),
        pytest.param([("oom", True), ("preempted", False)], False, id="and ended with its agent"),
        pytest.param([("oom", True), ("finished", False)], True, id="finished at last"),
        pytest.param([("oom", True), ("crashed", False)], False, id="and crashed once"),
        pytest.param([("crashed", False), ("oom", True)], False, id="after a crash"),
        pytest.param([("oom", True), ("oom", True)], True, id="twice beside others"),
        pytest.param([("oom", True), ("oom", False)], True, id="and alone"),
    ],
)
def test_trial_that_ran_out_of_memory_beside_others_is_tried_again_once(bundle, tries, is_done):
    journal = Journal(bundle)
    for reason, is_crowded in tries:
        number = journal.begin("one")
        journal.end("one", ended(number, Reason(reason), is_crowded=is_crowded))

    for seen in (journal, Journal(bundle)):
        result = seen.result("one")
        assert (result is not None) is is_done
        assert result is None or not result.outcome.is_crowded  # the service is to count it


def test_trial_that_shared_its_gpu_goes_to_the_end_of_the_queue(bundle):
    source = BundleSource(bundle)
    (command,) = source.heartbeat("box", running=())
    crowded = Outcome(Reason.OUT_OF_MEMORY, 1, is_crowded=True)

    source.report(bundle.sweep, command, crowded, host="box", device="GPU 0")

    assert [source.heartbeat("box", running=())[0].run for _ in "abc"] == ["two", "three", "one"]
    assert BundleSource(bundle).n_left == 3


def test_journal_survives_a_line_that_was_torn(bundle):
    journal = Journal(bundle)
    journal.end("one", ended(journal.begin("one"), Reason.FINISHED, exit_code=0))
    path = bundle.folder / "journal.jsonl"
    path.write_bytes(path.read_bytes() + b'{"event": "begun", "ru')

    again = Journal(bundle)
    again.merge("one", "merged")

    assert Journal(bundle).merged == {"one": "merged"}
    assert Journal(bundle).result("one").outcome == Outcome(Reason.FINISHED, exit_code=0)


@pytest.mark.parametrize("commands", [3, [3], [{"type": "run", "args": [3]}]])
def test_bundle_with_trials_of_another_shape_is_told_in_words(bundle, commands):
    path = bundle.folder / "bundle.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "commands": commands}))

    with pytest.raises(InvalidInput, match=r"bundle\.json cannot be read"):
        Bundle.read(bundle.folder)


def test_journal_survives_bytes_that_are_no_text(bundle):
    path = bundle.folder / "journal.jsonl"
    path.write_bytes(b"\x00\xff\xfe\n")

    Journal(bundle).merge("one", "merged")

    assert Journal(bundle).merged == {"one": "merged"}


@pytest.mark.parametrize(
    "line",
    [
        "[]",
        "3",
        '{"event": "begun", "run": "one"}',
        '{"event": "begun", "run": ["one"], "try": 1}',
        '{"event": "begun", "run": "one", "try": "x"}',
        '{"event": "ended", "run": "one", "reason": "bored"}',
    ],
)
def test_line_that_is_none_of_a_journal_is_told_in_words(bundle, line):
    Journal(bundle).merge("one", "merged")
    with (bundle.folder / "journal.jsonl").open("a") as file:
        file.write(line + "\n")

    with pytest.raises(
        InvalidInput, match=r"journal\.jsonl, line 2, is none of a bundle's journal"
    ):
        Journal(bundle)


def test_agent_runs_each_trial_once_without_a_server(bundle, run_offline, write_program, tmp_path):
    write_program(TOY)

    first, second = run_offline(slots=2), run_offline(slots=2)

    notes = [json.loads(line) for line in (tmp_path / "notes.jsonl").read_text().splitlines()]
    assert {note["WANDB_RUN_ID"] for note in notes} == {"one", "two", "three"}
    assert {note["WANDB_MODE"] for note in notes} == {"offline"}
    assert {note["WANDB_API_KEY"] for note in notes} == {None}
    assert len({note["WANDB_DIR"] for note in notes}) == len(notes) == 3
    assert (first.code, second.code) == (0, 0)
    assert second.of(EventKind.TRIAL_STARTED) == []


def test_trial_that_crashes_is_tried_as_often_as_with_the_service(
    bundle, run_offline, write_program, monkeypatch
):
    write_program(CRASHES)
    monkeypatch.setenv("WANDB_AGENT_DISABLE_FLAPPING", "true")

    agent = run_offline()

    ends = [(event.data["run"], event.data["reason"]) for event in agent.of(EventKind.TRIAL_ENDED)]
    assert sorted(ends) == sorted([(run, "crashed") for run in ("one", "two", "three")] * 2)


def test_program_that_fails_at_once_does_not_burn_the_whole_bundle(
    bundle, run_offline, write_program
):
    write_program(FAILS)
    names = ("a", "b", "c", "d", "e")
    larger = replace(bundle, folder=bundle.folder / "more", commands=tuple(map(trial, names)))
    larger.write()

    agent = run_offline(offline=str(larger.folder))

    journal = Journal(larger)
    assert agent.code == 1
    assert [name for name in names if journal.result(name) is None] == ["d", "e"]
    assert journal.result("a").outcome.message == "ValueError: as ever"


def test_sweep_and_bundle_are_not_given_together(bundle, run_offline):
    with pytest.raises(InvalidInput, match="leave sw1 out"):
        run_offline(sweep="sw1")
