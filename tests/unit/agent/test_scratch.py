"""The temporary folder of a warm parent: made when it is needed, gone with what is in it."""

import os
import subprocess
import sys
import tempfile

import pytest
from wandb.sdk.lib.service import service_process

from sweepd_agent.run_trial import _start_core
from sweepd_agent.scratch import Scratch


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A temporary folder with a short path, as they are."""
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="t") as name:
        monkeypatch.setattr(tempfile, "tempdir", name)
        yield tmp_path.__class__(name)


def test_nothing_is_made_before_it_is_opened(place):
    assert Scratch().make(7) is None
    assert list(place.iterdir()) == []


def test_what_a_child_leaves_goes_with_it_and_the_rest_at_the_end(place):
    scratch = Scratch()
    scratch.open()
    first, second = scratch.make(7), scratch.make(8)
    (first / "socket").touch()

    scratch.drop(7)

    assert [path.name for path in first.parent.iterdir() if path.is_dir()] == ["8"]
    assert second.exists()
    scratch.close()
    assert list(place.iterdir()) == []


def test_folder_whose_sockets_would_have_too_long_a_name_is_not_used(place, monkeypatch):
    deep = place / ("d" * 40)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    scratch = Scratch()
    scratch.open()

    assert scratch.make(7) is None
    scratch.close()
    assert list(deep.iterdir()) == []


#: A warm parent that dies at once, and its child, which lives until its input ends.
KILLED = """
import os, sys
from sweepd_agent.scratch import Scratch

scratch = Scratch()
scratch.open()
scratch.make(7)
if os.fork() == 0:
    sys.stdin.read()
os._exit(0)
"""


def test_folder_of_a_warm_parent_that_was_killed_goes_once_no_child_uses_it(place):
    (place / "sweepd-warm-of-somebody").mkdir()
    killed = subprocess.Popen(
        [sys.executable, "-c", KILLED],
        env={**os.environ, "TMPDIR": str(place)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    killed.wait(30)
    before, after = Scratch(), Scratch()

    before.open()
    assert len(list(place.glob("*/7"))) == 1

    killed.stdin.close()
    killed.stdout.read()  # until the child has ended
    killed.stdout.close()
    after.open()
    assert list(place.glob("*/7")) == []
    before.close()
    after.close()
    assert [path.name for path in place.iterdir()] == ["sweepd-warm-of-somebody"]


def test_a_core_that_starts_uses_the_childs_folder_and_the_program_its_own(place, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(place))
    seen = []

    def start(settings):
        seen.append(tempfile.gettempdir())
        raise OSError("no room")

    monkeypatch.setattr(service_process, "start", start)
    scratch = Scratch()
    scratch.open()

    assert _start_core(scratch) is None

    assert seen == [str(scratch.make(os.getpid()))]
    os.environ["TMPDIR"] = str(place)  # as a trial's environment does
    assert tempfile.gettempdir() == str(place)
