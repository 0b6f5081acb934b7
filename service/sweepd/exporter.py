"""Makes Parquet files of runs' rows in a process of its own, one after the other."""

import asyncio
import logging

from sweepd.engine import exports, parquet
from sweepd.errors import ProcessDied
from sweepd.store import Store
from sweepd.worker import Worker

__all__ = ["Exporter"]

_log = logging.getLogger("sweepd.exporter")

#: The client gives an answer thirty seconds before it asks again.
_PATIENCE_S = 15.0
_TIMEOUT_S = 1800.0
_IDLE_S = 60.0  # after which the process ends: it holds a hundred megabytes
_MOST_WAITING = 200


class Exporter:
    """Makes the files that readers ask for; a job that is under way is not begun again."""

    def __init__(self, store: Store, *, patience_s: float = _PATIENCE_S) -> None:
        self._store = store
        self._patience_s = patience_s
        self._worker = Worker()
        self._turn = asyncio.Lock()
        self._jobs: dict[int, asyncio.Task[None]] = {}
        self._failed: set[parquet.ExportJob] = set()
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
            if self._idle is not None:
                self._idle.cancel()
            try:
                made = await self._worker.call(parquet.export, job, timeout_s=_TIMEOUT_S)
                for key in await self._store.write(exports.store, job=job, made=made):
                    self._store.blobs.delete(key)
            except ProcessDied as error:
                self._failed.add(job)
                _log.warning("run %d: its rows were not exported: %s", job.run_id, error)
            except Exception:  # an edge: nobody awaits this task for its result
                _log.exception("run %d: its export failed", job.run_id)
            finally:
                self._idle = asyncio.get_running_loop().call_later(_IDLE_S, self._rest)

    def _rest(self) -> None:
        if not self._turn.locked():
            self._worker.stop()
