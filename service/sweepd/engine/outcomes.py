"""What becomes of a trial: it starts, logs, ends, and its agent has a word on that."""

import json
import re
from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy import func, select, update

from sweepd.engine import (
    budgets,
    constraints,
    curves,
    enqueued,
    metric_watch,
    notices,
    objectives,
    projects,
    slots,
    stopping,
    targets,
    trials,
)
from sweepd.engine.access import Need
from sweepd.engine.curves import Logged
from sweepd.engine.endings import fail_if_alike, finish_if_done, goes_on, sweep_row
from sweepd.engine.services import Limits
from sweepd.engine.sweepviews import definition_of
from sweepd.engine.trials import Ending, Lease
from sweepd.engine.views import Account
from sweepd.errors import InvalidInput, LeaseLost, NotFound, Reason
from sweepd.schedule import FAILURES, RETRIED, Evidence, TrialState, ended_as, goes_again
from sweepd.store import Tx
from sweepd.store import tables as t

__all__ = ["Logged", "drop", "report", "row_logged", "run_ended", "run_started", "settle"]

_DEFAULT = Limits()
_OOM = re.compile(
    r"OutOfMemoryError|out of memory|OOM when allocating|ResourceExhaustedError"
    r"|CU(?:BLAS|DNN)_STATUS_ALLOC_FAILED",
    re.IGNORECASE,
)
#: Why a trial is tried again however often it was before, if its attempt's end is excused.
_EXCUSED = RETRIED | {Reason.OUT_OF_MEMORY}
_MAX_MESSAGE = 500  # characters
#: How a trial may end that was asked to stop.
_STOPPED = frozenset({Reason.KILLED, Reason.STOPPED_EARLY, Reason.FINISHED, Reason.DIVERGED})
_MAX_LINE = 2000  # characters of a console line that are looked at


def run_started(
    tx: Tx, *, run_id: int, attempt: int | None = None, token: str | None = None
) -> None:
    """Note that a sweep run's process called `wandb.init`; harmless when repeated.

    A trial that was given up before that is over; but what the process brings counts.

    Args:
        tx: the transaction.
        run_id: the run that a client upserted.
        attempt: of the request's lease header, None without one.
        token: likewise.
    """
    lease = trials.lease_of_run(tx, run_id) or enqueued.begin(tx, run_id)
    if lease is None or not lease.is_written_by(attempt, token):
        return
    if lease.state == TrialState.QUEUED and not lease.may_come_back:
        # Its process has ended and another one opens the run, without having waited for an agent.
        lease = trials.issue_again(tx, lease, agent_id=enqueued.BY_ITSELF, has_begun=True)
    _wake(tx, lease)
    if lease.has_started:
        return
    trials.note_start(tx, lease, is_fenced=token is not None)


def row_logged(
    tx: Tx,
    *,
    run_id: int,
    rows: Sequence[Logged],
    attempt: int | None = None,
    token: str | None = None,
) -> bool:
    """Take history rows of a sweep run into its trial; return whether its process should stop.

    Without rows it is a sign of life. Runs that no agent was given are left alone.

    Args:
        tx: the transaction; the rows are stored in it already.
        run_id: the run.
        rows: in the order of their lines; rows that were seen before are harmless.
        attempt: of the request's lease header, None without one.
        token: likewise.
    """
    lease = trials.lease_of_run(tx, run_id)
    if lease is None:
        return False
    if not lease.is_written_by(attempt, token) or (attempt is None and lease.is_awaited):
        return True  # a later attempt has the trial: this process works for nobody
    lease = _wake(tx, lease)
    if not rows:
        return lease.stop_requested is not None
    sweep = sweep_row(tx, lease.sweep_id)
    definition = definition_of(sweep.definition)
    curve = curves.extend(tx, lease, rows, definition=definition)
    if curve is None:
        if definition.metrics:
            has_notices = sweep.notice is not None
            metric_watch.miss_any(tx, lease, rows, definition=definition, has_notices=has_notices)
        elif definition.metric_name is not None and not lease.n_bad:
            metric_watch.miss(tx, lease, rows, metric=definition.metric_name)
        return lease.stop_requested is not None
    if lease.n_values == 0 and curve.n_values:
        notices.withdraw(tx, lease.sweep_id, topic=metric_watch.TOPIC)
    if not definition.own.outcome_constraints:
        targets.stop_if_reached(tx, sweep, definition, run=lease.run, best=curve.best)
    is_live = lease.state == TrialState.LEASED and not lease.is_bundled
    if lease.stop_requested is None and is_live:
        return stopping.stop_if_told(tx, lease, curve, definition=definition)
    return lease.stop_requested is not None


