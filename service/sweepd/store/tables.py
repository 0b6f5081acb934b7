"""Every table of the store, as SQLAlchemy Core sees it.

Times are unix seconds (UTC) as floats. JSON is stored as text, exactly as it arrived where a client
sent it. `stream_line` is keyed by (run, stream, line), so that a repeated delivery is harmless.
"""

from sqlalchemy import (
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)

from sweepd.states import AgentState, RunState, SweepState

__all__ = [
    "agent",
    "api_key",
    "attempt",
    "blob",
    "curve",
    "entity",
    "event",
    "login_link",
    "membership",
    "metadata",
    "project",
    "pulse",
    "run",
    "run_file",
    "session",
    "stream_line",
    "suggestion",
    "sweep",
    "trial",
    "user",
]

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _one_of(
    column: str, names: type[SweepState] | type[RunState] | type[AgentState]
) -> CheckConstraint:
    allowed = ", ".join(f"'{name}'" for name in names)
    return CheckConstraint(f"{column} IN ({allowed})", name=column)


def _key() -> Column[int]:
    return Column("id", Integer, primary_key=True, autoincrement=True)


def _to(target: str, *, name: str | None = None, nullable: bool = False) -> Column[int]:
    key = ForeignKey(f"{target}.id", ondelete="CASCADE")
    return Column(name or f"{target}_id", Integer, key, nullable=nullable)


entity = Table(
    "entity",
    metadata,
    _key(),
    Column("name", Text, nullable=False, unique=True),
    Column("kind", Text, nullable=False, server_default="user"),  # user, team
    CheckConstraint("kind IN ('user', 'team')", name="kind"),
)

user = Table(
    "user",
    metadata,
    _key(),
    Column("name", Text, nullable=False, unique=True),
    Column("email", Text, nullable=False, server_default=""),
    Column("is_admin", Integer, nullable=False, server_default="0"),
    _to("entity"),  # a person's own, of the same name; a service account's first team
    Column("created_at", Float, nullable=False),
    Column("kind", Text, nullable=False, server_default="person"),  # person, service
    CheckConstraint("kind IN ('person', 'service')", name="kind"),
)

membership = Table(  # who may do what in a team
    "membership",
    metadata,
    Column("entity_id", Integer, ForeignKey("entity.id", ondelete="CASCADE"), primary_key=True),
    Column("user_id", Integer, ForeignKey("user.id", ondelete="CASCADE"), primary_key=True),
    Column("role", Text, nullable=False),
    Column("is_default", Integer, nullable=False, server_default="0"),  # works there unless told
    Column("created_at", Float, nullable=False),
    CheckConstraint("role IN ('viewer', 'member', 'admin')", name="role"),
    sqlite_with_rowid=False,
)
Index("ix_membership_user_id", membership.c.user_id)
Index(
    "uq_membership_default",
    membership.c.user_id,
    unique=True,
    sqlite_where=membership.c.is_default == 1,
)

api_key = Table(
    "api_key",
    metadata,
    Column("id", Text, primary_key=True),  # a prefix of the key
    _to("user"),
    Column("digest", Text, nullable=False, unique=True),  # SHA-256 of the whole key
    Column("description", Text, nullable=False, server_default=""),
    Column("created_at", Float, nullable=False),
    Column("expires_at", Float),  # null: never
    Column("revoked_at", Float),  # null: not
    Column("last_used_at", Float),  # to about a minute
)

login_link = Table(  # one-time links that sign a browser in
    "login_link",
    metadata,
    Column("digest", Text, primary_key=True),
    _to("user"),
    Column("expires_at", Float, nullable=False),
    Column("key_id", Text),  # of the key that asked for it; its end is the link's
)

session = Table(  # signed-in browsers
    "session",
    metadata,
    Column("digest", Text, primary_key=True),
    _to("user"),
    Column("expires_at", Float, nullable=False),
    Column("key_id", Text),  # of the key that opened it; its end is the session's
    Column("created_at", Float, nullable=False, server_default="0"),
    Column("browser", Text, nullable=False, server_default=""),  # as it calls itself
)

