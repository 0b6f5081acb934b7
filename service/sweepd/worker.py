"""Another process that computes, so that the service goes on answering."""

import asyncio
import multiprocessing
import os
import resource
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, TypeVar

from sweepd.errors import ProcessDied

__all__ = ["Worker"]

A = TypeVar("A")
R = TypeVar("R")

_ONE_THREAD = {
    name: "1"
    for name in (
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "MKL_NUM_THREADS",
        "VECLIB_MAXIMUM_THREADS",
    )
}
_LOOK_S = 0.5  # between two looks whether a process that has not answered is there
_LAST_S, _MOMENT_S = 5.0, 0.01  # for the system to clear a killed process away


class Worker:
    """One other process that computes; started when first needed, replaced when it dies or hangs.

    It runs on one thread, so that it does not take the cores that train.

    Args:
        limit_mib: memory that the calls may take, beyond what the process begins with; None: any.
    """

    def __init__(self, *, limit_mib: int | None = None) -> None:
        self._limit_mib = limit_mib
        self._process: BaseProcess | None = None
        self._pipe: Connection | None = None
        self._thread: ThreadPoolExecutor | None = None  # talks to it, whatever the event loop is

    async def call(self, function: Callable[[A], R], argument: A, *, timeout_s: float) -> R:
        """Return `function(argument)`; both must be picklable, and one call runs at a time.

        Raises:
            ProcessDied: in words, if the function raised, the process died, or time ran out.
        """
        if not self.is_running:
            self._start()
        assert self._thread is not None
        assert self._pipe is not None
        assert self._process is not None
        asked = self._thread.submit(_ask, self._process, self._pipe, function, argument)
        try:
            async with asyncio.timeout(timeout_s):
                is_answer, value = await asyncio.wrap_future(asked)
        except TimeoutError:
            self.stop()
            raise ProcessDied(f"no answer within {timeout_s:g} s") from None
        except (EOFError, OSError):
            self.stop()
            raise ProcessDied("the computing process died") from None
        except asyncio.CancelledError:
            self.stop()
            raise
        if not is_answer:
            raise ProcessDied(value)
        answer: R = value
        return answer

    def stop(self) -> None:
        """End the process and those it started, at once; the next call starts another."""
        process, pipe, thread = self._process, self._pipe, self._thread
        self._process = self._pipe = self._thread = None
        if process is None or pipe is None or thread is None:
            return
        _kill(process)
        _hang_up(pipe)
        thread.submit(_clear_away, process, pipe)
        thread.shutdown(wait=False)

    @property
    def is_running(self) -> bool:
        """Return whether the next call finds a process, so that it need not start one."""
        return self._process is not None and _look(self._process) is False

    def _start(self) -> None:
        self.stop()
        context = multiprocessing.get_context("spawn")
        here, there = context.Pipe()
        process = context.Process(
            target=_compute, args=(there, self._limit_mib), daemon=True, name="sweepd-search"
        )
        with _environment(_ONE_THREAD):
            process.start()
        there.close()
        self._process, self._pipe = process, here
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="sweepd-worker")


def _ask(
    process: BaseProcess, pipe: Connection, function: Callable[[Any], Any], argument: Any
) -> tuple[bool, Any]:
    """Send a call and wait for its answer; both may be larger than what a pipe holds.

    Raises:
        EOFError, OSError: the process has ended; what it started may hold its end of the pipe open.
    """
    pipe.send((function, argument))
    while not pipe.poll(_LOOK_S):
        if _look(process) is not False and not pipe.poll():
            raise EOFError
    answer: tuple[bool, Any] = pipe.recv()
    return answer


def _look(process: BaseProcess) -> bool | None:
    """Return whether a process has ended; it is not reaped, so that its number stays its own.

    None: it was reaped, as another one was started, and its number may be another's by now.
    """
    assert process.pid is not None
    if not hasattr(os, "waitid"):  # macOS, before Python 3.13
        return False if process.is_alive() else None
    try:
        return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return None


def _kill(process: BaseProcess) -> None:
    """Kill a process and all of its group, also where it has ended and left others behind."""
    if _look(process) is None:
        return
    assert process.pid is not None
    with suppress(ProcessLookupError, PermissionError):  # it has no group of its own yet
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()


def _hang_up(pipe: Connection) -> None:
    """End a pipe for whoever waits at either end; a close would leave a thread reading."""
    with suppress(OSError), socket.socket(fileno=os.dup(pipe.fileno())) as end:
        end.shutdown(socket.SHUT_RDWR)


def _clear_away(process: BaseProcess, pipe: Connection) -> None:
    """Close the pipe and reap the process; not by its sentinel, which others may hold open."""
    pipe.close()
    deadline = time.monotonic() + _LAST_S
    while process.is_alive() and time.monotonic() < deadline:
        time.sleep(_MOMENT_S)


def _end_with_the_service() -> None:
    """End this process and those it started as soon as the service is gone, however busy it is."""
    service = multiprocessing.parent_process()
    assert service is not None
    service.join()
    os.killpg(0, signal.SIGKILL)


def _compute(pipe: Connection, limit_mib: int | None) -> None:
    """Answer calls until the other end is closed, which the death of the service does too."""
    os.setpgid(0, 0)  # what a search starts ends with it
    threading.Thread(target=_end_with_the_service, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if limit_mib is not None:
        _limit(limit_mib << 20)
    while True:
        try:
            function, argument = pipe.recv()
        except (EOFError, OSError):
            return
        answer: tuple[bool, Any]
        try:
            answer = True, function(argument)
        except MemoryError:
            answer = False, f"it needed more than {limit_mib} MiB of memory"
        except Exception as error:  # the edge of this process: the caller gets it in words
            answer = False, f"{type(error).__name__}: {error}"
        pipe.send(answer)


def _limit(n_bytes: int) -> None:
    """Let this process take so much memory more; the system counts what it may write to."""
    if sys.platform == "linux":  # macOS has the limit, and does not keep to it
        _, most = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (_data_bytes() + n_bytes, most))


def _data_bytes() -> int:
    """Return what counts against that limit now."""
    fields = Path("/proc/self/statm").read_text().split()
    return int(fields[5]) * resource.getpagesize()


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """Set variables for the process that is started inside."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
