"""What the search told of each suggestion, and the events that made each trial what it is.

Running totals of the curves, and how far stop rules have judged a trial.
Which trials do not satisfy outcome constraints.
Where attempts ran, which slots are in quarantine, and notices on several topics at once.
What a trial, or a prior run, came to in each of several metrics.
What was known of a prior run before it was attached once more.
"""

from itertools import product

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
_COUNTS = {
    "sweep": ("basis_event", "unplanned_event", "next_index", "next_filler", "search_failures"),
    "trial": ("created_event",),
    "suggestion": ("position",),
    "prior_run": ("has_finished", "event"),
}


def upgrade() -> None:
    """Add the columns and tables; what the events tell of older trials is looked up."""
    op.add_column("suggestion", sa.Column("why", sa.Text(), nullable=True))
    op.add_column("trial", sa.Column("basis_event", sa.Integer(), nullable=True))
    op.add_column("trial", sa.Column("position", sa.Integer(), nullable=True))
    op.add_column("trial", sa.Column("why", sa.Text(), nullable=True))
    op.execute("ALTER TABLE trial RENAME COLUMN has_bad_value TO n_bad")
    op.add_column("trial", sa.Column("rung", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("trial", sa.Column("is_paused", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("trial", sa.Column("stopped_as", sa.Text(), nullable=True))
    op.add_column("curve", sa.Column("total", sa.Float(), nullable=False, server_default="0"))
    op.execute(_TOTALS)
    _add_slots()
    for table, name in product(("trial", "prior_run"), ("objectives", "outcome")):
        op.add_column(table, sa.Column(name, sa.Text(), nullable=True))
    op.add_column("trial", sa.Column("ended_event", sa.Integer(), nullable=True))
    op.add_column("sweep", sa.Column("search_again_at", sa.Float(), nullable=True))
    for table, names in _COUNTS.items():
        for name in names:
            column = sa.Column(name, sa.Integer(), nullable=False, server_default="0")
            op.add_column(table, column)
    op.execute(
        "UPDATE trial SET created_event = coalesce((SELECT min(event.id) FROM event"
        " WHERE event.run_id = trial.run_id"
        " AND event.kind IN ('trial.issued', 'trial.enqueued')), 0)"
    )
    op.execute(
        "UPDATE trial SET ended_event = coalesce((SELECT max(event.id) FROM event"
        " WHERE event.run_id = trial.run_id AND event.kind = 'trial.ended'), 0)"
        " WHERE state = 'ended'"
    )
    op.execute("UPDATE sweep SET next_filler = n_issued, memo = NULL")
    op.execute("UPDATE sweep SET next_index = n_issued WHERE method != 'grid'")
    op.execute(  # what was prepared is worked out anew, a grid's last points among it
        "UPDATE sweep SET is_exhausted = 0 WHERE id IN"
        " (SELECT sweep_id FROM suggestion WHERE origin != 'initial')"
    )
    op.execute("DELETE FROM suggestion WHERE origin != 'initial'")
    op.execute(
        "UPDATE prior_run SET has_finished = EXISTS"
        " (SELECT 1 FROM run WHERE run.id = prior_run.run_id AND run.state = 'finished')"
    )
    _add_old_prior_runs()


def _add_old_prior_runs() -> None:
    """Add what was known of prior runs earlier."""
    op.create_table(
        "old_prior_run",
        sa.Column(
            "sweep_id",
            sa.Integer(),
            sa.ForeignKey("sweep.id", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column(
            "run_id", sa.Integer(), sa.ForeignKey("run.id", ondelete="CASCADE"), primary_key=True
        ),
        sa.Column("event", sa.Integer(), primary_key=True),
        sa.Column("until", sa.Integer(), nullable=False),
        sa.Column("config", sa.Text(), nullable=False),
        sa.Column("value", sa.Float(), nullable=True),
        sa.Column("objectives", sa.Text(), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("has_finished", sa.Integer(), nullable=False),
    )
    op.create_index("ix_old_prior_run_run_id", "old_prior_run", ["run_id"])


def _add_slots() -> None:
    """Add where attempts ran, notices by topic, and how long a sweep has been running."""
    op.add_column("agent", sa.Column("slot_id", sa.Integer(), nullable=True))
    op.add_column("attempt", sa.Column("slot_id", sa.Integer(), nullable=True))
    for name in ("was_told", "is_excused"):
        column = sa.Column(name, sa.Integer(), nullable=False, server_default="0")
        op.add_column("attempt", column)
    op.create_index("ix_attempt_slot_id", "attempt", ["slot_id"])
    op.create_table(
        "slot",
        sa.Column("id", sa.Integer(), primary_key=True, autoincrement=True),
        sa.Column(
            "sweep_id", sa.Integer(), sa.ForeignKey("sweep.id", ondelete="CASCADE"), nullable=False
        ),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("since", sa.Float(), nullable=True),
        sa.Column("counts_from", sa.Float(), nullable=False, server_default="0"),
        sa.Column("n_times", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("n_canaries", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("canary_at", sa.Float(), nullable=True),
        sa.Column("trial_id", sa.Integer(), nullable=True),
        sa.UniqueConstraint("sweep_id", "host", "device"),
    )
    op.create_table(
        "notice",
        sa.Column(
            "sweep_id",
            sa.Integer(),
            sa.ForeignKey("sweep.id", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("topic", sa.Text(), primary_key=True),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
    )
    op.execute(
        "INSERT INTO notice (sweep_id, topic, text, at)"
        " SELECT id, 'search', notice, updated_at FROM sweep WHERE notice IS NOT NULL"
    )
    op.add_column("sweep", sa.Column("ran_s", sa.Float(), nullable=False, server_default="0"))
    op.add_column("sweep", sa.Column("running_since", sa.Float(), nullable=True))
    op.execute("UPDATE sweep SET running_since = updated_at WHERE state = 'RUNNING'")
