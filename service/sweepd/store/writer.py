"""The one thread that writes: use cases that wait together share a transaction and its flush.

Each use case is a savepoint: one that fails rolls back alone. Answers go out after the commit, so
what was answered is on the disk.
"""

import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, func, select

from sweepd.errors import StoreError
from sweepd.store import tables as t
from sweepd.store.tx import Tx
from sweepd.store.words import in_words

__all__ = ["Writer"]

_MAX_BATCH = 256


@dataclass(frozen=True)
class _Job:
    use_case: Callable[[Tx], Any]
    answer: "Future[Any]"


class Writer:
    """Runs use cases one after the other in its own thread.

    Args:
        engine: its transactions must take the write lock when they begin.
        place: the database's file, for messages.
        clock: returns unix seconds.
        on_commit: called in the writer's thread after each commit with the newest event's id.

    Attributes:
        on_batch: called there too, with the number of use cases and the seconds that they took.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        place: Path,
        clock: Callable[[], float],
        on_commit: Callable[[int], None],
    ) -> None:
        self._engine = engine
        self._place = place
        self._clock = clock
        self._on_commit = on_commit
        self.on_batch: Callable[[int, float], None] | None = None
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name="sweepd-writer", daemon=True)
        self._thread.start()

    @property
    def n_waiting(self) -> int:
        """Return about how many use cases wait."""
        return self._jobs.qsize()

    def submit(self, use_case: Callable[[Tx], Any]) -> "Future[Any]":
        """Queue a use case; the future is done once its transaction is committed or rolled back.

        Raises:
            StoreError: if the writer is closed.
        """
        answer: Future[Any] = Future()
        with self._lock:
            if self._is_closed:
                raise StoreError("the store is closed")
            self._jobs.put(_Job(use_case, answer))
        return answer

    def close(self) -> None:
        """Finish what is queued, then end the thread; harmless when repeated."""
        with self._lock:
            if not self._is_closed:
                self._is_closed = True
                self._jobs.put(None)
        self._thread.join()

    def _run(self) -> None:
        is_open = True
        while is_open:
            batch, is_open = self._next_batch()
            if batch:
                began = time.perf_counter()
                self._commit(batch)
                if self.on_batch is not None:
                    self.on_batch(len(batch), time.perf_counter() - began)

    def _next_batch(self) -> tuple[list[_Job], bool]:
        """Wait for a job, then take all that wait with it; False ends the thread."""
        batch: list[_Job] = []
        job = self._jobs.get()
        while job is not None:
            if job.answer.set_running_or_notify_cancel():
                batch.append(job)
            if len(batch) >= _MAX_BATCH or self._jobs.empty():
                return batch, True
            job = self._jobs.get()
        return batch, False

    def _commit(self, batch: list[_Job]) -> None:
        answers: list[tuple[_Job, Any, BaseException | None]] = []
        newest = 0
        try:
            with in_words(self._place), self._engine.connect() as conn, conn.begin():
                for job in batch:
                    answers.append((job, *self._attempt(conn, job)))
                newest = conn.scalar(select(func.max(t.event.c.id))) or 0
        except BaseException as error:  # the whole batch failed: each caller is told
            for job in batch:
                job.answer.set_exception(error)
            return
        self._on_commit(newest)
        for job, result, failure in answers:
            if failure is None:
                job.answer.set_result(result)
            else:
                job.answer.set_exception(failure)

    def _attempt(self, conn: Connection, job: _Job) -> tuple[Any, BaseException | None]:
        """Run one use case in a savepoint; return its result and no error, or its error."""
        savepoint = conn.begin_nested()
        try:
            with in_words(self._place):
                result = job.use_case(Tx(conn, self._clock()))
        except BaseException as failure:
            if not _in_transaction(conn):
                # SQLite gave the whole transaction up (disk full, I/O error): so must the batch.
                raise
            savepoint.rollback()
            return None, failure
        savepoint.commit()
        return result, None


def _in_transaction(conn: Connection) -> bool:
    return bool(getattr(conn.connection.dbapi_connection, "in_transaction", False))
