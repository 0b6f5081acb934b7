"""Tables that only sweeps need: old definitions, prior runs, places of work, bundles, notices."""

from sqlalchemy import Column, Float, ForeignKey, Integer, Table, Text, UniqueConstraint

from sweepd.store.tables import metadata

__all__ = ["bundle", "notice", "old_definition", "old_prior_run", "prior_run", "slot"]

old_definition = Table(  # what a sweep's definition was before an edit; trials name its version
    "old_definition",
    metadata,
    Column("sweep_id", Integer, ForeignKey("sweep.id", ondelete="CASCADE"), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("definition", Text, nullable=False),  # YAML, as registered
    Column("replaced_at", Float, nullable=False),
)

#: Runs from before the sweep that its search learns from. A row outlives its run, and that run's
#: sweep and project: what a search knows changes by an event of its own sweep or not at all. So
#: `run_id` has no foreign key; the id is never given again.
prior_run = Table(
    "prior_run",
    metadata,
    Column("sweep_id", Integer, ForeignKey("sweep.id", ondelete="CASCADE"), primary_key=True),
    Column("run_id", Integer, primary_key=True),
    Column("config", Text, nullable=False),  # JSON, nested, values only, when it was attached
    Column("value", Float),  # of the metric, by the definition's rule, as logged; null if none
    Column(
        "objectives", Text
    ),  # JSON: the same of each of `metrics`, signed; null if one is missing
    Column("outcome", Text),  # sweepd.spec.Outcome, when it was attached
    Column("has_finished", Integer, nullable=False, server_default="0"),  # when it was attached
    Column("event", Integer, nullable=False, server_default="0"),  # that attached it last
)

old_prior_run = Table(  # what was known of a prior run before it was attached once more
    "old_prior_run",
    metadata,
    Column("sweep_id", Integer, ForeignKey("sweep.id", ondelete="CASCADE"), primary_key=True),
    Column("run_id", Integer, primary_key=True),  # as in prior_run
    Column("event", Integer, primary_key=True),  # that attached it
    Column("until", Integer, nullable=False),  # the event that attached it again
    Column("config", Text, nullable=False),  # the others are those of prior_run
    Column("value", Float),
    Column("objectives", Text),
    Column("outcome", Text),
    Column("has_finished", Integer, nullable=False),
)

slot = Table(  # where a sweep's trials run: one GPU of one host, or one agent of another client
    "slot",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("sweep_id", Integer, ForeignKey("sweep.id", ondelete="CASCADE"), nullable=False),
    Column("host", Text, nullable=False),
    Column("device", Text, nullable=False),  # as our agent calls it; else the agent's id
    Column("reason", Text),  # why it is in quarantine, in words; null: it is not
    Column("since", Float),  # when it was put there
    Column("counts_from", Float, nullable=False, server_default="0"),  # older ends do not count
    Column("n_times", Integer, nullable=False, server_default="0"),  # in quarantine, ever
    Column("n_canaries", Integer, nullable=False, server_default="0"),  # that failed, this time
    Column("canary_at", Float),  # when it may have the next one
    Column("trial_id", Integer),  # the one that is kept for its canary
    UniqueConstraint("sweep_id", "host", "device"),
)

bundle = Table(  # trials given away in advance, to a machine that is cut off
    "bundle",
    metadata,
    Column("id", Text, primary_key=True),  # in the place of an agent's in `attempt`
    Column(
        "sweep_id", Integer, ForeignKey("sweep.id", ondelete="CASCADE"), nullable=False, index=True
    ),
    Column("user_id", Integer, ForeignKey("user.id", ondelete="SET NULL")),
    Column("n_asked", Integer, nullable=False),  # trials; of a full one, those that it was given
    Column("n_given", Integer, nullable=False, server_default="0"),
    Column("created_at", Float, nullable=False),
    Column("until", Float, nullable=False),  # others may have what has not come back by then
    Column("ended_at", Float),  # it has lapsed, or was given back
)

notice = Table(  # what a person should know now; sweep.notice is all of them
    "notice",
    metadata,
    Column("sweep_id", Integer, ForeignKey("sweep.id", ondelete="CASCADE"), primary_key=True),
    Column("topic", Text, primary_key=True),  # what it is about: a later one takes its place
    Column("text", Text, nullable=False),
    Column("at", Float, nullable=False),
)
