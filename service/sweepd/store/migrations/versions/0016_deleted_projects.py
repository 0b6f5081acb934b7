"""An index of the projects that were deleted, whose ids are given to no other one."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the index."""
    op.create_index(
        "ix_event_deleted_project",
        "event",
        ["project_id"],
        sqlite_where=sa.text("kind = 'project.deleted'"),
    )
