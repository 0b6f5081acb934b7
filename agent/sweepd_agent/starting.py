"""The two ends of a trial's process: what it is started with, and how it has ended."""

import signal
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from sweepd.errors import ProcessDied, Reason
from sweepd_agent.api import Command, Outcome
from sweepd_agent.crew import Crew
from sweepd_agent.devices import Slot
from sweepd_agent.gpu_memory import GpuMemory
from sweepd_agent.log import TrialLog
from sweepd_agent.meter import MEASURED, Meter
from sweepd_agent.nursery import Ended, Started
from sweepd_agent.outcome import judge
from sweepd_agent.pack import Pack
from sweepd_agent.processes import identity
from sweepd_agent.running import Running
from sweepd_agent.trial import prepare

__all__ = ["drop", "judge_end", "make_meter", "make_process", "part_of", "spawn"]

_STARTS = 3


def part_of(crew: Crew, slot: Slot) -> Slot:
    """Return a slot with the part of GPU and cores that is a trial's which begins now."""
    return slot if crew.sharing is None else crew.sharing.fitted(slot)


def make_process(
    crew: Crew,
    command: Command,
    slot: Slot,
    *,
    waits: bool,
    tell: Callable[[tuple[Running, Started | Ended]], None],
) -> Running:
    """Start the process of a trial with its part of GPU and cores, or have it wait for its turn.

    Raises:
        LaunchError: if the program cannot be run.
        ProcessDied: the warm parent dies again and again.
    """
    part = part_of(crew, slot)
    job = prepare(crew.place, command, part)
    if crew.sharing is not None:
        file = crew.place.measured_path(command.run)
        file.unlink(missing_ok=True)  # an earlier attempt's
        job["env"][MEASURED] = str(file.resolve())
    # Beside others its context would take of their memory.
    job["opens_gpu"] = waits and bool(part.gpus) and part.share == 1
    made = spawn(crew, {**job, "waits": waits}, command, None, tell=tell)
    made.part = part
    return made


def drop(crew: Crew, made: Running) -> None:
    """End a process that waits for its trial's turn."""
    crew.nursery.signal(made.number, signal.SIGKILL)
    made.log.finish()


def make_meter(crew: Crew, running: Running, slot: Slot, memory: GpuMemory | None) -> Meter | None:
    """Return what measures a trial that begins now; None if nothing is to be found out."""
    if crew.sharing is None:
        return None
    file = crew.place.measured_path(running.command.run)
    return Meter(crew.sharing, running.part or slot, running.command, memory, file)


def spawn(
    crew: Crew,
    job: Mapping[str, Any],
    command: Command,
    pack: Pack | None,
    *,
    tell: Callable[[tuple[Running, Started | Ended]], None],
) -> Running:
    """Start the process of a trial, or of a pack, though the warm parent may die over it.

    Args:
        crew: whose warm parent.
        job: what `prepare` returns, and whether the process `waits`.
        command: the trial, or the first of the pack.
        pack: of the trial and others.
        tell: is told of its beginning and its end, from any thread.

    Raises:
        ProcessDied: the warm parent dies again and again.
    """
    log = TrialLog(crew.place.log_path(command.run))
    made = Running(command, log, identity(job["env"]), pack, waited=job["waits"])
    number = None
    for _ in range(_STARTS):
        number = crew.nursery.start(job, log.write_fd, lambda event: tell((made, event)))
        if number is not None:
            break
        crew.open_nursery()
    log.release()
    if number is None:
        log.finish()
        raise ProcessDied("the process that starts trials dies again and again")
    made.number = number
    return made


def judge_end(crew: Crew, running: Running, ended: Ended) -> Outcome:
    """Return how a trial, or the process of a pack, ended; take what was measured of it."""
    asked = running.asked or (Reason.PREEMPTED if crew.is_ending else None)
    outcome = judge(
        ended.status,
        error=ended.error,
        tail="" if ended.status == 0 else running.log.tail(),
        asked=asked,
        oom_kills=running.memory.kills(),
    )
    if running.meter is not None and crew.is_ending:
        running.meter.discard()
    elif running.meter is not None:
        is_shared = running.meter.judge(outcome, asked=asked)
        if (problem := running.meter.problem) is not None:
            text = f"what a program has written to {MEASURED} cannot be read: {problem}"
            crew.say_once(MEASURED, text)
        if is_shared:
            words = f"{outcome.message or 'it ran out of memory'}; it shared the GPU with others"
            return replace(outcome, message=words, is_crowded=True)
    if outcome.reason != Reason.TIMED_OUT:
        return outcome
    limit_s = crew.options.trial_timeout_s
    return replace(outcome, message=f"it ran for longer than the {limit_s:g} s it may")
