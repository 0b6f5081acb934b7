"""What the search told of each suggestion, and from which event on it was made.

Running totals of the curves, and how far stop rules have judged a trial.
"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

_TOTALS = """
UPDATE curve SET total = sums.total FROM (
    SELECT run_id, number, sum(value) OVER (PARTITION BY run_id ORDER BY number) AS total FROM curve
) AS sums WHERE curve.run_id = sums.run_id AND curve.number = sums.number
"""


def upgrade() -> None:
    """Add the columns."""
    op.add_column("suggestion", sa.Column("why", sa.Text(), nullable=True))
    op.add_column("trial", sa.Column("basis_event", sa.Integer(), nullable=True))
    op.add_column("trial", sa.Column("why", sa.Text(), nullable=True))
    op.execute("ALTER TABLE trial RENAME COLUMN has_bad_value TO n_bad")
    op.add_column("trial", sa.Column("rung", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("trial", sa.Column("is_paused", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("trial", sa.Column("stopped_as", sa.Text(), nullable=True))
    op.add_column("curve", sa.Column("total", sa.Float(), nullable=False, server_default="0"))
    op.execute(_TOTALS)