def run_ended(
    tx: Tx,
    *,
    run_id: int,
    exit_code: int,
    was_preempting: bool = False,
    attempt: int | None = None,
    token: str | None = None,
    limits: Limits = _DEFAULT,
) -> None:
    """Note a sweep run's `complete`; its rows, console lines and summary are stored already.

    A failure of a process of our own agent waits for the agent's word, which knows more.

    Args:
        tx: the transaction.
        run_id: the run.
        exit_code: of its process.
        was_preempting: it had said that it was about to lose its machine.
        attempt: of the request's lease header, None without one.
        token: likewise.
        limits: how often a trial is tried.
    """
    lease = trials.lease_of_run(tx, run_id)
    if lease is None or not lease.is_written_by(attempt, token):
        return
    if attempt is None and lease.is_awaited:
        return
    if lease.state == TrialState.QUEUED and not lease.may_come_back and exit_code != 0:
        return
    is_told_soon = lease.is_fenced and lease.state == TrialState.LEASED
    if exit_code != 0 and is_told_soon and lease.stop is None and not was_preempting:
        trials.note_exit(tx, lease, exit_code)
        return
    before = trials.told(tx, lease)
    ending = _ending(tx, lease, exit_code=exit_code, was_preempting=was_preempting)
    if lease.state == TrialState.ENDED:
        old = Reason(lease.reason or Reason.ERROR)
        is_better = ending.reason == Reason.FINISHED or old in RETRIED | {Reason.NEVER_INIT}
        if old == ending.reason or not is_better:
            message = lease.message
            if old == ending.reason == Reason.FINISHED:  # a person has gone on with it
                definition = definition_of(sweep_row(tx, lease.sweep_id).definition)
                message = constraints.judged(tx, lease, ending, definition=definition).message
            if trials.told(tx, lease) != before:
                trials.correct(tx, lease, message=message)
            return
    settle(tx, lease, ending, actor=lease.agent_id, limits=limits)


def report(
    tx: Tx,
    *,
    actor: Account,
    run: tuple[str, str, str],
    attempt: int,
    token: str,
    reason: str,
    exit_code: int | None = None,
    signal: int | None = None,
    message: str | None = None,
    host: str | None = None,
    device: str | None = None,
    is_crowded: bool = False,
    ran_s: float | None = None,
    limits: Limits = _DEFAULT,
) -> None:
    """Take our agent's word on how an attempt ended; harmless when repeated.

    A trial that ran out of memory beside others is tried again, once, whichever agents had it.

    Args:
        tx: the transaction.
        actor: whose key the agent uses.
        run: entity, project and run id.
        attempt: its number, as the command said.
        token: likewise.
        reason: a `sweepd.errors.Reason`.
        exit_code: of the process, None if a signal ended it.
        signal: that ended the process.
        message: the first line of the error, in words.
        host: where it ran.
        device: on which GPU.
        is_crowded: others had a part of the GPU as it ran.
        ran_s: how long its process took, where it was offline; None: for as long as it was held.
        limits: how often a trial is tried.

    Raises:
        NotFound: if there is no such run, or it is no trial.
        LeaseLost: if the trial belongs to another attempt now.
        InvalidInput: if there is no such reason.
    """
    entity, project, name = run
    told = _reason(reason)
    home = projects.get_project(tx, actor=actor, entity=entity, name=project, need=Need.WRITE)
    found = (t.run.c.project_id == home.id) & (t.run.c.name == name)
    run_id = tx.conn.scalar(select(t.run.c.id).where(found))
    lease = None if run_id is None else trials.lease_of_run(tx, run_id)
    if lease is None:
        raise NotFound(f"run {entity}/{project}/{name} is not a trial of a sweep")
    if not lease.is_written_by(attempt, token):
        raise LeaseLost(f"run {name}: attempt {attempt} has been followed by {lease.attempt}")
    trials.note_place(tx, lease, host=host, device=device, ran_s=ran_s)
    old = Reason(lease.reason) if lease.state == TrialState.ENDED and lease.reason else None
    if old is not None and old not in RETRIED | {Reason.ERROR, Reason.NEVER_INIT}:
        return
    if lease.state == TrialState.QUEUED and not lease.may_come_back:
        return
    code = exit_code if exit_code is not None else lease.exit_code
    ending = _ending(tx, lease, exit_code=code, signal=signal, told=told, message=message)
    if is_crowded and ending.reason == Reason.OUT_OF_MEMORY:
        ending = replace(ending, is_excused=not _was_excused(tx, lease))
    if old == ending.reason and (message is None or lease.message == message):
        return
    settle(tx, lease, ending, actor=lease.agent_id, limits=limits)


