"""The process that computes: calls of any size, whatever the event loop, and none that hangs it."""

import asyncio
import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import uvloop

from sweepd.errors import ProcessDied
from sweepd.worker import Worker


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request):
    with asyncio.Runner(loop_factory=request.param) as runner:
        yield runner.run


def test_arguments_and_answers_may_be_larger_than_what_a_pipe_holds(run):
    worker = Worker()

    async def ask():
        return [await worker.call(bytes.upper, b"x" * 4_000_000, timeout_s=60) for _ in range(2)]

    try:
        assert [len(answer) for answer in run(ask())] == [4_000_000, 4_000_000]
    finally:
        worker.stop()


def test_a_call_that_dies_hangs_or_raises_is_told_in_words_and_the_next_one_runs(run):
    worker = Worker()

    async def ask():
        for function, argument, words in (
            (signal.raise_signal, signal.SIGKILL, "died"),
            (time.sleep, 60, "no answer within 0.2 s"),
            (str.upper, None, "TypeError"),
        ):
            timeout_s = 0.2 if function is time.sleep else 60
            with pytest.raises(ProcessDied, match=words):
                await worker.call(function, argument, timeout_s=timeout_s)
        return await worker.call(str.upper, "ab", timeout_s=60)

    try:
        assert run(ask()) == "AB"
    finally:
        worker.stop()


def test_a_call_that_takes_too_much_memory_fails_in_words_and_the_next_one_runs(run):
    worker = Worker(limit_mib=100)

    async def ask():
        with pytest.raises(ProcessDied, match="it needed more than 100 MiB of memory"):
            await worker.call(bytearray, 300 << 20, timeout_s=60)
        return len(await worker.call(bytearray, 20 << 20, timeout_s=60))

    try:
        assert run(ask()) == 20 << 20
    finally:
        worker.stop()


#: Starts a process that holds on to all that this one has open, says which, and hangs.
LEAVE_A_CHILD = """
import os, pathlib, time
child = os.fork()
if child == 0:
    {first}
    time.sleep(60)
    os._exit(0)
pathlib.Path({told!r}).write_text(str(child))
time.sleep(60)
"""


def is_running(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


async def until(condition):
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("first", ["pass", "os.setsid()"], ids=["same group", "own session"])
def test_a_child_that_a_call_leaves_does_not_hold_up_the_service(run, tmp_path, first):
    worker, told = Worker(), tmp_path / "child"
    code = LEAVE_A_CHILD.format(first=first, told=str(told))

    async def ask():
        loop = asyncio.get_running_loop()
        asked = asyncio.create_task(worker.call(exec, code, timeout_s=60))
        await until(lambda: told.exists() and told.read_text())
        asked.cancel()
        began = loop.time()
        with pytest.raises(asyncio.CancelledError):
            await asked
        held_up_s = loop.time() - began
        assert await worker.call(str.upper, "ab", timeout_s=60) == "AB"
        return held_up_s

    try:
        assert run(ask()) < 30, "the child sleeps for 60 s"
        child = int(told.read_text())
        if first == "pass":
            run(until(lambda: not is_running(child)))
        else:
            os.kill(child, signal.SIGKILL)  # it asked for a life of its own
    finally:
        worker.stop()


def test_a_worker_that_was_stopped_leaves_no_process_and_no_open_pipe(run):
    def open_pipes():
        gc.collect()  # a process that ended closes its own when it is collected
        return sum(fd.is_socket() or fd.is_fifo() for fd in Path("/proc/self/fd").iterdir())

    def is_over():
        names = [thread.name for thread in threading.enumerate()]  # of what clears away
        is_clearing = any(name.startswith("sweepd-worker") for name in names)
        return not is_clearing and not multiprocessing.active_children()

    async def ask(worker):
        await worker.call(str.upper, "ab", timeout_s=60)
        worker.stop()
        await until(is_over)

    worker = Worker()
    run(ask(worker))
    before = open_pipes()
    for _ in range(3):
        run(ask(worker))
    assert open_pipes() <= before


def test_a_call_that_leaves_a_child_and_dies_is_told_at_once_and_leaves_nothing(run, tmp_path):
    worker, told = Worker(), tmp_path / "child"
    code = LEAVE_A_CHILD.format(first="pass", told=str(told)).replace(
        "write_text(str(child))\ntime.sleep(60)", "write_text(str(child))\nos.kill(os.getpid(), 9)"
    )

    async def ask():
        with pytest.raises(ProcessDied, match="the computing process died"):
            await worker.call(exec, code, timeout_s=50)
        await until(lambda: not is_running(int(told.read_text())))

    try:
        run(ask())
    finally:
        worker.stop()


def test_a_busy_process_does_not_outlive_the_service(tmp_path):
    told = tmp_path / "worker"
    code = f"import os, pathlib, time; pathlib.Path({str(told)!r}).write_text(str(os.getpid()))\n"
    service = f"""
import asyncio
from sweepd.worker import Worker
if __name__ == "__main__":
    asyncio.run(Worker().call(exec, {code + "while True: pass"!r}, timeout_s=60))
"""
    (tmp_path / "service.py").write_text(service)
    process = subprocess.Popen([sys.executable, str(tmp_path / "service.py")])

    async def see_it_end():
        await until(lambda: told.exists() and told.read_text())
        process.kill()
        process.wait()
        await until(lambda: not is_running(int(told.read_text())))

    asyncio.run(see_it_end())
