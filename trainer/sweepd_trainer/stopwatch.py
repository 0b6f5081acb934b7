"""How long a run has trained, all its attempts together."""

import time
from collections.abc import Callable

__all__ = ["Stopwatch"]


class Stopwatch:
    """Adds up the seconds for which it goes.

    Args:
        clock: seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock, self._before_s = clock, 0.0
        self._since: float | None = None

    @property
    def seconds(self) -> float:
        """Return how long it has gone so far."""
        going_s = 0.0 if self._since is None else self._clock() - self._since
        return self._before_s + going_s

    def start(self) -> None:
        """Go, or go on."""
        if self._since is None:
            self._since = self._clock()

    def pause(self) -> None:
        """Stand still until the next start."""
        self._before_s, self._since = self.seconds, None

    def go_on_from(self, seconds: float) -> None:
        """Stand still at what another one showed."""
        self._before_s, self._since = seconds, None
