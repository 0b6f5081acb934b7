"""Brings a data folder's tables to this version's, once; alembic is imported only when needed."""

from importlib.resources import as_file, files
from pathlib import Path

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import OperationalError

from sweepd.errors import SchemaTooNew
from sweepd.store.words import in_words

__all__ = ["HEAD", "migrate"]

HEAD = "0017"  # the newest revision in migrations/versions


def migrate(engine: Engine, *, place: Path) -> None:
    """Create or upgrade the tables, in one transaction.

    Raises:
        SchemaTooNew: if a newer sweepd wrote the database.
        StoreError: in words, if it cannot be written to.
    """
    with in_words(place), engine.connect() as conn:
        if _revision(conn) == HEAD:
            return
        conn.rollback()
        with conn.begin():
            found = _revision(conn)  # another process may have been faster
            if found is not None and found > HEAD:
                raise SchemaTooNew(
                    f"{place} was written by a newer sweepd (its schema is {found}, "
                    f"this version knows up to {HEAD}); upgrade sweepd"
                )
            if found != HEAD:
                _upgrade(conn)


def _revision(conn: Connection) -> str | None:
    try:
        found = conn.scalar(text("SELECT version_num FROM alembic_version"))
    except OperationalError as error:
        if "no such table" in str(error.orig):
            return None
        raise
    return None if found is None else str(found)


def _upgrade(conn: Connection) -> None:
    from alembic import command
    from alembic.config import Config

    with as_file(files("sweepd.store") / "migrations") as scripts:
        config = Config()
        config.set_main_option("script_location", str(scripts).replace("%", "%%"))
        config.attributes["connection"] = conn
        command.upgrade(config, "head")
