"""Bytes of files, one file each, in a folder. A key never names bytes that are not all there."""

import hashlib
import os
from base64 import b64encode
from collections.abc import Collection
from pathlib import Path
from types import TracebackType
from typing import IO
from uuid import uuid4

from sweepd.store.words import in_words

__all__ = ["BlobWriter", "Blobs"]


class Blobs:
    """A folder of immutable blobs under random keys.

    A blob appears whole or not at all: it is written beside, flushed to the disk, then renamed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._temporary = folder / "tmp"
        with in_words(folder):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._temporary.mkdir(exist_ok=True)

    def writer(self) -> "BlobWriter":
        """Return a context in which one new blob is written; leaving it uncommitted drops it."""
        return BlobWriter(self)

    def path(self, key: str) -> Path:
        """Return where the bytes of `key` are."""
        return self._folder / key[:2] / key

    def delete(self, key: str) -> None:
        """Delete a blob; harmless when repeated."""
        with in_words(self._folder):
            self.path(key).unlink(missing_ok=True)

    def sweep(self, live_keys: Collection[str], *, before: float) -> int:
        """Delete what is not in `live_keys` and was last written before `before`; return how many.

        Younger blobs stay: their row may be about to be committed.

        Args:
            live_keys: every key that a row refers to.
            before: unix seconds.
        """
        gone = 0
        with in_words(self._folder):
            for path in self._folder.glob("??*/*"):
                is_live = path.name in live_keys and path.parent != self._temporary
                if not is_live and path.stat().st_mtime < before:
                    path.unlink(missing_ok=True)
                    gone += 1
        return gone


class BlobWriter:
    """Writes one blob: `with blobs.writer() as w: w.write(…); key, size, md5 = w.commit()`."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs
        self._key = uuid4().hex
        self._path = blobs._temporary / self._key
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._size = 0
        self._file: IO[bytes] | None = None

    def __enter__(self) -> "BlobWriter":
        with in_words(self._path):
            self._file = self._path.open("xb")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._file is not None:
            self._file.close()
            self._path.unlink(missing_ok=True)

    def write(self, data: bytes) -> None:
        """Append bytes.

        Raises:
            StoreError: in words, if the disk is full or fails.
        """
        assert self._file is not None, "the writer is not open"
        with in_words(self._path):
            self._file.write(data)
        self._md5.update(data)
        self._size += len(data)

    def commit(self) -> tuple[str, int, str]:
        """Make the blob durable; return its key, its size in bytes and its MD5 in base64."""
        assert self._file is not None, "the writer is not open"
        target = self._blobs.path(self._key)
        with in_words(self._path):
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            target.parent.mkdir(exist_ok=True)
            self._path.rename(target)
            _sync_folder(target.parent)
        self._file = None
        return self._key, self._size, b64encode(self._md5.digest()).decode()


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
