"""What an agent is told at a heartbeat, and which of its trials it has lost."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum

from sweepd.errors import Reason
from sweepd.states import SweepState, is_terminal

__all__ = ["Held", "Turn", "TurnKind", "is_lapsed", "missing", "next_turn"]


class TurnKind(StrEnum):
    """What an agent is told."""

    STOP = "stop"
    EXIT = "exit"
    AGAIN = "again"  # the answer that carried a trial may be lost: give the same one
    NEXT = "next"  # a new trial, if there is one
    WAIT = "wait"


@dataclass(frozen=True)
class Turn:
    """What kind of command, and the runs of a STOP, or the one of an AGAIN."""

    kind: TurnKind
    runs: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Held:
    """A live attempt that an agent holds.

    Attributes:
        run: the run's id.
        has_started: its process called `wandb.init`.
        was_seen: a heartbeat has named the run before.
        age_s: seconds since it was handed out.
        n_sent: how many answers have carried it, of those to requests that repeat no other.
        is_to_stop: somebody or something asked it to stop.
    """

    run: str
    has_started: bool
    was_seen: bool
    age_s: float
    n_sent: int
    is_to_stop: bool


def missing(
    held: Sequence[Held],
    running: Collection[str],
    *,
    sweep: SweepState,
    resend_s: float,
    max_sends: int | None,
) -> list[tuple[Held, Reason]]:
    """Return the attempts that have ended because their agent no longer has them, and why.

    One that did start is left alone, its end is on its way or its silence will tell; unless it was
    to stop: a process that is terminated says nothing more.

    Args:
        held: the agent's live attempts.
        running: the runs that its heartbeat names.
        sweep: the sweep's state.
        resend_s: how long an attempt that was not seen is given again.
        max_sends: answers that may carry one attempt before its program is taken for one that ends
            at once; None if the agent says so itself.
    """
    gone: list[tuple[Held, Reason]] = []
    for one in held:
        if one.run in running:
            continue
        if one.is_to_stop:
            gone.append((one, Reason.KILLED))
        elif one.has_started:
            continue
        elif is_terminal(sweep):
            gone.append((one, Reason.KILLED))
        elif one.was_seen or (max_sends is not None and one.n_sent >= max_sends):
            gone.append((one, Reason.NEVER_INIT))
        elif one.age_s > resend_s:
            gone.append((one, Reason.NEVER_STARTED))
    return gone


def next_turn(
    held: Sequence[Held],
    running: Collection[str],
    *,
    sweep: SweepState,
    fenced_out: Collection[str],
    wants_ahead: bool = False,
) -> Turn:
    """Return what an agent is told: one thing, since W&B's function agent reads no second command.

    Of all that are to stop it is told at once: only an agent that runs a pack has several.

    Args:
        held: its live attempts, those that `missing` named left out.
        running: the runs that its heartbeat names.
        sweep: the sweep's state.
        fenced_out: those of `running` that another attempt holds by now, that was asked to stop, or
            that is deleted.
        wants_ahead: it may be given a trial beside the one that it runs.
    """
    # Those of others first: one that waits must not begin, and one that stops may take its time.
    to_stop = {one.run for one in held if one.is_to_stop}.difference(fenced_out)
    stops = [run for runs in (set(fenced_out), to_stop) for run in sorted(runs & set(running))]
    if stops:
        return Turn(TurnKind.STOP, tuple(stops))
    if running and not (wants_ahead and sweep == SweepState.RUNNING):
        return Turn(TurnKind.WAIT)
    if is_terminal(sweep):
        return Turn(TurnKind.EXIT)
    for one in held:
        if not one.has_started and one.run not in running:
            return Turn(TurnKind.AGAIN, (one.run,))
    return Turn(TurnKind.NEXT if sweep == SweepState.RUNNING else TurnKind.WAIT)


def is_lapsed(
    *,
    silent_s: float,
    has_started: bool,
    is_fenced: bool,
    lease_s: float,
    run_silence_s: float,
) -> bool:
    """Return whether an attempt is given up after this much silence of its agent and its run.

    An attempt that has started and whose writes carry no token belongs to another client's agent,
    which may be gone while its run goes on: that one has as long as any run.
    """
    return silent_s > (run_silence_s if has_started and not is_fenced else lease_s)
