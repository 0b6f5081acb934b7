"""Runs agents as a child process until their sweep has ended, and shows how it goes."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import IO, Any, Protocol

import click

from sweepd.cli.api import Api, parse_target
from sweepd.cli.console import harmless
from sweepd.cli.control import ENDED, in_words, summarise
from sweepd.cli.embedded import Service
from sweepd.cli.tethered import command
from sweepd.errors import ServerUnreachable, SweepdError

__all__ = ["INTERRUPTED", "Plan", "drive", "leave_on_signals"]

#: The exit code of a command that Ctrl-C ended.
INTERRUPTED = 130
_AGENT_GRACE_S = 45.0
_LOOK_S = 0.25  # how soon a signal is seen
_OURS_S, _OTHERS_S = 0.25, 5.0  # between questions to our server, and to one with limits
_MOST_TOLD = 5  # failed trials, with what happened and the file of their output
_MOST_READ = 1 << 24  # bytes of its events at a time
_AWAY_S = 1.0  # until a server that is away is asked again


@dataclass(frozen=True)
class Plan:
    """What the agent process is told: the sweep, trials at once, GPUs, and its working folder."""

    sweep: str
    agents: int | None
    gpus: str | None
    workdir: Path

    @property
    def command(self) -> list[str]:
        """Return the agent's command line."""
        arguments = [self.sweep, "--json"]
        arguments += ["--gpus", self.gpus] if self.gpus else []
        arguments += ["--slots", str(self.agents)] if self.agents else []
        return list(command("sweepd_agent", *arguments))


class Show(Protocol):
    """Shows a sweep's progress, and lines beside it."""

    def facts(self, facts: Mapping[str, Any]) -> None:
        """Show how the sweep is doing."""

    def line(self, text: str) -> None:
        """Print a line that stays."""


def drive(api: Api, service: Service, plan: Plan) -> tuple[dict[str, Any], int]:
    """Run the agents until the sweep has ended; return its last state and an exit code.

    Ctrl-C once ends the sweep and lets running trials finish, twice ends these with a chance to
    save, three times at once. A server that goes away is waited for, as the agents do.

    Raises:
        ProcessDied: if the service that was started for this command has ended.
        NotFound: if somebody deleted the sweep.
    """
    reference = parse_target(plan.sweep)
    facts = summarise(api.find_sweep(reference))
    look = _Look(api, _OURS_S if api.is_ours else _OTHERS_S)
    with (
        _Interrupts() as interrupts,
        tempfile.TemporaryFile() as events,
        _agents(service, plan, events) as process,
        _progress() as show,
    ):
        failures = _Failures(events)
        while process.poll() is None:
            service.check()
            failures.tell(show)
            facts = look.at(facts, show)
            while interrupts.seen < interrupts.count:
                interrupts.seen += 1
                _interrupt(api, facts, process, interrupts.seen, show)
            time.sleep(_LOOK_S)
        look.next = 0.0
        failures.tell(show)
        facts = look.at(facts, show)
    if interrupts.count:
        return facts, INTERRUPTED
    return facts, _exit_code(facts, process.returncode)


def _exit_code(facts: Mapping[str, Any], agent: int) -> int:
    if agent < 0:
        name = signal.Signals(-agent).name
        click.echo(f"error: the agent process was ended by {name}", err=True)
        return 1
    return agent or int(facts["state"] in {"FAILED", "CRASHED"})


@dataclass
class _Look:
    """Asks for a sweep's state, no more often than `every_s`; says once that the server is away."""

    api: Api
    every_s: float
    next: float = 0.0
    is_away: bool = False
    notice: str | None = None  # that was said last

    def at(self, facts: dict[str, Any], show: Show) -> dict[str, Any]:
        """Return the newest facts that are to be had."""
        if time.monotonic() < self.next:
            return facts
        self.next = time.monotonic() + self.every_s
        try:
            facts = summarise(self.api.find_sweep(parse_target(facts["sweep"])))
        except ServerUnreachable as error:
            if not self.is_away:
                show.line(f"the server is away ({error}); trials go on, and it is asked again")
            self.is_away = True
            self.next = time.monotonic() + _AWAY_S
            return facts
        if self.is_away:
            show.line("the server is back")
            self.is_away = False
        show.facts(facts)
        if facts["notice"] and facts["notice"] != self.notice:
            self.notice = facts["notice"]
            show.line(f"notice: {self.notice}")
        return facts


