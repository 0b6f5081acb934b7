"""Parquet files of runs' rows."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables of what is made of rows, to be read back quickly."""
    op.create_table(
        "history_export",
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("end_line", sa.Integer(), nullable=False),
        sa.Column("last_step", sa.Integer(), nullable=False),
        sa.Column("n_rewrites", sa.Integer(), nullable=False),
        sa.Column("blob", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(
            ["run_id"], ["run.id"], name=op.f("fk_history_export_run_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["blob"], ["blob.key"], name=op.f("fk_history_export_blob")),
        sa.PrimaryKeyConstraint("run_id", "number", name=op.f("pk_history_export")),
    )
    op.create_index("ix_history_export_blob", "history_export", ["blob"])
    for table, more in (
        ("history_refusal", (sa.Column("why", sa.Text(), nullable=False),)),
        ("history_rewrite", ()),
    ):
        op.create_table(
            table,
            sa.Column("run_id", sa.Integer(), nullable=False),
            sa.Column("n_rewrites", sa.Integer(), nullable=False),
            *more,
            sa.ForeignKeyConstraint(
                ["run_id"], ["run.id"], name=op.f(f"fk_{table}_run_id"), ondelete="CASCADE"
            ),
            sa.PrimaryKeyConstraint("run_id", name=op.f(f"pk_{table}")),
        )
