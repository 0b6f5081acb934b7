"""Ways to start agents; each is a row of `sweepd.names.LAUNCHERS` and a `Launcher`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from sweepd_agent.options import Options

__all__ = ["LaunchedAgent", "Launcher"]


@dataclass(frozen=True)
class LaunchedAgent:
    """An agent that was started; `exit_code` is None while it runs, minus a signal if killed."""

    name: str
    log: Path
    exit_code: int | None


class Launcher(Protocol):
    """Starts agents somewhere, knows how they are, and ends them."""

    def start(self, options: Options, *, agents: int) -> Sequence[str]:
        """Start so many agents with these options and return their names."""

    def status(self) -> Sequence[LaunchedAgent]:
        """Return every agent that was started, in order."""

    def stop(self) -> None:
        """End every agent in order: their trials first."""
