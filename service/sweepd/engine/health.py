"""Whether requests that write would succeed, found out before and while they fail."""

import os
import shutil
import tempfile
import time

from anyio import to_thread
from sqlalchemy import text

from sweepd.errors import SweepdError
from sweepd.store import Store, Tx

__all__ = ["Health"]

_LEAST_FREE = 64 << 20  # bytes of disk below which a service will soon fail to write
_FRESH_S = 1.0  # how long one look counts: anybody may ask, as often as they like

#: Takes the write lock, and changes nothing.
_LOCK = text("SELECT 1")
#: Has to reach the disk, and changes nothing either.
_WRITE = text("UPDATE alembic_version SET version_num = version_num")


class Health:
    """What is wrong with the store, in words that the pages and the probes show.

    Attributes:
        problem: what the last look found; None if all was well.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._looked_at = -_FRESH_S
        self.problem: str | None = None

    async def look(self) -> str | None:
        """Try to write, unless somebody tried within the last second; return what is wrong."""
        if time.monotonic() - self._looked_at >= _FRESH_S:
            self._looked_at = time.monotonic()
            self.problem = await self._try()
        return self.problem

    async def glance(self) -> None:
        """Look if a write has failed, or if the last look found something; else at the space only.

        So a service that idles lets its disk sleep, and one whose disk failed finds out by itself
        that it works again.
        """
        if self._store.trouble is not None or self.problem is not None:
            await self.look()
        else:
            self.problem = await to_thread.run_sync(self._space_problem)

    async def _try(self) -> str | None:
        try:
            await self._store.write(_touch, is_real=self._store.trouble is not None)
        except SweepdError as error:
            return str(error)
        return await to_thread.run_sync(self._disk_problem)

    def _disk_problem(self) -> str | None:
        folder = self._store.folder
        try:
            handle, path = tempfile.mkstemp(prefix=".ready-", dir=folder)
            os.close(handle)
            os.unlink(path)
        except OSError as error:
            return f"{folder} cannot be written to: {error.strerror}"
        return self._space_problem()

    def _space_problem(self) -> str | None:
        folder = self._store.folder
        try:
            free = shutil.disk_usage(folder).free
        except OSError as error:
            return f"{folder} cannot be read: {error.strerror}"
        if free < _LEAST_FREE:
            return f"the disk that holds {folder} has {free >> 20} MiB left"
        return None


def _touch(tx: Tx, *, is_real: bool) -> None:
    tx.conn.execute(_WRITE if is_real else _LOCK)