project = Table(
    "project",
    metadata,
    _key(),
    _to("entity"),
    Column("name", Text, nullable=False),
    Column("description", Text),
    Column("user_id", Integer, ForeignKey("user.id", ondelete="SET NULL")),
    Column("created_at", Float, nullable=False),
    Column("access", Text, nullable=False, server_default="entity"),  # who may read it
    UniqueConstraint("entity_id", "name"),
    CheckConstraint("access IN ('entity', 'everybody')", name="access"),
)

sweep = Table(
    "sweep",
    metadata,
    _key(),
    _to("project"),
    Column("name", Text, nullable=False, unique=True),  # the short id in addresses
    Column("user_id", Integer, ForeignKey("user.id", ondelete="SET NULL")),
    Column("state", Text, nullable=False),
    Column("display_name", Text),
    Column("description", Text),
    Column("definition", Text, nullable=False),  # YAML, as registered
    Column("method", Text, nullable=False),
    Column("run_cap", Integer),
    Column("seed", Integer, nullable=False),
    Column("controller", Text),  # JSON, echoed for W&B's local controller
    Column("scheduler", Text),  # JSON, likewise
    Column("n_issued", Integer, nullable=False, server_default="0"),  # trials handed out, ever
    Column("n_suggested", Integer, nullable=False, server_default="0"),  # by the search method
    Column("memo", Text),  # JSON: the search method's memo, and the trials that it was made of
    Column("basis_event", Integer, nullable=False, server_default="0"),  # of what is prepared
    Column("unplanned_event", Integer, nullable=False, server_default="0"),  # the latest filler's
    Column("next_index", Integer, nullable=False, server_default="0"),  # of an instant method
    Column("next_filler", Integer, nullable=False, server_default="0"),  # space-filling points used
    Column("search_failures", Integer, nullable=False, server_default="0"),  # one after the other
    Column("search_again_at", Float),  # not asked before, after a failure
    Column("is_exhausted", Integer, nullable=False, server_default="0"),
    Column("stop_reason", Text),  # in words, once it has ended
    Column("notice", Text),  # in words, what a person should know now
    Column("version", Integer, nullable=False, server_default="1"),
    Column("created_at", Float, nullable=False),
    Column("updated_at", Float, nullable=False),
    Column("ended_at", Float),
    Column("ran_s", Float, nullable=False, server_default="0"),  # seconds, before running_since
    Column("running_since", Float),  # null while it does not run
    _one_of("state", SweepState),
)

