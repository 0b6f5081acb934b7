"""What the slots of one agent share: the count, the server's health, the decision to leave."""

import contextlib
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sweepd_agent.devices import Slot
from sweepd_agent.events import AgentEvent, EventKind, Report
from sweepd_agent.nursery import Nursery
from sweepd_agent.options import Options
from sweepd_agent.sharing import Sharing
from sweepd_agent.trial import Workplace

__all__ = ["Crew"]

_FLAPPING_S, _FLAPPING_FAILURES = 60.0, 3


@dataclass
class Crew:
    """Shared by every slot; each method may be called from any thread."""

    options: Options
    place: Workplace
    host: str
    report: Report
    n_slots: int
    nursery: Nursery
    run_on_main: Callable[[Callable[[], None]], None]
    sharing: Sharing | None = None  # where it is to be found out how many trials share a GPU
    leaving: threading.Event = field(default_factory=threading.Event)
    is_ending: bool = False  # the agent itself was told to end, and its trials with it
    exit_code: int = 0
    began: float = field(default_factory=time.monotonic)
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _taken: int = 0
    _failures: int = 0
    _n_out: int = 0
    _said: set[str] = field(default_factory=set)
    _lost: set[int] = field(default_factory=set)

    def say(self, kind: EventKind, text: str, data: Mapping[str, Any] | None = None) -> None:
        """Report what has happened."""
        self.report_event(AgentEvent(kind, text, data or {}))

    def say_once(self, about: str, text: str) -> None:
        """Report the first of what may happen again and again."""
        with self._lock:
            if about not in self._said:
                self._said.add(about)
                self.say(EventKind.NOTICE, text)

    def report_event(self, event: AgentEvent) -> None:
        """Report an event, one at a time; trials go on though it cannot be printed."""
        with self._lock, contextlib.suppress(OSError, ValueError):  # full, closed, no such letter
            self.report(event)

    def take_turn(self) -> bool:
        """Take one of the trials that this agent may run in all; return whether one was left."""
        with self._lock:
            count = self.options.count
            if self.leaving.is_set() or (count is not None and self._taken >= count):
                return False
            self._taken += 1
            return True

    def return_turn(self) -> None:
        """Give back a turn that brought no trial."""
        with self._lock:
            self._taken -= 1

    def leave(self, text: str | None = None, *, exit_code: int = 0) -> None:
        """Ask for no more trials; what runs goes on. The first reason that is a failure stands."""
        with self._lock:
            self.exit_code = self.exit_code or exit_code
            if text and not self.leaving.is_set():
                self.say(EventKind.NOTICE, text)
            self.leaving.set()

    def note_failure(self) -> None:
        """Count a trial that failed. Our service judges a sweep; elsewhere W&B's rule holds."""
        with self._lock:
            self._failures += 1
            if (
                not self.place.is_ours
                and self._failures >= _FLAPPING_FAILURES
                and time.monotonic() - self.began < _FLAPPING_S
                and os.environ.get("WANDB_AGENT_DISABLE_FLAPPING") != "true"
            ):
                self.leave(
                    f"{self._failures} trials failed in the first {_FLAPPING_S:.0f} s: leaving "
                    "(WANDB_AGENT_DISABLE_FLAPPING=true turns this off)",
                    exit_code=1,
                )

    def take_out(self, slot: Slot, reason: str) -> None:
        """Note that a slot runs no more trials; the agent leaves with the last of them."""
        if self.sharing is not None:
            self.sharing.take_out(slot)
        with self._lock:
            self._n_out += 1
            facts = {"slot": slot.number, "device": slot.device, "reason": reason}
            text = f"slot {slot.number} on {slot.device} is taken out: {reason}"
            self.say(EventKind.SLOT_OUT, text, facts)
            if self._n_out == self.n_slots:
                self.leave("no slot of this agent is fit to run trials", exit_code=1)

    def note_slots(self, more: int) -> None:
        """Note that the agent has so many more slots, or fewer."""
        with self._lock:
            self.n_slots += more

    def note_server(self, slot: int, problem: str | None) -> None:
        """Note what a slot found: the server's absence is said once, and its return."""
        with self._lock:
            was_lost = bool(self._lost)
            if problem is None:
                self._lost.discard(slot)
            else:
                self._lost.add(slot)
            if problem is not None and not was_lost:
                text = f"the server is away ({problem}); trials go on, and it is asked again"
                self.say(EventKind.SERVER_LOST, text)
            elif was_lost and not self._lost:
                self.say(EventKind.SERVER_BACK, "the server is back")

    def open_nursery(self) -> None:
        """Start a new warm parent in place of one that died; by the main thread, which stays."""
        done = threading.Event()

        def open_if_needed() -> None:
            try:
                if not self.nursery.is_open and not self.is_ending:
                    self.nursery.open()
            finally:
                done.set()

        self.run_on_main(open_if_needed)
        done.wait()
