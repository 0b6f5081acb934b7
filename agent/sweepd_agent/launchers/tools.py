"""Running an engine's own command, and saying in a sentence what went wrong with it."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from urllib.parse import urlsplit
from uuid import uuid4

from sweepd.errors import LaunchError
from sweepd_agent.devices import deal_gpus
from sweepd_agent.launchers import Plan
from sweepd_agent.options import Options

__all__ = ["AGENT", "is_loopback", "own_name", "run_tool", "share_out", "warn_of_loopback"]

#: What runs an agent, after the interpreter. `-P` keeps the working folder off the agent's own
#: module path, as no file of the user's may stand in for Python's own; trials have it on theirs.
AGENT = ("-P", "-m", "sweepd_agent")

_BESIDE = re.compile(r"\bwarn(ing)?\b|^(see|run|try|for more)\b.*(help|info)", re.IGNORECASE)
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


def run_tool(
    command: Sequence[str], *, environ: Mapping[str, str] | None = None, merged: bool = False
) -> str:
    """Run a command to its end and return what it printed.

    Args:
        command: and its arguments.
        environ: what its environment has besides.
        merged: return what it printed on stderr as well, each line in its place.

    Raises:
        LaunchError: it is not installed, or it failed; in its own words.
    """
    if shutil.which(command[0]) is None:
        raise LaunchError(f"{command[0]} is not installed here, or not on the PATH")
    done = subprocess.run(
        list(command),
        env={**os.environ, **(environ or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT if merged else subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise LaunchError(f"{' '.join(command[:2])} failed: {_why(done.stderr or done.stdout)}")
    return done.stdout


def _why(said: str) -> str:
    """Return the line of what a command said that tells why it failed.

    That is the last one, before hints; what is indented explains another line.
    """
    lines = [line for line in said.splitlines() if line.strip() and not line[0].isspace()]
    told = [line.strip() for line in lines if not _BESIDE.search(line)]
    return (told or [line.strip() for line in lines] or ["no reason given"])[-1]


def share_out(plan: Plan, find: Callable[[], Sequence[str]]) -> list[Options]:
    """Return the options of each agent where all are on one machine: its GPUs are its own.

    Args:
        plan: what is to be started.
        find: returns the GPUs that an agent sees there; called where there is need to know.

    Raises:
        NoDevice: if there are fewer GPUs than agents.
    """
    options = plan.options
    if plan.n_agents == 1 or options.gpus == "none":
        return [options] * plan.n_agents
    dealt = deal_gpus(options.gpus, find(), plan.n_agents, size=options.gpus_per_trial)
    return [replace(options, gpus=gpus) for gpus in dealt]


def own_name(plan: Plan) -> str:
    """Return a name for what a launch makes, another one at each call.

    A folder's name is only this machine's: another person's launch of the same sweep has the same.
    """
    return f"{plan.folder.name}-{uuid4().hex[:8]}"


def is_loopback(url: str | None) -> bool:
    """Return whether an address is this machine's own, which others cannot reach by it."""
    return url is not None and urlsplit(url).hostname in _LOOPBACK


def warn_of_loopback(environ: Mapping[str, str]) -> None:
    """Say so on stderr where the server has an address that only this machine reaches it by."""
    url = environ.get("WANDB_BASE_URL")
    if is_loopback(url):
        print(
            f"warning: {url} is this machine's own address; agents on other nodes cannot reach it",
            file=sys.stderr,
        )
