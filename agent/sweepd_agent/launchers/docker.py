"""Starts agents as containers of a docker engine."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from sweepd_agent.launchers import AgentStatus, Plan
from sweepd_agent.launchers.tools import AGENT, is_loopback, own_name, run_tool, share_out
from sweepd_agent.options import to_arguments

__all__ = ["Docker"]

_STATES = {"created": "waiting", "restarting": "waiting", "paused": "waiting", "running": "running"}
#: Trials have 30 s to save themselves, then the agent has some to say so.
_STOP_S = 60
_LAST_SIGNAL = 64
_PROGRAM = "/workspace/program"
_IMAGE = "sweepd-agent:torch"
#: Prints the GPUs that an agent in a container sees: on this machine they may be others, or none.
_FIND = (
    "import json, os; from sweepd_agent.devices import find_gpus; "
    "print(json.dumps(find_gpus(os.environ)))"
)


class Docker:
    """A `Launcher` for a docker engine, by its command line: one container for each agent.

    The working folder is the containers' program folder, read only. A server on this machine's own
    address is reached through the host's network. One that fails is started again, three times.
    Several have each their own of the GPUs that a container sees.
    """

    settings: Mapping[str, str] = {
        "image": f"its image ({_IMAGE})",
        "gpus": "docker's --gpus, such as all or device=0 (all, unless --gpus none)",
        "network": "docker's --network (host for a server at a loopback address)",
        "volume": "one more docker --volume, such as /data:/data:ro",
    }

    def start(self, plan: Plan) -> dict[str, object]:
        """Start the containers; what is kept is their ids by name."""
        given = plan.settings
        command = ["docker", "run", "--detach", "--init", "--restart=on-failure:3"]
        command += [f"--stop-timeout={_STOP_S}", f"--workdir={_PROGRAM}"]
        command += [f"--volume={os.getcwd()}:{_PROGRAM}:ro", "--env=WANDB_DIR=/tmp"]
        # By name only: a value would be for everybody to read in the list of processes.
        command += [f"--env={name}" for name in plan.environ]
        network = given.get("network") or (
            "host" if is_loopback(plan.environ.get("WANDB_BASE_URL")) else None
        )
        if network:
            command.append(f"--network={network}")
        gpus, image = f"--gpus={given.get('gpus', 'all')}", given.get("image", _IMAGE)
        if plan.options.gpus != "none":
            command.append(gpus)
        if given.get("volume"):
            command.append(f"--volume={given['volume']}")
        command += ["--entrypoint=python", f"--label=sweepd.sweep={plan.options.sweep}"]
        each = share_out(plan, lambda: _find_gpus(gpus, image))
        started: dict[str, str] = {}
        launch = own_name(plan)
        try:
            for number, own in enumerate(each, 1):
                name = f"{launch}-{number}"
                options = replace(own, name=own.name or name, folder=None)
                run = [*command, f"--name={name}", image, *AGENT]
                out = run_tool([*run, *to_arguments(options)], environ=plan.environ)
                started[name] = out.split()[-1]
        except BaseException:
            if started:
                run_tool(["docker", "rm", "--force", *started.values()])
            raise
        return {"containers": started}

    def status(self, folder: Path, kept: Mapping[str, object]) -> Sequence[AgentStatus]:
        """Return how every container is; one that was removed is lost."""
        containers = _containers(kept)
        listed = run_tool(["docker", "ps", "--all", "--quiet", "--no-trunc"]).split()
        known = [one for one in containers.values() if one in listed]
        found = json.loads(run_tool(["docker", "inspect", *known])) if known else []
        states = {one["Id"]: one["State"] for one in found}
        return [_status(name, states.get(one)) for name, one in containers.items()]

    def logs(self, folder: Path, kept: Mapping[str, object], name: str) -> str:
        """Return what a container has printed so far."""
        return run_tool(["docker", "logs", _containers(kept)[name]], merged=True)

    def stop(self, folder: Path, kept: Mapping[str, object]) -> None:
        """Stop the containers that are still there, all at once, and leave them for their logs."""
        agents = self.status(folder, kept)
        going = [_containers(kept)[a.name] for a in agents if a.state in ("running", "waiting")]
        if going:
            run_tool(["docker", "stop", f"--time={_STOP_S}", *going])


def _find_gpus(gpus: str, image: str) -> list[str]:
    """Return the GPUs that an agent in a container sees, by asking one."""
    asked = ["docker", "run", "--rm", gpus, "--entrypoint=python", image, "-P", "-c", _FIND]
    found: list[str] = json.loads(run_tool(asked).splitlines()[-1])
    return found


def _containers(kept: Mapping[str, object]) -> Mapping[str, str]:
    containers = kept["containers"]
    assert isinstance(containers, dict), "as start() returned it"
    return containers


def _status(name: str, state: Mapping[str, object] | None) -> AgentStatus:
    if state is None:
        return AgentStatus(name, "lost")
    known = _STATES.get(str(state["Status"]))
    if known:
        return AgentStatus(name, known)
    code = state["ExitCode"]
    assert isinstance(code, int), "docker tells the exit code of what has ended"
    is_signal = 128 < code <= 128 + _LAST_SIGNAL
    return AgentStatus(name, "ended", 128 - code if is_signal else code)
