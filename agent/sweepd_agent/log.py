"""A trial's output: to a file of bounded size, and its last part in memory, for the error in it."""

import os
import select
import threading
from collections import deque
from pathlib import Path

__all__ = ["TrialLog"]

_HEAD_BYTES = 4 << 20
_TAIL_BYTES = 256 << 10
_CHUNK_BYTES = 64 << 10


class TrialLog:
    """Takes what a trial prints through a pipe: the first 4 MiB and the last 256 KiB are kept.

    What the disk does not take is left out: a full one never keeps a trial from printing.

    Give `write_fd` to the process, then call `release`: our own copy must not keep the pipe open.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
        self._read_fd, self.write_fd = os.pipe()
        self._stop_read, self._stop_write = os.pipe()
        self._tail: deque[bytes] = deque()
        self._tail_size = 0
        self._left_out = 0
        self._thread = threading.Thread(target=self._pump, daemon=True, name="log")
        self._thread.start()

    def release(self) -> None:
        """Close our copy of the pipe's writing end."""
        os.close(self.write_fd)

    def finish(self) -> None:
        """Say that the process has ended: what is in the pipe is still read, nothing later."""
        os.close(self._stop_write)

    def tail(self, *, timeout_s: float = 2.0) -> str:
        """Return the last part of the output, once all of it has been read."""
        self._thread.join(timeout_s)
        return b"".join(self._tail).decode(errors="replace")

    def _pump(self) -> None:
        poll = select.poll()
        poll.register(self._read_fd, select.POLLIN)
        poll.register(self._stop_read, select.POLLIN | select.POLLHUP)
        size = os.fstat(self._file).st_size
        while True:
            ready = {fd for fd, _ in poll.poll()}
            if self._read_fd not in ready:
                break
            part = os.read(self._read_fd, _CHUNK_BYTES)
            if not part:
                break
            self._keep(part)
            written = self._write(part[: max(0, _HEAD_BYTES - size)])
            size += written
            self._left_out += len(part) - written
        self._write_end()
        for fd in (self._file, self._read_fd, self._stop_read):
            os.close(fd)

    def _write(self, part: bytes) -> int:
        """Return how many bytes the disk has taken."""
        try:
            return os.write(self._file, part)
        except OSError:
            return 0

    def _keep(self, part: bytes) -> None:
        self._tail.append(part)
        self._tail_size += len(part)
        while self._tail_size - len(self._tail[0]) >= _TAIL_BYTES:
            self._tail_size -= len(self._tail.popleft())

    def _write_end(self) -> None:
        """Append, to a file that is full, the last part of what did not fit."""
        if not self._left_out:
            return
        last = b"".join(self._tail)[-min(_TAIL_BYTES, self._left_out) :]
        skipped = self._left_out - len(last)
        note = f"\n[... {skipped} bytes left out ...]\n" if skipped else ""
        self._write(note.encode() + last)
