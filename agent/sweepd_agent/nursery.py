"""The supervisor's side of its warm parents: gives them trials, and hears how these end."""

import contextlib
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from sweepd_agent import processes
from sweepd_agent.framing import receive, send

__all__ = ["Ended", "Nursery", "Started"]

_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
_MAX_GENERATIONS = 3
_WARM = (sys.executable, "-P", "-m", "sweepd_agent.warm")


@dataclass(frozen=True)
class Started:
    """A trial's process runs the program; `mode` is fork or exec."""

    pid: int
    mode: str


@dataclass(frozen=True)
class Ended:
    """A trial's process has ended: its exit code, or minus the signal; None if nobody knows."""

    status: int | None
    error: str | None = None


Listener = Callable[[Started | Ended], None]


class _Warm:
    """One warm parent, as seen from here."""

    def __init__(self, link: socket.socket, generation: int) -> None:
        self.link = link
        self.generation = generation
        self.trials: dict[int, Listener] = {}
        self.started: set[int] = set()
        self.is_gone = False
        self.lock = threading.Lock()
        self.send_lock = threading.Lock()

    def adopt(self, number: int, listener: Listener) -> bool:
        """Return whether this warm parent lives and will tell `listener` of its trial."""
        with self.lock:
            if not self.is_gone:
                self.trials[number] = listener
            return not self.is_gone

    def release(self, number: int) -> Listener | None:
        """Return a trial's listener, which is told no more; None if it was told the end."""
        with self.lock:
            self.started.discard(number)
            return self.trials.pop(number, None)

    def give_up(self) -> list[Listener]:
        """Note that the process has gone, and return the listeners that are still waiting."""
        with self.lock:
            self.is_gone = True
            waiting, self.trials = list(self.trials.values()), {}
            self.started.clear()
        return waiting

    def send(self, message: Mapping[str, Any], fds: Sequence[int] = ()) -> bool:
        """Return whether the message could be sent."""
        with self.send_lock:
            try:
                send(self.link, message, fds)
            except OSError:
                return False
        return True


