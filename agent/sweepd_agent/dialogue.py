"""What a slot says to the server and hears from it, however often that takes."""

import contextlib
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from sweepd.errors import ProtocolError, ServerUnreachable, SweepdError
from sweepd_agent.api import Ahead, Command, Outcome
from sweepd_agent.crew import Crew
from sweepd_agent.devices import Slot
from sweepd_agent.events import EventKind
from sweepd_agent.running import BACKOFF_S, Clock
from sweepd_agent.source import Source

__all__ = ["Dialogue"]

T = TypeVar("T")

_LAST_TRIES, _LAST_TIMEOUT_S = 3, 3.0  # of an agent that leaves: somebody waits for it


class Dialogue:
    """Speaks for one slot, which is an agent to the server; one thread at a time.

    Args:
        slot, crew: whose.
        api: the server, or what stands in for it.
        pause: waits so many seconds, or until something happens to the slot.
    """

    def __init__(
        self, slot: Slot, crew: Crew, api: Source, *, pause: Callable[[float], None]
    ) -> None:
        self._slot, self._crew, self._api, self._pause = slot, crew, api, pause
        self._agent: str | None = None
        self._refusal = ""
        self._has_given_up = False
        self.clock = Clock()

    def ask_for_work(self) -> list[Command] | None:
        """Return what the server wants of an idle slot; None if the agent leaves first."""
        return self._ask(self._beat_idle, is_over=self._crew.leaving.is_set)

    def _beat_idle(self) -> list[Command]:
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

    def beat(self, held: Sequence[str], ahead: Ahead | None) -> list[Command]:
        """Send a heartbeat of a slot that holds trials."""
        assert self._agent is not None, "it was given them"
        return self._api.heartbeat(self._agent, running=held, ahead=ahead)

    def try_beat(self, held: Sequence[str], ahead: Ahead) -> list[Command] | None:
        """Send a heartbeat, once; None if it was not taken."""
        try:
            return self.beat(held, ahead)
        except ServerUnreachable as error:
            self.note_server(str(error))
        except SweepdError as error:
            self.note_refusal(error)
        return None

    def _ask(self, question: Callable[[], T], *, is_over: Callable[[], bool]) -> T | None:
        """Return the server's answer, asking until it is there, or a few times once it is over."""
        tries_left = _LAST_TRIES
        while True:
            try:
                answer = question()
            except ServerUnreachable as error:
                self.note_server(str(error))
                if is_over():
                    tries_left -= 1
                    if self._has_given_up or not tries_left:
                        self._has_given_up = True
                        return None
                    self._api.hurry(_LAST_TIMEOUT_S)
                    self._pause(BACKOFF_S[0])
                else:
                    self.put_off()
                    self._pause(self.clock.next - time.monotonic())
            else:
                self.note_server(None)
                self.clock.set(0.0)
                return answer

    def put_off(self) -> None:
        """Ask again later than the last time, and no sooner than the server wants."""
        self.clock.put_off(self._api.retry_after_s)

    def note_server(self, problem: str | None) -> None:
        """Note that the server answers, or why it does not."""
        self._crew.note_server(self._slot.number, problem)

    def note_refusal(self, error: SweepdError) -> None:
        """Say what the server does not like, once."""
        if str(error) != self._refusal:
            self._refusal = str(error)
            self._crew.say(EventKind.NOTICE, f"the server refuses: {error}")

    def report(self, command: Command, outcome: Outcome) -> None:
        """Tell our service how a trial ended, however long that takes, but for who ends us."""
        crew = self._crew

        def report() -> None:
            self._api.report(
                crew.place.sweep, command, outcome, host=crew.host, device=self._slot.device
            )

        try:
            self._ask(report, is_over=lambda: crew.is_ending)
        except SweepdError as error:
            crew.say(EventKind.NOTICE, f"the end of {command.run} was not taken: {error}")

    def quarantine(self, problem: str) -> None:
        """Tell our service that the slot is unfit; its own counting finds out as well."""
        if self._crew.place.is_ours:
            with contextlib.suppress(SweepdError):
                self._agent = self._agent or self._register()
                self._api.quarantine(self._agent, problem)

    def say_goodbye(self) -> None:
        """Give back to our service what this agent holds; W&B's finds out by itself."""
        agent = self._agent
        if agent is not None and self._crew.place.is_ours:
            with contextlib.suppress(SweepdError):
                self._ask(lambda: self._api.leave(agent), is_over=lambda: True)

    def close(self) -> None:
        """Close the connection."""
        self._api.close()

    def _register(self) -> str:
        place = self._slot.place if self._crew.place.is_ours else None
        return self._api.register(self._crew.place.sweep, host=self._crew.host, device=place)
