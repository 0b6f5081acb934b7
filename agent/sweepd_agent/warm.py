"""The warm parent: imports what the program imports, once, and forks a child for each trial.

Run as `python -P -m sweepd_agent.warm FD PARENT`: a socket to the supervisor, and its process id.

A child of a parent that has run one parallel torch operation hangs for ever. So this process is
pinned to one thread, runs nothing of the user's, never touches CUDA and has no second thread; and a
canary, a forked child that does run a parallel operation, shows that forking is safe before any
trial depends on it. Where it is not, and for any child that does not report in time, trials are
started by exec. When the supervisor goes, by whatever death, every trial goes with it. SIGTERM is
not for this process: whoever sends it to all of an agent's processes means the trials, which may
save themselves, and the supervisor, which ends this one when they have.
"""

import contextlib
import errno
import json
import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, NoReturn

from sweepd_agent import processes
from sweepd_agent.framing import receive, send
from sweepd_agent.readiness import import_ahead, unsafe_to_fork
from sweepd_agent.run_trial import Assignment, run_trial, wait_for_assignment
from sweepd_agent.scratch import Scratch

__all__ = ["main"]

_SPARE_DELAY_S = 0.2
_LAST_WORDS_S = 0.2
_END_S = 3.0
_NOT_FOUND = 127  # a shell's code for a command that cannot be run


@dataclass
class _Child:
    """A forked process: a spare until it is given a trial."""

    pid: int
    link: socket.socket | None
    job: dict[str, Any] = field(default_factory=dict)
    log: int | None = None
    deadline: float = float("inf")
    is_started: bool = False
    is_ready: bool = False  # it waits for the word to begin
    may_begin: bool = True
    is_hung: bool = False


@dataclass
class _Grow:
    """A copy of this process takes over: its socket, and what it shall import on top."""

    link: socket.socket


