"""Effort that is the same on every machine: calls and bytes, where a clock would tell the load."""

import sys
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["at_most_calls", "at_most_mib"]


@contextmanager
def at_most_calls(most: int) -> Iterator[None]:
    """Fail in the midst of the block once it has called more functions, Python's or C's."""
    n_calls, before = 0, sys.getprofile()

    def count(frame: FrameType, event: str, _: object) -> None:
        nonlocal n_calls
        n_calls += event in ("call", "c_call")
        if n_calls > most:
            sys.setprofile(before)
            raise AssertionError(f"more than {most:,} calls, the last in {frame.f_code.co_name}")

    sys.setprofile(count)
    try:
        yield
    finally:
        sys.setprofile(before)


@contextmanager
def at_most_mib(most: float) -> Iterator[None]:
    """Fail if the block at one time holds more memory than that which it did not find there."""
    tracemalloc.start()
    try:
        yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak <= most * 2**20, f"{peak / 2**20:.1f} MiB, more than {most}"
