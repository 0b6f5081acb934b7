"""What is said of a trial: to people in a sentence, to programs in facts."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sweepd.errors import Reason
from sweepd_agent.api import Outcome
from sweepd_agent.devices import Slot
from sweepd_agent.events import AgentEvent, EventKind

__all__ = ["in_words", "is_failure", "trial_ended", "trial_started"]


def in_words(error: Exception) -> str:
    """Return what went wrong in words, a refusal of the file system's too."""
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return str(error)


def is_failure(outcome: Outcome) -> bool:
    """Return whether a trial failed by itself: it did not finish, and nobody had ended it."""
    return outcome.reason not in {Reason.FINISHED, Reason.KILLED, Reason.PREEMPTED}


def trial_started(
    run: str, config: Mapping[str, Any], *, slot: Slot, facts: Mapping[str, Any]
) -> AgentEvent:
    """Return the event of a trial whose process runs the program."""
    values = ", ".join(f"{key}={value}" for key, value in config.items())
    text = f"{run} started on {slot.device}: {values}"
    where = {"run": run, "slot": slot.number, "device": slot.device}
    return AgentEvent(EventKind.TRIAL_STARTED, text, {**where, "config": dict(config), **facts})


def trial_ended(run: str, outcome: Outcome, *, slot: Slot, seconds: float, log: Path) -> AgentEvent:
    """Return the event of a trial whose process has ended, or could not be started."""
    text = f"{run} ended after {seconds:.1f} s: {outcome.reason}"
    if outcome.message:
        text += f": {outcome.message}"
    if is_failure(outcome) and log.exists():
        text += f" (its output: {log})"
    facts = {
        "run": run,
        "slot": slot.number,
        "device": slot.device,
        "reason": str(outcome.reason),
        "exit_code": outcome.exit_code,
        "signal": outcome.signal,
        "message": outcome.message,
        "seconds": round(seconds, 3),
        "is_failure": is_failure(outcome),
        "log": str(log),
    }
    return AgentEvent(EventKind.TRIAL_ENDED, text, facts)
