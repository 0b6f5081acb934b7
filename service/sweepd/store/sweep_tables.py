"""Tables that only sweeps need: earlier definitions of one, and the runs that it learns from."""

from sqlalchemy import Column, Float, ForeignKey, Integer, Table, Text

from sweepd.store.tables import metadata

__all__ = ["old_definition", "prior_run"]

old_definition = Table(  # what a sweep's definition was before an edit; trials name its version
    "old_definition",
    metadata,
    Column("sweep_id", Integer, ForeignKey("sweep.id", ondelete="CASCADE"), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("definition", Text, nullable=False),  # YAML, as registered
    Column("replaced_at", Float, nullable=False),
)

prior_run = Table(  # runs from before the sweep that its search learns from
    "prior_run",
    metadata,
    Column("sweep_id", Integer, ForeignKey("sweep.id", ondelete="CASCADE"), primary_key=True),
    Column(
        "run_id",
        Integer,
        ForeignKey("run.id", ondelete="CASCADE"),
        primary_key=True,
        index=True,
    ),
    Column("config", Text, nullable=False),  # JSON, nested, values only, when it was attached
    Column("value", Float),  # of the metric, by the definition's rule, as logged; null if none
)
