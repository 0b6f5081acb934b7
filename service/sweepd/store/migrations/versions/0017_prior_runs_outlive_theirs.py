"""What a search knows of prior runs stays when the run is deleted."""

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
