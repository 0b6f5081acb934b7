"""Warm parents, without the agent around them."""

import os
import resource
import signal
import sys

import pytest

from sweepd_agent import processes
from sweepd_agent.nursery import Ended, Started


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


TORCH = """
from unittest.mock import MagicMock
ones, used = MagicMock(), 1
def set_num_threads(threads):
    global used
    used = threads
"""
COUNTED = """
import threadpoolctl, torch
print(torch.used, *(lib["num_threads"] for lib in threadpoolctl.threadpool_info()))
"""


@pytest.mark.parametrize(
    ("told", "threads"),
    [
        pytest.param({"OMP_NUM_THREADS": "1"}, "1 1\n", id="fewer than slots have"),
        pytest.param({"OMP_NUM_THREADS": "3"}, "3 3\n", id="more than slots have"),
        pytest.param({"OMP_NUM_THREADS": "3,2"}, "3 3\n", id="nested teams"),
        pytest.param(
            {"OMP_NUM_THREADS": "3", "OPENBLAS_NUM_THREADS": "1"}, "3 1\n", id="BLAS has its own"
        ),
        pytest.param({"OMP_NUM_THREADS": "many"}, "5 5\n", id="nothing that can be read"),
    ],
)
def test_libraries_that_are_loaded_use_the_threads_that_the_trials_environment_says(
    make_nursery, run, tmp_path, told, threads
):
    (tmp_path / "lib/torch.py").write_text(TORCH)
    cores = "import sweepd_agent.readiness as r\nr.count_cores = lambda: 5\n"
    (tmp_path / "lib/cores.py").write_text(cores)
    nursery = make_nursery("torch", "numpy", "cores", threads=2)

    others = {name: v for name, v in os.environ.items() if not name.endswith("_NUM_THREADS")}

    seen, output = run(nursery, COUNTED, env={**others, **told})

    assert seen[0].mode == "fork"
    assert output == threads


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


TOLD_TO_END_LATE = """
import io, os, signal, sys
class Late(io.TextIOWrapper):
    def flush(self, kill=os.kill, me=os.getpid(), number=signal.SIGTERM):
        kill(me, number)
sys.late = Late(open("late.txt", "wb"))
"""


def test_program_that_is_told_to_end_when_it_is_over_has_finished(make_nursery, run):
    seen, _ = run(make_nursery(), TOLD_TO_END_LATE)

    assert seen[-1] == Ended(0)


OPEN_RUN = """
import atexit, os, signal, sys, threading, types
class Run:
    def finish(self, exit_code):
        state.most_recent_active_run = None
        {at_finish}
        print("sent", exit_code)
state = types.SimpleNamespace(most_recent_active_run=Run())
sys.modules["wandb.sdk.wandb_setup"] = types.SimpleNamespace(_singleton=state)
atexit.register(print, "bye")
def tell():
    os.kill(os.getpid(), signal.SIGTERM)
"""


def test_program_that_is_told_to_end_while_its_run_is_sent_has_finished(make_nursery, run):
    seen, output = run(make_nursery(), OPEN_RUN.format(at_finish="tell()"))

    assert seen[-1] == Ended(0)
    assert output == "sent 0\nbye\n"


GOES_ON = """
def go_on():
    threading.main_thread().join()
    tell()
    threading.Event().wait()
threading.Thread(target=go_on).start()
"""


def test_program_that_is_told_to_end_while_its_threads_go_on_has_its_run_sent(make_nursery, run):
    seen, output = run(make_nursery(), OPEN_RUN.format(at_finish="pass") + GOES_ON)

    assert seen[-1] == Ended(143)
    assert output == "sent 143\nbye\n"


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


FULL = """
import errno, os
def unless_full(make):
    def made(*args, **kwargs):
        if os.path.exists("full"):
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return make(*args, **kwargs)
    return made
os.fork = unless_full(os.fork)
os.posix_spawn = unless_full(os.posix_spawn)
"""
SIGNALS_HELD = "import signal; print(len(signal.pthread_sigmask(signal.SIG_BLOCK, [])))"


@pytest.mark.parametrize("mode", ["fork", "exec"])
def test_machine_without_room_for_a_process_costs_that_trial_alone(
    make_nursery, start, run, tmp_path, mode
):
    (tmp_path / "lib/filling.py").write_text(FULL)
    os.mkfifo(tmp_path / "fifo")
    nursery = make_nursery("filling")
    other = start(nursery, "open('fifo').read()", name="other")

    with (tmp_path / "fifo").open("w"):  # as long as it is open, the other trial runs
        (tmp_path / "full").touch()
        seen, _ = run(nursery, "print('never')", mode=mode)
        (tmp_path / "full").unlink()
        later = run(nursery, SIGNALS_HELD, mode=mode)[1]

    words = f"cannot start {sys.executable!r}: resource temporarily unavailable"
    assert seen == [Ended(None, words)]
    assert later == "0\n"
    assert other()[-1] == Ended(0)


