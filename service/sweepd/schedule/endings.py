"""How a trial ended, from what is known of its process; and when a whole sweep has failed."""

from collections.abc import Sequence
from dataclasses import dataclass

from sweepd.errors import Reason
from sweepd.schedule.trials import FAILURES

__all__ = ["Evidence", "ended_as", "failing_alike", "silence_means", "stopped_by"]


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What is known when a process has ended.

    Attributes:
        has_started: it called `wandb.init`.
        exit_code: 0 for success; None if it died without saying.
        stop: who asked it to stop: `rule` (early termination), `time` (the
            sweep's `timeout`), `person` (also cancel), None.
        stopped_as: what the rule calls the end of a run that it stops.
        was_preempting: it said that it was about to lose its machine.
        wants_metric: the definition names a metric.
        n_values: finite values of the metric that it logged.
        ends_badly: the latest value of the metric is NaN or infinite.
        told: our agent's word, None without one.
    """

    has_started: bool
    exit_code: int | None
    stop: str | None = None
    stopped_as: Reason = Reason.STOPPED_EARLY
    was_preempting: bool = False
    wants_metric: bool = True
    n_values: int = 0
    ends_badly: bool = False
    told: Reason | None = None


#: What our agent alone can know, and is believed whatever else is known.
_BELIEVED = frozenset(
    {
        Reason.OUT_OF_MEMORY,
        Reason.TIMED_OUT,
        Reason.PREEMPTED,
        Reason.NEVER_STARTED,
        Reason.CRASHED,
        Reason.DIVERGED,
        Reason.NEVER_INIT,
        Reason.KILLED,
    }
)


def ended_as(evidence: Evidence) -> Reason:
    """Return the reason that the table of outcomes gives for what is known."""
    says_so = evidence.exit_code == 0 or (evidence.exit_code is None and evidence.told is not None)
    is_success = says_so and evidence.told in (None, Reason.FINISHED)
    if evidence.stop is not None and not is_success:
        return stopped_by(evidence.stop, evidence.stopped_as)
    if evidence.stop == "rule" and evidence.n_values:
        return evidence.stopped_as
    if evidence.told in _BELIEVED:
        return evidence.told
    if not evidence.has_started:
        return Reason.NEVER_INIT
    if not is_success and evidence.was_preempting:
        return Reason.PREEMPTED
    if evidence.ends_badly:
        return Reason.DIVERGED
    if not is_success:
        return Reason.CRASHED if evidence.exit_code is None and not evidence.told else Reason.ERROR
    if evidence.wants_metric and not evidence.n_values:
        return Reason.NO_METRIC
    return Reason.FINISHED


def stopped_by(stop: str, stopped_as: Reason = Reason.STOPPED_EARLY) -> Reason:
    """Return the reason of an attempt that ended because it was asked to, by who asked."""
    return {"rule": stopped_as, "time": Reason.TIMED_OUT}.get(stop, Reason.KILLED)


def silence_means(
    *,
    has_started: bool,
    was_preempting: bool,
    stop: str | None,
    stopped_as: Reason = Reason.STOPPED_EARLY,
) -> Reason:
    """Return why an attempt ended that nothing was heard of for too long."""
    if stop is not None:
        return stopped_by(stop, stopped_as)
    if not has_started:
        return Reason.NEVER_STARTED
    return Reason.PREEMPTED if was_preempting else Reason.CRASHED


def failing_alike(latest: Sequence[Reason], *, n: int, has_finished: bool) -> Reason | None:
    """Return the reason with which a sweep fails for good, None if it may go on.

    It fails if the last `n` trials that ended all failed in the same way and none has finished.

    Args:
        latest: why the last `n` trials ended.
        n: how many are enough.
        has_finished: whether any trial has finished or was stopped early.
    """
    if has_finished or len(latest) < n or len(set(latest)) > 1 or latest[0] not in FAILURES:
        return None
    return latest[0]
