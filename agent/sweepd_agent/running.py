"""What a slot keeps of the process that it watches, and of the time until it asks again."""

import random
import time
from dataclasses import dataclass, field

from sweepd.errors import Reason
from sweepd_agent.api import Command
from sweepd_agent.devices import Slot
from sweepd_agent.log import TrialLog
from sweepd_agent.memory_groups import KillWatch
from sweepd_agent.meter import Meter
from sweepd_agent.pack import Pack
from sweepd_agent.processes import kill_run

__all__ = ["BACKOFF_S", "Clock", "Running"]

#: The longest wait is well below a lease, which is a minute: it goes on when the server comes back.
BACKOFF_S = (1.0, 20.0)


@dataclass(eq=False)
class Running:
    """A trial whose process lives: it runs the program, or is ready to. Or a pack of trials."""

    command: Command
    log: TrialLog
    identity: bytes  # what tells its processes from any other
    pack: Pack | None = None
    waited: bool = False  # it was made ready before its turn
    part: Slot | None = None  # the part of the machine that it was made for; a pack has its slot's
    number: int = 0
    began: float = 0.0
    memory: KillWatch = field(default_factory=KillWatch)
    meter: Meter | None = None  # where it is to be found out how many trials share a GPU
    pid: int | None = None
    asked: Reason | None = None
    kill_at: float = float("inf")
    late_at: float = float("inf")

    @property
    def is_stillborn(self) -> bool:
        """Return whether it died as it waited: no line of the program was run."""
        return self.waited and self.pid is None and self.asked is None

    @property
    def look_at(self) -> float:
        """Return when to look at its memory next."""
        return float("inf") if self.meter is None else self.meter.look_at

    def note_end(self) -> None:
        """Note that the process has ended."""
        if self.meter is not None:
            self.meter.end()
            if self.is_stillborn:
                self.meter.discard()

    @property
    def commands(self) -> list[Command]:
        """Return the trials of the process that have not ended."""
        return [self.command] if self.pack is None else self.pack.left

    def kill_rest(self) -> None:
        """Kill what is left of a trial whose warm parent has died."""
        if self.pid is not None:
            kill_run(self.pid, self.identity)


@dataclass
class Clock:
    """When to ask the server next; seconds that never run backwards."""

    next: float = 0.0
    wait: float = BACKOFF_S[0]

    def put_off(self, at_least: float | None) -> None:
        """Wait twice as long as the last time, a little at random, and no less than asked for."""
        wait = max(self.wait, at_least or 0.0)
        self.next = time.monotonic() + wait * random.uniform(1.0, 1.25)
        self.wait = min(2 * self.wait, BACKOFF_S[1])

    def set(self, seconds: float) -> None:
        """Ask again in so many seconds: the server answers."""
        self.next, self.wait = time.monotonic() + seconds, BACKOFF_S[0]
