"""Starts services by forking a process that has imported them: a start costs a tenth of an exec.

Tests that kill a service again and again spend most of their time on its imports otherwise. The
forked process does what `sweep serve` does from there on: `sweepd.cli.main` with its arguments and
environment, in a session of its own.
"""

import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

__all__ = ["Forked", "Nursery", "nursery", "serve_forks"]

_LARGEST = 1 << 20


class Forked:
    """A forked process, with the part of `subprocess.Popen` that tests use."""

    def __init__(self, pid: int, nursery: "Nursery") -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._nursery, self._handle = nursery, os.pidfd_open(pid)

    def poll(self) -> int | None:
        """Return the exit code, None while it runs."""
        with suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit code once it has ended; raise TimeoutExpired after `timeout` seconds."""
        if self.returncode is None:
            if not select.select([self._handle], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired("sweep serve", timeout or 0.0)
            self.returncode = self._nursery.reap(self.pid)
            os.close(self._handle)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.returncode is None:
            signal.pidfd_send_signal(self._handle, number)


class Nursery:
    """The process that forks, and the way to ask it."""

    def __init__(self) -> None:
        self._link, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._turn = threading.Lock()
        folder = str(Path(__file__).parent)
        program = "import sys; sys.path.insert(0, sys.argv[1]); "
        program += "from nursery import serve_forks; serve_forks(int(sys.argv[2]))"
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-c", program, folder, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env={k: v for k, v in os.environ.items() if not k.startswith("SWEEPD_")},
            )

    def start(self, arguments: Sequence[str], env: Mapping[str, str], log: Path) -> Forked:
        """Run `sweep` with these arguments; it appends to `log` what it prints."""
        pid = self._ask({"arguments": list(arguments), "env": dict(env), "log": str(log)})
        return Forked(pid, self)

    def reap(self, pid: int) -> int:
        """Return the exit code of one that has ended, negative for a signal."""
        return self._ask({"reap": pid})

    def close(self) -> None:
        """End it, and with it all that it has started and that still runs."""
        self._link.close()
        self._process.wait()

    def _ask(self, request: Mapping[str, Any]) -> int:
        with self._turn:
            self._link.send(json.dumps(request).encode())
            answer: int = json.loads(self._link.recv(_LARGEST))
        return answer


@contextmanager
def nursery() -> Iterator[Nursery]:
    """Give a nursery that is closed at the end."""
    found = Nursery()
    try:
        yield found
    finally:
        found.close()


def serve_forks(link_fd: int) -> None:
    """Fork what is asked for until nobody is there to ask; kill what is left then."""
    for name in ("sweepd.app", "sweepd.cli.serve"):
        import_module(name)
    running = set()
    with socket.socket(fileno=link_fd) as link:
        while text := link.recv(_LARGEST):
            request = json.loads(text)
            if "reap" in request:
                _, status = os.waitpid(request["reap"], 0)
                running.discard(request["reap"])
                answer = os.waitstatus_to_exitcode(status)
            else:
                answer = os.fork()
                if not answer:
                    link.close()
                    _become(request["arguments"], request["env"], request["log"])
                running.add(answer)
            link.send(json.dumps(answer).encode())
    for pid in running:
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
    os._exit(0)  # to take the interpreter down in order takes long


def _become(arguments: list[str], env: dict[str, str], log: str) -> None:
    """Be `sweep` with these arguments, in this process; never return."""
    from sweepd.cli import main

    code: Any = 1
    try:
        os.setsid()
        handle = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        for own in (1, 2):
            os.dup2(handle, own)
        os.close(handle)
        os.environ.clear()
        os.environ.update(env)
        sys.argv = ["sweep", *arguments]
        main()
        code = 0
    except SystemExit as end:
        code = end.code or 0
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 1)