class WarmParent:
    """Serves one supervisor's socket until it closes."""

    def __init__(self, link: socket.socket) -> None:
        self._link = link
        self._children: dict[int, _Child] = {}
        self._successors: set[int] = set()
        self._spare: _Child | None = None
        self._spare_at = float("inf")
        self._is_fit = False
        self._has_spare = False
        self._handshake_s = 20.0
        self._scratch = Scratch()
        self._strays = processes.Strays()
        self._poll = selectors.DefaultSelector()
        self._wake_read, self._wake_write = os.pipe()
        for fd in (self._wake_read, self._wake_write):
            os.set_blocking(fd, False)

    def serve(self) -> Assignment | _Grow | None:
        """Return None when the supervisor has gone; in a forked process, what it is to become."""
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, lambda *_: None)  # SIG_IGN would pass on to what is executed
        signal.signal(processes.END, self._end_at_once)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        self._poll.register(self._link, selectors.EVENT_READ, self._on_request)
        self._poll.register(self._wake_read, selectors.EVENT_READ, self._on_signal)
        while True:
            for key, _ in self._poll.select(self._timeout()):
                if not isinstance(key.fileobj, int) and key.fileobj.fileno() < 0:
                    continue
                handler = key.data
                become = handler()
                if isinstance(become, Assignment | _Grow):
                    return become
                if become is False:
                    self._end()
                    return None
            become = self._on_time()
            if become is not None:
                return become

    def _timeout(self) -> float | None:
        soonest = min([self._spare_at, *(child.deadline for child in self._children.values())])
        return None if soonest == float("inf") else max(0.0, soonest - time.monotonic())

    # Requests of the supervisor

    def _on_request(self) -> Assignment | _Grow | bool | None:
        received = receive(self._link)
        if received is None:
            return False
        message, fds = received
        if message["op"] == "preload":
            return self._preload(message)
        if message["op"] == "start" and fds:
            return self._start(message, fds[0])
        if message["op"] == "signal":
            self._signal(message["id"], message["number"])
        elif message["op"] == "go":
            self._let_begin(message["id"])
        elif message["op"] == "retire":
            self._drop_spare()
            self._has_spare = False
        elif message["op"] == "grow" and fds:
            return self._grow(socket.socket(fileno=fds[0]))
        elif message["op"] == "start":
            self._refuse(message, OSError(errno.EMFILE, os.strerror(errno.EMFILE)))
        return None

    def _preload(self, message: Mapping[str, Any]) -> Assignment | None:
        """Import ahead, see whether forking is safe, and say so."""
        began = time.monotonic()
        self._handshake_s = message["handshake_s"]
        failed = import_ahead(message["modules"])
        self._strays.note_own()
        if not message["can_fork"]:
            note: str | None = "told not to fork"
        elif failed and message["is_copy"]:  # a trial could import it: here it might be half there
            note = f"not imported ahead: {failed}"
        else:
            try:
                note = unsafe_to_fork(threads=message["threads"], timeout_s=self._handshake_s)
            except OSError as error:
                note = f"cannot fork: {_words_of(error)}"
        self._is_fit = note is None
        self._has_spare = self._is_fit and message["has_spare"] and "wandb" in sys.modules
        self._say(ev="ready", fit=self._is_fit, note=note, seconds=time.monotonic() - began)
        return self._fork_spare() if self._has_spare else None

    def _start(self, job: dict[str, Any], log: int) -> Assignment | None:
        """Give a trial to a child: the spare one, or one forked now."""
        if not self._is_fit or job["mode"] == "exec":
            if job["waits"]:  # what is executed begins at once
                os.close(log)
                self._say(ev="ended", id=job["id"], status=None, error=None)
            else:
                self._execute(job, log)
            return None
        child, self._spare = self._spare, None
        if child is None or not self._assign(child, job, log):
            made = self._fork_child()
            if isinstance(made, Assignment):
                return made
            if isinstance(made, OSError):
                self._refuse(job, made, log)
            elif not self._assign(made, job, log):
                self._refuse(job, ChildProcessError("its process cannot be reached"), log)
        if self._has_spare:
            self._spare_at = time.monotonic() + _SPARE_DELAY_S
        return None

    def _execute(self, job: dict[str, Any], log: int) -> None:
        """Start a trial's command in a process that has nothing of this one."""
        job["mode"] = "exec"
        try:
            pid, link = processes.spawn(job["exec"], env=job["env"], folder=job["cwd"], output=log)
        except (OSError, ValueError) as error:
            self._refuse(job, error, log)
            return
        os.close(log)
        self._add(_Child(pid, link, job=job))

    def _refuse(self, job: Mapping[str, Any], error: Exception, log: int | None = None) -> None:
        """Tell that a trial cannot be started: by its own fault, or else by the machine's."""
        if log is not None:
            os.close(log)
        is_own = isinstance(error, ValueError) or getattr(error, "errno", None) == errno.E2BIG
        words = f"cannot start {job['exec'][0]!r}: {_words_of(error)}"
        self._say(ev="ended", id=job["id"], status=_NOT_FOUND if is_own else None, error=words)

    def _assign(self, child: _Child, job: dict[str, Any], log: int) -> bool:
        """Give a child a trial, for when it is ready; return False, and kill it, if that fails."""
        assert child.link is not None
        try:
            name = processes.mark(processes.identity(job["env"]))
            with processes.unnamed_file(name) as file:  # a socket holds no job of any length
                file.write(json.dumps(job).encode())
                file.flush()
                send(child.link, {}, [log, file.fileno()])
        except OSError:
            processes.signal_child(child.pid, signal.SIGKILL)
            return False
        child.job, child.log, child.is_started = job, log, False
        child.may_begin = not job["waits"]
        child.deadline = time.monotonic() + self._handshake_s
        return True

    def _let_begin(self, trial: int) -> None:
        """Let a child begin that waits, or will when it is ready."""
        for child in self._children.values():
            if child.job.get("id") == trial:
                child.may_begin = True
                self._begin_if_ready(child)

    def _begin_if_ready(self, child: _Child) -> None:
        if child.is_ready and child.may_begin and child.link is not None:
            child.is_ready, child.deadline = False, time.monotonic() + self._handshake_s
            with contextlib.suppress(OSError):  # its end is seen on its own
                send(child.link, {"go": True})

    def _signal(self, trial: int, number: int) -> None:
        for child in self._children.values():
            if child.job.get("id") == trial:
                processes.signal_child(child.pid, number)

    def _grow(self, link: socket.socket) -> _Grow | None:
        """Fork a copy of this process that imports more and serves the trials to come."""
        try:
            pid = processes.fork()
        except OSError:
            link.close()  # the supervisor sees it, and tries no other copy
            return None
        if pid == 0:
            self._close_everything()
            return _Grow(link)
        self._successors.add(pid)
        link.close()
        return None

    # What becomes of children

    def _on_child(self, child: _Child) -> None:
        """Take a child's word: it runs the program, it could not, or what it has imported."""
        assert child.link is not None
        received = receive(child.link)
        if received is None:
            self._unlink(child)
            if child.job.get("mode") == "exec":
                self._note_started(child)
        elif "error" in received[0]:
            child.job["error"] = received[0]["error"]
        elif "ready" in received[0]:
            child.is_ready, child.deadline = True, float("inf")
            self._begin_if_ready(child)
        elif "modules" in received[0]:
            self._say(ev="modules", modules=received[0]["modules"])
        else:
            self._note_started(child)

    def _note_started(self, child: _Child) -> None:
        if child.is_started or not child.job or "error" in child.job:
            return
        child.is_started, child.deadline = True, float("inf")
        self._close_log(child)
        self._say(ev="started", id=child.job["id"], pid=child.pid, mode=child.job["mode"])

    def _on_signal(self) -> Assignment | None:
        """Collect every child that has ended."""
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake_read, 4096)
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return None
            if pid == 0:
                return None
            child = self._children.pop(pid, None)
            if child is not None:
                become = self._note_ended(child, os.waitstatus_to_exitcode(status))
                if become is not None:
                    return become
            else:
                self._successors.discard(pid)
                self._kill_strays()  # it may have been a stray: its own children are ours now

    def _note_ended(self, child: _Child, status: int) -> Assignment | None:
        processes.kill_group(child.pid, signal.SIGKILL)
        self._scratch.drop(child.pid)
        if child.link is not None:
            child.link.settimeout(_LAST_WORDS_S)  # another process may hold its other end
        while child.link is not None:
            try:
                self._on_child(child)
            except TimeoutError:
                self._unlink(child)
        if child is self._spare:
            self._spare = None
        if not child.job:
            return None
        if child.is_hung and child.job["mode"] == "fork" and child.may_begin:
            assert child.log is not None
            job, log, child.log = {**child.job, "mode": "exec", "waits": False}, child.log, None
            return self._start(job, log)
        self._strays.note_end(child.pid, child.job["env"])
        self._kill_strays()
        self._close_log(child)
        error = child.job.get("error")
        self._say(ev="ended", id=child.job["id"], status=status, error=error)
        return None

    def _kill_strays(self) -> None:
        living = {pid for pid, child in self._children.items() if child.job}
        self._strays.kill(living, others=self._children.keys() | self._successors)

    def _on_time(self) -> Assignment | None:
        """Kill what has not reported in time, and fork the next spare when the moment has come."""
        now = time.monotonic()
        for child in self._children.values():
            if child.deadline <= now:
                child.is_hung, child.deadline = True, float("inf")
                processes.signal_child(child.pid, signal.SIGKILL)
        if self._spare_at <= now:
            self._spare_at = float("inf")
            if self._has_spare and self._spare is None:
                return self._fork_spare()
        return None

    # Forking

    def _fork_spare(self) -> Assignment | None:
        """Fork a child for the trial to come; where there is no room, that forks its own."""
        made = self._fork_child()
        self._spare = made if isinstance(made, _Child) else None
        return made if isinstance(made, Assignment) else None

    def _fork_child(self) -> _Child | Assignment | OSError:
        """Fork a child that waits for a trial, and return it, or why not; its trial in itself."""
        self._scratch.open()
        try:
            pid, link = processes.fork_linked()
        except OSError as error:
            return error
        if pid == 0:
            self._close_everything()
            return wait_for_assignment(link, scratch=self._scratch)
        return self._add(_Child(pid, link))

    def _add(self, child: _Child) -> _Child:
        assert child.link is not None
        self._children[child.pid] = child
        self._poll.register(child.link, selectors.EVENT_READ, lambda: self._on_child(child))
        return child

    def _close_everything(self) -> None:
        """Close, in a forked process, what belongs to its parent."""
        self._poll.close()
        self._link.close()
        os.close(self._wake_read)
        os.close(self._wake_write)
        for child in self._children.values():
            self._close_log(child)
            if child.link is not None:
                child.link.close()

    # Ends

    def _unlink(self, child: _Child) -> None:
        if child.link is not None:
            self._poll.unregister(child.link)
            child.link.close()
            child.link = None

    def _close_log(self, child: _Child) -> None:
        if child.log is not None:
            os.close(child.log)
            child.log = None

    def _drop_spare(self) -> None:
        if self._spare is not None:
            processes.signal_child(self._spare.pid, signal.SIGKILL)
            self._spare = None

    def _say(self, **message: Any) -> None:
        with contextlib.suppress(OSError):  # the end of the socket is seen on reading
            send(self._link, message)

    def _end(self) -> None:
        self._end_children()
        self._scratch.close()

    def _end_children(self) -> None:
        """Kill every trial and what it started; copies of this process do so for their own."""
        for child in self._children.values():
            processes.signal_child(child.pid, signal.SIGKILL)
        deadline = time.monotonic() + _END_S
        while time.monotonic() < deadline:
            processes.end_children(gently=self._successors)  # orphans arrive as their parents die
            try:
                if os.waitpid(-1, os.WNOHANG)[0] == 0:
                    time.sleep(0.002)
            except ChildProcessError:
                return

    def _end_at_once(self, number: int, frame: FrameType | None) -> NoReturn:
        self._end()
        os._exit(128 + number)


def _words_of(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error)).lower()


def main(arguments: Sequence[str]) -> None:
    """Serve the supervisor's socket until it closes, or the supervisor dies."""
    link = socket.socket(fileno=int(arguments[0]))
    processes.die_with_parent(int(arguments[1]), processes.END)  # it may come amid an import
    while True:
        processes.adopt_orphans()
        become = WarmParent(link).serve()
        if isinstance(become, Assignment):
            run_trial(become)
        if become is None:
            os._exit(0)  # nothing here is worth a tidy end, and everybody waits for it
        link = become.link
        processes.die_with_parent(os.getppid(), processes.END)


if __name__ == "__main__":
    main(sys.argv[1:])