class Nursery:
    """Starts every trial of an agent. The thread that calls `open` must outlive it."""

    def __init__(
        self,
        *,
        folder: Path,
        modules: Sequence[str],
        threads: int,
        handshake_s: float,
        log: Path,
        notice: Callable[[str], None],
    ) -> None:
        self._folder = folder
        self._modules = list(modules)
        self._settings = {
            "threads": threads,
            "handshake_s": handshake_s,
            "can_fork": sys.platform == "linux",
            "has_spare": True,
        }
        self._log = log
        self._notice = notice
        self._lock = threading.Lock()
        self._roll = threading.Lock()  # who is started, and who was told to end
        self._told: int | None = None
        self._numbers = count(1)
        self._process: subprocess.Popen[bytes] | None = None
        self._serving: list[_Warm] = []  # the last that lives gets the trials
        self._growing: _Warm | None = None
        self._all: list[_Warm] = []

    @property
    def is_open(self) -> bool:
        """Return whether there is a warm parent that takes trials."""
        return self._current is not None

    @property
    def has_started(self) -> bool:
        """Return whether any trial's program runs now."""
        return any(warm.started for warm in self._all)

    @property
    def _current(self) -> _Warm | None:
        return next((warm for warm in reversed(self._serving) if not warm.is_gone), None)

    def open(self) -> None:
        """Start a warm parent; it imports ahead while the caller goes on.

        A process asks to be told of the death of the *thread* that started it: so this must be
        called by a thread that lives as long as the agent.
        """
        self.close()
        ours, theirs = socket.socketpair()
        environment = {**os.environ, **dict.fromkeys(_THREAD_VARIABLES, "1")}
        environment.update(OMP_WAIT_POLICY="passive", PYTORCH_NVML_BASED_CUDA_CHECK="1")
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*_WARM, str(theirs.fileno()), str(os.getpid())],
                cwd=self._folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        theirs.close()
        self._serving = [self._attach(ours, generation=1, modules=self._modules)]

    def start(self, job: Mapping[str, Any], log: int, listener: Listener) -> int | None:
        """Start a trial and return its number here; None if there is no warm parent to start it.

        One whose job says that it `waits` gets ready, and begins when `go` says so. Where it cannot
        be made to wait, it ends at once. One that is started after a signal to all gets it too.
        """
        with self._roll:
            warm = self._current
            if warm is None:
                return None
            number = next(self._numbers)
            if not warm.adopt(number, listener):
                return None
            if not warm.send({"op": "start", "id": number, **job}, [log]) and warm.release(number):
                return None
            if self._told is not None:
                warm.send({"op": "signal", "id": number, "number": self._told})
            return number

    def go(self, trial: int) -> None:
        """Let a trial begin that was started to wait."""
        for warm in self._all:
            if trial in warm.trials:
                warm.send({"op": "go", "id": trial})

    def signal(self, trial: int, number: int) -> None:
        """Send a signal to a trial's process group."""
        for warm in self._all:
            if trial in warm.trials:
                warm.send({"op": "signal", "id": trial, "number": number})

    def signal_all(self, number: int) -> None:
        """Send a signal to every trial's process group, and to those that are started later."""
        with self._roll:
            self._told = number
            for warm in self._all:
                for trial in list(warm.trials):
                    warm.send({"op": "signal", "id": trial, "number": number})

    def close(self) -> None:
        """End every warm parent, and with it whatever it still runs."""
        for warm in self._all:
            with contextlib.suppress(OSError):
                warm.link.shutdown(socket.SHUT_RDWR)
        if self._process is not None:
            self._process.send_signal(processes.END)  # it may be importing, and blind to the socket
            try:
                self._process.wait(5)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
        self._all, self._serving, self._growing = [], [], None

    def _attach(self, link: socket.socket, *, generation: int, modules: Sequence[str]) -> _Warm:
        warm = _Warm(link, generation)
        self._all.append(warm)
        request = {"op": "preload", "modules": list(modules), "is_copy": generation > 1}
        warm.send({**request, **self._settings})
        threading.Thread(target=self._listen, args=(warm,), daemon=True, name="warm").start()
        return warm

    def _listen(self, warm: _Warm) -> None:
        while (received := receive(warm.link)) is not None:
            self._on_message(warm, received[0])
        for listener in warm.give_up():
            listener(Ended(None, "the process that watched over the trial has died"))
        warm.link.close()

    def _on_message(self, warm: _Warm, message: Mapping[str, Any]) -> None:
        kind = message["ev"]
        if kind == "started":
            if listener := warm.trials.get(message["id"]):
                warm.started.add(message["id"])
                listener(Started(message["pid"], message["mode"]))
        elif kind == "ended":
            if listener := warm.release(message["id"]):
                listener(Ended(message["status"], message["error"]))
        elif kind == "modules":
            self._grow(warm, message["modules"])
        elif kind == "ready":
            if warm.generation > 1:
                self._switch(warm, is_fit=message["fit"])
            elif message["note"] and self._settings["can_fork"]:
                self._notice(f"trials are started cold, a few seconds each: {message['note']}")

    def _grow(self, warm: _Warm, modules: Sequence[str]) -> None:
        """Let a copy of the warm parent import what a trial had to import itself."""
        with self._lock:
            is_due = warm is self._current and self._growing is None
            if not modules or not is_due or warm.generation >= _MAX_GENERATIONS:
                return
            try:
                ours, theirs = socket.socketpair()
            except OSError:
                return  # what a later trial imports is asked for again
            if not warm.send({"op": "grow"}, [theirs.fileno()]):
                ours.close()
            else:
                generation = warm.generation + 1
                self._growing = self._attach(ours, generation=generation, modules=modules)
            theirs.close()

    def _switch(self, warm: _Warm, *, is_fit: bool) -> None:
        """Send the trials to come to the grown copy, if forking from it is safe."""
        with self._lock:
            old = self._current
            if old is None or warm is not self._growing or not is_fit:
                warm.link.shutdown(socket.SHUT_RDWR)  # and no other copy is tried
                return
            self._serving.append(warm)
            self._growing = None
            old.send({"op": "retire"})