def drop(tx: Tx, run_id: int, *, why: str, actor: str) -> bool:
    """End a trial as killed that waits for another attempt; return whether it was one.

    If its process was only out of reach, that is told to stop once it is back.
    """
    lease = trials.lease_of_run(tx, run_id)
    if lease is None or lease.state != TrialState.QUEUED:
        return False
    tx.conn.execute(update(t.run).where(t.run.c.id == run_id).values(stop_requested=why))
    trials.end(tx, lease, Ending(reason=Reason.KILLED, message=why, was_told=True), actor=actor)
    finish_if_done(tx, lease.sweep_id)
    return True


def settle(tx: Tx, lease: Lease, ending: Ending, *, actor: str, limits: Limits) -> None:
    """End an attempt; its trial is tried again or ends, and the sweep with it if it was the last.

    Args:
        tx: the transaction.
        lease: the trial with the attempt.
        ending: why and how.
        actor: who says so.
        limits: how often a trial is tried, how many failures end a sweep.
    """
    sweep = sweep_row(tx, lease.sweep_id)
    definition = definition_of(sweep.definition)
    retries = definition.own.retries
    again = ending.is_excused and ending.reason in _EXCUSED and goes_on(sweep)
    again |= goes_again(
        ending.reason,
        attempt=trials.tries(tx, lease),
        retries=limits.retries if retries is None else retries,
        sweep_goes_on=goes_on(sweep),
    )
    if again:
        if lease.state != TrialState.QUEUED:
            trials.requeue(tx, lease, ending, actor=actor)
            slots.note_end(tx, sweep, lease, ending, limits=limits)
        return
    ending = constraints.judged(tx, lease, ending, definition=definition)
    trials.end(tx, lease, ending, actor=actor)
    slots.note_end(tx, sweep, lease, ending, limits=limits)
    if ending.reason == Reason.FINISHED:
        targets.stop_if_all_reached(tx, sweep, run=lease.run, trial_id=lease.trial_id)
    if ending.reason == Reason.NO_METRIC:
        metric_watch.say_missing(tx, lease, ending, definition=definition)
    elif ending.reason == Reason.FINISHED and sweep.notice is not None:
        metric_watch.note_summary(tx, lease, definition=definition)
    if definition.own.outcome_constraints or ending.reason == Reason.FINISHED:
        best = constraints.best_of(tx, lease.trial_id)  # of which no row need have told
        targets.stop_if_reached(tx, sweep, definition, run=lease.run, best=best)
    if ending.reason in FAILURES:
        fail_if_alike(tx, sweep.id, limits=limits)
    budgets.stop_if_spent(tx, sweep.id)
    finish_if_done(tx, sweep.id)


def _was_excused(tx: Tx, lease: Lease) -> bool:
    """Return whether an earlier attempt that ran out of memory does not count."""
    earlier = select(t.attempt.c.number).where(
        t.attempt.c.trial_id == lease.trial_id,
        t.attempt.c.number < lease.attempt,
        t.attempt.c.reason == Reason.OUT_OF_MEMORY,
        t.attempt.c.is_excused == 1,
    )
    return tx.conn.execute(earlier.limit(1)).first() is not None


