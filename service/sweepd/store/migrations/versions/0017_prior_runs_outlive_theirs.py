"""What a search knows of prior runs outlives them; a grid tries what did not finish.

A grid that has passed the point of a prior run which failed looks at its points from the first on:
those that were handed out are not given again.
"""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Build both tables anew without a foreign key to the run, nor the index that it needed."""
    _rebuild(
        "prior_run",
        sa.Column("sweep_id", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("config", sa.Text(), nullable=False),
        sa.Column("value", sa.Float(), nullable=True),
        sa.Column("objectives", sa.Text(), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("has_finished", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("event", sa.Integer(), nullable=False, server_default="0"),
        key=("sweep_id", "run_id"),
    )
    _rebuild(
        "old_prior_run",
        sa.Column("sweep_id", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("event", sa.Integer(), nullable=False),
        sa.Column("until", sa.Integer(), nullable=False),
        sa.Column("config", sa.Text(), nullable=False),
        sa.Column("value", sa.Float(), nullable=True),
        sa.Column("objectives", sa.Text(), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("has_finished", sa.Integer(), nullable=False),
        key=("sweep_id", "run_id", "event"),
    )
    op.execute(
        "UPDATE sweep SET next_index = 0, is_exhausted = 0 WHERE method = 'grid' "
        "AND state IN ('PENDING', 'RUNNING', 'PAUSED') AND stop_reason IS NULL AND id IN "
        "(SELECT sweep_id FROM prior_run WHERE has_finished = 0)"
    )


def _rebuild(table: str, *columns: sa.Column[object], key: tuple[str, ...]) -> None:
    names = ", ".join(column.name for column in columns)
    op.create_table(
        f"{table}_anew",
        *columns,
        sa.ForeignKeyConstraint(
            ["sweep_id"], ["sweep.id"], name=op.f(f"fk_{table}_sweep_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint(*key, name=op.f(f"pk_{table}")),
    )
    op.execute(f"INSERT INTO {table}_anew ({names}) SELECT {names} FROM {table}")
    op.drop_table(table)  # its index goes with it
    op.rename_table(f"{table}_anew", table)
