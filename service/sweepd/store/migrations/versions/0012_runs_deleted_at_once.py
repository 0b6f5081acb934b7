"""Rows that outlive their run for a moment, so that deleting a run takes none."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Build the great tables anew without their foreign keys; note each run that is deleted."""
    op.create_table(
        "deleted_run",
        sa.Column("run_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("is_swept", sa.Integer(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("run_id", name=op.f("pk_deleted_run")),
    )
    op.create_index(
        "ix_deleted_run_unswept", "deleted_run", ["run_id"], sqlite_where=sa.text("is_swept = 0")
    )
    op.execute(
        "CREATE TRIGGER run_deleted AFTER DELETE ON run "
        "BEGIN INSERT OR IGNORE INTO deleted_run (run_id) VALUES (old.id); END"
    )
    _rebuild(
        "stream_line",
        "run_id INTEGER NOT NULL, stream INTEGER NOT NULL, line INTEGER NOT NULL, "
        "attempt INTEGER DEFAULT '1' NOT NULL, step INTEGER, body TEXT NOT NULL, "
        "CONSTRAINT pk_stream_line PRIMARY KEY (run_id, stream, line)",
    )
    op.create_index(
        "ix_stream_line_step",
        "stream_line",
        ["run_id", "step"],
        sqlite_where=sa.text("step IS NOT NULL"),
    )
    _rebuild(
        "curve",
        "run_id INTEGER NOT NULL, number INTEGER NOT NULL, line INTEGER NOT NULL, "
        "step INTEGER NOT NULL, value FLOAT NOT NULL, "
        "CONSTRAINT pk_curve PRIMARY KEY (run_id, number)",
    )
    op.drop_table("history_column")  # packed anew in time
    op.create_table(
        "history_column",
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("n_rewrites", sa.Integer(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "key", "number", name=op.f("pk_history_column")),
    )


def _rebuild(table: str, columns: str) -> None:
    op.execute(f"CREATE TABLE {table}_anew ({columns}) WITHOUT ROWID")
    op.execute(f"INSERT INTO {table}_anew SELECT * FROM {table}")
    op.execute(f"DROP TABLE {table}")
    op.execute(f"ALTER TABLE {table}_anew RENAME TO {table}")
