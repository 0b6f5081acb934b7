"""How SQLite is opened: write-ahead log, every commit on the disk before it is answered."""

import sqlite3
from pathlib import Path

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.pool import QueuePool

from sweepd.store.deadlines import interrupt_late_reads
from sweepd.store.functions import register_functions

__all__ = ["BUSY_TIMEOUT_S", "reading_engine", "writing_engine"]

BUSY_TIMEOUT_S = 15.0  # how long to wait for another process, such as `sweep user add`


def writing_engine(path: Path, *, busy_timeout_s: float = BUSY_TIMEOUT_S) -> Engine:
    """Return an engine whose transactions take the write lock at once, so none can deadlock."""
    return _engine(
        path, begin="BEGIN IMMEDIATE", timeout_s=busy_timeout_s, pragmas=_WRITING, size=1
    )


def reading_engine(path: Path, *, n_connections: int) -> Engine:
    """Return an engine whose transactions see one state of the data and cannot write."""
    return _engine(
        path, begin="BEGIN", timeout_s=BUSY_TIMEOUT_S, pragmas=_READING, size=n_connections
    )


_WRITING = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
    "PRAGMA cache_size = -32768",  # KiB
    "PRAGMA wal_autocheckpoint = 4000",
    "PRAGMA temp_store = MEMORY",  # savepoints keep what they may undo there
)
_READING = ("PRAGMA query_only = ON", "PRAGMA cache_size = -8192")


def _engine(
    path: Path, *, begin: str, timeout_s: float, pragmas: tuple[str, ...], size: int
) -> Engine:
    def connect() -> sqlite3.Connection:
        # isolation_level None: sqlite3 leaves BEGIN to us.
        return sqlite3.connect(
            path, timeout=timeout_s, isolation_level=None, check_same_thread=False
        )

    engine = create_engine(
        "sqlite://", creator=connect, poolclass=QueuePool, pool_size=size, max_overflow=0
    )

    @event.listens_for(engine, "connect")
    def _prepare(raw: sqlite3.Connection, _record: object) -> None:
        register_functions(raw)
        interrupt_late_reads(raw)
        for pragma in pragmas:
            raw.execute(pragma)

    @event.listens_for(engine, "begin")
    def _begin(conn: Connection) -> None:
        conn.exec_driver_sql(begin)

    return engine
