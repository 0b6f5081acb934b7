"""Tables beside a run: what it told people."""

from sqlalchemy import Column, Float, ForeignKey, Index, Integer, Table, Text

from sweepd.store.tables import metadata

__all__ = ["alert"]

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
