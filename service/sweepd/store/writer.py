"""The one thread that writes: use cases that wait together share a transaction and its flush.

Each use case is a savepoint: one that fails rolls back alone. Answers go out after the commit, so
what was answered is on the disk.

Some use cases take many requests at once, at less than the price of each by itself: those that wait
together are given to it as one list, in one savepoint. If that raises, it is undone and each
request is tried alone, so that a bad one harms no other.
"""

import asyncio
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine

from sweepd.errors import StoreError
from sweepd.store.tx import Tx
from sweepd.store.words import in_words

__all__ = ["Together", "Writer"]

_MAX_BATCH = 256
_NEWEST_EVENT = "SELECT max(id) FROM event"

#: A use case that takes many requests. It answers each, in their order; an exception as an answer
#: refuses that request, for which nothing may have been written.
Together = Callable[[Tx, Sequence[Any]], Sequence[Any]]


@dataclass(frozen=True, slots=True)
class _Job:
    """A use case, or a request for one that takes many; `loop` is None where a thread waits."""

    work: Callable[[Tx], Any] | Together
    answer: "Future[Any] | asyncio.Future[Any]"
    loop: asyncio.AbstractEventLoop | None = None
    request: Any = None
    is_together: bool = False


@dataclass(frozen=True, slots=True)
class _Outcome:
    job: _Job
    result: Any
    failure: BaseException | None = None

    def tell(self) -> None:
        """Give the answer to who waits; in the event loop's own thread where that is a task."""
        if self.job.answer.done():  # given up meanwhile
            return
        if self.failure is not None:
            self.job.answer.set_exception(self.failure)
        else:
            self.job.answer.set_result(self.result)


