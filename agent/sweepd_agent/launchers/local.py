"""Starts agents as processes of this machine."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sweepd_agent.launchers import LaunchedAgent
from sweepd_agent.options import Options, to_arguments

__all__ = ["Local"]


@dataclass
class _Agent:
    name: str
    log: Path
    process: "subprocess.Popen[bytes]"


class Local:
    """A `Launcher` for this machine: each agent in a session of its own, its words in a file.

    Args:
        folder: where the agents' logs go; made if need be.
        environ: the agents' environment, with WANDB_BASE_URL and WANDB_API_KEY; ours if None.
    """

    def __init__(self, folder: Path, *, environ: Mapping[str, str] | None = None) -> None:
        self._folder = folder
        self._environ = dict(os.environ if environ is None else environ)
        self._agents: list[_Agent] = []

    def start(self, options: Options, *, agents: int = 1) -> list[str]:
        """Start so many agents with these options and return their names."""
        self._folder.mkdir(parents=True, exist_ok=True)
        started = []
        for number in range(len(self._agents) + 1, len(self._agents) + 1 + agents):
            name = f"agent-{number}"
            log = self._folder / f"{name}.log"
            with log.open("ab") as output:
                process = subprocess.Popen(
                    [sys.executable, "-m", "sweepd_agent", *to_arguments(options)],
                    env=self._environ,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            self._agents.append(_Agent(name, log, process))
            started.append(name)
        return started

    def status(self) -> list[LaunchedAgent]:
        """Return every agent that was started, in order."""
        return [
            LaunchedAgent(agent.name, agent.log, agent.process.poll()) for agent in self._agents
        ]

    def stop(self, *, timeout_s: float = 45.0) -> None:
        """End every agent: SIGTERM, which ends its trials in order; SIGKILL if that takes long."""
        for agent in self._agents:
            if agent.process.poll() is None:
                agent.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + timeout_s
        for agent in self._agents:
            try:
                agent.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                agent.process.kill()
                agent.process.wait()
