"""The data folder: is it private, writable, whole, and of this version. Nothing is changed.

Every look is safe beside a running service: the database is opened to read, and never migrated.
"""

import os
import shutil
import sqlite3
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from sweepd.checkup.findings import Finding, fine, problem, warning
from sweepd.store.migrate import HEAD

__all__ = ["check_folder"]

_LITTLE = 1 << 30  # bytes of disk below which to say so
_TOO_LITTLE = 64 << 20
_LARGE_LOG = 1 << 30  # bytes of write-ahead log that a reader keeps from being folded in
_YOUNG_S = 24 * 3600.0  # bytes without a row may be on their way; then the service removes them
_AHEAD_S = 60.0
_SHOWN = 3
_PRIVATE = ("secret", "credentials.json", "sweepd.db", "server.json")


def check_folder(data: Path) -> Iterator[Finding]:
    """Look at a data folder, the quick things first."""
    if not data.is_dir():
        yield warning(
            "data folder", f"{data} is not there", "`sweep serve` makes it when it starts"
        )
        return
    yield _access(data)
    yield _privacy(data)
    yield _disk(data)
    place = data / "sweepd.db"
    if not place.is_file():
        yield warning("database", f"{place} is not there", "`sweep serve` makes it when it starts")
        return
    try:
        with closing(
            sqlite3.connect(f"{place.absolute().as_uri()}?mode=ro", uri=True, timeout=5)
        ) as rows:
            yield _schema(rows)
            yield _integrity(rows, place)
            yield _log(place)
            yield from _blobs(rows, data)
            yield _clock(rows)
    except sqlite3.Error as error:
        yield problem(
            "database",
            f"{place} cannot be read: {error}",
            "restore the folder from a backup; nothing was changed here",
        )


def _access(data: Path) -> Finding:
    try:
        with tempfile.TemporaryFile(dir=data) as probe:
            probe.write(b"x")
    except OSError as error:
        return problem(
            "data folder",
            f"{data} cannot be written to: {error.strerror}",
            f"give it to the user that runs the service (uid {os.getuid()}), or name another "
            "folder with --data",
        )
    return fine("data folder", f"{data} can be written to")


def _privacy(data: Path) -> Finding:
    found = [data, *(data / name for name in _PRIVATE if (data / name).exists())]
    open_ones = [path for path in found if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO)]
    if not open_ones:
        return fine("privacy", "nobody else on this machine can read it")
    names = ", ".join(str(path) for path in open_ones)
    return warning("privacy", f"others on this machine may read {names}", f"chmod -R go= {data}")


def _disk(data: Path) -> Finding:
    usage = shutil.disk_usage(data)
    words = f"{usage.free / 2**30:.1f} GiB of {usage.total / 2**30:.1f} GiB are free"
    if usage.free < _TOO_LITTLE:
        return problem("disk", words, "make room: the service cannot store what runs send")
    if usage.free < _LITTLE:
        return warning("disk", words, "make room, or delete sweeps with `sweep rm`")
    return fine("disk", words)


def _schema(rows: sqlite3.Connection) -> Finding:
    try:
        (found,) = rows.execute("SELECT version_num FROM alembic_version").fetchone()
    except (sqlite3.OperationalError, TypeError):
        return problem("schema", "the database has no tables of sweepd", "restore a backup")
    if found == HEAD:
        return fine("schema", f"{found}, this version's")
    if found < HEAD:
        return warning(
            "schema",
            f"{found}; this version's is {HEAD}",
            "back the folder up, then `sweep serve` upgrades it",
        )
    return problem(
        "schema",
        f"{found} is of a newer sweepd; this version knows up to {HEAD}",
        "upgrade sweepd",
    )


def _integrity(rows: sqlite3.Connection, place: Path) -> Finding:
    found = [words for (words,) in rows.execute("PRAGMA quick_check(10)")]
    broken = rows.execute("PRAGMA foreign_key_check").fetchmany(10)
    if found == ["ok"] and not broken:
        return fine("database", f"{place} is whole ({place.stat().st_size / 2**20:.0f} MiB)")
    told = [words for words in found if words != "ok"]
    told += [f"row {row[1]} of {row[0]} refers to a {row[2]} that is gone" for row in broken]
    return problem(
        "database",
        f"{place} is damaged: {'; '.join(told[:_SHOWN])}",
        "stop the service, keep a copy of the folder, and restore a backup; "
        "`sqlite3 sweepd.db .recover` may save rows",
    )


def _log(place: Path) -> Finding:
    log = place.with_name(f"{place.name}-wal")
    size = log.stat().st_size if log.exists() else 0
    if size < _LARGE_LOG:
        return fine("write-ahead log", f"{size / 2**20:.0f} MiB")
    return warning(
        "write-ahead log",
        f"{size / 2**20:.0f} MiB: something reads the database for very long",
        "end other programs that have sweepd.db open; a restart of the service folds it in",
    )


def _blobs(rows: sqlite3.Connection, data: Path) -> Iterator[Finding]:
    wanted = dict(rows.execute("SELECT key, size FROM blob"))
    folder = data / "blobs"
    there = {
        path.name: path.stat()
        for path in folder.glob("??/*")
        if path.is_file() and not path.is_symlink()
    }
    missing = [key for key in wanted if key not in there]
    short = [key for key, size in wanted.items() if key in there and there[key].st_size != size]
    if missing or short:
        names = ", ".join((missing + short)[:_SHOWN])
        yield problem(
            "files",
            f"of {len(wanted)} files of runs {len(missing)} are missing and {len(short)} are not "
            f"of their size, such as {names}",
            f"copy {folder} from a backup; uploading the same bytes again heals them too",
        )
    else:
        total = sum(wanted.values()) / 2**30
        yield fine("files", f"all {len(wanted)} are there ({total:.2f} GiB)")
    old = time.time() - _YOUNG_S
    orphans = [key for key, found in there.items() if key not in wanted and found.st_mtime < old]
    if orphans:
        size = sum(there[key].st_size for key in orphans) / 2**20
        yield warning(
            "orphans",
            f"{len(orphans)} files ({size:.0f} MiB) belong to nothing",
            "the service removes them when it starts",
        )


def _clock(rows: sqlite3.Connection) -> Finding:
    (newest,) = rows.execute("SELECT max(at) FROM event").fetchone()
    ahead = (newest or 0.0) - time.time()
    if ahead < _AHEAD_S:
        return fine("clock", time.strftime("%Y-%m-%d %H:%M:%S %Z"))
    return problem(
        "clock",
        f"the newest event is {ahead:.0f} s in the future: the clock was set back",
        "set the clock (timedatectl, chronyc); leases and sign-ins go by it",
    )