def _wake(tx: Tx, lease: Lease) -> Lease:
    """Revive a trial that waits if its present attempt shows a sign of life; return it so."""
    if not lease.may_come_back:
        return lease
    trials.revive(tx, lease, actor=lease.agent_id)
    return replace(lease, state=TrialState.LEASED)


def _ending(
    tx: Tx,
    lease: Lease,
    *,
    exit_code: int | None,
    signal: int | None = None,
    was_preempting: bool = False,
    told: Reason | None = None,
    message: str | None = None,
) -> Ending:
    """Return how an attempt ended, by the table of outcomes, with words for it."""
    definition = definition_of(sweep_row(tx, lease.sweep_id).definition)
    n_values, ends_badly = lease.n_values, lease.n_bad > 0
    if definition.metric_name is not None and not n_values:
        n_values, ends_badly = curves.take_summary(tx, lease, definition=definition)
    missing = tuple(metric.name for metric in definition.objectives)
    bad = definition.metric_name
    if definition.metrics:
        came_to = objectives.take(tx, lease, definition=definition)
        missing, bad = came_to.missing, came_to.bad
        n_values, ends_badly = int(not missing), bad is not None
    words = message or (_last_words(tx, lease) if exit_code != 0 else None)
    if words and told in (None, Reason.ERROR) and exit_code != 0 and _OOM.search(words):
        told = Reason.OUT_OF_MEMORY
    reason = ended_as(
        Evidence(
            has_started=lease.has_started,
            exit_code=exit_code,
            stop=lease.stop,
            stopped_as=lease.stopped_as,
            was_preempting=was_preempting,
            wants_metric=bool(definition.objectives),
            n_values=n_values,
            ends_badly=ends_badly,
            told=told,
        )
    )
    if reason == Reason.TIMED_OUT and lease.stop == "time":
        words = lease.stop_requested
    elif reason == Reason.NO_METRIC and message is None:
        words = metric_watch.what_was_logged(tx, lease, missing[0], {})
    elif reason == Reason.DIVERGED and message is None and lease.stop != "rule":
        words = f"the last value of {bad} is NaN or infinite"
    elif words is None:
        words = _how(reason, exit_code, signal, lease.stop_requested)
    return Ending(
        reason=reason,
        message=words[:_MAX_MESSAGE] if words else None,
        exit_code=exit_code,
        signal=signal,
        was_told=True,
        missing=missing if reason == Reason.NO_METRIC else (),
    )


def _how(
    reason: Reason, exit_code: int | None, signal: int | None, stop_requested: str | None
) -> str | None:
    if stop_requested is not None and reason in _STOPPED:
        return stop_requested
    if reason in FAILURES:
        by = f"signal {signal}" if signal is not None else f"exit code {exit_code}"
        what = " before it called wandb.init" if reason == Reason.NEVER_INIT else ""
        return f"the program ended{what} with {by}"
    return None


def _reason(text: str) -> Reason:
    try:
        told = Reason(text)
    except ValueError:
        known = ", ".join(Reason)
        raise InvalidInput(f"reason: must be one of {known}, not {text[:100]!r}") from None
    return Reason.FINISHED if told == Reason.NO_METRIC else told


def _last_words(tx: Tx, lease: Lease) -> str | None:
    """Return the last console line that reads like an error, None if there is none."""
    bodies = tx.conn.scalars(
        select(func.substr(t.stream_line.c.body, 1, _MAX_LINE))
        .where(t.stream_line.c.run_id == lease.run_id, t.stream_line.c.stream == 2)
        .order_by(t.stream_line.c.line.desc())
        .limit(30)
    )
    for body in bodies:
        found = _ERROR_LINE.search(_plain(body))
        if found:
            return found[0].strip()
    return None


_ERROR_LINE = re.compile(r"(?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:Error|Exception|Interrupt|Exit)\b.*")


def _plain(body: str) -> str:
    """Return the text of a console line, structured or plain."""
    if body.startswith("{"):
        try:
            return str(json.loads(body).get("content", ""))
        except ValueError:
            return body
    return body
