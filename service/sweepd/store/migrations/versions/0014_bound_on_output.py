"""How much of a run's console is kept, and where lines of it are left out."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns; lines that are stored already do not count."""
    op.add_column("run", sa.Column("log_size", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("run", sa.Column("log_head", sa.Integer(), nullable=True))
