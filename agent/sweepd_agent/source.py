"""Where a slot's trials come from, and where it tells how they ended: a server, or a bundle."""

from collections.abc import Iterable
from typing import Protocol

from sweepd_agent.api import Ahead, Command, Outcome, Sweep

__all__ = ["Source"]


class Source(Protocol):
    """What a slot needs of it; see `AgentApi` for what each does and raises."""

    @property
    def retry_after_s(self) -> float | None:
        """Return the seconds that the last refusal asked to wait, None if it named none."""

    def register(self, sweep: Sweep, *, host: str, device: str | None = None) -> str:
        """Register one agent and return its id."""

    def has_ended(self, sweep: Sweep) -> bool:
        """Return whether a sweep is over."""

    def heartbeat(
        self, agent: str, *, running: Iterable[str], ahead: Ahead | None = None
    ) -> list[Command]:
        """Say what runs now, and return what is wanted."""

    def report(
        self, sweep: Sweep, command: Command, outcome: Outcome, *, host: str, device: str
    ) -> None:
        """Tell how an attempt ended."""

    def quarantine(self, agent: str, reason: str) -> None:
        """Tell that the place where this agent works is unfit, and why."""

    def leave(self, agent: str) -> None:
        """Tell that this agent asks for nothing more."""

    def hurry(self, timeout_s: float) -> None:
        """Wait for no answer longer than that from now on."""

    def close(self) -> None:
        """Close the connection."""