class _Failures:
    """Reads what an agent says of its trials, and tells of those that failed.

    It is a file, as a pipe that nobody reads, while this process is stopped, would stop the agent.
    """

    def __init__(self, events: IO[bytes]) -> None:
        self._events, self._n_read, self._n_told, self._cut = events, 0, 0, b""

    def tell(self, show: Show) -> None:
        """Say of each trial that has failed since what happened and where its output is."""
        new = os.pread(self._events.fileno(), _MOST_READ, self._n_read)
        self._n_read += len(new)
        *lines, self._cut = (self._cut + new).split(b"\n")
        for line in lines:
            try:
                event = json.loads(line)
            except ValueError:
                continue  # of a program, which prints where it should not
            if isinstance(event, dict) and event.get("is_failure"):
                self._tell_one(str(event.get("text")), show)

    def _tell_one(self, text: str, show: Show) -> None:
        self._n_told += 1
        if self._n_told <= _MOST_TOLD:
            show.line(text)
        elif self._n_told == _MOST_TOLD + 1:
            show.line("more trials fail; the sweep's page tells of each")


@dataclass
class _Interrupts:
    """Counts Ctrl-C and SIGTERM while the agents work."""

    count: int = 0
    seen: int = 0
    _old: dict[int, Any] = field(default_factory=dict, repr=False)

    def __enter__(self) -> "_Interrupts":
        self._old = {s: signal.signal(s, self._note) for s in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.count += 1


@contextmanager
def leave_on_signals() -> Iterator[None]:
    """Let SIGTERM, and SIGHUP unless it is ignored, end a command as Ctrl-C does: in order."""

    def leave(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    old: dict[int, Any] = {}
    for which in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(which) is not signal.SIG_IGN:  # nohup ignores SIGHUP
            old[which] = signal.signal(which, leave)
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def _interrupt(
    api: Api,
    facts: Mapping[str, Any],
    process: "subprocess.Popen[bytes]",
    count: int,
    show: Show,
) -> None:
    """Do what Ctrl-C means the first, second and third time."""
    if count == 1:
        show.line("interrupted: no new trials; those running finish (Ctrl-C again ends them)")
        if facts["state"] in ENDED:
            return
        try:
            api.set_sweep_state(api.find_sweep(parse_target(facts["sweep"])), "FINISHED")
        except SweepdError as error:
            show.line(f"the sweep could not be stopped: {error}")
    else:
        again = "interrupted again: ending the running trials (Ctrl-C again kills them)"
        show.line(again if count == 2 else "killing the running trials")
        process.terminate()  # an agent ends its trials in order, and at the second signal at once


@contextmanager
def _agents(service: Service, plan: Plan, events: IO[bytes]) -> Iterator["subprocess.Popen[bytes]"]:
    """Start the agent process, which writes its events, and leave none of it behind."""
    process = subprocess.Popen(
        plan.command,
        env={**os.environ, **service.server.environment},
        cwd=plan.workdir,
        stdin=subprocess.PIPE,  # never written to: it ends when we do
        stdout=events,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGKILL):
            if process.poll() is None:
                process.send_signal(number)
                try:
                    process.wait(_AGENT_GRACE_S)
                except subprocess.TimeoutExpired:
                    continue
        if process.stdin is not None:
            process.stdin.close()


@contextmanager
def _progress() -> Iterator[Show]:
    """Give what shows a sweep's progress: a bar on a terminal, lines elsewhere."""
    if not sys.stderr.isatty():
        yield _Lines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (BarColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True, highlight=False)) as progress:
        yield _Bar(progress, progress.add_task("starting", total=None))


class _Lines:
    def __init__(self) -> None:
        self._last = ""

    def facts(self, facts: Mapping[str, Any]) -> None:
        line = in_words({**facts, "seconds_left": None})
        if line != self._last:
            self.line(line)
            self._last = line

    def line(self, text: str) -> None:
        click.echo(harmless(text), err=True)


class _Bar:
    def __init__(self, progress: Any, task: Any) -> None:
        self._progress, self._task = progress, task

    def facts(self, facts: Mapping[str, Any]) -> None:
        done = (facts["finished"] or 0) + (facts["failed"] or 0)
        self._progress.update(
            self._task, completed=done, total=facts["expected"], description=in_words(facts)
        )

    def line(self, text: str) -> None:
        self._progress.console.print(harmless(text), markup=False)
