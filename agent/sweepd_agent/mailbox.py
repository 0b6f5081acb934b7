"""What happens to a slot while it waits, or speaks to the server: kept in order, nothing lost."""

import contextlib
import queue
from collections import deque
from typing import Generic, TypeVar

__all__ = ["Mailbox"]

T = TypeVar("T")


class Mailbox(Generic[T]):
    """Holds what other threads put there until one thread, always the same, takes it."""

    def __init__(self) -> None:
        self._new: queue.SimpleQueue[T | None] = queue.SimpleQueue()
        self._kept: deque[T] = deque()

    def put(self, item: T) -> None:
        """Add something, and wake whoever waits."""
        self._new.put(item)

    def wake(self) -> None:
        """Wake whoever waits, though there is nothing to take."""
        self._new.put(None)

    def take(self, seconds: float) -> T | None:
        """Return the oldest thing, waiting for it so long; None if there is none, or at a call."""
        if self._kept:
            return self._kept.popleft()
        try:
            return self._new.get(timeout=max(0.0, seconds))
        except queue.Empty:
            return None

    def wait(self, seconds: float) -> None:
        """Wait so long, or until something new comes; what comes is still to be taken."""
        with contextlib.suppress(queue.Empty):
            item = self._new.get(timeout=max(0.0, seconds))
            if item is not None:
                self._kept.append(item)
