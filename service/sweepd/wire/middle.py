"""The file of a run's output, as it is kept: its first part and its last."""

from sweepd.engine import console_limit
from sweepd.engine.services import Limits

__all__ = ["Middle"]


class Middle:
    """Passes the first bytes of a body through, holds the last ones, and forgets the others."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._room = limits.log_head_size
        self._tail = bytearray()
        self._left_out = 0

    def take(self, chunk: bytes) -> bytes:
        """Return what is to be written of a chunk now."""
        head = chunk[: self._room]
        self._room -= len(head)
        self._tail += chunk[len(head) :]
        excess = len(self._tail) - self._limits.log_tail_size
        if excess > 0:
            del self._tail[:excess]
            self._left_out += excess
        return head

    def rest(self) -> bytes:
        """Return what is to be written at the end: a word on what is missing, and the last part."""
        if not self._left_out:
            return bytes(self._tail)
        line = console_limit.words(f"{self._left_out:,} bytes", self._limits)
        return f"\n{line}\n".encode() + self._tail
