"""A folder for what wandb-core leaves behind when the trial that it serves is killed.

It makes sockets in the temporary folder, which only an orderly end removes: two for each trial.
"""

import contextlib
import fcntl
import os
import shutil
import tempfile
from pathlib import Path

__all__ = ["Scratch"]

_PREFIX, _LOCK = "sweepd-warm-", ".in-use"
_LONGEST = 50  # bytes of a folder's path: with the socket's name it is at most 108


class Scratch:
    """The temporary folder of one warm parent, with one in it for each child.

    A file in it is locked while the parent or a child lives, so that others know when it is no
    longer needed, even if all of them were killed.
    """

    def __init__(self) -> None:
        self._folder: Path | None = None
        self._in_use = -1

    def open(self) -> None:
        """Make it, once; by the warm parent, when a signal that ends it would remove it.

        Those of warm parents that were killed are removed.
        """
        if self._folder is None:
            with contextlib.suppress(OSError):  # as wandb-core will say, if it is needed
                self._folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
                self._in_use = _lock(self._folder)
                _remove_unused(self._folder.parent)

    def make(self, child: int) -> Path | None:
        """Make and return the folder of a child; None if its path would be too long."""
        if self._folder is None:
            return None
        folder = self._folder / str(child)
        if len(bytes(folder)) > _LONGEST:
            return None
        folder.mkdir(mode=0o700, exist_ok=True)
        return folder

    def drop(self, child: int) -> None:
        """Remove what a child that has ended has left."""
        if self._folder is not None:
            shutil.rmtree(self._folder / str(child), ignore_errors=True)

    def close(self) -> None:
        """Remove all of it."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
        if self._in_use >= 0:
            os.close(self._in_use)
            self._in_use = -1


def _lock(folder: Path) -> int:
    """Return a file that keeps a folder while it is open, here or in a process forked off."""
    early = folder / f"{_LOCK}.new"
    file = os.open(early, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(file, fcntl.LOCK_EX)
    early.rename(folder / _LOCK)  # under this name it is always locked, or its folder unused
    return file


def _remove_unused(parent: Path) -> None:
    for lock in parent.glob(f"{_PREFIX}*/{_LOCK}"):
        with contextlib.suppress(OSError):  # in use, another's, or just removed
            file = os.open(lock, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(lock.parent)
            finally:
                os.close(file)
