"""What a killed trial had written to disk is sent to the server, by wandb's own command."""

import json
import os
import sys

import pytest

from sweepd.errors import Reason
from sweepd_agent import leftover_rows
from sweepd_agent.api import Command, Outcome, Sweep
from sweepd_agent.devices import Slot
from sweepd_agent.leftover_rows import has_records, sync_rows
from sweepd_agent.server import Server
from sweepd_agent.trial import Workplace

SLOT = Slot(0, "cpu", None, 1)
COMMAND = Command("run", run="abc", lease=(2, "token"))
CRASHED = Outcome(Reason.CRASHED, exit_code=1)


@pytest.fixture
def place(tmp_path):
    sweep = Sweep("ada", "digits", "s1", "train.py", None)
    server = Server("http://127.0.0.1:9", "k" * 40)
    return Workplace(server, sweep, tmp_path, is_ours=True, environ={"PATH": os.environ["PATH"]})


@pytest.fixture
def write_run(tmp_path):
    def write(folder="run-20260101_000000-abc", size=100, at=0.0):
        file = tmp_path / "wandb" / folder / "run-abc.wandb"
        file.parent.mkdir(parents=True)
        file.write_bytes(b"x" * size)
        os.utime(file, (at, at))
        return file.parent

    return write


@pytest.fixture
def commands(tmp_path, monkeypatch):
    """Have wandb's command replaced by one that notes how it was called; `exit` is how it ends."""
    noted, program = tmp_path / "noted.jsonl", tmp_path / "python"
    program.write_text(
        f"#!{sys.executable}\nimport json, os, sys\n"
        f"with open({str(noted)!r}, 'a') as file:\n"
        "    call = [sys.argv[1:], os.environ['WANDB_X_EXTRA_HTTP_HEADERS']]\n"
        "    file.write(json.dumps(call) + '\\n')\n"
        f"words = open({str(tmp_path / 'fails.txt')!r}).read()\n"
        "if not words:\n"
        "    open(os.path.join(sys.argv[-1], 'run-abc.wandb.synced'), 'w').close()\n"
        "print(words)\n"  # wandb exits with 0 all the same where it passes a folder over
    )
    program.chmod(0o755)
    (tmp_path / "fails.txt").touch()
    monkeypatch.setattr(leftover_rows.sys, "executable", str(program))
    noted.touch()
    return lambda: [json.loads(line) for line in noted.read_text().splitlines()]


@pytest.mark.parametrize(
    "outcome",
    [
        pytest.param(CRASHED, id="wandb-core died"),
        pytest.param(Outcome(Reason.TIMED_OUT, signal=9), id="killed by the agent"),
        pytest.param(Outcome(Reason.OUT_OF_MEMORY, signal=9), id="killed for memory"),
    ],
)
def test_latest_folder_of_a_killed_trial_is_synced_under_its_lease(
    place, write_run, commands, outcome
):
    write_run(at=1.0)
    latest = write_run("run-20260101_000001-abc", at=2.0)

    words = sync_rows(place, COMMAND, SLOT, outcome)

    ((arguments, headers),) = commands()
    assert arguments == ["-m", "wandb", "sync", "--include-online", str(latest)]
    assert json.loads(headers) == {"X-Sweepd-Lease": "abc;2;token"}
    assert words == f"abc: sent what wandb had written to {latest} and perhaps not sent"


@pytest.mark.parametrize(
    ("command", "outcome"),
    [
        pytest.param(COMMAND, Outcome(Reason.ERROR, exit_code=1), id="it ended by itself"),
        pytest.param(COMMAND, Outcome(Reason.FINISHED, exit_code=0), id="it finished"),
        pytest.param(Command("run", run="abc"), CRASHED, id="the server is another one"),
        pytest.param(Command("run", run="b", lease=(1, "t")), CRASHED, id="it never began"),
    ],
)
def test_nothing_is_sent_where_nothing_was_lost_or_the_server_would_have_rows_twice(
    place, write_run, commands, command, outcome
):
    write_run()

    assert sync_rows(place, command, SLOT, outcome) is None
    assert commands() == []


@pytest.mark.parametrize(("size", "has"), [(0, False), (7, False), (8, True)])
def test_folder_has_records_once_more_than_a_header_is_written(write_run, size, has):
    assert has_records(write_run(size=size)) is has


def test_file_without_a_record_is_left_alone(place, write_run, commands):
    write_run(size=7)

    assert sync_rows(place, COMMAND, SLOT, CRASHED) is None
    assert commands() == []


def test_file_that_is_cut_off_was_sent_up_to_there(place, write_run, commands, tmp_path):
    write_run()
    (tmp_path / "fails.txt").write_text("ERROR: the file ends with an incomplete\nrecord. Retry")

    words = sync_rows(place, COMMAND, SLOT, CRASHED)

    assert words is not None
    assert "sent what wandb had written" in words


def test_folder_that_cannot_be_synced_is_named_with_the_reason(
    place, write_run, commands, tmp_path
):
    folder = write_run()
    (tmp_path / "fails.txt").write_text("no such server")

    words = sync_rows(place, COMMAND, SLOT, CRASHED)

    assert words is not None
    assert "(no such server)" in words
    assert words.endswith(f"try: wandb sync {folder}")
