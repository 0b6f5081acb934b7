"""The embedded service as a child process, for the length of one command."""

import fcntl
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click

from sweepd.cli.server import Server, configured_url, find_server, running_service
from sweepd.cli.tethered import command
from sweepd.errors import InvalidInput, ProcessDied, StoreError, StoreReadOnly, SweepdError

__all__ = ["Service", "service_for"]

_START_S = 60.0
_RIVAL_S = 5.0  # for the service that was faster than ours to answer
_STOP_S = 15.0
_LOOK_S = 0.05


@dataclass(frozen=True)
class Service:
    """The server that a command uses; `log` and `process` are those of one started for it."""

    server: Server
    process: "subprocess.Popen[bytes] | None" = None
    log: Path | None = None

    @property
    def is_started(self) -> bool:
        """Return whether it was started for this command, and ends with it."""
        return self.process is not None

    def check(self) -> None:
        """Check that a service which was started here still lives.

        Raises:
            ProcessDied: if it does not; the message says where its last words are.
        """
        if self.process is not None and self.process.poll() is not None:
            raise ProcessDied(
                f"the service ended with exit code {self.process.returncode}; see {self.log}"
            )


@contextmanager
def service_for(choice: str | None, data: Path) -> Iterator[Service]:
    """Give the server that a command should use.

    A server that is configured is used. Otherwise it is the service on this machine: the one that
    runs already, or one started here. That one is stopped at the end, once no other command uses
    it; what it stored stays.

    Raises:
        SweepdError: if the service does not start, in its own words and with its exit code.
        StoreReadOnly: if the data folder cannot be written to.
    """
    if (choice not in {None, "local"}) or (choice is None and configured_url() is not None):
        yield Service(find_server(choice, data))
        return
    with _Use(data) as use:
        found = running_service(data)
        if found is not None:
            yield Service(found)
            return
        process, log = _start(data)
        try:
            try:
                yield _wait_until_ready(process, data, log)
            except SweepdError:
                use.wait_for_others()
                raise
            use.wait_for_others()
        finally:
            _end(process)


class _Use:
    """A command's use of the local service: a shared lock, which ends with the process."""

    def __init__(self, data: Path) -> None:
        self._data = data

    def __enter__(self) -> "_Use":
        try:
            self._data.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._file = (self._data / "used").open("ab")
        except OSError as error:
            raise StoreReadOnly(
                f"{error.filename} cannot be written to: {error.strerror}; "
                "choose another data folder with --data"
            ) from None
        deadline = time.monotonic() + _STOP_S
        while not self._lock(fcntl.LOCK_SH) and time.monotonic() < deadline:
            time.sleep(_LOOK_S)  # a service that nobody used is about to end
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def wait_for_others(self) -> None:
        """Wait until no other command uses the service; none can begin to before this one ends."""
        if self._lock(fcntl.LOCK_EX):
            return
        words = "another command uses the service: it stays until that ends (Ctrl-C ends it now)"
        click.echo(words, err=True)
        while not self._lock(fcntl.LOCK_EX):
            time.sleep(_LOOK_S)

    def _lock(self, kind: int) -> bool:
        try:
            fcntl.flock(self._file, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def _start(data: Path) -> tuple["subprocess.Popen[bytes]", Path]:
    """Start the service; return it and the file of what it says."""
    log = data / "service.log"
    handle = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_TRUNC | os.O_CREAT, 0o600)
    with os.fdopen(handle, "wb") as output:
        process = subprocess.Popen(
            command("sweepd.cli", "serve", "--data", str(data), "--any-port", "--quiet"),
            # A key in the environment is for W&B's cloud, if no server is named: it stays there.
            env={k: v for k, v in os.environ.items() if k != "WANDB_API_KEY"},
            stdin=subprocess.PIPE,  # never written to: it ends when we do
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for the command: the service leaves last
        )
    return process, log


def _wait_until_ready(process: "subprocess.Popen[bytes]", data: Path, log: Path) -> Service:
    """Return the service once it answers; of two that start at once, both commands use one."""
    deadline = time.monotonic() + _START_S
    is_beaten = False
    while time.monotonic() < deadline:
        code = process.poll()
        server = running_service(data)
        if server is not None:
            is_own = server.pid == process.pid
            return Service(server, process, log) if is_own else Service(server)
        if code is not None and not is_beaten:
            if code != StoreError.exit_code:
                raise _as_error(code, log)
            is_beaten, deadline = True, time.monotonic() + _RIVAL_S
        time.sleep(_LOOK_S)
    if process.poll() is not None:
        raise _as_error(process.returncode, log)
    raise ProcessDied(f"the service did not answer within {_START_S:.0f} s; see {log}")


def _as_error(code: int, log: Path) -> SweepdError:
    """Return what ended the service as an error with its words and its exit code."""
    words = log.read_text(errors="replace")
    _, is_told, said = words.rpartition("error: ")
    if not is_told:
        return ProcessDied(f"the service ended with exit code {code}; see {log}")
    kinds: dict[int, type[SweepdError]] = {
        InvalidInput.exit_code: InvalidInput,
        StoreError.exit_code: StoreError,
    }
    return kinds.get(code, ProcessDied)(said.strip())


def _end(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if process.stdin is not None:
        process.stdin.close()
