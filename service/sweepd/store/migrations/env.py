"""Run by alembic: migrates over the connection that `sweepd.store.migrate` hands in."""

from alembic import context

from sweepd.store import sweep_tables  # noqa: F401  # these are tables, too
from sweepd.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,  # SQLite cannot alter most of a table in place
)
with context.begin_transaction():
    context.run_migrations()
