"""Makes Parquet files and columns of runs' rows in a process of its own, one after the other."""

import asyncio
import logging
from collections.abc import Callable
from typing import TypeVar

from sweepd.engine import columns, exports, parquet
from sweepd.errors import ProcessDied, StoreError
from sweepd.store import Store
from sweepd.worker import Worker

__all__ = ["Exporter"]

J = TypeVar("J")
R = TypeVar("R")

_log = logging.getLogger("sweepd.exporter")

#: The client gives an answer thirty seconds before it asks again.
_PATIENCE_S = 15.0
_TIMEOUT_S = 1800.0
_IDLE_S = 60.0  # after which the process ends: it holds a hundred megabytes
_MOST_WAITING = 200
_LOOK_EVERY_S = 3.0


class Exporter:
    """Makes the files that readers ask for; a job that is under way is not begun again."""

    def __init__(self, store: Store, *, patience_s: float = _PATIENCE_S) -> None:
        self._store = store
        self._patience_s = patience_s
        self._worker = Worker()
        self._turn = asyncio.Lock()
        self._jobs: dict[int, asyncio.Task[None]] = {}
        self._failed: set[parquet.ExportJob] = set()
        self._unpackable: set[int] = set()
        self._idle: asyncio.TimerHandle | None = None

    async def export(self, job: parquet.ExportJob) -> None:
        """Make a file; return once it is there, or once it takes too long to wait for.

        It is made all the same then, and is there when somebody asks again.
        """
        task = self._jobs.get(job.run_id)
        if task is None:
            if job in self._failed or len(self._jobs) >= _MOST_WAITING:
                return
            task = asyncio.create_task(self._make(job), name=f"export of run {job.run_id}")
            self._jobs[job.run_id] = task
            task.add_done_callback(lambda done: self._jobs.pop(job.run_id, None))
        await asyncio.wait({task}, timeout=self._patience_s)

    async def keep_packing(self) -> None:
        """Pack the numbers of long runs as they come; never returns."""
        while True:
            try:
                is_idle = not await self._pack_one()
            except StoreError as error:
                _log.warning("packing failed; it goes on: %s", error)
                is_idle = True
            except Exception:  # an edge: nobody above could do more
                _log.exception("packing failed; it goes on")
                is_idle = True
            if is_idle:
                await asyncio.sleep(_LOOK_EVERY_S)

    async def _pack_one(self) -> bool:
        """Pack some lines; return whether there were any to pack."""
        folder, skip = self._store.folder, frozenset(self._unpackable)
        job = await self._store.read(columns.next_job, folder=folder, skip=skip)
        if job is None:
            return False
        async with self._turn:
            try:
                made = await self._call(columns.pack, job)
                await self._store.write(columns.store, job=job, made=made)
            except ProcessDied as error:
                self._unpackable.add(job.run_id)
                _log.warning("run %d: its numbers were not packed: %s", job.run_id, error)
        return True

    async def close(self) -> None:
        """Give up what is under way and end the process."""
        tasks = list(self._jobs.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._idle is not None:
            self._idle.cancel()
        self._worker.stop()

    async def _make(self, job: parquet.ExportJob) -> None:
        async with self._turn:
            try:
                made = await self._call(parquet.export, job)
                for key in await self._store.write(exports.store, job=job, made=made):
                    self._store.blobs.delete(key)
            except ProcessDied as error:
                self._failed.add(job)
                _log.warning("run %d: its rows were not exported: %s", job.run_id, error)
            except Exception:  # an edge: nobody awaits this task for its result
                _log.exception("run %d: its export failed", job.run_id)

    async def _call(self, function: Callable[[J], R], job: J) -> R:
        """Run a job in the process, which rests some time after the last one."""
        if self._idle is not None:
            self._idle.cancel()
        try:
            return await self._worker.call(function, job, timeout_s=_TIMEOUT_S)
        finally:
            self._idle = asyncio.get_running_loop().call_later(_IDLE_S, self._rest)

    def _rest(self) -> None:
        if not self._turn.locked():
            self._worker.stop()
