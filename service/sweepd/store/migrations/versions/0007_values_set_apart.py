"""Values of runs set apart, and indexes on what people filter by."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_STALE = """
CREATE TRIGGER run_values_after_{event} AFTER {when} ON run
WHEN EXISTS (SELECT 1 FROM run_column WHERE project_id = NEW.project_id) {changed}
BEGIN
    INSERT OR IGNORE INTO run_stale (run_id, project_id) VALUES (NEW.id, NEW.project_id);
END
"""
_GONE = """
CREATE TRIGGER run_values_after_delete AFTER DELETE ON run
BEGIN
    DELETE FROM run_value WHERE run_id = OLD.id AND column_id IN
        (SELECT id FROM run_column WHERE project_id = OLD.project_id);
    DELETE FROM run_stale WHERE run_id = OLD.id;
END
"""


def upgrade() -> None:
    """Create the tables, their triggers and the indexes."""
    op.create_table(
        "run_column",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("filled_to", sa.Integer(), server_default="0", nullable=False),
        sa.Column("is_ready", sa.Integer(), server_default="0", nullable=False),
        sa.Column("used_at", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id"],
            ["project.id"],
            name=op.f("fk_run_column_project_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_run_column")),
        sa.UniqueConstraint("project_id", "name", name=op.f("uq_run_column_project_id_name")),
    )
    op.create_table(
        "run_value",
        sa.Column("column_id", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("value", sa.LargeBinary(), nullable=True),
        sa.ForeignKeyConstraint(
            ["column_id"],
            ["run_column.id"],
            name=op.f("fk_run_value_column_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("column_id", "run_id", name=op.f("pk_run_value")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_run_value_value", "run_value", ["column_id", "value", "run_id"])
    op.create_table(
        "run_stale",
        sa.Column("run_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", name=op.f("pk_run_stale")),
    )
    op.create_index("ix_run_stale_project_id", "run_stale", ["project_id"])
    changed = "AND (OLD.config IS NOT NEW.config OR OLD.summary IS NOT NEW.summary)"
    op.execute(_STALE.format(event="insert", when="INSERT", changed=""))
    op.execute(_STALE.format(event="update", when="UPDATE OF config, summary", changed=changed))
    op.execute(_GONE)
    op.create_index("ix_run_project_id_state", "run", ["project_id", "state"])
    op.create_index("ix_run_project_id_run_group", "run", ["project_id", "run_group"])
