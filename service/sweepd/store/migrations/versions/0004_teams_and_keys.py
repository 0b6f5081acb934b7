"""Teams and their members, service accounts, keys that end, projects that others may read."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

#: What is added to tables that are there: SQLite takes columns with their constraints only so.
_COLUMNS = (
    "entity ADD COLUMN kind TEXT DEFAULT 'user' NOT NULL"
    " CONSTRAINT ck_entity_kind CHECK (kind IN ('user', 'team'))",
    "user ADD COLUMN kind TEXT DEFAULT 'person' NOT NULL"
    " CONSTRAINT ck_user_kind CHECK (kind IN ('person', 'service'))",
    "api_key ADD COLUMN expires_at FLOAT",
    "api_key ADD COLUMN revoked_at FLOAT",
    "api_key ADD COLUMN last_used_at FLOAT",
    "login_link ADD COLUMN key_id TEXT",
    "session ADD COLUMN key_id TEXT",
    "session ADD COLUMN created_at FLOAT DEFAULT '0' NOT NULL",
    "session ADD COLUMN browser TEXT DEFAULT '' NOT NULL",
    "project ADD COLUMN access TEXT DEFAULT 'entity' NOT NULL"
    " CONSTRAINT ck_project_access CHECK (access IN ('entity', 'everybody'))",
)


def upgrade() -> None:
    """Add what accounts of a team need."""
    for column in _COLUMNS:
        op.execute(f"ALTER TABLE {column}")
    op.create_table(
        "membership",
        sa.Column("entity_id", sa.Integer(), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("is_default", sa.Integer(), server_default="0", nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.CheckConstraint("role IN ('viewer', 'member', 'admin')", name="role"),
        sa.ForeignKeyConstraint(
            ["entity_id"], ["entity.id"], name=op.f("fk_membership_entity_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["user.id"], name=op.f("fk_membership_user_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("entity_id", "user_id", name=op.f("pk_membership")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_membership_user_id", "membership", ["user_id"], unique=False)
    op.create_index(
        "uq_membership_default",
        "membership",
        ["user_id"],
        unique=True,
        sqlite_where=sa.text("is_default = 1"),
    )
