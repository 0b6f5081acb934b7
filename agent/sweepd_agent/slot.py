"""One slot at work: it asks for a trial, runs it, reports how it ended, and asks again."""

import contextlib
import queue
import random
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from sweepd.errors import (
    NotFound,
    ProcessDied,
    ProtocolError,
    Reason,
    ServerUnreachable,
    SweepdError,
)
from sweepd_agent.api import Ahead, Command, Outcome
from sweepd_agent.crew import Crew
from sweepd_agent.devices import Slot
from sweepd_agent.events import EventKind
from sweepd_agent.gpu_health import GpuHealth
from sweepd_agent.log import TrialLog
from sweepd_agent.memory_groups import KillWatch
from sweepd_agent.nursery import Ended, Started
from sweepd_agent.outcome import judge
from sweepd_agent.processes import kill_run
from sweepd_agent.source import Source
from sweepd_agent.telling import is_failure, trial_ended, trial_started
from sweepd_agent.trial import prepare

__all__ = ["SlotWorker"]

T = TypeVar("T")

_OURS_S = (1.0, 1.0)  # seconds between heartbeats of an idle slot, and of a busy one
_OTHERS_S = (5.0, 5.0)
_BACKOFF_S = (1.0, 60.0)
_STARTS = 3
_LAST_TRIES, _LAST_TIMEOUT_S = 3, 3.0  # of an agent that leaves: somebody waits for it


@dataclass(eq=False)
class _Running:
    """A trial whose process lives: it runs the program, or is ready to."""

    command: Command
    log: TrialLog
    number: int = 0
    began: float = 0.0
    memory: KillWatch = field(default_factory=KillWatch)
    pid: int | None = None
    asked: Reason | None = None
    kill_at: float = float("inf")
    late_at: float = float("inf")


@dataclass
class _Clock:
    """When to ask the server next; seconds that never run backwards."""

    next: float = 0.0
    wait: float = _BACKOFF_S[0]

    def put_off(self, at_least: float | None) -> None:
        """Wait twice as long as the last time, a little at random, and no less than asked for."""
        wait = max(self.wait, at_least or 0.0)
        self.next = time.monotonic() + wait * random.uniform(1.0, 1.25)
        self.wait = min(2 * self.wait, _BACKOFF_S[1])

    def set(self, seconds: float) -> None:
        """Ask again in so many seconds: the server answers."""
        self.next, self.wait = time.monotonic() + seconds, _BACKOFF_S[0]


