"""Who is inside: requests in flight and event streams, and how the service takes its leave."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["Gate"]

_LOOK_S = 0.02


class Gate:
    """Counts the requests in flight. Once it is closed new ones are refused and streams end."""

    def __init__(self) -> None:
        self.n_inside = 0
        self._is_closed = False
        self._streams: set[asyncio.Task[Any]] = set()

    @property
    def is_closed(self) -> bool:
        """Return whether the service is about to end."""
        return self._is_closed

    @property
    def n_streams(self) -> int:
        """Return how many event streams are open."""
        return len(self._streams)

    @contextmanager
    def passing(self) -> Iterator[None]:
        """Count one request while it is in flight."""
        self.n_inside += 1
        try:
            yield
        finally:
            self.n_inside -= 1

    def add_stream(self) -> None:
        """Note that the present task serves an event stream, which would never end by itself."""
        task = asyncio.current_task()
        assert task is not None
        self._streams.add(task)

    def has_ended_stream(self) -> bool:
        """Return whether the present task was cancelled by `close`; it then goes on."""
        task = asyncio.current_task()
        if task is None or not self._is_closed or task not in self._streams:
            return False
        task.uncancel()
        return True

    def drop_stream(self) -> None:
        """Note that the present task serves no event stream any more."""
        task = asyncio.current_task()
        if task is not None:
            self._streams.discard(task)

    def close(self) -> None:
        """Refuse what comes from now on, and end every event stream: its page reconnects."""
        self._is_closed = True
        for task in self._streams:
            task.cancel()

    async def wait_empty(self, *, least_s: float, most_s: float) -> None:
        """Wait until no request is in flight.

        Args:
            least_s: wait this long in any case, so that load balancers see the refusals.
            most_s: give up after this long.
        """
        start = time.monotonic()
        while (waited := time.monotonic() - start) < most_s:
            if self.n_inside == 0 and waited >= least_s:
                return
            await asyncio.sleep(_LOOK_S)
