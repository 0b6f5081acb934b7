"""Arrays that take long to unpack and check, kept on the disk as they are in memory.

Every trial is a process of its own and reads its data anew. The first one on a machine unpacks and
checks them; the others map what it kept, and share its pages.
"""

import hashlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sweepd_trainer.whole_file import whole_file

__all__ = ["unpacked"]

_LARGE = 1 << 20  # bytes; less is read in a moment
_log = logging.getLogger(__name__)


def unpacked(path: Path, read: Callable[[], NDArray[Any]], *, folder: Path) -> NDArray[Any]:
    """Return what `read` gives for a file, from `folder` if it was read before and is the same.

    Args:
        path: the file; another size, time or inode makes it another one.
        read: unpacks and checks it; what it raises is raised.
        folder: what was read is kept there, if that is possible.

    Returns:
        An array that may be read only.
    """
    try:
        about = path.stat()
    except OSError:
        return read()  # which says it in its own words
    place = _short(str(path.resolve()))
    version = _short(f"{about.st_size} {about.st_mtime_ns} {about.st_ino}")
    kept = folder / f"{place}-{version}.npy"
    try:
        found: NDArray[Any] = np.load(kept, mmap_mode="r", allow_pickle=False)
        return found
    except FileNotFoundError:
        pass
    except (OSError, ValueError, EOFError) as error:
        _log.info("%s is made anew: %s", kept, error)
    items = read()
    if items.nbytes >= _LARGE:
        try:
            with whole_file(kept, prefix=".unpacked-") as file:
                np.save(file, items, allow_pickle=False)
            for other in folder.glob(f"{place}-*.npy"):
                if other != kept:
                    other.unlink(missing_ok=True)
        except OSError as error:
            _log.info("%s is read anew by every process: %s", path, error)
    return items


def _short(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16]