class SlotWorker(threading.Thread):
    """Runs one trial after another until the agent leaves."""

    def __init__(self, slot: Slot, crew: Crew, api: Source, *, on_end: Callable[[], None]) -> None:
        super().__init__(name=f"slot-{slot.number}", daemon=True)
        self._slot = slot
        self._crew = crew
        self._api = api
        self._on_end = on_end
        self._agent: str | None = None
        self._clock = _Clock()
        self._backlog: deque[Command] = deque()
        self._ready: _Running | None = None  # the first of the backlog, if it was got ready
        self._returned: list[str] = []
        self._health: GpuHealth | None = None
        self._is_out = False
        self._prefetches = crew.options.prefetch and crew.place.is_ours
        self._refusal = ""
        self._events: queue.SimpleQueue[tuple[_Running, Started | Ended] | None]
        self._events = queue.SimpleQueue()
        self._idle_s, self._busy_s = (
            _OURS_S if crew.place.is_ours or crew.place.is_offline else _OTHERS_S
        )
        self.error: BaseException | None = None

    def wake(self) -> None:
        """Make the worker look at what has changed: the agent is leaving, or ending."""
        self._events.put(None)

    def run(self) -> None:
        """Work until there is nothing more to do."""
        try:
            self._health = GpuHealth.of(self._slot.gpu)
            while self._is_fit() and self._crew.take_turn():
                command = self._next_trial()
                if command is None:
                    self._crew.return_turn()
                    break
                self._run_trials(command)
            self._say_goodbye()
        except BaseException as error:
            self.error = error
            self._crew.leave(exit_code=1)
        finally:
            self._api.close()
            self._crew.run_on_main(self._on_end)

    # Asking for work

    def _next_trial(self) -> Command | None:
        """Return the next trial; None when the agent shall leave."""
        while not self._backlog and not self._crew.leaving.is_set():
            try:
                commands = self._ask(self._beat) or []
            except NotFound as error:
                self._crew.leave(f"the sweep is gone: {error}", exit_code=1)
                continue
            except SweepdError as error:
                self._note_refusal(error)
                self._pause(_OTHERS_S[0])
                continue
            self._take(commands)
            if not self._backlog and not self._crew.leaving.is_set():
                self._pause(self._idle_s)
        return self._backlog.popleft() if self._backlog else None  # what was given is run

    def _beat(self) -> list[Command]:
        """Send a heartbeat of an idle slot; register first if it has not been done."""
        sweep = self._crew.place.sweep
        if self._agent is None:
            try:
                self._agent = self._register()
            except ProtocolError as error:
                if not self._api.has_ended(sweep):
                    raise
                self._crew.leave(str(error))
                return []
        return self._api.heartbeat(self._agent, running=())

    def _register(self) -> str:
        place = self._slot.place if self._crew.place.is_ours else None
        return self._api.register(self._crew.place.sweep, host=self._crew.host, device=place)

    def _take(self, commands: Iterable[Command], running: _Running | None = None) -> None:
        """Note what the server wants."""
        for command in commands:
            if command.type in {"run", "resume"}:
                self._backlog.append(command)
            elif command.type == "exit":
                self._crew.leave()
            elif command.type == "stop" and running and command.run == running.command.run:
                self._stop(running)
            elif command.type == "stop":
                self._drop([one for one in self._backlog if one.run == command.run])

    def _ask(self, question: Callable[[], T]) -> T | None:
        """Return the server's answer, asking until it is there; None if the agent leaves first."""
        tries_left = _LAST_TRIES
        while True:
            try:
                answer = question()
            except ServerUnreachable as error:
                self._crew.note_server(self._slot.number, str(error))
                if self._crew.leaving.is_set():
                    tries_left -= 1
                    if not tries_left:
                        return None
                    self._api.hurry(_LAST_TIMEOUT_S)
                    self._pause(_BACKOFF_S[0])
                else:
                    self._clock.put_off(self._api.retry_after_s)
                    self._pause(self._clock.next - time.monotonic())
            else:
                self._crew.note_server(self._slot.number, None)
                self._clock.set(0.0)
                return answer

    def _note_refusal(self, error: SweepdError) -> None:
        """Say what the server does not like, once."""
        if str(error) != self._refusal:
            self._refusal = str(error)
            self._crew.say(EventKind.NOTICE, f"the server refuses: {error}")

    def _pause(self, seconds: float) -> None:
        """Wait, unless something happens."""
        with contextlib.suppress(queue.Empty):
            self._events.get(timeout=max(0.0, seconds))

    # Running trials

    def _run_trials(self, command: Command) -> None:
        """Run a trial, and those that are fetched ahead meanwhile, to their ends."""
        running = self._begin(command)
        while running is not None:
            ended = self._watch(running)
            following = self._begin_next()
            self._conclude(running.command, self._judge(running, ended), began=running.began)
            running = following

    def _begin(self, command: Command) -> _Running | None:
        """Start a trial; tell why it cannot be, and return None then."""
        if self._crew.is_ending:
            return None  # the server gets it back with the goodbye
        began = time.monotonic()
        try:
            return self._start(command)
        except SweepdError as error:
            reason = Reason.PREEMPTED if self._crew.is_ending else Reason.ERROR
            self._conclude(command, Outcome(reason, message=str(error)), began=began)
            return None

    def _begin_next(self) -> _Running | None:
        """Start the trial that was fetched ahead, if there is one."""
        while self._backlog and self._prefetches and not self._crew.leaving.is_set():
            if not self._is_fit():
                return None  # others get it with the goodbye
            following = self._begin(self._backlog.popleft())
            if following is not None:
                return following
        return None

    def _is_fit(self) -> bool:
        """Return whether the GPU can run another trial; tell everybody why, if it cannot."""
        problem = self._health.problem() if self._health is not None else None
        if problem is not None and not self._is_out:
            self._is_out = True
            self._drop(list(self._backlog) if self._prefetches else [])
            self._crew.take_out(self._slot, problem)
            if self._crew.place.is_ours:
                with contextlib.suppress(SweepdError):  # its own counting finds out as well
                    self._agent = self._agent or self._register()
                    self._api.quarantine(self._agent, problem)
        return not self._is_out

    def _conclude(self, command: Command, outcome: Outcome, *, began: float) -> None:
        """Tell the server how a trial ended, and whoever started the agent."""
        crew, seconds = self._crew, time.monotonic() - began
        if command.lease is not None:
            self._report(command, outcome)
        log = crew.place.log_path(command.run)
        crew.report_event(
            trial_ended(command.run, outcome, slot=self._slot, seconds=seconds, log=log)
        )
        if is_failure(outcome):
            crew.note_failure()

    def _start(self, command: Command) -> _Running:
        """Start a trial's process, or let the one begin that is ready.

        Raises:
            SweepdError: if it cannot be started, in a sentence for the trial's page.
        """
        running, self._ready = self._ready, None
        if running is not None and running.command is command:
            self._crew.nursery.go(running.number)
        else:
            running = self._make_process(command)
        running.began, running.memory = time.monotonic(), KillWatch()
        if (timeout_s := self._crew.options.trial_timeout_s) is not None:
            running.late_at = running.began + timeout_s
        return running

    def _make_process(self, command: Command, *, waits: bool = False) -> _Running:
        place = self._crew.place
        job = {**prepare(place, command, self._slot), "waits": waits}
        made = _Running(command, TrialLog(place.log_path(command.run)))
        number = None
        for _ in range(_STARTS):
            number = self._crew.nursery.start(
                job, made.log.write_fd, lambda event: self._events.put((made, event))
            )
            if number is not None:
                break
            self._crew.open_nursery()
        made.log.release()
        if number is None:
            made.log.finish()
            raise ProcessDied("the process that starts trials dies again and again")
        made.number = number
        return made

    def _watch(self, running: _Running) -> Ended:
        """Heartbeat until the trial's process has ended."""
        self._clock.set(self._busy_s)
        while True:
            soonest = min(self._clock.next, running.kill_at, running.late_at) - time.monotonic()
            try:
                said = self._events.get(timeout=max(0.0, soonest))
            except queue.Empty:
                said = None
            about, event = said or (running, None)
            if about is not running:
                self._note_ready(about, event)
            elif isinstance(event, Ended):
                if event.status is None:
                    self._kill_rest(running)
                running.log.finish()
                if self._health is not None and running.pid is not None:
                    self._health.note_end(running.pid)
                return event
            elif isinstance(event, Started):
                self._note_started(running, event)
            if self._crew.is_ending:
                running.asked = running.asked or Reason.PREEMPTED
            if self._crew.leaving.is_set() and self._prefetches and self._backlog:
                self._give_back()
            now = time.monotonic()
            if now >= running.kill_at:
                running.kill_at = float("inf")
                self._crew.nursery.signal(running.number, signal.SIGKILL)
            if now >= running.late_at:
                running.late_at = float("inf")
                self._stop(running, Reason.TIMED_OUT)
            if now >= self._clock.next:
                self._beat_while(running)

    def _note_started(self, running: _Running, event: Started) -> None:
        running.pid = event.pid
        running.memory.follow(event.pid)
        facts = {"pid": event.pid, "mode": event.mode}
        command = running.command
        self._crew.report_event(
            trial_started(command.run, command.args, slot=self._slot, facts=facts)
        )
        if self._prefetches:
            self._clock.set(0.0)

    # Fetching ahead

    def _ahead(self, running: _Running) -> Ahead | None:
        """Return what to say of the trial after this one; None where nothing is fetched ahead."""
        if not self._prefetches:
            return None
        wants = running.pid is not None and running.asked is None and not self._backlog
        wants = wants and self._crew.take_turn()
        waiting = tuple(command.run for command in self._backlog)
        return Ahead(wants=wants, waiting=waiting, returned=tuple(self._returned))

    def _get_ready(self) -> None:
        """Make the process of the trial that comes next, up to where its program begins."""
        command = self._backlog[0]
        if self._ready is None and self._crew.place.sweep.command is None:
            with contextlib.suppress(SweepdError):  # it is met again, and told, at its turn
                self._ready = self._make_process(command, waits=True)

    def _note_ready(self, about: _Running, event: Started | Ended | None) -> None:
        """Note the end of a process that was to wait: at its turn another one is made."""
        if isinstance(event, Ended) and about is self._ready:
            about.log.finish()
            self._ready = None

    def _drop(self, commands: Sequence[Command]) -> None:
        """Forget trials that were fetched ahead and have not begun."""
        for command in commands:
            self._backlog.remove(command)
            self._crew.return_turn()
            if self._ready is not None and self._ready.command is command:
                self._crew.nursery.signal(self._ready.number, signal.SIGKILL)
                self._ready.log.finish()
                self._ready = None

    def _give_back(self) -> None:
        """Let others have what was fetched ahead, at once."""
        self._returned += [command.run for command in self._backlog]
        self._drop(list(self._backlog))
        self._clock.set(0.0)

    def _kill_rest(self, running: _Running) -> None:
        """Kill what is left of a trial whose warm parent has died."""
        if running.pid is not None:
            sweep, run = self._crew.place.sweep.name, running.command.run
            own = {f"WANDB_SWEEP_ID={sweep}".encode(), f"WANDB_RUN_ID={run}".encode()}
            kill_run(running.pid, own)

    def _beat_while(self, running: _Running) -> None:
        """Send a heartbeat of a busy slot. The trial goes on whatever becomes of it."""
        assert self._agent is not None
        if running.pid is not None:
            running.memory.follow(running.pid)  # its command may have moved it
        held = [running.command.run, *(command.run for command in self._backlog)]
        ahead, problem = self._ahead(running), None
        try:
            self._take(self._api.heartbeat(self._agent, running=held, ahead=ahead), running)
            self._clock.set(self._busy_s)
            self._returned.clear()
        except ServerUnreachable as error:
            problem = str(error)
            self._clock.put_off(self._api.retry_after_s)
        except NotFound as error:
            self._clock.set(_BACKOFF_S[1])
            self._crew.leave(f"the sweep is gone: {error}; what runs may finish", exit_code=1)
        except SweepdError as error:
            self._clock.set(_OTHERS_S[1])
            self._note_refusal(error)
        self._crew.note_server(self._slot.number, problem)
        if ahead is not None and ahead.wants:
            if self._backlog:
                self._get_ready()
            else:
                self._crew.return_turn()

    def _stop(self, running: _Running, reason: Reason = Reason.KILLED) -> None:
        """End a trial, since the server wants it or it takes too long: SIGTERM, then SIGKILL."""
        if running.asked is None:
            running.asked = reason
            running.kill_at = time.monotonic() + self._crew.options.kill_delay_s
            self._crew.nursery.signal(running.number, signal.SIGTERM)

    # Ends

    def _judge(self, running: _Running, ended: Ended) -> Outcome:
        outcome = judge(
            ended.status,
            error=ended.error,
            tail="" if ended.status == 0 else running.log.tail(),
            asked=running.asked or (Reason.PREEMPTED if self._crew.is_ending else None),
            oom_kills=running.memory.kills(),
        )
        if outcome.reason != Reason.TIMED_OUT:
            return outcome
        limit_s = self._crew.options.trial_timeout_s
        return replace(outcome, message=f"it ran for longer than the {limit_s:g} s it may")

    def _report(self, command: Command, outcome: Outcome) -> None:
        crew = self._crew

        def report() -> None:
            self._api.report(
                crew.place.sweep, command, outcome, host=crew.host, device=self._slot.device
            )

        try:
            self._ask(report)
        except SweepdError as error:
            crew.say(EventKind.NOTICE, f"the end of {command.run} was not taken: {error}")

    def _say_goodbye(self) -> None:
        """Give back to our service what this agent holds; W&B's finds out by itself."""
        if self._agent is not None and self._crew.place.is_ours:
            with contextlib.suppress(SweepdError):
                self._api.leave(self._agent)
