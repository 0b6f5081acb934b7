"""Starts agents on Slurm: one job array, each of whose tasks is an agent."""

import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from sweepd_agent.launchers import AgentStatus, Plan
from sweepd_agent.launchers.tools import AGENT, run_tool, warn_of_loopback
from sweepd_agent.options import Options, to_arguments

__all__ = ["Slurm"]

_RUNNING = frozenset({"RUNNING", "COMPLETING", "STOPPED", "SUSPENDED", "SIGNALING", "STAGE_OUT"})
#: Before the time is over a task gets SIGTERM so many seconds ahead; its trials save themselves.
_AHEAD_S = 90
#: For trials to save themselves where nobody said for how long: less than the usual, which is
#: Slurm's KillWait too, so that the agent has time left to tell how they ended.
_TERM_S = 20.0
#: By settings: the option of sbatch that each is.
_OPTIONS = {
    "partition": "partition",
    "account": "account",
    "qos": "qos",
    "time": "time",
    "cpus": "cpus-per-task",
    "mem": "mem",
    "gpus": "gpus-per-task",
    "gres": "gres",
    "nodelist": "nodelist",
    "exclude": "exclude",
}


class Slurm:
    """A `Launcher` for Slurm, by its own commands.

    The launch's folder and the working folder must be on a disk that the nodes share, as a home
    folder mostly is. A task that is preempted, or whose node fails, is queued again by Slurm.
    """

    settings: Mapping[str, str] = {
        "partition": "where (the cluster's default)",
        "account": "who pays",
        "qos": "quality of service",
        "time": "a task's time limit, such as 8:00:00",
        "cpus": "processors of each agent (2)",
        "mem": "memory of each agent, such as 16G",
        "gpus": "GPUs of each agent, such as 1 or a100:2 (one trial's; none with --gpus none)",
        "gres": "other resources, in place of gpus",
        "nodelist": "only these nodes",
        "exclude": "none of these nodes",
        "python": "the interpreter on the nodes (this one)",
    }

    def start(self, plan: Plan) -> dict[str, object]:
        """Queue the array; what is kept is its number."""
        script = plan.folder / "job.sh"
        script.write_text(_script(plan))
        environ = dict(plan.environ)
        warn_of_loopback(environ)
        job = run_tool(["sbatch", "--parsable", str(script)], environ=environ)
        return {"job": job.strip().partition(";")[0], "n_agents": plan.n_agents}

    def status(self, folder: Path, kept: Mapping[str, object]) -> Sequence[AgentStatus]:
        """Return how every task is: as the queue says, then as it wrote down itself."""
        states = _queued(kept)
        return [_status(folder, number, states.get(str(number))) for number in _numbers(kept)]

    def logs(self, folder: Path, kept: Mapping[str, object], name: str) -> str:
        """Return what a task has printed so far, over all its starts."""
        path = folder / f"{name}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def stop(self, folder: Path, kept: Mapping[str, object]) -> None:
        """Cancel the array: SIGTERM, and SIGKILL after the cluster's own KillWait."""
        if _queued(kept):
            run_tool(["scancel", str(kept["job"])])


def _script(plan: Plan) -> str:
    given = {"cpus": "2", **plan.settings}
    if plan.options.gpus != "none" and "gres" not in given:
        given.setdefault("gpus", str(plan.options.gpus_per_trial))
    lines = [
        f"--job-name={plan.folder.name}",
        f"--array=0-{plan.n_agents - 1}",
        "--ntasks=1",
        "--requeue",
        "--open-mode=append",
        f"--signal=TERM@{_AHEAD_S}",
        f"--chdir={Path.cwd()}",
        f"--output={plan.folder}/agent-%a.log",
        *(f"--{_OPTIONS[name]}={value}" for name, value in given.items() if name in _OPTIONS),
    ]
    is_usual = plan.options.term_timeout_s == Options.term_timeout_s
    term_s = _TERM_S if is_usual else plan.options.term_timeout_s
    options = replace(plan.options, folder=None, term_timeout_s=term_s)
    agent = shlex.join([given.get("python", sys.executable), *AGENT, *to_arguments(options)])
    noted = shlex.quote(f"{plan.folder}/agent-")
    return "\n".join(
        [
            "#!/bin/sh",
            *(f"#SBATCH {shlex.quote(line)}" for line in lines),
            # A step, so that Slurm's signals reach the agent and not the shell.
            f"srun {agent}",
            "code=$?",
            f'echo "$code" > {noted}"$SLURM_ARRAY_TASK_ID".exit',
            'exit "$code"',
            "",
        ]
    )


def _queued(kept: Mapping[str, object]) -> dict[str, str]:
    """Return the state of every task that is in the queue, by its number."""
    listed = run_tool(["squeue", "--noheader", "--array", "--me", "--format=%F %K %T"])
    rows = [line.split() for line in listed.splitlines()]
    return {task: state for job, task, state in rows if job == kept["job"]}


def _numbers(kept: Mapping[str, object]) -> range:
    count = kept["n_agents"]
    assert isinstance(count, int), "as start() returned it"
    return range(count)


def _status(folder: Path, number: int, queued: str | None) -> AgentStatus:
    name = f"agent-{number}"
    if queued is not None:
        return AgentStatus(name, "running" if queued in _RUNNING else "waiting")
    noted = folder / f"{name}.exit"
    if noted.exists() and noted.read_text().strip():
        code = int(noted.read_text())
        return AgentStatus(name, "ended", 128 - code if code > 128 else code)
    return AgentStatus(name, "lost")
