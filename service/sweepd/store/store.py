"""The data folder: rows in SQLite, blobs in files, one secret, one service at a time."""

import asyncio
import fcntl
import os
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import IO, Concatenate, NamedTuple, ParamSpec, TypeVar

from sqlalchemy import Engine, func, select

from sweepd.errors import StoreBusy, StoreError
from sweepd.store import deadlines
from sweepd.store import tables as t
from sweepd.store.blobs import Blobs
from sweepd.store.database import reading_engine, writing_engine
from sweepd.store.migrate import migrate
from sweepd.store.tx import Tx
from sweepd.store.words import in_words
from sweepd.store.writer import Writer

__all__ = ["Store"]

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

_N_READERS = 8
_CALM, _LOOK_S = 2, 0.01  # use cases of the writer's at once
_PATIENCE_S = 60.0  # of a reader with one request; the client gives up after 30


class Store:
    """An open data folder. Thread-safe; `write` and `read` await, their `_sync` twins block.

    Attributes:
        folder: the data folder.
        patience_s: how long `read` may take.
        blobs: bytes of files.
        secret: 32 random bytes of this folder, for signing.
    """

    def __init__(self, folder: Path, *, clock: Callable[[], float], lock: IO[str] | None) -> None:
        self.folder = folder
        self.patience_s = _PATIENCE_S
        self._clock = clock
        self._lock = lock
        self._place = folder / "sweepd.db"
        self.secret = _secret(folder / "secret")
        self.blobs = Blobs(folder / "blobs")
        if lock is not None:
            self.blobs.drop_unfinished()
        if not self._place.exists():
            self._place.touch(mode=0o600)  # SQLite gives the files beside it the same mode
        self._writing: Engine = writing_engine(self._place)
        migrate(self._writing, place=self._place)
        self._place.chmod(0o600)
        self._reading: Engine = reading_engine(self._place, n_connections=_N_READERS + 1)
        self._peek_conn = self._reading.connect()
        self._peeking = threading.Lock()
        self._ending = threading.Event()
        self._readers = ThreadPoolExecutor(_N_READERS, thread_name_prefix="sweepd-reader")
        self._changes = _Changes()
        self._writer = Writer(
            self._writing, place=self._place, clock=clock, on_commit=self._changes.publish
        )
        self._changes.publish(self.read_sync(_newest_event), False)

    @classmethod
    def open(
        cls,
        data_dir: Path,
        *,
        clock: Callable[[], float] = time.time,
        exclusive: bool = True,
    ) -> "Store":
        """Open a data folder, made now with mode 0700 if it is not there; migrate its tables.

        Args:
            data_dir: the folder.
            clock: returns unix seconds.
            exclusive: take the folder's lock, as a service must; False for the commands that work
                beside a running service.

        Raises:
            StoreBusy: if another service uses the folder.
            StoreReadOnly: if it cannot be written to.
            SchemaTooNew: if a newer sweepd wrote it.
            StoreError: in words, for anything else.
        """
        with in_words(data_dir):
            data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = _take_lock(data_dir) if exclusive else None
        try:
            with in_words(data_dir):
                return cls(data_dir, clock=clock, lock=lock)
        except BaseException:
            if lock is not None:
                lock.close()
            raise

    async def write(
        self, use_case: Callable[Concatenate[Tx, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run `use_case(tx, …)` in the writer; it is on the disk when this returns."""
        answer: T = await self._writer.write(lambda tx: use_case(tx, *args, **kwargs))
        return answer

    async def write_together(
        self, use_case: Callable[[Tx, Sequence[R]], Sequence[T | Exception]], request: R
    ) -> T:
        """Run a use case that takes many requests at once for one of them; durable on return.

        Requests that wait together are given to it as one list. It returns an answer for each; an
        exception among them refuses that request alone, and is raised here.
        """
        answer: T = await self._writer.write_together(use_case, request)
        return answer

    def peek(
        self, use_case: Callable[Concatenate[Tx, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run a use case of a point lookup or two, all `Prepared`, in this thread and at once.

        It is for the event loop: a lookup takes less than handing it to another thread.
        """
        with self._peeking, in_words(self._place):
            tx = Tx(self._peek_conn, self._clock())
            try:
                return use_case(tx, *args, **kwargs)
            finally:
                if self._peek_conn.in_transaction():  # a statement that was not prepared
                    self._peek_conn.rollback()

    async def read(
        self, use_case: Callable[Concatenate[Tx, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run `use_case(tx, …)` on one consistent state of the data, in a reader's thread.

        Raises:
            ProtocolError: if it takes longer than a minute.
        """
        call = partial(self._read_in_time, use_case, *args, **kwargs)
        return await asyncio.get_running_loop().run_in_executor(self._readers, call)

    def write_sync(
        self, use_case: Callable[Concatenate[Tx, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run `use_case(tx, …)` in the writer and wait for it."""
        answer: Future[T] = self._writer.submit(lambda tx: use_case(tx, *args, **kwargs))
        return answer.result()

    def read_sync(
        self, use_case: Callable[Concatenate[Tx, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run `use_case(tx, …)` on one consistent state of the data, in this thread."""
        with in_words(self._place), self._reading.connect() as conn:
            return use_case(Tx(conn, self._clock()), *args, **kwargs)

    def _read_in_time(
        self, use_case: Callable[Concatenate[Tx, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        with deadlines.within(self.patience_s, ending=self._ending):
            return self.read_sync(use_case, *args, **kwargs)

    @property
    def newest_event(self) -> int:
        """Return the id of the newest event that this process has seen committed."""
        return self._changes.newest

    @property
    def activity(self) -> int:
        """Return a number that grows with every commit that the open pages may want to show."""
        return self._changes.activity

    async def wait_change(self, after: int) -> int:
        """Wait for an event newer than `after`; return the newest one's id.

        Returns at once if there is one already, and with an unchanged id when the store closes.
        """
        return await self._changes.wait(lambda changes: changes.newest, after)

    async def wait_activity(self, after: int) -> int:
        """Wait until `activity` is above `after`, and return it; as `wait_change` otherwise."""
        return await self._changes.wait(lambda changes: changes.activity, after)

    @property
    def trouble(self) -> str | None:
        """Return why nothing can be written at present, in words; None if the last write did."""
        return self._writer.trouble

    async def wait_calm(self, *, within_s: float) -> None:
        """Return once nearly nobody waits for the writer, or when so many seconds have passed.

        For what takes long and can wait: a crowd that comes at once is answered sooner without it.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while self._writer.n_unanswered > _CALM:
                    await asyncio.sleep(_LOOK_S)

    @property
    def n_waiting(self) -> int:
        """Return about how many use cases wait for the writer."""
        return self._writer.n_waiting

    def watch_commits(self, watcher: Callable[[int, float], None]) -> None:
        """Have `watcher` told, in the writer's thread, of each batch: use cases and seconds."""
        self._writer.on_batch = watcher

    def close(self) -> None:
        """Finish what was written, end what is read, give the lock back; harmless when repeated."""
        self._writer.close()
        self._ending.set()
        self._readers.shutdown(cancel_futures=True)
        self._peek_conn.close()
        self._changes.close()
        self._reading.dispose()
        self._writing.dispose()
        if self._lock is not None:
            self._lock.close()


class _Changes:
    """Tells the event loops that wait what the newest event is, and that rows have come."""

    def __init__(self) -> None:
        self.newest = 0
        self.activity = 0
        self._is_closed = False
        self._lock = threading.Lock()
        self._waiting: set[_Waiter] = set()

    def publish(self, newest: int, is_announced: bool) -> None:
        with self._lock:
            if newest > self.newest or is_announced:
                self.newest = max(newest, self.newest)
                self.activity += 1
                self._wake()

    def close(self) -> None:
        with self._lock:
            self._is_closed = True
            self._wake()

    async def wait(self, number: Callable[["_Changes"], int], after: int) -> int:
        """Wait until a number of ours is above `after`."""
        waiter = _Waiter(asyncio.get_running_loop(), asyncio.Event(), lambda: number(self) > after)
        with self._lock:
            if waiter.is_served() or self._is_closed:
                return number(self)
            self._waiting.add(waiter)
        try:
            await waiter.event.wait()
        finally:
            with self._lock:
                self._waiting.discard(waiter)
        return number(self)

    def _wake(self) -> None:
        for waiter in self._waiting:
            if self._is_closed or waiter.is_served():
                with suppress(RuntimeError):  # that loop has ended
                    waiter.loop.call_soon_threadsafe(waiter.event.set)


class _Waiter(NamedTuple):
    loop: asyncio.AbstractEventLoop
    event: asyncio.Event
    is_served: Callable[[], bool]


def _newest_event(tx: Tx) -> int:
    return tx.conn.scalar(select(func.max(t.event.c.id))) or 0


def _take_lock(folder: Path) -> IO[str]:
    """Return the open lock file: the lock lasts as long as it is open, kill -9 included."""
    path = folder / "lock"
    with in_words(path):
        file = path.open("a+")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip()
            file.close()
            who = f" (process {holder})" if holder else ""
            raise StoreBusy(
                f"another sweepd service{who} uses the data in {folder}; stop it, or give this "
                "one a folder of its own"
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
    return file


def _secret(path: Path) -> bytes:
    """Return the folder's secret; made once, whoever is first."""
    with in_words(path):
        if not path.exists():
            draft = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
            handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "wb") as file:
                file.write(secrets.token_bytes(32))
                file.flush()
                os.fsync(file.fileno())
            with suppress(FileExistsError):
                os.link(draft, path)
            draft.unlink()
        found = path.read_bytes()
    if len(found) != 32:
        raise StoreError(f"{path} is damaged: it should hold 32 bytes, not {len(found)}")
    return found
