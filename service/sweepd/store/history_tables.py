"""Tables beside a run's rows: what was made of them, to be read back quickly."""

from sqlalchemy import Column, Float, ForeignKey, Index, Integer, LargeBinary, Table, Text

from sweepd.store.tables import metadata, run

__all__ = [
    "RUN_DELETED",
    "deleted_run",
    "history_column",
    "history_export",
    "history_refusal",
    "history_rewrite",
]


def _run() -> Column[int]:
    return Column("run_id", Integer, ForeignKey("run.id", ondelete="CASCADE"), primary_key=True)


history_export = Table(  # a Parquet file of a run's rows; once handed out it never changes
    "history_export",
    metadata,
    _run(),
    Column("number", Integer, primary_key=True),  # 0, 1, …: each goes on where the last one ended
    Column("end_line", Integer, nullable=False),  # one past the last line that it holds
    Column("last_step", Integer, nullable=False),
    Column("n_rewrites", Integer, nullable=False),  # of the run, when it was made
    Column("blob", Text, ForeignKey("blob.key"), nullable=False),
    Column("created_at", Float, nullable=False),
)
Index("ix_history_export_blob", history_export.c.blob)

history_refusal = Table(  # a run whose rows do not fit a table
    "history_refusal",
    metadata,
    _run(),
    Column("n_rewrites", Integer, nullable=False),  # of the run, when it was tried
    Column("why", Text, nullable=False),  # in words
)

history_rewrite = Table(  # how often lines of a run's history were written over, or out of order
    "history_rewrite",
    metadata,
    _run(),
    Column("n_rewrites", Integer, nullable=False),
)

history_column = Table(  # the numbers under one key, of so many lines of a long run
    "history_column",
    metadata,
    Column("run_id", Integer, primary_key=True),  # no foreign key: see deleted_run
    Column("key", Text, primary_key=True),
    Column("number", Integer, primary_key=True),  # of the chunk of lines: 0, 1, …
    Column("n_rewrites", Integer, nullable=False),  # of the run, when it was packed
    Column("data", LargeBinary, nullable=False),
)
#: A run is packed from so many lines on; the index finds such runs among all.
Index("ix_run_long", run.c.history_lines, sqlite_where=run.c.history_lines >= 16384)

RUN_DELETED = "run_deleted"  # the trigger that fills the table

#: Each run that was deleted, by itself or with its sweep. What there may be a million of
#: (`stream_line`, `curve`, `history_column`) has no foreign key to its run: it is deleted
#: afterwards, some at a time. A run's id is never given again.
deleted_run = Table(
    "deleted_run",
    metadata,
    Column("run_id", Integer, primary_key=True, autoincrement=False),
    Column("is_swept", Integer, nullable=False, server_default="0"),  # nothing of it is left
)
Index("ix_deleted_run_unswept", deleted_run.c.run_id, sqlite_where=deleted_run.c.is_swept == 0)
