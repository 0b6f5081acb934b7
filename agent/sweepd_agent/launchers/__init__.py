"""Ways to start agents; each is a row of `sweepd.names.LAUNCHERS` and a `Launcher`.

A launch outlives the command that made it: what it started is written down in a folder of its own,
and `sweep launch SWEEP --status`, `--logs` and `--stop` read it there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from sweepd_agent.options import Options

__all__ = ["AgentStatus", "Launcher", "Plan"]


@dataclass(frozen=True)
class Plan:
    """What is to be started.

    Args:
        options: of each agent; the key is not among them.
        n_agents: how many.
        folder: this launch's own, for logs and whatever the engine is given.
        environ: what agents need to find the server: WANDB_BASE_URL and WANDB_API_KEY.
        settings: what a person said to the engine, such as its image: names as the launcher's.
    """

    options: Options
    n_agents: int
    folder: Path
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)
    settings: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class AgentStatus:
    """How an agent is.

    Args:
        name: what its launcher calls it.
        state: `waiting`, `running`, `ended`, or `lost` where the engine no longer knows it.
        exit_code: of one that has ended, where the engine tells: minus a signal if it was killed.
    """

    name: str
    state: str
    exit_code: int | None = None


class Launcher(Protocol):
    """Starts agents on an engine, knows how they are, and ends them.

    It keeps nothing in memory: `start` returns what it has to remember, as plain data that go into
    the launch's record, and the other functions are given that again.
    """

    #: What a person can say with `--set NAME=VALUE`, in words.
    settings: Mapping[str, str]

    def start(self, plan: Plan) -> dict[str, object]:
        """Start the agents, and return what the other functions need to find them.

        Raises:
            LaunchError: the engine is not there, or refuses; in its words.
        """

    def status(self, folder: Path, kept: Mapping[str, object]) -> Sequence[AgentStatus]:
        """Return how every agent is, in order."""

    def logs(self, folder: Path, kept: Mapping[str, object], name: str) -> str:
        """Return what an agent has printed so far."""

    def stop(self, folder: Path, kept: Mapping[str, object]) -> None:
        """End every agent in order: their trials first, which run again elsewhere."""
