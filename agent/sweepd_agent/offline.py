"""A bundle in the place of the server: it gives its trials to the slots and notes their ends."""

import threading
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import replace

from sweepd.errors import Reason
from sweepd_agent.api import Ahead, Command, Outcome, Sweep
from sweepd_agent.bundle import Bundle, Ended, Journal

__all__ = ["BundleSource"]


class BundleSource:
    """Serves every slot of one agent; each method may be called from any thread."""

    #: There is nothing to wait for.
    retry_after_s: float | None = None

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle
        self._journal = Journal(bundle)
        self._lock = threading.Lock()
        left = [one for one in bundle.trials() if self._journal.result(one.run) is None]
        self._left: deque[Command] = deque(left)
        self._running: dict[str, tuple[int, float]] = {}  # the number of the try, when it began

    @property
    def n_left(self) -> int:
        """Return how many trials are still to be run."""
        return len(self._left)

    def register(self, sweep: Sweep, *, host: str, device: str | None = None) -> str:
        """Return an id that means nothing."""
        return host

    def has_ended(self, sweep: Sweep) -> bool:
        """Return False: nobody says so."""
        return False

    def heartbeat(
        self, agent: str, *, running: Iterable[str], ahead: Ahead | None = None
    ) -> list[Command]:
        """Return the next trial for a slot that is idle; `exit` once there will be none."""
        if list(running):
            return []
        with self._lock:
            if not self._left:  # what runs may crash, and is tried again then
                return [] if self._running else [Command("exit")]
            command = self._left.popleft()
            number = self._journal.begin(command.run)
            self._running[command.run] = number, time.monotonic()
        folder = self._bundle.run_folder(command.run, number)
        folder.mkdir(parents=True, exist_ok=True)
        return [replace(command, offline=folder)]

    def report(
        self, sweep: Sweep, command: Command, outcome: Outcome, *, host: str, device: str
    ) -> None:
        """Note how a trial ended; one that is to be tried again goes to the end of the queue."""
        with self._lock:
            number, began = self._running.pop(command.run)
            seconds = time.monotonic() - began
            self._journal.end(command.run, Ended(number, outcome, host, device, seconds))
            is_done = self._journal.result(command.run) is not None
            if not is_done and outcome.reason != Reason.PREEMPTED:
                self._left.append(replace(command, offline=None))

    def quarantine(self, agent: str, reason: str) -> None:
        """Do nothing: whoever started the agent is told."""

    def leave(self, agent: str) -> None:
        """Do nothing: what is left stays in the bundle."""

    def hurry(self, timeout_s: float) -> None:
        """Do nothing: it does not wait."""

    def close(self) -> None:
        """Do nothing: there is no connection."""
