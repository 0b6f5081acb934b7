"""SIGTERM to every process of an agent at once, as a control group gets it, and the agent's death.

Warm parents live through the first, as their trials are to save themselves. Nothing lives through
the second.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sweepd_agent import processes
from sweepd_agent.nursery import Ended

SAVES = """
import os, signal, sys
def save(*_):
    open("saving", "w").close()
    open("fifo").read()
    print("saved")
    sys.exit(0)
signal.signal(signal.SIGTERM, save)
with open("parent.tmp", "w") as file:
    file.write(str(os.getppid()))
os.replace("parent.tmp", "parent.txt")
while True:
    signal.pause()
"""
NEEDS = "import sys; print('colorsys' in sys.modules); import colorsys"


@pytest.mark.parametrize("is_grown", [False, True], ids=["first", "grown copy"])
def test_trial_saves_itself_where_every_process_is_told_to_end(
    make_nursery, start, run, tmp_path, wait_for, is_grown
):
    os.mkfifo(tmp_path / "fifo")
    nursery = make_nursery()
    if is_grown:
        wait_for(lambda: run(nursery, NEEDS)[1] == "True\n")
    warm = nursery._process.pid
    saves = start(nursery, SAVES, name="saves")
    wait_for((tmp_path / "parent.txt").exists)

    for pid in (warm, *processes.descendants(warm)):
        os.kill(pid, signal.SIGTERM)
    wait_for((tmp_path / "saving").exists)
    later = run(nursery, "print('ran')")
    with (tmp_path / "fifo").open("w"):
        pass

    assert saves()[-1] == Ended(0)
    assert (tmp_path / "saves.txt").read_text() == "saved\n"
    assert later == ([later[0][0], Ended(0)], "ran\n")
    assert (int((tmp_path / "parent.txt").read_text()) != warm) == is_grown


@pytest.mark.parametrize("number", [signal.SIGTERM, processes.END])
def test_forked_program_has_no_handler_of_the_warm_parents(make_nursery, run, number):
    program = f"import signal; signal.raise_signal({int(number)})"

    seen, _ = run(make_nursery(), program)

    assert seen[-1] == Ended(143 if number == signal.SIGTERM else -processes.END)


IMPORTS = """
import os, threading
with open("importing.tmp", "w") as file:
    file.write(str(os.getpid()))
os.replace("importing.tmp", "importing.txt")
threading.Event().wait()
"""


def test_warm_parent_that_imports_is_deaf_to_sigterm_and_ends_with_its_nursery(
    make_nursery, tmp_path, wait_for
):
    (tmp_path / "lib/endless.py").write_text(IMPORTS)
    nursery = make_nursery("endless")
    wait_for((tmp_path / "importing.txt").exists)
    process = nursery._process
    process.terminate()

    nursery.close()

    assert process.returncode == 128 + processes.END  # by itself, and not killed after 5 s


SUPERVISES = """
import os, sys, threading
from pathlib import Path
from sweepd_agent.nursery import Ended, Nursery
nursery = Nursery(folder=Path(), modules=["wandb"], threads=1, handshake_s=20.0,
                  log=Path("warm.log"), notice=print)
nursery.open()
def start(program):
    ended = threading.Event()
    job = dict(mode="fork", waits=False, program=program, function=False, argv=[], config={},
               exec=[sys.executable, program], env=dict(os.environ), cwd=os.getcwd())
    with open("out.txt", "ab") as log:
        nursery.start(job, log.fileno(), lambda event: isinstance(event, Ended) and ended.set())
    return ended
start("deaf.py")
while "True" not in Path("out.txt").read_text():
    start("needs.py").wait()
start("deaf.py")
nursery._grow(nursery._current, ["endless"])
print(nursery._process.pid, flush=True)
threading.Event().wait()
"""
DEAF = """
import os, signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("deaf", flush=True)
while True:
    signal.pause()
"""


def state_of(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return None


def is_spare(pid):
    """Return whether a process waits for a trial: what it prints is the warm parent's log yet."""
    has_own = not os.readlink(f"/proc/{pid}/fd/1").endswith("warm.log")
    return not has_own and not processes.descendants(pid)


@pytest.mark.parametrize(
    ("dies", "number"),
    [
        pytest.param("the agent", signal.SIGKILL, id="killed"),
        pytest.param("the agent", signal.SIGTERM, id="told before it listens"),
        pytest.param("its first warm parent", signal.SIGKILL, id="its first warm parent killed"),
    ],
)
def test_nothing_outlives_an_agent_whose_processes_were_told_to_end(
    tmp_path, wait_for, dies, number
):
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib/wandb.py").touch()  # with which a spare is forked
    (tmp_path / "lib/endless.py").write_text(IMPORTS)
    (tmp_path / "deaf.py").write_text(DEAF)
    (tmp_path / "needs.py").write_text(NEEDS)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "lib")}
    with subprocess.Popen(
        [sys.executable, "-c", SUPERVISES], cwd=tmp_path, env=environment, stdout=subprocess.PIPE
    ) as agent:
        try:
            first = int(agent.stdout.readline())
            wait_for((tmp_path / "importing.txt").exists)
            # Two trials, the parent of each, a spare, and a copy of a copy that imports.
            wait_for(lambda: len(processes.descendants(agent.pid)) == 6)
            wait_for(lambda: (tmp_path / "out.txt").read_text().count("deaf") == 2)
            family = processes.descendants(agent.pid)
            importing = int((tmp_path / "importing.txt").read_text())
            for pid in family:
                if pid == importing or not is_spare(pid):
                    os.kill(pid, signal.SIGTERM)

            os.kill(agent.pid if dies == "the agent" else first, number)

            wait_for(lambda: set(map(state_of, family)) <= {None, "Z"}, timeout_s=5)
        finally:
            agent.kill()
