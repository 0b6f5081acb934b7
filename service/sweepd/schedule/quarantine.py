"""When a place of work is bad, rather than what it was given; and when it is tried again.

A *slot* is one GPU of one host. Whatever was given to it may fail because of the slot, because of
the program, or because of the configuration. A crash is the machine's. An error may be either's: it
is the slot's if trials fail there in a row, and so many failures in a row would be most unlikely by
the share of trials that fail on the other slots in the same time.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from sweepd.errors import Reason

__all__ = ["Elsewhere", "Past", "Verdict", "canary_pause_s", "is_bad", "streak_of", "verdict_of"]

_UNLIKELY = 0.01


class Verdict(Enum):
    """What the end of an attempt says of the slot that it ran on."""

    WORKS = "works"
    CRASHES = "crashes"  # the machine's doing
    FAILS = "fails"  # the machine's, the program's or the configuration's
    SILENT = "silent"  # nothing


_VERDICTS = {
    Reason.FINISHED: Verdict.WORKS,
    Reason.STOPPED_EARLY: Verdict.WORKS,
    Reason.NO_METRIC: Verdict.WORKS,
    Reason.CRASHED: Verdict.CRASHES,
    Reason.NEVER_STARTED: Verdict.CRASHES,
    Reason.ERROR: Verdict.FAILS,
    Reason.NEVER_INIT: Verdict.FAILS,
    Reason.OUT_OF_MEMORY: Verdict.FAILS,
    Reason.TIMED_OUT: Verdict.FAILS,
    Reason.DIVERGED: Verdict.SILENT,
    Reason.PREEMPTED: Verdict.SILENT,
    Reason.KILLED: Verdict.SILENT,
}


@dataclass(frozen=True)
class Past:
    """An attempt that has ended: of which trial, why, when it was given out and when it ended."""

    trial_id: int
    reason: Reason
    issued_at: float
    ended_at: float


@dataclass(frozen=True)
class Elsewhere:
    """What became of other slots' attempts during a streak.

    Attributes:
        n_failed: of them that failed.
        n_passed: of them that worked, or have run longer than any of the streak did.
    """

    n_failed: int
    n_passed: int


def verdict_of(reason: Reason) -> Verdict:
    """Return what an attempt that ended so says of its slot."""
    return _VERDICTS[reason]


def streak_of(latest: Sequence[Past]) -> list[Past]:
    """Return the failures since the slot last worked, the newest first, one a trial.

    Args:
        latest: the slot's attempts that have ended, the newest first.
    """
    streak: dict[int, Past] = {}
    for past in latest:
        verdict = verdict_of(past.reason)
        if verdict is Verdict.WORKS:
            break
        if verdict is not Verdict.SILENT:
            streak.setdefault(past.trial_id, past)  # one trial that fails again says nothing new
    return list(streak.values())


def is_bad(streak: Sequence[Past], elsewhere: Elsewhere, *, k: int) -> bool:
    """Return whether a slot with this streak of failures is to get no more trials.

    Crashes alone are enough. With errors among them, `n` in a row must be unlikely: below 1 % if
    each fails with the probability `(failed + 1) / (failed + passed + 2)`, Laplace's estimate from
    the other slots, at least one of which worked. Where everything fails it is the program.

    Args:
        streak: as `streak_of` returns it.
        elsewhere: the other slots meanwhile.
        k: how many in a row are enough; 0 means that no slot is ever bad.
    """
    if not k or len(streak) < k:
        return False
    if all(verdict_of(past.reason) is Verdict.CRASHES for past in streak):
        return True
    if not elsewhere.n_passed:
        return False
    n = elsewhere.n_failed + elsewhere.n_passed
    rate = (elsewhere.n_failed + 1) / (n + 2)
    return rate ** len(streak) < _UNLIKELY


def canary_pause_s(n: int, *, first_s: float, most_s: float) -> float:
    """Return how long a slot waits for its next canary, after `n` that failed: twice as long each.

    Args:
        n: canaries that failed, and times that it was in quarantine before.
        first_s: the first pause.
        most_s: no pause is longer.
    """
    return float(min(most_s, first_s * 2.0 ** min(n, 60)))
