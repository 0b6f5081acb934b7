"""Turns what SQLite and the file system raise into the store's errors, in words."""

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy.exc import DBAPIError

from sweepd.errors import StoreBusy, StoreError, StoreReadOnly

__all__ = ["in_words"]

_READ_ONLY = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


@contextmanager
def in_words(place: Path) -> Iterator[None]:
    """Re-raise failures of the disk and the database as a StoreError that names `place`."""
    try:
        yield
    except DBAPIError as error:
        told = _sqlite_error(error.orig, place)
        if told is None:
            raise
        raise told from error
    except sqlite3.Error as error:
        told = _sqlite_error(error, place)
        if told is None:
            raise
        raise told from error
    except OSError as error:
        raise _os_error(error, place) from error


def _os_error(error: OSError, place: Path) -> StoreError:
    if error.errno in _READ_ONLY:
        return StoreReadOnly(f"{place} cannot be written to: {error.strerror}")
    if error.errno in _FULL:
        return StoreError(f"the disk that holds {place} is full")
    return StoreError(f"{place}: {error.strerror or error}")


def _sqlite_error(error: BaseException | None, place: Path) -> StoreError | None:
    """Return the error in words, or None where it is a mistake of ours (SQL, a constraint)."""
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        return None
    told = {
        sqlite3.SQLITE_BUSY: StoreBusy(f"another process is writing to {place}; try again"),
        sqlite3.SQLITE_LOCKED: StoreBusy(f"{place} is locked; try again"),
        sqlite3.SQLITE_READONLY: StoreReadOnly(f"{place} cannot be written to: it is read-only"),
        sqlite3.SQLITE_PERM: StoreReadOnly(f"{place} cannot be opened: permission denied"),
        sqlite3.SQLITE_CANTOPEN: StoreReadOnly(f"{place} cannot be opened for writing"),
        sqlite3.SQLITE_FULL: StoreError(f"the disk that holds {place} is full"),
        sqlite3.SQLITE_IOERR: StoreError(f"the disk that holds {place} failed: {error}"),
        sqlite3.SQLITE_CORRUPT: StoreError(f"{place} is damaged: {error}"),
        sqlite3.SQLITE_NOTADB: StoreError(f"{place} is not a database of sweepd"),
    }
    return told.get(code & 0xFF)
