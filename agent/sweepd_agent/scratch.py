"""A folder for what wandb-core leaves behind when the trial that it serves is killed.

It makes sockets in the temporary folder, which only an orderly end removes: two for each trial.
"""

import contextlib
import shutil
import tempfile
from pathlib import Path

__all__ = ["Scratch"]

_LONGEST = 50  # bytes of a folder's path: with the socket's name it is at most 108


class Scratch:
    """The temporary folder of one warm parent, with one in it for each child."""

    def __init__(self) -> None:
        self._folder: Path | None = None

    def open(self) -> None:
        """Make it, once; by the warm parent, when a signal that ends it would remove it."""
        if self._folder is None:
            with contextlib.suppress(OSError):  # as wandb-core will say, if it is needed
                self._folder = Path(tempfile.mkdtemp(prefix="sweepd-"))

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
