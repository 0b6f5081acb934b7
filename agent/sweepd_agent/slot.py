"""One slot at work: it asks for a trial, runs it, reports how it ended, and asks again."""

import contextlib
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from sweepd.errors import (
    NotFound,
    ProcessDied,
    Reason,
    ServerUnreachable,
    SweepdError,
)
from sweepd_agent.api import Ahead, Command, Outcome
from sweepd_agent.crew import Crew
from sweepd_agent.devices import Slot
from sweepd_agent.dialogue import Dialogue
from sweepd_agent.events import EventKind
from sweepd_agent.gpu_health import GpuHealth
from sweepd_agent.gpu_memory import GpuMemory
from sweepd_agent.leftover_rows import sync_rows
from sweepd_agent.mailbox import Mailbox
from sweepd_agent.memory_groups import KillWatch
from sweepd_agent.nursery import Ended, Started
from sweepd_agent.pack import Pack, PackSizes, kind_of
from sweepd_agent.running import BACKOFF_S, Running
from sweepd_agent.source import Source
from sweepd_agent.starting import drop, judge_end, make_meter, make_process, part_of, spawn
from sweepd_agent.telling import in_words, is_failure, trial_ended, trial_started

__all__ = ["SlotWorker"]

_OURS_S = (1.0, 1.0)  # seconds between heartbeats of an idle slot, and of a busy one
_OTHERS_S = (5.0, 5.0)
_HELD = 2  # packs' worth of trials that a slot holds at most, to find some that are alike
_GATHER_S = 0.5  # a pack begins when no trial has come for so long


