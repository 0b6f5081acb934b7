"""Tables beside a run: what it told people, and values set apart to be found quickly.

Triggers of the database keep `run_stale` and what refers to a deleted run, whoever writes the run;
they are made by the migrations.
"""

from sqlalchemy import (
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
)

from sweepd.store.tables import metadata

__all__ = ["TRIGGERS", "alert", "run_column", "run_stale", "run_value", "stream_writer"]

alert = Table(  # what `run.alert` said, repeats left out
    "alert",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("run_id", Integer, ForeignKey("run.id", ondelete="CASCADE"), nullable=False),
    Column("title", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("severity", Text, nullable=False),  # INFO, WARN or ERROR
    Column("at", Float, nullable=False),
    Column("n_repeats", Integer, nullable=False, server_default="0"),  # that were left out
)
Index("ix_alert_run_id_title", alert.c.run_id, alert.c.title)

run_column = Table(  # a field of the runs of one project whose values are set apart
    "run_column",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("project_id", Integer, ForeignKey("project.id", ondelete="CASCADE"), nullable=False),
    Column("name", Text, nullable=False),  # as a filter names it, or an order: with its sign
    Column("filled_to", Integer, nullable=False, server_default="0"),  # the last run done
    Column("is_ready", Integer, nullable=False, server_default="0"),
    Column("used_at", Float, nullable=False),
    UniqueConstraint("project_id", "name"),
)

run_value = Table(  # runs that lack the field have no row
    "run_value",
    metadata,
    Column("column_id", Integer, ForeignKey("run_column.id", ondelete="CASCADE"), primary_key=True),
    Column("run_id", Integer, primary_key=True),
    Column("kind", Text, nullable=False),  # SQLite's word for its JSON type
    Column("value", LargeBinary),  # declared so that SQLite converts nothing: any type
    sqlite_with_rowid=False,
)
Index("ix_run_value_value", run_value.c.column_id, run_value.c.value, run_value.c.run_id)

run_stale = Table(  # runs that changed since their values were set apart
    "run_stale",
    metadata,
    Column("run_id", Integer, primary_key=True, autoincrement=False),
    Column("project_id", Integer, nullable=False),
)
Index("ix_run_stale_project_id", run_stale.c.project_id)

stream_writer = Table(  # a process of a run that several write
    "stream_writer",
    metadata,
    Column("run_id", Integer, ForeignKey("run.id", ondelete="CASCADE"), primary_key=True),
    Column("writer", Text, primary_key=True),  # the client's id of it
    Column("number", Integer, nullable=False),  # 0, 1, …: where its lines stand
    Column("history_lines", Integer, nullable=False, server_default="0"),
    Column("event_lines", Integer, nullable=False, server_default="0"),
    Column("log_lines", Integer, nullable=False, server_default="0"),
    UniqueConstraint("run_id", "number"),
    sqlite_with_rowid=False,
)

#: Names of the triggers on `run`. A migration that rebuilds that table must make them again.
TRIGGERS = ("run_values_after_insert", "run_values_after_update", "run_values_after_delete")
