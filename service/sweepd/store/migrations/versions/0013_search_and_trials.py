"""What the search told of each suggestion, and from which event on it was made."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns."""
    op.add_column("suggestion", sa.Column("why", sa.Text(), nullable=True))
    op.add_column("trial", sa.Column("basis_event", sa.Integer(), nullable=True))
    op.add_column("trial", sa.Column("why", sa.Text(), nullable=True))
