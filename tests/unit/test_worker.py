"""The process that computes: calls of any size, whatever the event loop, and none that hangs it."""

import asyncio
import signal
import time

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