agent = Table(
    "agent",
    metadata,
    Column("id", Text, primary_key=True),
    _to("sweep"),
    Column("user_id", Integer, ForeignKey("user.id", ondelete="SET NULL")),
    Column("name", Text, nullable=False),
    Column("host", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("heartbeat_at", Float, nullable=False),
    Column("slot_id", Integer),  # where it works, see sweep_tables.slot
    _one_of("state", AgentState),
)
Index("ix_agent_sweep_id", agent.c.sweep_id)

run = Table(
    "run",
    metadata,
    _key(),
    _to("project"),
    Column("name", Text, nullable=False),  # the run id in addresses
    Column("sweep_id", Integer, ForeignKey("sweep.id", ondelete="CASCADE")),
    Column("user_id", Integer, ForeignKey("user.id", ondelete="SET NULL")),
    Column("state", Text, nullable=False),
    Column("display_name", Text, nullable=False),
    Column("description", Text),
    Column("notes", Text),
    Column("run_group", Text),
    Column("job_type", Text),
    Column("host", Text),
    Column("program", Text),
    Column("repo", Text),
    Column("git_commit", Text),
    Column("tags", Text, nullable=False, server_default="[]"),  # JSON list
    Column("config", Text, nullable=False, server_default="{}"),  # JSON, {"k": {"value": v}}
    Column("summary", Text, nullable=False, server_default="{}"),  # JSON
    Column("system_metrics", Text, nullable=False, server_default="{}"),  # JSON, the last event row
    Column("history_keys", Text),  # JSON, kept up to date as rows arrive
    Column("history_lines", Integer, nullable=False, server_default="0"),  # highest line + 1
    Column("event_lines", Integer, nullable=False, server_default="0"),
    Column("log_lines", Integer, nullable=False, server_default="0"),
    Column("log_size", Integer, nullable=False, server_default="0"),  # characters that are kept
    Column("log_head", Integer),  # the line from which on lines are left out
    Column("last_step", Integer),
    Column("exit_code", Integer),
    Column("stop_requested", Text),  # null, or who or what asked for it
    Column("created_at", Float, nullable=False),
    Column("started_at", Float),  # the client's first upsert
    Column("heartbeat_at", Float),
    Column("ended_at", Float),
    UniqueConstraint("project_id", "name"),
    _one_of("state", RunState),
)
Index("ix_run_sweep_id", run.c.sweep_id)
Index("ix_run_project_id_created_at", run.c.project_id, run.c.created_at)
Index("ix_run_project_id_state", run.c.project_id, run.c.state)
Index("ix_run_project_id_run_group", run.c.project_id, run.c.run_group)
Index("ix_run_state_heartbeat_at", run.c.state, run.c.heartbeat_at)

stream_line = Table(
    "stream_line",
    metadata,
    Column("run_id", Integer, primary_key=True),  # no foreign key: see deleted_run
    Column("stream", Integer, primary_key=True),  # 0 history, 1 events, 2 console
    Column("line", Integer, primary_key=True),
    Column("attempt", Integer, nullable=False, server_default="1"),
    Column("step", Integer),  # history only
    Column("body", Text, nullable=False),
    sqlite_with_rowid=False,
)
Index(
    "ix_stream_line_step",
    stream_line.c.run_id,
    stream_line.c.step,
    sqlite_where=stream_line.c.step.is_not(None),
)

curve = Table(  # the objective metric of a sweep's runs, one row per finite value logged
    "curve",
    metadata,
    Column("run_id", Integer, primary_key=True),  # no foreign key: see deleted_run
    Column("number", Integer, primary_key=True),  # 0, 1, … without gaps
    Column("line", Integer, nullable=False),  # of the history row; rises with the number
    Column("step", Integer, nullable=False),  # likewise
    Column("value", Float, nullable=False),  # as logged
    Column("total", Float, nullable=False, server_default="0"),  # of all values up to this one
    sqlite_with_rowid=False,
)

trial = Table(
    "trial",
    metadata,
    _key(),
    _to("sweep"),
    Column("number", Integer, nullable=False),  # 1, 2, … within the sweep
    Column(
        "run_id", Integer, ForeignKey("run.id", ondelete="CASCADE"), nullable=False, unique=True
    ),
    Column("config", Text, nullable=False),  # JSON, flat: {"a.b": value}
    Column("config_key", Text, nullable=False),  # canonical form, for uniqueness
    Column("origin", Text, nullable=False),  # initial, search, filler, enqueued
    Column("state", Text, nullable=False),  # leased, queued (again), ended
    Column("attempt", Integer, nullable=False, server_default="1"),  # 0: nobody has taken it yet
    Column("reason", Text),  # sweepd.errors.Reason, once ended
    Column("message", Text),  # the first line of the error, in words
    Column("objective", Float),  # signed: lower is better; null until known
    Column("objectives", Text),  # JSON: one for each of `metrics`, signed; null until it has ended
    Column("best", Float),  # extremum of the metric, as logged
    Column("last", Float),  # last finite value, as logged
    Column("n_values", Integer, nullable=False, server_default="0"),  # finite values logged
    Column("n_bad", Integer, nullable=False, server_default="0"),  # latest are NaN or infinite
    Column("version", Integer, nullable=False, server_default="1"),  # of the definition
    Column("basis_event", Integer),  # the event that its suggestion was computed from
    Column("position", Integer),  # among the suggestions of that event, or the first that was tried
    Column("why", Text),  # JSON: what the search expected of it
    Column("rung", Integer, nullable=False, server_default="0"),  # the last it was judged at
    Column("is_paused", Integer, nullable=False, server_default="0"),  # there: may be promoted
    Column("outcome", Text),  # sweepd.spec.Outcome: outcome constraints it does not satisfy
    Column("stopped_as", Text),  # sweepd.errors.Reason of the end that a stop rule asked for
    Column("created_event", Integer, nullable=False, server_default="0"),
    Column("ended_event", Integer),  # what says how it ended; null until it has
    Column("created_at", Float, nullable=False),
    Column("ended_at", Float),
    UniqueConstraint("sweep_id", "number"),
    CheckConstraint("state IN ('leased', 'queued', 'ended')", name="state"),
)
Index("ix_trial_leased", trial.c.id, sqlite_where=trial.c.state == "leased")
Index("ix_trial_sweep_id_state", trial.c.sweep_id, trial.c.state)
Index("ix_trial_sweep_id_config_key", trial.c.sweep_id, trial.c.config_key)

attempt = Table(  # a lease: one agent's time-limited claim on a trial
    "attempt",
    metadata,
    Column("trial_id", Integer, ForeignKey("trial.id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("token", Text, nullable=False),
    Column("agent_id", Text, nullable=False),  # or a bundle's
    Column("host", Text),
    Column("device", Text),
    Column("issued_at", Float, nullable=False),
    Column("n_sent", Integer, nullable=False, server_default="1"),  # answers that carried it
    Column("seen_at", Float, nullable=False),  # last heartbeat of its agent that named the run
    Column("is_fenced", Integer, nullable=False, server_default="0"),  # its writes carry the token
    Column("started_at", Float),  # its wandb.init
    Column("ended_at", Float),
    Column("reason", Text),
    Column("exit_code", Integer),
    Column("signal", Integer),
    Column("message", Text),
    Column("slot_id", Integer),  # where it was given to
    Column("was_told", Integer, nullable=False, server_default="0"),  # its end; else: silence
    Column("is_excused", Integer, nullable=False, server_default="0"),  # no try of the trial's
    Column("ran_s", Float),  # how long its process took, where nobody watched it
)
Index("ix_attempt_slot_id", attempt.c.slot_id)
Index("ix_attempt_agent_id", attempt.c.agent_id)
Index("ix_attempt_live", attempt.c.agent_id, sqlite_where=attempt.c.ended_at.is_(None))

suggestion = Table(  # prepared ahead by the search, not yet handed out
    "suggestion",
    metadata,
    _key(),
    _to("sweep"),
    Column("config", Text, nullable=False),  # JSON, flat
    Column("config_key", Text, nullable=False),
    Column("origin", Text, nullable=False),
    Column("basis_event", Integer, nullable=False),  # the event it was computed from
    Column("position", Integer, nullable=False, server_default="0"),  # 0, 1, … of that event
    Column("why", Text),  # JSON: what the search expected of it
)
Index("ix_suggestion_sweep_id", suggestion.c.sweep_id)

blob = Table(  # bytes that rows refer to; a project keeps equal ones once
    "blob",
    metadata,
    Column("key", Text, primary_key=True),  # in the blob store
    _to("project"),
    Column("size", Integer, nullable=False),  # bytes
    Column("md5", Text, nullable=False),  # base64
    Column("sha256", Text),  # hexadecimal; null for those of the first schema
    Column("created_at", Float, nullable=False),
    UniqueConstraint("project_id", "sha256"),
)
Index("ix_blob_project_id_md5", blob.c.project_id, blob.c.md5)

run_file = Table(
    "run_file",
    metadata,
    _key(),
    _to("run"),
    Column("name", Text, nullable=False),
    Column("size", Integer, nullable=False),  # bytes
    Column("md5", Text, nullable=False),  # base64
    Column("mimetype", Text, nullable=False),
    Column("blob", Text, ForeignKey("blob.key"), nullable=False),
    Column("updated_at", Float, nullable=False),
    UniqueConstraint("run_id", "name"),
)
Index("ix_run_file_blob", run_file.c.blob)

pulse = Table(  # one row: when the watchdog last looked, so that a gap is not taken for silence
    "pulse",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("at", Float, nullable=False),
)

event = Table(  # append-only: every state change, in the transaction that made it
    "event",
    metadata,
    _key(),
    Column("at", Float, nullable=False),
    Column("actor", Text, nullable=False),  # user, agent id, or "sweepd"
    Column("kind", Text, nullable=False),  # e.g. sweep.created, trial.issued, run.state
    Column("project_id", Integer),
    Column("sweep_id", Integer),
    Column("run_id", Integer),
    Column("data", Text, nullable=False, server_default="{}"),  # JSON
)
Index("ix_event_sweep_id", event.c.sweep_id)
Index("ix_event_run_id", event.c.run_id)
Index(
    "ix_event_deleted_project",
    event.c.project_id,
    sqlite_where=event.c.kind == "project.deleted",
)
