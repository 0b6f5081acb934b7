"""States of a trial, every legal move between them, and what follows an attempt's end."""

from collections.abc import Mapping
from enum import StrEnum

from sweepd.errors import IllegalMove, Reason
from sweepd.states import RunState

__all__ = [
    "FAILURES",
    "RETRIED",
    "RUN_STATES",
    "TRIAL_MOVES",
    "TrialState",
    "goes_again",
    "move_trial",
]


class TrialState(StrEnum):
    """An agent holds it; it waits for one (again); it has ended."""

    LEASED = "leased"
    QUEUED = "queued"
    ENDED = "ended"


_T = TrialState

#: Every legal move of a trial. It is queued when it is made, by the search only to be leased at
#: once. It is queued and leased again, by the same attempt if its agent was only out of reach. An
#: ended one is queued when its agent says, later than its process, that the machine was taken away.
TRIAL_MOVES: Mapping[TrialState, frozenset[TrialState]] = {
    _T.LEASED: frozenset({_T.QUEUED, _T.ENDED}),
    _T.QUEUED: frozenset({_T.LEASED, _T.ENDED}),
    _T.ENDED: frozenset({_T.QUEUED}),
}

#: Infrastructure, not the configuration: the trial goes to an agent again, under the same run id.
RETRIED = frozenset({Reason.NEVER_STARTED, Reason.CRASHED, Reason.PREEMPTED})

#: The program or its configuration: the trial is not tried again, and counts towards giving up.
FAILURES = frozenset(
    {
        Reason.NO_METRIC,
        Reason.DIVERGED,
        Reason.OUT_OF_MEMORY,
        Reason.ERROR,
        Reason.NEVER_INIT,
        Reason.TIMED_OUT,
    }
)

#: The state that a run is left in, by the reason that its trial's attempt ended with.
RUN_STATES: Mapping[Reason, RunState] = {
    Reason.FINISHED: RunState.FINISHED,
    Reason.NO_METRIC: RunState.FINISHED,
    Reason.DIVERGED: RunState.FAILED,
    Reason.OUT_OF_MEMORY: RunState.FAILED,
    Reason.ERROR: RunState.FAILED,
    Reason.NEVER_INIT: RunState.FAILED,
    Reason.TIMED_OUT: RunState.FAILED,
    Reason.NEVER_STARTED: RunState.CRASHED,
    Reason.CRASHED: RunState.CRASHED,
    Reason.PREEMPTED: RunState.PREEMPTED,
    Reason.STOPPED_EARLY: RunState.KILLED,
    Reason.KILLED: RunState.KILLED,
}


def move_trial(old: TrialState, new: TrialState) -> TrialState:
    """Return `new` if a trial may move there from `old`; repeating a state is a no-op.

    Raises:
        IllegalMove: naming both states and what is allowed.
    """
    if old != new and new not in TRIAL_MOVES[old]:
        allowed = ", ".join(sorted(TRIAL_MOVES[old]))
        raise IllegalMove(f"a trial that is {old} cannot become {new}; allowed: {allowed}")
    return new


def goes_again(reason: Reason, *, attempt: int, retries: int, sweep_goes_on: bool) -> bool:
    """Return whether a trial whose attempt ended so is handed out once more.

    Args:
        reason: why the attempt ended.
        attempt: its number, the first is 1.
        retries: how many further attempts a trial may have.
        sweep_goes_on: False after stop, cancel, target or failure: nothing is started any more.
    """
    return reason in RETRIED and attempt <= retries and sweep_goes_on