class Writer:
    """Runs use cases one after the other in its own thread.

    Args:
        engine: its transactions must take the write lock when they begin.
        place: the database's file, for messages.
        clock: returns unix seconds.
        on_commit: called in the writer's thread after each commit with the newest event's id, and
            whether a use case announced something beside events.

    Attributes:
        trouble: why the last transaction that would have changed something failed, in words; None
            if it did not.
        on_batch: called there too, with the number of use cases and the seconds that they took.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        place: Path,
        clock: Callable[[], float],
        on_commit: Callable[[int, bool], None],
    ) -> None:
        self._engine = engine
        self._place = place
        self._clock = clock
        self._on_commit = on_commit
        self.trouble: str | None = None
        self.on_batch: Callable[[int, float], None] | None = None
        self._memory: dict[str, Any] = {}
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._n_put = self._n_taken = self._n_answered = 0
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name="sweepd-writer", daemon=True)
        self._thread.start()

    @property
    def n_waiting(self) -> int:
        """Return about how many use cases wait."""
        return self._jobs.qsize()

    @property
    def n_unanswered(self) -> int:
        """Return how many use cases wait or are being run."""
        return self._n_put - self._n_answered

    def submit(self, use_case: Callable[[Tx], Any]) -> "Future[Any]":
        """Queue a use case; the future is done once its transaction is committed or rolled back.

        Raises:
            StoreError: if the writer is closed.
        """
        answer: Future[Any] = Future()
        self._put(_Job(use_case, answer))
        return answer

    async def write(self, use_case: Callable[[Tx], Any]) -> Any:
        """Run a use case and wait for its commit; raise what it raised, or StoreError."""
        loop = asyncio.get_running_loop()
        answer = loop.create_future()
        self._put(_Job(use_case, answer, loop))
        return await answer

    async def write_together(self, use_case: Together, request: Any) -> Any:
        """Run a use case that takes many requests for one of them; as `write` otherwise."""
        loop = asyncio.get_running_loop()
        answer = loop.create_future()
        self._put(_Job(use_case, answer, loop, request, is_together=True))
        return await answer

    def close(self) -> None:
        """Finish what is queued, then end the thread; harmless when repeated."""
        with self._lock:
            if not self._is_closed:
                self._is_closed = True
                self._jobs.put(None)
        self._thread.join()

    def _put(self, job: _Job) -> None:
        with self._lock:
            if self._is_closed:
                raise StoreError("the store is closed")
            self._n_put += 1
            self._jobs.put(job)

    def _run(self) -> None:
        is_open = True
        while is_open:
            batch, is_open = self._next_batch()
            if batch:
                began = time.perf_counter()
                outcomes = self._commit(batch)
                if self.on_batch is not None:
                    self.on_batch(len(batch), time.perf_counter() - began)
                _tell(outcomes)
            self._n_answered = self._n_taken

    def _next_batch(self) -> tuple[list[_Job], bool]:
        """Wait for a job, then take all that wait with it; False ends the thread."""
        batch: list[_Job] = []
        job = self._jobs.get()
        while job is not None:
            self._n_taken += 1
            if not job.answer.cancelled():
                batch.append(job)
            if len(batch) >= _MAX_BATCH or self._jobs.empty():
                return batch, True
            job = self._jobs.get()
        return batch, False

    def _commit(self, batch: list[_Job]) -> list[_Outcome]:
        """Run a batch in one transaction; return what becomes of each job."""
        announced: list[bool] = []
        try:
            with in_words(self._place), self._engine.connect() as conn, conn.begin():
                raw = Tx(conn, 0.0).raw
                n_changes = raw.total_changes
                outcomes = self._attempt_all(conn, batch, announced)
                newest = raw.execute(_NEWEST_EVENT).fetchone()[0] or 0
                has_changed = raw.total_changes != n_changes
        except BaseException as error:  # the whole batch failed: each caller is told
            if isinstance(error, StoreError):
                self.trouble = str(error)
            return [_Outcome(job, None, error) for job in batch]
        if has_changed:
            self.trouble = None
        self._on_commit(newest, bool(announced))
        return outcomes

    def _attempt_all(
        self, conn: Connection, batch: Sequence[_Job], announced: list[bool]
    ) -> list[_Outcome]:
        outcomes: list[_Outcome] = []
        gathered: dict[Callable[..., Any], list[_Job]] = {}
        for job in batch:
            if job.is_together:
                gathered.setdefault(job.work, []).append(job)
        for jobs in gathered.values():
            outcomes += self._attempt_together(conn, jobs, announced)
        for job in batch:
            if not job.is_together:
                use_case: Any = job.work
                result, failure = self._attempt(conn, use_case, announced)
                outcomes.append(_Outcome(job, result, failure))
        return outcomes

    def _attempt_together(
        self, conn: Connection, jobs: list[_Job], announced: list[bool]
    ) -> list[_Outcome]:
        """Run a use case for all who ask for it, or for each by itself if that fails."""
        use_case: Any = jobs[0].work
        requests = [job.request for job in jobs]
        answers, failure = self._attempt(conn, lambda tx: use_case(tx, requests), announced)
        if failure is None:
            return [_answered(job, answer) for job, answer in zip(jobs, answers, strict=True)]
        if len(jobs) == 1:
            return [_Outcome(jobs[0], None, failure)]
        return [one for job in jobs for one in self._attempt_together(conn, [job], announced)]

    def _attempt(
        self, conn: Connection, use_case: Callable[[Tx], Any], announced: list[bool]
    ) -> tuple[Any, BaseException | None]:
        """Run one use case in a savepoint; return its result and no error, or its error."""
        tx = Tx(conn, self._clock(), memory=self._memory, _announced=announced)
        raw = tx.raw
        raw.execute("SAVEPOINT one")
        try:
            with in_words(self._place):
                result = use_case(tx)
        except BaseException as failure:
            if not raw.in_transaction:
                # SQLite gave the whole transaction up (disk full, I/O error): so must the batch.
                raise
            _roll_back(raw)
            return None, failure
        raw.execute("RELEASE one")
        return result, None


def _roll_back(raw: sqlite3.Connection) -> None:
    raw.execute("ROLLBACK TO one")
    raw.execute("RELEASE one")


def _answered(job: _Job, answer: Any) -> _Outcome:
    if isinstance(answer, BaseException):
        return _Outcome(job, None, answer)
    return _Outcome(job, answer)


def _tell(outcomes: Sequence[_Outcome]) -> None:
    """Answer everybody; each event loop is woken once for all that wait in it."""
    waiting: dict[asyncio.AbstractEventLoop, list[_Outcome]] = {}
    for outcome in outcomes:
        if outcome.job.loop is None:
            outcome.tell()
        else:
            waiting.setdefault(outcome.job.loop, []).append(outcome)
    for loop, many in waiting.items():
        with suppress(RuntimeError):  # that loop has ended
            loop.call_soon_threadsafe(_tell_each, many)


def _tell_each(outcomes: Sequence[_Outcome]) -> None:
    for outcome in outcomes:
        outcome.tell()
