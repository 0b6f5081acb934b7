"""Writers of shared runs."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table of the processes that write one run."""
    op.create_table(
        "stream_writer",
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("writer", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("history_lines", sa.Integer(), server_default="0", nullable=False),
        sa.Column("event_lines", sa.Integer(), server_default="0", nullable=False),
        sa.Column("log_lines", sa.Integer(), server_default="0", nullable=False),
        sa.ForeignKeyConstraint(
            ["run_id"], ["run.id"], name=op.f("fk_stream_writer_run_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("run_id", "writer", name=op.f("pk_stream_writer")),
        sa.UniqueConstraint("run_id", "number", name=op.f("uq_stream_writer_run_id_number")),
        sqlite_with_rowid=False,
    )
