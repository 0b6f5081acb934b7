"""How long a thread may read: whatever is asked for, it gives the thread back in the end."""

import math
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from sweepd.errors import ProtocolError, StoreError

__all__ = ["interrupt_late_reads", "is_late", "within"]

_STEPS = 100_000  # of SQLite's machine, some milliseconds, between two looks at the clock


class _Deadline(threading.local):
    at = math.inf
    ending: threading.Event | None = None


_deadline = _Deadline()


def is_late() -> bool:
    """Return whether what this thread reads has taken longer than it may."""
    return time.monotonic() > _deadline.at or _is_ending()


def interrupt_late_reads(raw: sqlite3.Connection) -> None:
    """Have a connection end a statement when the thread that runs it is late."""
    raw.set_progress_handler(is_late, _STEPS)


@contextmanager
def within(seconds: float, *, ending: threading.Event) -> Iterator[None]:
    """Give this thread so long, and no longer than until `ending` is set.

    Raises:
        ProtocolError: if it was interrupted, since it took longer.
        StoreError: if it was interrupted by the end.
    """
    _deadline.at, _deadline.ending = time.monotonic() + seconds, ending
    try:
        yield
    except Exception as error:
        if ending.is_set():
            raise StoreError("the service is ending; repeat the request in a moment") from error
        if is_late():
            raise ProtocolError(
                f"the request takes longer than {seconds:g} s to read; ask for less"
            ) from error
        raise
    finally:
        _deadline.at, _deadline.ending = math.inf, None


def _is_ending() -> bool:
    return _deadline.ending is not None and _deadline.ending.is_set()
