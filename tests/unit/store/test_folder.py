import asyncio
import os
import sqlite3
import stat
import subprocess
import sys
import textwrap
import threading

import pytest
from sqlalchemy import create_engine, func, inspect, select, text

from sweepd.errors import SchemaTooNew, StoreBusy, StoreError, StoreReadOnly
from sweepd.store import Store, artifact_tables, migrate
from sweepd.store import tables as t
from sweepd.store.history_tables import RUN_DELETED
from sweepd.store.run_tables import TRIGGERS
from sweepd.store.words import in_words


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "deep" / "data"


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_fresh_folder_is_private(folder):
    Store.open(folder).close()

    assert mode(folder) == 0o700
    assert mode(folder / "secret") == 0o600
    assert mode(folder / "sweepd.db") == 0o600
    assert len((folder / "secret").read_bytes()) == 32


def test_folder_that_others_may_enter_shows_them_nothing(folder):
    folder.mkdir(mode=0o755, parents=True)
    store = Store.open(folder)

    open_to_others = {path.name for path in folder.iterdir() if mode(path) & 0o077}
    store.close()

    assert open_to_others <= {"lock"}


def test_second_service_on_a_folder_is_refused_with_the_first_ones_process(folder):
    store = Store.open(folder)

    with pytest.raises(StoreBusy, match=rf"process {os.getpid()}\) uses the data in"):
        Store.open(folder)

    store.close()
    Store.open(folder).close()


def test_commands_may_write_beside_a_running_service(folder):
    service = Store.open(folder)
    script = """
        import sys
        from pathlib import Path
        from sweepd.engine import accounts
        from sweepd.store import Store
        store = Store.open(Path(sys.argv[1]), exclusive=False)
        store.write_sync(accounts.add_user, name="alice")
        store.close()
    """

    subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(folder)], check=True, timeout=60
    )

    assert service.read_sync(lambda tx: tx.conn.scalar(select(t.user.c.name))) == "alice"
    service.close()


def test_what_was_answered_outlives_kill_9(folder):
    script = """
        import os, signal, sys
        from pathlib import Path
        from sweepd.store import Store
        from sweepd.store import tables as t
        store = Store.open(Path(sys.argv[1]))
        for _ in range(20):
            store.write_sync(lambda tx: tx.insert(t.event, at=1.0, actor="a", kind="k"))
        os.kill(os.getpid(), signal.SIGKILL)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script), str(folder)], timeout=60)

    store = Store.open(folder)

    assert store.read_sync(lambda tx: tx.conn.scalar(select(func.count(t.event.c.id)))) == 20
    store.close()


def test_migrations_make_exactly_the_tables(folder):
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    Store.open(folder).close()
    engine = create_engine(f"sqlite:///{folder / 'sweepd.db'}")
    assert artifact_tables.artifact.metadata is t.metadata

    with engine.connect() as conn:
        assert compare_metadata(MigrationContext.configure(conn), t.metadata) == []
        checks = [c["name"] for c in inspect(conn).get_check_constraints("run")]
        assert checks == ["ck_run_state"]
        triggers = conn.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'trigger'")
        assert set(triggers.scalars()) == {*TRIGGERS, RUN_DELETED}
    engine.dispose()


def test_head_is_the_newest_migration():
    versions = migrate.__file__.replace("migrate.py", "migrations/versions")
    newest = max(name[:4] for name in os.listdir(versions) if name[:4].isdigit())

    assert newest == migrate.HEAD


def test_folder_of_this_version_opens_without_alembic(folder):
    Store.open(folder).close()
    script = """
        import sys
        from pathlib import Path
        from sweepd.store import Store
        Store.open(Path(sys.argv[1])).close()
        assert not any(name.split(".")[0] == "alembic" for name in sys.modules)
    """

    subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(folder)], check=True, timeout=60
    )


def test_folder_of_a_newer_version_is_refused_in_words(folder):
    Store.open(folder).close()
    with sqlite3.connect(folder / "sweepd.db") as raw:
        raw.execute("UPDATE alembic_version SET version_num = '9999'")
    raw.close()

    with pytest.raises(SchemaTooNew, match=r"written by a newer sweepd .* upgrade sweepd"):
        Store.open(folder)

    with pytest.raises(SchemaTooNew):  # and the lock was given back
        Store.open(folder)


def test_file_that_is_no_database_is_refused_in_words(folder):
    folder.mkdir(parents=True)
    (folder / "sweepd.db").write_bytes(b"nonsense" * 1000)

    with pytest.raises(StoreError, match="not a database"):
        Store.open(folder)


def test_folder_below_a_file_is_refused_in_words(tmp_path):
    (tmp_path / "file").write_text("x")

    with pytest.raises(StoreError, match="Not a directory"):
        Store.open(tmp_path / "file" / "data")


def test_damaged_secret_is_refused_in_words(folder):
    Store.open(folder).close()
    (folder / "secret").write_bytes(b"short")

    with pytest.raises(StoreError, match="should hold 32 bytes, not 5"):
        Store.open(folder)


def test_full_disk_fails_the_write_in_words_and_heals(folder):
    store = Store.open(folder)

    def fill(tx):
        tx.conn.execute(text("PRAGMA max_page_count = 1"))
        for _ in range(1000):
            tx.insert(t.event, at=1.0, actor="a" * 1000, kind="k")

    with pytest.raises(StoreError, match=r"disk that holds .* is full"):
        store.write_sync(fill)
    store.write_sync(lambda tx: tx.conn.execute(text("PRAGMA max_page_count = 1000000")) and None)
    assert "is full" in store.trouble  # what was answered since needed no space
    store.write_sync(lambda tx: tx.insert(t.event, at=1.0, actor="a", kind="k"))
    assert store.trouble is None

    assert store.read_sync(lambda tx: tx.conn.scalar(select(func.count(t.event.c.id)))) == 1
    store.close()


def test_database_that_cannot_be_written_is_told_so(tmp_path):
    path = tmp_path / "x.db"
    sqlite3.connect(path).close()
    path.write_bytes(b"")
    raw = sqlite3.connect(f"file:{path}?mode=ro", uri=True)

    with pytest.raises(StoreReadOnly, match="read-only"), in_words(path):
        raw.execute("CREATE TABLE a (b)")
    raw.close()


def test_writer_that_is_kept_out_says_try_again(tmp_path):
    path = tmp_path / "x.db"
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    raw = sqlite3.connect(path, timeout=0.0)

    with pytest.raises(StoreBusy, match="try again"), in_words(path):
        raw.execute("CREATE TABLE a (b)")
    raw.close()
    holder.close()


def test_our_own_mistakes_are_not_dressed_up(tmp_path):
    raw = sqlite3.connect(tmp_path / "x.db")

    with pytest.raises(sqlite3.OperationalError, match="syntax"), in_words(tmp_path):
        raw.execute("SELEKT")
    raw.close()


def test_the_end_does_not_wait_for_what_reads_for_ever(folder):
    store = Store.open(folder)
    begun = threading.Event()
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"

    def read(tx):
        begun.set()
        return tx.conn.scalar(text(endless))

    async def close_meanwhile():
        reading = asyncio.ensure_future(store.read(read))
        await asyncio.to_thread(begun.wait, 30)
        store.close()
        await reading

    with pytest.raises(StoreError, match="the service is ending"):
        asyncio.run(close_meanwhile())
