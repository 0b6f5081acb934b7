"""Starts agents as processes of this machine, which go on when the terminal is closed."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from sweepd.errors import LaunchError
from sweepd_agent.devices import find_gpus
from sweepd_agent.launchers import AgentStatus, Plan
from sweepd_agent.launchers.tools import AGENT, share_out
from sweepd_agent.options import Options, to_arguments

__all__ = ["Local"]

#: Leaves a process behind that is nobody's child. It waits for an agent and writes its exit code
#: down: nobody else may be there to see it. It tells its number once the agent is there, too: a
#: signal to the group reaches both. It handles SIGTERM, as an ignored one would be ignored by the
#: agent as well.
_KEEPER = """
import os, signal, subprocess, sys
fd, noted, *command = sys.argv[1:]
if os.fork():
    os._exit(0)
os.setsid()
signal.signal(signal.SIGTERM, lambda *_: None)
agent = subprocess.Popen(command, stdin=subprocess.DEVNULL)
os.write(int(fd), str(os.getpid()).encode())
os.close(int(fd))
code = agent.wait()
with open(noted, "w") as file:
    file.write(str(code))
"""


class Local:
    """A `Launcher` for this machine: each agent in a session of its own, its words in a file.

    The machine's GPUs are dealt out to them.
    """

    settings: Mapping[str, str] = {}

    def start(self, plan: Plan) -> dict[str, object]:
        """Start the agents; what is kept is each one's process and when that began."""
        environ = {**os.environ, **plan.environ}
        each = share_out(plan, lambda: find_gpus(environ))
        agents: list[dict[str, object]] = []
        try:
            for number, options in enumerate(each, 1):
                log = plan.folder / f"agent-{number}.log"
                agents.append(_start(options, log, environ=environ))
        except BaseException:
            self.stop(plan.folder, {"agents": agents})
            raise
        return {"agents": agents}

    def status(self, folder: Path, kept: Mapping[str, object]) -> Sequence[AgentStatus]:
        """Return how every agent is; one that was killed with its keeper is lost."""
        return [_status(folder, agent) for agent in _agents(kept)]

    def logs(self, folder: Path, kept: Mapping[str, object], name: str) -> str:
        """Return what an agent has printed so far."""
        return (folder / f"{name}.log").read_text(errors="replace")

    def stop(self, folder: Path, kept: Mapping[str, object], *, timeout_s: float = 45.0) -> None:
        """End every agent: SIGTERM, which ends its trials in order; SIGKILL if that takes long."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            for agent in _agents(kept):
                if _status(folder, agent).state == "running":
                    with contextlib.suppress(ProcessLookupError):  # it has just ended
                        os.killpg(agent["pid"], number)
            deadline = time.monotonic() + timeout_s
            while time.monotonic() < deadline:
                if all(agent.state != "running" for agent in self.status(folder, kept)):
                    return
                time.sleep(0.05)


def _start(options: Options, log: Path, *, environ: Mapping[str, str]) -> dict[str, object]:
    """Start one agent, named as its log, and return what is kept of it.

    Raises:
        LaunchError: it cannot be, as where the disk is full or there are too many processes.
    """
    noted = log.with_suffix(".exit")
    command = [str(noted), sys.executable, *AGENT, *to_arguments(options)]
    try:
        with log.open("ab") as output:
            pid = _leave(command, output=output, environ=environ)
    except (OSError, subprocess.CalledProcessError) as error:
        raise LaunchError(f"{log.stem} cannot be started: {error}") from error
    return {"name": log.stem, "pid": pid, "began": _began(pid)}


def _leave(arguments: Sequence[str], *, output: IO[bytes], environ: Mapping[str, str]) -> int:
    """Start a keeper and return its process id; it leads a session of its own.

    Raises:
        OSError, subprocess.CalledProcessError: it cannot be started, or starts no agent.
    """
    reads, writes = os.pipe()
    try:
        try:
            subprocess.run(
                [sys.executable, "-P", "-c", _KEEPER, str(writes), *arguments],
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=[writes],
                check=True,
            )
        finally:
            os.close(writes)
        told = os.read(reads, 32)
    finally:
        os.close(reads)
    if not told:
        raise ChildProcessError("its log says why")
    return int(told)


def _agents(kept: Mapping[str, object]) -> list[Any]:
    agents = kept["agents"]
    assert isinstance(agents, list), "as start() returned it"
    return agents


def _status(folder: Path, agent: Mapping[str, Any]) -> AgentStatus:
    noted = folder / f"{agent['name']}.exit"
    if noted.exists() and noted.read_text():
        return AgentStatus(agent["name"], "ended", int(noted.read_text()))
    is_there = _began(agent["pid"]) == agent["began"] is not None
    return AgentStatus(agent["name"], "running" if is_there else "lost")


def _began(pid: int) -> str | None:
    """Return when a process began, in the system's own words; None if there is no such process.

    A number of a process is given again one day: with this the two are told apart.
    """
    if Path("/proc/self/stat").exists():
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return None
        return None if fields[0] == "Z" else fields[19]
    asked = subprocess.run(
        ["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    state, _, began = asked.stdout.strip().partition(" ")
    return None if not began or state.startswith("Z") else began.strip()