class SlotWorker(threading.Thread):
    """Runs one trial after another until the agent leaves."""

    def __init__(self, slot: Slot, crew: Crew, api: Source, *, on_end: Callable[[], None]) -> None:
        super().__init__(name=f"slot-{slot.number}", daemon=True)
        self._slot = slot
        self._crew = crew
        self._events = Mailbox[tuple[Running, Started | Ended]]()
        self._server = Dialogue(slot, crew, api, pause=self._events.wait)
        self._on_end = on_end
        self._backlog: deque[Command] = deque()
        self._ready: Running | None = None  # the first of the backlog, if it was got ready
        self._returned: list[str] = []
        self._health: GpuHealth | None = None
        self._gpu_memory: GpuMemory | None = None
        self._is_out = False
        self._prefetches = crew.options.prefetch and crew.place.is_ours
        self._sizes = PackSizes.of(crew.options.pack, crew.place, slot)
        self._idle_s, self._busy_s = (
            _OURS_S if crew.place.is_ours or crew.place.is_offline else _OTHERS_S
        )
        self.error: BaseException | None = None

    def wake(self) -> None:
        """Make the worker look at what has changed: the agent is leaving, or ending."""
        self._events.wake()

    def run(self) -> None:
        """Work until there is nothing more to do."""
        try:
            self._health = GpuHealth.of(self._slot.gpus)
            if self._crew.sharing is not None:
                self._gpu_memory = GpuMemory.of(self._slot.gpus[0])
            while self._is_fit() and self._has_turn():
                command = self._next_trial()
                if command is None:
                    self._crew.return_turn()
                    break
                self._run_trials(command)
            self._server.say_goodbye()
        except BaseException as error:
            self.error = error
            self._crew.leave(exit_code=1)
        finally:
            if self._crew.sharing is not None:
                self._crew.sharing.forget(self._slot)
            self._server.close()
            self._crew.run_on_main(self._on_end)

    # Asking for work

    def _has_turn(self) -> bool:
        """Return whether a trial may be run: one that was fetched ahead has its turn already."""
        return (self._fetches_ahead and bool(self._backlog)) or self._crew.take_turn()

    def _next_trial(self) -> Command | None:
        """Return the next trial; None when the agent shall leave."""
        while not (self._backlog or self._crew.leaving.is_set() or self._runs_no_more()):
            try:
                commands = self._server.ask_for_work() or []
            except NotFound as error:
                self._crew.leave(f"the sweep is gone: {error}", exit_code=1)
                continue
            except SweepdError as error:
                self._server.note_refusal(error)
                self._events.wait(_OTHERS_S[0])
                continue
            self._take(commands)
            if not self._backlog and not self._crew.leaving.is_set():
                self._events.wait(self._idle_s)
        if self._fetches_ahead and self._crew.leaving.is_set():
            self._drop(list(self._backlog))  # others get it with the goodbye
        return self._backlog.popleft() if self._backlog else None

    def _take(self, commands: Iterable[Command], running: Running | None = None) -> None:
        """Note what the server wants."""
        for command in commands:
            if command.type in {"run", "resume"}:
                self._backlog.append(command)
            elif command.type == "exit":
                self._crew.leave()
            elif command.type == "stop" and running and command.run in _runs(running.commands):
                self._stop_trial(running, command.run)
            elif command.type == "stop":
                self._drop([one for one in self._backlog if one.run == command.run])

    # Running trials

    def _run_trials(self, command: Command) -> None:
        """Run a trial, and those that are fetched ahead meanwhile, to their ends."""
        running = self._begin(command)
        while running is not None:
            ended = self._watch(running)
            if running.is_stillborn:
                running = self._begin(running.command)
            elif running.pack is not None:
                self._conclude_pack(running, running.pack, judge_end(self._crew, running, ended))
                running = self._begin_next()
            else:
                following = self._begin_next()
                self._conclude(
                    running.command, judge_end(self._crew, running, ended), began=running.began
                )
                running = following

    def _begin(self, command: Command) -> Running | None:
        """Start a trial, or a pack of it and others; tell why it cannot be, return None then."""
        if self._crew.is_ending:
            return None  # the server gets it back with the goodbye
        began = time.monotonic()
        commands = [command] if self._sizes is None else self._gather(command, self._sizes)
        if not commands or self._crew.is_ending:
            return None
        try:
            return self._start(commands)
        except (SweepdError, OSError) as error:
            is_ours = isinstance(error, ProcessDied | OSError)  # no fault of the trial's
            reason = Reason.CRASHED if is_ours else Reason.ERROR
            reason = Reason.PREEMPTED if self._crew.is_ending else reason
            for one in commands:
                self._conclude(one, Outcome(reason, message=in_words(error)), began=began)
            return None

    def _begin_next(self) -> Running | None:
        """Start the trial that was fetched ahead, if there is one."""
        while self._backlog and self._fetches_ahead and not self._crew.leaving.is_set():
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
            self._retire()
            self._crew.take_out(self._slot, problem)
            self._server.quarantine(problem)
        return not self._runs_no_more()

    def _runs_no_more(self) -> bool:
        """Return whether its GPU is unfit, or fewer trials are to share it, this slot's not."""
        sharing = self._crew.sharing
        if not self._is_out and sharing is not None and sharing.must_leave(self._slot):
            self._retire()
            self._crew.note_slots(-1)
        return self._is_out

    def _retire(self) -> None:
        self._is_out = True
        self._drop(list(self._backlog) if self._fetches_ahead else [])

    def _conclude(self, command: Command, outcome: Outcome, *, began: float) -> None:
        """Tell the server how a trial ended, and whoever started the agent."""
        crew, seconds = self._crew, time.monotonic() - began
        if command.lease is not None:
            if not crew.is_ending and (said := sync_rows(crew.place, command, self._slot, outcome)):
                crew.say(EventKind.NOTICE, said)
            self._server.report(command, outcome)
        log = crew.place.log_path(command.run)
        crew.report_event(
            trial_ended(command.run, outcome, slot=self._slot, seconds=seconds, log=log)
        )
        if is_failure(outcome) and not outcome.is_crowded:
            crew.note_failure()

    def _start(self, commands: Sequence[Command]) -> Running:
        """Start the process of a trial or a pack, or let the one begin that is ready.

        Raises:
            SweepdError: if it cannot be started, in a sentence for the trial's page.
        """
        running = self._take_ready(commands[0])
        if running is not None:
            self._crew.nursery.go(running.number)
        elif self._may_be_packed(commands[0]):
            running = self._make_pack(commands)
        else:
            running = self._make_process(commands[0])
        running.began, running.memory = time.monotonic(), KillWatch()
        running.meter = make_meter(self._crew, running, self._slot, self._gpu_memory)
        if (timeout_s := self._crew.options.trial_timeout_s) is not None:
            running.late_at = running.began + timeout_s
        return running

    def _make_process(self, command: Command, *, waits: bool = False) -> Running:
        return make_process(self._crew, command, self._slot, waits=waits, tell=self._events.put)

    def _watch(self, running: Running) -> Ended:
        """Heartbeat until the trial's process has ended."""
        clock = self._server.clock
        clock.set(self._busy_s)
        while True:
            soonest = min(clock.next, running.kill_at, running.late_at, running.look_at)
            about, event = self._events.take(soonest - time.monotonic()) or (running, None)
            if about is not running:
                self._note_ready(about, event)
            elif isinstance(event, Ended):
                if event.status is None:
                    running.kill_rest()
                running.log.finish()
                running.note_end()
                if self._health is not None and running.pid is not None:
                    self._health.note_end(running.pid)
                return event
            elif isinstance(event, Started):
                self._note_started(running, event)
            if running.pack is not None:
                self._follow_pack(running, running.pack)
            if self._crew.is_ending:
                running.asked = running.asked or Reason.PREEMPTED
            if self._crew.leaving.is_set() and self._fetches_ahead and self._backlog:
                self._give_back()
            now = time.monotonic()
            if running.meter is not None and now >= running.look_at:
                running.meter.look(running.pid)
            if now >= running.kill_at:
                self._kill(running)
            if now >= running.late_at:
                running.late_at = float("inf")
                self._stop(running, Reason.TIMED_OUT)
            if now >= clock.next:
                self._beat_while(running)

    def _note_started(self, running: Running, event: Started) -> None:
        running.pid = event.pid
        running.memory.follow(event.pid)
        facts: dict[str, Any] = {"pid": event.pid, "mode": event.mode}
        if running.pack is not None:
            facts["pack"] = running.pack.size
        for command in running.commands:
            self._crew.report_event(
                trial_started(command.run, command.args, slot=self._slot, facts=facts)
            )
        if self._prefetches:
            self._server.clock.set(0.0)

    # Packs

    def _may_be_packed(self, command: Command) -> bool:
        """Return whether a trial is new: one that was begun before is tried by itself."""
        if self._sizes is None or command.lease is None or self._sizes.is_refused(kind_of(command)):
            return False
        return command.type == "run" and command.lease[0] == 1

    def _gather(self, first: Command, sizes: PackSizes) -> list[Command]:
        """Return a trial and others that can be packed with it, fetched now where some are short.

        Trials of other kinds that come along are kept: their turn is next. Those that the server
        takes back meanwhile are not returned, be it the trial itself.
        """
        if not self._may_be_packed(first):
            return [first]
        size = sizes.size(kind_of(first))
        give_up_at = time.monotonic() + _GATHER_S
        self._backlog.appendleft(first)
        while (
            len(self._like(first)) < size
            and len(self._backlog) < _HELD * size
            and first in self._backlog
            and self._crew.take_turn()
        ):
            n_before = len(self._backlog)
            self._beat_for_more(_runs(self._backlog))
            if len(self._backlog) > n_before:
                give_up_at = time.monotonic() + _GATHER_S
                continue
            self._crew.return_turn()
            if time.monotonic() >= give_up_at:
                break
            self._events.wait(_GATHER_S / 5)
        packed = self._like(first)[:size] if first in self._backlog else []
        self._backlog = deque(c for c in self._backlog if c not in packed)
        return packed

    def _like(self, first: Command) -> list[Command]:
        """Return those that wait and can be packed with a trial, it among them."""
        kind = kind_of(first)
        return [c for c in self._backlog if self._may_be_packed(c) and kind_of(c) == kind]

    def _beat_for_more(self, held: Sequence[str]) -> None:
        """Ask for one more trial beside those that are held and have not begun."""
        ahead = Ahead(wants=True, waiting=tuple(held), returned=tuple(self._returned))
        commands = self._server.try_beat(held, ahead)
        if commands is not None:
            self._take(commands)
            self._returned.clear()

    def _make_pack(self, commands: Sequence[Command]) -> Running:
        place = self._crew.place
        pack = Pack(place.wandb_folder / f"pack-{commands[0].run}", commands)
        job = pack.make_job(place, self._slot)
        return spawn(self._crew, job, commands[0], pack, tell=self._events.put)

    def _follow_pack(self, running: Running, pack: Pack) -> None:
        """Tell how trials of a pack have ended, each as it does."""
        asked = running.asked or (Reason.PREEMPTED if self._crew.is_ending else None)
        for command, outcome in pack.read(asked=asked):
            self._conclude(command, outcome, began=running.began)
        if running.asked is None and not pack.waits_for_end:
            running.kill_at = float("inf")
        if pack.problem is not None:
            self._crew.say(EventKind.NOTICE, f"the program of a pack wrote {pack.problem}")
            pack.problem = None
        if pack.measured is not None and self._sizes is not None:
            settled = self._sizes.note(pack.kind, *pack.measured)
            pack.measured = None
            if settled:
                self._crew.say(EventKind.NOTICE, settled)

    def _conclude_pack(self, running: Running, pack: Pack, whole: Outcome) -> None:
        """Tell how the rest of a pack has ended; run by itself what the program does not pack."""
        assert self._sizes is not None
        self._follow_pack(running, pack)
        n_left, died = len(pack.left), whole.reason in {Reason.OUT_OF_MEMORY, Reason.CRASHED}
        pack.close()
        if n_left and not pack.has_begun and not (died and pack.size > 1):
            self._conclude_unpacked(running, pack, whole)
        elif n_left:
            for command, outcome in pack.rest(whole):
                self._conclude(command, outcome, began=running.began)
            was_memory = whole.reason == Reason.OUT_OF_MEMORY
            self._sizes.note_failure(pack.kind, pack.size, was_memory=was_memory)

    def _conclude_unpacked(self, running: Running, pack: Pack, whole: Outcome) -> None:
        """Run by themselves the trials that the program did not pack."""
        assert self._sizes is not None
        why = pack.why_unpacked(whole)
        if why is not None:
            self._sizes.refuse(pack.kind)
        if why is not None and (pack.size > 1 or pack.refusal):
            self._crew.say(EventKind.NOTICE, f"trials are run one by one: {why}")
        ended, left = pack.unpacked(whole)
        for command, outcome in ended:
            self._conclude(command, outcome, began=running.began)
        self._backlog.extendleft(reversed(left))

    # Fetching ahead

    @property
    def _fetches_ahead(self) -> bool:
        return self._prefetches or self._sizes is not None

    def _ahead(self, running: Running) -> Ahead | None:
        """Return what to say of the trial after this one; None where nothing is fetched ahead."""
        if not self._fetches_ahead:
            return None
        n_wanted = running.pack.size if running.pack is not None else 1
        wants = self._prefetches and len(self._backlog) < n_wanted
        wants = wants and running.pid is not None and running.asked is None
        wants = wants and self._crew.take_turn()
        waiting = tuple(command.run for command in self._backlog)
        return Ahead(wants=wants, waiting=waiting, returned=tuple(self._returned))

    def _get_ready(self) -> None:
        """Make the process of the trial that comes next, up to where its program begins."""
        command = self._backlog[0]
        sharing = self._crew.sharing
        if sharing is not None and not sharing.is_settled(self._slot):
            return  # its part of the GPU may be another one at its turn
        if self._sizes is None and self._ready is None and self._crew.place.sweep.command is None:
            with contextlib.suppress(SweepdError):  # it is met again, and told, at its turn
                self._ready = self._make_process(command, waits=True)

    def _note_ready(self, about: Running, event: Started | Ended | None) -> None:
        """Note the end of a process that was to wait: at its turn another one is made."""
        if isinstance(event, Ended) and about is self._ready:
            self._ready = None
            about.log.finish()

    def _drop(self, commands: Sequence[Command]) -> None:
        """Forget trials that were fetched ahead and have not begun."""
        for command in commands:
            self._backlog.remove(command)
            self._crew.return_turn()
            if self._ready is not None and self._ready.command is command:
                drop(self._crew, self._ready)
                self._ready = None

    def _take_ready(self, command: Command) -> Running | None:
        """Return the process that waits for a trial's turn; end one whose part has changed."""
        ready, self._ready = self._ready, None
        if ready is None:
            return None
        if ready.command is command and ready.part == part_of(self._crew, self._slot):
            return ready
        drop(self._crew, ready)
        return None

    def _give_back(self) -> None:
        """Let others have what was fetched ahead, at once."""
        self._returned += [command.run for command in self._backlog]
        self._drop(list(self._backlog))
        self._server.clock.set(0.0)

    def _beat_while(self, running: Running) -> None:
        """Send a heartbeat of a busy slot. The trial goes on whatever becomes of it."""
        if running.pid is not None:
            running.memory.follow(running.pid)  # its command may have moved it
            if self._health is not None:
                self._health.look(running.pid)
        held = _runs([*running.commands, *self._backlog])
        if not held:  # a pack whose trials have all ended: its process is about to
            self._server.clock.set(self._busy_s)
            return
        ahead, problem = self._ahead(running), None
        n_before = len(self._backlog)
        try:
            self._take(self._server.beat(held, ahead), running)
            self._server.clock.set(self._busy_s)
            self._returned.clear()
        except ServerUnreachable as error:
            problem = str(error)
            self._server.put_off()
        except NotFound as error:
            self._server.clock.set(BACKOFF_S[1])
            self._crew.leave(f"the sweep is gone: {error}; what runs may finish", exit_code=1)
        except SweepdError as error:
            self._server.clock.set(_OTHERS_S[1])
            self._server.note_refusal(error)
        self._server.note_server(problem)
        if ahead is not None and ahead.wants:
            if len(self._backlog) > n_before:
                self._get_ready()
                self._server.clock.set(0.0 if running.pack is not None else self._busy_s)
            else:
                self._crew.return_turn()

    def _stop_trial(self, running: Running, run: str) -> None:
        """End a trial since the server wants it; the others of its pack go on."""
        if running.pack is None:
            self._stop(running)
        elif running.pack.stop(run, Reason.KILLED):
            deadline = time.monotonic() + self._crew.options.kill_delay_s
            running.kill_at = min(running.kill_at, deadline)
            if running.pack.is_all_asked:
                self._stop(running)

    def _stop(self, running: Running, reason: Reason = Reason.KILLED) -> None:
        """End a process, since the server wants it or it takes too long: SIGTERM, then SIGKILL."""
        if running.asked is None:
            running.asked = reason
            running.kill_at = time.monotonic() + self._crew.options.kill_delay_s
            self._crew.nursery.signal(running.number, signal.SIGTERM)

    def _kill(self, running: Running) -> None:
        """Kill a process that was told to end and has not."""
        running.kill_at = float("inf")
        if running.pack is not None and not running.pack.has_begun and running.asked is None:
            self._stop(running, Reason.PREEMPTED)  # it may know of no files, and was told nothing
        else:
            self._crew.nursery.signal(running.number, signal.SIGKILL)


def _runs(commands: Iterable[Command]) -> list[str]:
    return [command.run for command in commands]
