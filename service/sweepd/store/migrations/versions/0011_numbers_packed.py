"""The numbers of long runs, key by key."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table, and an index that finds the runs to pack; they are packed in time."""
    op.create_table(
        "history_column",
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("n_rewrites", sa.Integer(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["run_id"], ["run.id"], name=op.f("fk_history_column_run_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("run_id", "key", "number", name=op.f("pk_history_column")),
    )
    op.create_index(
        "ix_run_long", "run", ["history_lines"], sqlite_where=sa.text("history_lines >= 16384")
    )
