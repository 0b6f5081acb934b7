"""States of sweeps, runs and agents, and every legal move between them."""

from collections.abc import Iterable, Mapping
from enum import StrEnum

from sweepd.errors import IllegalMove

__all__ = [
    "RUN_MOVES",
    "SWEEP_MOVES",
    "AgentState",
    "RunState",
    "SweepState",
    "is_terminal",
    "move_run",
    "move_sweep",
]


class SweepState(StrEnum):
    """States of a sweep, in W&B's spelling on the wire."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    FINISHED = "FINISHED"
    CANCELED = "CANCELED"
    FAILED = "FAILED"


class RunState(StrEnum):
    """States of a run, in W&B's spelling on the wire."""

    PENDING = "pending"
    RUNNING = "running"
    PREEMPTING = "preempting"
    PREEMPTED = "preempted"
    FINISHED = "finished"
    FAILED = "failed"
    CRASHED = "crashed"
    KILLED = "killed"


class AgentState(StrEnum):
    """States of an agent: it heartbeats, it is silent, or its sweep told it to leave."""

    RUNNING = "RUNNING"
    LOST = "LOST"
    EXITED = "EXITED"


_S, _R = SweepState, RunState

#: Every legal move of a sweep. What is absent is illegal; a state with no moves is terminal.
#: A sweep that FAILED (every trial failed alike) may be resumed once the cause is mended.
SWEEP_MOVES: Mapping[SweepState, frozenset[SweepState]] = {
    _S.PENDING: frozenset({_S.RUNNING, _S.PAUSED, _S.FINISHED, _S.CANCELED, _S.FAILED}),
    _S.RUNNING: frozenset({_S.PAUSED, _S.FINISHED, _S.CANCELED, _S.FAILED}),
    _S.PAUSED: frozenset({_S.RUNNING, _S.FINISHED, _S.CANCELED}),
    # Cancelled while trials of it still run; running again for failed trials that are retried.
    _S.FINISHED: frozenset({_S.CANCELED, _S.RUNNING}),
    _S.CANCELED: frozenset(),
    _S.FAILED: frozenset({_S.RUNNING, _S.CANCELED}),
}

_ENDS = frozenset({_R.FINISHED, _R.FAILED, _R.CRASHED, _R.KILLED, _R.PREEMPTED})

#: Every legal move of a run. A run that ended may run again: the client resumes it under its id.
RUN_MOVES: Mapping[RunState, frozenset[RunState]] = {
    _R.PENDING: frozenset({_R.RUNNING, _R.FAILED, _R.CRASHED, _R.KILLED}),
    _R.RUNNING: _ENDS | {_R.PREEMPTING, _R.PENDING},
    _R.PREEMPTING: _ENDS | {_R.RUNNING, _R.PENDING},
    _R.PREEMPTED: frozenset({_R.PENDING, _R.RUNNING, _R.KILLED}),
    _R.FINISHED: frozenset({_R.RUNNING}),
    _R.FAILED: frozenset({_R.RUNNING, _R.PENDING}),
    _R.CRASHED: (_ENDS - {_R.CRASHED}) | {_R.RUNNING, _R.PENDING},
    _R.KILLED: frozenset({_R.RUNNING, _R.PENDING}),
}


def is_terminal(state: RunState | SweepState) -> bool:
    """Return whether nothing more is expected of a run or a sweep in this state."""
    if isinstance(state, RunState):
        return state in _ENDS
    return state in {_S.FINISHED, _S.CANCELED, _S.FAILED}


def move_sweep(old: SweepState, new: SweepState) -> SweepState:
    """Return `new` if a sweep may move there from `old`; repeating a state is a no-op.

    Raises:
        IllegalMove: naming both states and what is allowed.
    """
    if old != new and new not in SWEEP_MOVES[old]:
        raise IllegalMove(_refusal("sweep", old, new, SWEEP_MOVES[old]))
    return new


def move_run(old: RunState, new: RunState) -> RunState:
    """Return `new` if a run may move there from `old`; repeating a state is a no-op.

    Raises:
        IllegalMove: naming both states and what is allowed.
    """
    if old != new and new not in RUN_MOVES[old]:
        raise IllegalMove(_refusal("run", old, new, RUN_MOVES[old]))
    return new


def _refusal(kind: str, old: str, new: str, allowed: Iterable[str]) -> str:
    names = ", ".join(sorted(allowed)) or "nothing, it has ended"
    return f"a {kind} that is {old} cannot become {new}; allowed: {names}"
