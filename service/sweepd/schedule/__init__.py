"""Policy, pure: what an agent is told next, when a lease lapses, what follows an attempt's end.

No I/O and no clock: everything is passed in. `engine` reads the rows, asks here, and writes.
"""

from sweepd.schedule.endings import Evidence, ended_as, failing_alike, silence_means, stopped_by
from sweepd.schedule.trials import (
    FAILURES,
    RETRIED,
    RUN_STATES,
    TRIAL_MOVES,
    TrialState,
    goes_again,
    move_trial,
)
from sweepd.schedule.turns import Held, Turn, TurnKind, is_lapsed, missing, next_turn

__all__ = [
    "FAILURES",
    "RETRIED",
    "RUN_STATES",
    "TRIAL_MOVES",
    "Evidence",
    "Held",
    "TrialState",
    "Turn",
    "TurnKind",
    "ended_as",
    "failing_alike",
    "goes_again",
    "is_lapsed",
    "missing",
    "move_trial",
    "next_turn",
    "silence_means",
    "stopped_by",
]
