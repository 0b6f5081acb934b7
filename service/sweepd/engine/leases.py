"""A trial with its latest attempt and its run, as one row: what every decision on it reads."""

import json
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, bindparam, select

from sweepd.errors import Reason
from sweepd.schedule import TrialState
from sweepd.spec import Config
from sweepd.states import RunState
from sweepd.store import Prepared, Tx
from sweepd.store import tables as t

__all__ = [
    "BUNDLE",
    "BY_NUMBER",
    "BY_RULE",
    "BY_TIME",
    "Ending",
    "Lease",
    "Speaker",
    "config_of",
    "found",
    "is_late",
    "lease_of_run",
    "leases",
    "prepared",
]

#: By number, so that SQLite does not read all trials of a sweep in that order to find few.
BY_NUMBER = t.trial.c.number + 0
BY_RULE = "early termination"  # what run.stop_requested begins with when a stop rule asked
BY_TIME = "timed out"  # the same when the sweep's `timeout` did
BUNDLE = "bundle-"  # what the id of a bundle begins with, in the place of an agent's


@dataclass(frozen=True)
class Speaker:
    """The attempt of a trial, by its run's id, whose process sends a request."""

    run: str
    attempt: int


_PRESENT = Prepared(
    select(t.trial.c.attempt)
    .join(t.run, t.run.c.id == t.trial.c.run_id)
    .where(t.run.c.id == bindparam("number"), t.run.c.name == bindparam("name"))
)


def is_late(tx: Tx, speaker: Speaker | None, *, run_id: int | None) -> bool:
    """Return whether a request about a run comes from an attempt that a later one has replaced.

    Args:
        tx: the transaction.
        speaker: who sends it, None if the request does not say.
        run_id: the run.
    """
    if speaker is None or run_id is None:
        return False
    row = _PRESENT.row(tx, number=run_id, name=speaker.run)
    return row is not None and speaker.attempt < row[0]


@dataclass(frozen=True)
class Lease:
    """A trial with its latest attempt and its run."""

    trial_id: int
    sweep_id: int
    number: int
    version: int
    config: str
    state: TrialState
    attempt: int
    reason: str | None
    message: str | None
    n_values: int
    n_bad: int
    token: str
    agent_id: str
    issued_at: float
    n_sent: int
    seen_at: float
    is_fenced: bool
    started_at: float | None
    attempt_ended_at: float | None
    exit_code: int | None
    attempt_reason: str | None
    run_id: int
    run: str
    project_id: int
    run_state: RunState
    run_started_at: float | None
    run_heartbeat_at: float | None
    stop_requested: str | None
    rung: int
    is_paused: bool
    stopped_as: Reason
    slot_id: int | None
    was_told: bool
    is_excused: bool

    @property
    def has_started(self) -> bool:
        """Return whether this attempt called `wandb.init`."""
        return self.started_at is not None

    @property
    def stop(self) -> str | None:
        """Return who asked the run to stop: `rule`, `time`, `person`, or None."""
        if self.stop_requested is None:
            return None
        if self.stop_requested.startswith(BY_TIME):
            return "time"
        return "rule" if self.stop_requested.startswith(BY_RULE) else "person"

    @property
    def may_come_back(self) -> bool:
        """Return whether it is queued only because nothing was heard of this attempt."""
        return self.state == TrialState.QUEUED and not self.was_told

    @property
    def is_bundled(self) -> bool:
        """Return whether it was given to a machine that is cut off: it may be silent."""
        return self.agent_id.startswith(BUNDLE)

    @property
    def is_awaited(self) -> bool:
        """Return whether a later attempt is given out whose process has not begun.

        What comes without a lease header meanwhile is an earlier attempt's.
        """
        return self.attempt > 1 and self.state == TrialState.LEASED and not self.has_started

    def is_written_by(self, attempt: int | None, token: str | None) -> bool:
        """Return whether a write is the present attempt's; one without a lease header counts."""
        return attempt is None or (attempt == self.attempt and token == self.token)


@dataclass(frozen=True, kw_only=True)
class Ending:
    """Why an attempt ended, and what is known beside.

    Attributes:
        reason: by the table of outcomes.
        message: the same in words.
        exit_code: of its process.
        signal: that ended its process.
        was_told: its process or its agent said so; it was not taken from silence.
        is_excused: it counts neither against the trial's retries nor against its slot.
        missing: the metrics that were never logged, where that is why.
    """

    reason: Reason
    message: str | None = None
    exit_code: int | None = None
    signal: int | None = None
    was_told: bool = False
    is_excused: bool = False
    missing: tuple[str, ...] = ()


_LEASES = (
    select(
        t.trial.c.id,
        t.trial.c.sweep_id,
        t.trial.c.number,
        t.trial.c.version,
        t.trial.c.config,
        t.trial.c.state,
        t.trial.c.attempt,
        t.trial.c.reason,
        t.trial.c.message,
        t.trial.c.n_values,
        t.trial.c.n_bad,
        t.attempt.c.token,
        t.attempt.c.agent_id,
        t.attempt.c.issued_at,
        t.attempt.c.n_sent,
        t.attempt.c.seen_at,
        t.attempt.c.is_fenced,
        t.attempt.c.started_at,
        t.attempt.c.ended_at,
        t.attempt.c.exit_code,
        t.attempt.c.reason,
        t.run.c.id,
        t.run.c.name,
        t.run.c.project_id,
        t.run.c.state,
        t.run.c.started_at,
        t.run.c.heartbeat_at,
        t.run.c.stop_requested,
        t.trial.c.rung,
        t.trial.c.is_paused,
        t.trial.c.stopped_as,
        t.attempt.c.slot_id,
        t.attempt.c.was_told,
        t.attempt.c.is_excused,
    )
    .select_from(t.trial)
    .join(
        t.attempt,
        (t.attempt.c.trial_id == t.trial.c.id) & (t.attempt.c.number == t.trial.c.attempt),
    )
    .join(t.run, t.run.c.id == t.trial.c.run_id)
)


def prepared(*where: ColumnElement[bool]) -> Prepared:
    """Return the statement for trials that pass `where`, over trial, attempt and run, by number."""
    return Prepared(_LEASES.where(*where).order_by(BY_NUMBER))


_OF_RUN = prepared(t.trial.c.run_id == bindparam("run"))


def found(tx: Tx, statement: Prepared, **values: Any) -> list[Lease]:
    """Return the trials that a statement of `prepared` finds with these values."""
    return [_lease(row) for row in statement.rows(tx, **values)]


def leases(tx: Tx, *where: ColumnElement[bool]) -> list[Lease]:
    """Return the trials that pass `where`, over trial, attempt and run, by number."""
    rows = tx.conn.execute(_LEASES.where(*where).order_by(BY_NUMBER)).all()
    return [_lease(row) for row in rows]


def lease_of_run(tx: Tx, run_id: int) -> Lease | None:
    """Return the trial of a run; None for a run that no agent was given."""
    return next(iter(found(tx, _OF_RUN, run=run_id)), None)


def config_of(lease: Lease) -> Config:
    """Return a trial's config, flat."""
    config: Config = json.loads(lease.config)
    return config


def _lease(row: Any) -> Lease:
    values = list(row)
    values[5] = TrialState(values[5])
    values[16] = bool(values[16])
    values[24] = RunState(values[24])
    values[29] = bool(values[29])
    values[30] = Reason(values[30] or Reason.STOPPED_EARLY)
    values[32] = bool(values[32])
    values[33] = bool(values[33])
    return Lease(*values)
