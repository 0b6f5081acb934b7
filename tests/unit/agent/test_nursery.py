"""Warm parents, without the agent around them."""

import os
import queue
import signal
import sys

import pytest

from sweepd_agent.nursery import Ended, Nursery, Started


@pytest.fixture
def make_nursery(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "lib"))
    (tmp_path / "lib").mkdir()
    nurseries = []
    notices = []

    def make(*modules, handshake_s=20.0):
        nursery = Nursery(
            folder=tmp_path,
            modules=modules,
            threads=1,
            handshake_s=handshake_s,
            log=tmp_path / "warm.log",
            notice=notices.append,
        )
        nursery.open()
        nursery.notices = notices
        nurseries.append(nursery)
        return nursery

    yield make
    for nursery in nurseries:
        nursery.close()


@pytest.fixture
def run(tmp_path):
    def run_program(nursery, text, timeout=20):
        program = tmp_path / "program.py"
        program.write_text(text)
        job = {
            "mode": "fork",
            "waits": False,
            "program": "program.py",
            "function": False,
            "argv": [],
            "config": {},
            "exec": [sys.executable, "program.py"],
            "env": dict(os.environ),
            "cwd": str(tmp_path),
        }
        events = queue.SimpleQueue()
        with (tmp_path / "out.txt").open("wb") as log:
            assert nursery.start(job, log.fileno(), events.put) is not None
        seen = [events.get(timeout=timeout)]
        while not isinstance(seen[-1], Ended):
            seen.append(events.get(timeout=timeout))
        return seen, (tmp_path / "out.txt").read_text()

    return run_program


def test_program_is_forked_with_what_was_imported_ahead(make_nursery, run):
    seen, output = run(make_nursery("decimal"), "import sys; print('decimal' in sys.modules)")

    assert isinstance(seen[0], Started)
    assert seen[0].mode == "fork"
    assert seen[1] == Ended(0)
    assert output == "True\n"


def test_child_that_does_not_report_is_killed_and_executed(make_nursery, run, tmp_path):
    (tmp_path / "lib/stuck.py").write_text(
        "import os, time\nos.register_at_fork(after_in_child=lambda: time.sleep(600))\n"
    )

    seen, output = run(make_nursery("stuck", handshake_s=0.3), "print('ran')")

    assert [type(event) for event in seen] == [Started, Ended]
    assert seen[0].mode == "exec"
    assert seen[1] == Ended(0)
    assert output == "ran\n"


def test_parent_with_a_second_thread_does_not_fork_and_says_so(make_nursery, run, tmp_path):
    (tmp_path / "lib/threaded.py").write_text(
        "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\n"
    )
    nursery = make_nursery("threaded")

    seen, output = run(nursery, "print('ran')")

    assert (seen[0].mode, seen[1], output) == ("exec", Ended(0), "ran\n")
    assert "has started 1 thread(s)" in nursery.notices[0]


def test_module_that_cannot_be_imported_ahead_is_left_to_the_trial(make_nursery, run):
    seen, output = run(make_nursery("no_such_module"), "import no_such_module")

    assert seen == [Started(seen[0].pid, "fork"), Ended(1)]
    assert "No module named 'no_such_module'" in output


def test_what_one_trial_imports_the_later_ones_have(make_nursery, run, wait_for):
    nursery = make_nursery()
    program = "import sys; print('colorsys' in sys.modules); import colorsys"

    first = run(nursery, program)[1]

    assert first == "False\n"
    wait_for(lambda: run(nursery, program)[1] == "True\n")


def test_modules_of_the_users_own_are_never_imported_ahead(make_nursery, run, tmp_path, wait_for):
    own = tmp_path / "own.py"
    own.write_text("value = 0")
    nursery = make_nursery()
    program = "import sys, own; print('sched' in sys.modules, own.value); import sched"
    run(nursery, program)
    wait_for(lambda: run(nursery, program)[1].startswith("True"))

    own.write_text("value = 12345")

    assert run(nursery, program)[1] == "True 12345\n"


LAST_WORDS = """
import own, sys, threading, time
held = open("held.txt", "w"); held.write("held")
class Last:
    def __del__(self): print("freed")
last = Last()
def late():
    time.sleep(0.05); print("late")
threading.Thread(target=late).start()
sys.stdout.write("no newline")
"""


def test_what_a_program_wrote_is_there_at_the_end(make_nursery, run, tmp_path):
    (tmp_path / "own.py").write_text("kept = open('kept.txt', 'w'); kept.write('kept')")

    _, output = run(make_nursery(), LAST_WORDS)

    assert (tmp_path / "held.txt").read_text() == "held"
    assert (tmp_path / "kept.txt").read_text() == "kept"
    assert all(words in output for words in ("late", "freed", "no newline"))


@pytest.mark.parametrize(
    ("program", "status", "words"),
    [
        pytest.param("raise SystemExit", 0, "", id="none"),
        pytest.param("raise SystemExit('words')", 1, "words\n", id="words"),
        pytest.param("import sys; sys.exit(300)", 44, "", id="wraps"),
        pytest.param("import os; os._exit(5)", 5, "", id="at once"),
        pytest.param("raise KeyboardInterrupt", -2, "KeyboardInterrupt\n", id="interrupt"),
        pytest.param(
            "import atexit; atexit.register(print, 'bye'); 1 / 0", 1, "bye\n", id="atexit"
        ),
    ],
)
def test_exit_code_is_what_python_would_give(make_nursery, run, program, status, words):
    seen, output = run(make_nursery(), program)

    assert seen[-1] == Ended(status)
    assert output.endswith(words)


def test_trial_that_is_started_after_all_were_told_to_end_is_told_too(make_nursery, run):
    nursery = make_nursery()
    run(nursery, "")

    nursery.signal_all(signal.SIGTERM)
    seen, _ = run(nursery, "import time; time.sleep(60)")

    assert seen[-1].status in (143, -signal.SIGTERM)