def test_spare_that_cannot_be_forked_is_done_without(make_nursery, run, tmp_path):
    (tmp_path / "lib/wandb.py").touch()  # with which a spare would be forked at once
    (tmp_path / "lib/filling.py").write_text(FULL)
    (tmp_path / "full").touch()
    nursery = make_nursery("filling", "wandb")
    run(nursery, "")  # by now it has had to do without

    (tmp_path / "full").unlink()

    seen, output = run(nursery, SIGNALS_HELD)
    assert [type(event) for event in seen] == [Started, Ended]
    assert output == "0\n"


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        pytest.param("x" * 200_000, "argument list too long", id="too long"),
        pytest.param("a\0b", "embedded null byte", id="null byte"),
    ],
)
def test_arguments_that_no_process_can_have_are_an_error_of_the_trial(
    make_nursery, run, argument, words
):
    nursery = make_nursery()

    seen, _ = run(nursery, "", mode="exec", exec=["python", "program.py", argument])

    assert seen == [Ended(127, f"cannot start 'python': {words}")]
    assert run(nursery, "print('ran')")[1] == "ran\n"


def test_warm_parent_that_may_open_no_more_files_goes_on(make_nursery, run, tmp_path):
    (tmp_path / "lib/few.py").write_text(
        "import resource as r; r.setrlimit(r.RLIMIT_NOFILE, (3, r.getrlimit(r.RLIMIT_NOFILE)[1]))"
    )
    nursery = make_nursery("few")

    seen, _ = run(nursery, "")

    assert seen == [Ended(None, f"cannot start {sys.executable!r}: too many open files")]
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.prlimit(nursery._process.pid, resource.RLIMIT_NOFILE, limits)
    assert run(nursery, "print('ran')")[1] == "ran\n"


def test_command_that_is_executed_ignores_no_signal_that_the_agent_does(make_nursery, run):
    command = ["grep", "SigIgn", "/proc/self/status"]

    _, output = run(make_nursery(), "", mode="exec", exec=command)

    ignored = int(output.partition(":")[2], 16)
    ours = (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE, signal.SIGXFSZ)  # others: who started it
    assert [number.name for number in ours if ignored >> (number - 1) & 1] == []


def test_long_job_of_a_child_that_is_not_ready_holds_nobody_up(make_nursery, start, run, tmp_path):
    (tmp_path / "lib/wandb/sdk/lib/service").mkdir(parents=True)
    for name in ("__init__", "errors", "sdk/wandb_settings"):
        (tmp_path / f"lib/wandb/{name}.py").write_text("Error = OSError; Settings = dict")
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "lib/wandb/sdk/lib/service/service_process.py").write_text(
        "def start(settings): open('fifo').read(); raise OSError"
    )
    nursery = make_nursery("wandb.errors", "wandb.sdk.lib.service.service_process")

    with (tmp_path / "fifo").open("w"):  # as long as it is open, no child gets ready
        program = "import sys; sys.exit(len(sys.argv[1]) >> 20)"
        long = start(nursery, program, name="long", argv=["x" * (5 << 20)])
        seen, _ = run(nursery, "", mode="exec")

    assert seen[-1] == Ended(0)
    assert long()[-1] == Ended(5)


DAEMON = """
import os, signal
read, write = os.pipe()
def tell():
    os.write(write, b"%d " % os.getpid())
def sleep(env):
    os.execve("/bin/sleep", ["sleep", "600"], env)
if os.fork() == 0:
    os.{leave}()
    if os.fork():
        os._exit(0)
    tell()
    {stay}
    os.close(write)
    signal.pause()
os.close(write)
os.wait()
print(open(read).read(), flush=True)
"""
FORKED = DAEMON.format(leave="setsid", stay="")
BARE = DAEMON.format(leave="setsid", stay="sleep({})")


def new_environment():
    return {**os.environ, **processes.new_identity()}


def is_alive(pid):
    return os.path.exists(f"/proc/{pid}")


@pytest.mark.parametrize(
    ("program", "mode"),
    [
        pytest.param(FORKED, "fork", id="forked from a forked trial"),
        pytest.param(FORKED, "exec", id="forked from an executed trial"),
        pytest.param(
            DAEMON.format(leave="setsid", stay="sleep(os.environ)"), "fork", id="executed"
        ),
        pytest.param(
            DAEMON.format(leave="setpgrp", stay="sleep({})"), "fork", id="in the trial's session"
        ),
        pytest.param(
            DAEMON.format(leave="setsid", stay="os.fork() or (tell(), sleep({}))"),
            "fork",
            id="with a child that shows nothing",
        ),
    ],
)
def test_daemons_end_with_their_trial_and_no_other(
    make_nursery, start, run, wait_for, tmp_path, program, mode
):
    os.mkfifo(tmp_path / "fifo")
    nursery = make_nursery()
    text = f"{FORKED}\nopen('fifo').read()"
    other = start(nursery, text, name="other", env=new_environment())

    with (tmp_path / "fifo").open("w"):  # as long as it is open, the other trial runs
        _, output = run(nursery, program, mode=mode, env=new_environment())

        assert output.split()
        wait_for(lambda: not any(map(is_alive, output.split())))
        run(nursery, "", env=new_environment())
        kept = (tmp_path / "other.txt").read_text().strip()
        assert is_alive(kept)
    other()
    wait_for(lambda: not is_alive(kept))


def test_daemon_that_shows_nothing_ends_when_it_can_be_of_no_other_trial(
    make_nursery, start, run, wait_for, tmp_path
):
    os.mkfifo(tmp_path / "fifo")
    nursery = make_nursery()
    older = start(nursery, "open('fifo').read()", name="older")

    with (tmp_path / "fifo").open("w"):  # as long as it is open, the older trial runs
        _, output = run(nursery, BARE)
        run(nursery, "")
        assert is_alive(output.strip())
    older()

    wait_for(lambda: not is_alive(output.strip()))
