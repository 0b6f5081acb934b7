"""Bytes of files, one file each, in a folder. A key never names bytes that are not all there.

How bytes and rows go together, for whoever keeps files (runs' files, artifacts):

1. `with blobs.writer() as w: w.write(…); written = w.commit()` puts the bytes on the disk under a
   random key. No row refers to them yet.
2. In one transaction, `engine.blobs.adopt(tx, project_id=…, written=written)` returns the key under
   which the project keeps these bytes: that of equal bytes it has already (by SHA-256 and size,
   never across projects), or else the written one. The row that needs the bytes refers to it
   through a column with `ForeignKey("blob.key")`: the database then refuses to forget a blob that
   is needed, and nothing else has to be told of the new column.
3. After the commit, `blobs.settle(written, key)` drops the second copy, if it was one. If the
   transaction failed, `blobs.delete(written.key)`.
4. A use case that deletes rows ends with `engine.blobs.release(tx, keys=…)`, which returns those
   keys that nothing needs any more; after the commit the caller deletes their bytes.

All writes go through one writer, so no key is handed out while it is being released. Whatever a
crash leaves between a commit and its clean-up is bytes without a row, which `sweep` removes a day
later; what a crash leaves half written is removed when the folder is opened again.

An MD5 that a client claims to have is not a proof of access: `engine.blobs.find` answers within one
project only, which the caller has checked.
"""

import errno
import hashlib
import os
from base64 import b64encode
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO
from uuid import uuid4

from sweepd.store.words import in_words

__all__ = ["BlobWriter", "Blobs", "Written"]


@dataclass(frozen=True)
class Written:
    """A blob that is on the disk and that no row may refer to yet.

    Attributes:
        key: names it.
        size: bytes.
        md5: base64, as the client writes digests.
        sha256: hexadecimal.
    """

    key: str
    size: int
    md5: str
    sha256: str


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

    def open(self, key: str) -> IO[bytes] | None:
        """Open a blob to read; None if it is gone. An open one stays readable when deleted.

        A symbolic link is no blob, wherever it leads.
        """
        with in_words(self._folder):
            try:
                return open(self.path(key), "rb", opener=_without_links)
            except FileNotFoundError:
                return None
            except OSError as error:
                if error.errno != errno.ELOOP:
                    raise
                return None

    def delete(self, key: str) -> None:
        """Delete a blob; harmless when repeated."""
        with in_words(self._folder):
            self.path(key).unlink(missing_ok=True)

    def delete_all(self, keys: Collection[str]) -> None:
        """Delete blobs; harmless when repeated."""
        for key in keys:
            self.delete(key)

    def settle(self, written: Written, key: str) -> None:
        """Drop what was written if its bytes are kept under another key.

        Should the kept copy be missing or cut short, as after a restore that left files out, the
        written one takes its place.
        """
        if key == written.key:
            return
        kept = self.path(key)
        with in_words(self._folder):
            if kept.is_file() and kept.stat().st_size == written.size:
                self.path(written.key).unlink(missing_ok=True)
            else:
                kept.parent.mkdir(exist_ok=True)
                self.path(written.key).rename(kept)

    def drop_unfinished(self) -> None:
        """Delete what is half written; only for who has the folder to themselves."""
        with in_words(self._folder):
            for path in self._temporary.iterdir():
                path.unlink(missing_ok=True)

    def sweep(
        self, live_among: Callable[[Collection[str]], Collection[str]], *, before: float
    ) -> int:
        """Delete what no row refers to and was last written before `before`; return how many.

        Younger blobs stay: their row may be about to be committed.

        Args:
            live_among: returns those of the keys given that rows refer to; asked folder by folder.
            before: unix seconds.
        """
        gone = 0
        with in_words(self._folder):
            for folder in sorted(self._folder.iterdir()):
                if folder == self._temporary or not folder.is_dir():
                    continue
                old = {path.name for path in folder.iterdir() if path.stat().st_mtime < before}
                for name in old - set(live_among(old)) if old else ():
                    (folder / name).unlink(missing_ok=True)
                    gone += 1
        return gone


class BlobWriter:
    """Writes one blob: `with blobs.writer() as w: w.write(…); written = w.commit()`."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs
        self._key = uuid4().hex
        self._path = blobs._temporary / self._key
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._sha256 = hashlib.sha256()
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
            with suppress(OSError):  # what it still holds does not fit on a full disk
                self._file.close()
            with in_words(self._path):
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
        self._sha256.update(data)
        self._size += len(data)

    def commit(self) -> Written:
        """Make the blob durable and return it."""
        assert self._file is not None, "the writer is not open"
        target = self._blobs.path(self._key)
        with in_words(self._path):
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            target.parent.mkdir(exist_ok=True)
            self._path.rename(target)
            try:
                _sync_folder(target.parent)
            except OSError:
                target.unlink(missing_ok=True)
                raise
        self._file = None
        md5 = b64encode(self._md5.digest()).decode()
        return Written(self._key, self._size, md5, self._sha256.hexdigest())


def _without_links(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
