"""Run 1,000 trials through one agent and see whether anything grows that should not.

    python bench/leaks.py                 1,000 trials, two at a time, some ten minutes
    python bench/leaks.py --smoke         60 trials, half a minute
    python bench/leaks.py --json          the result as one JSON object

The real agent works for the real service on a grid, forking its trials from a warm parent; in each
of them the real client logs to the service. One trial in ten raises an exception, one in ten is
killed in its first attempt and runs again. After each trial's end the open files, threads, child
processes and resident memory of the agent, its warm parents and the service are read from /proc,
and the entries of the temporary folder that agent and trials share are counted.

What counts is the growth from the second fifth of the trials (the first one warms up: caches fill,
the warm parent learns what the program imports) to the last, medians of each. Exit code 1 where it
is above the bar, where a point of the grid is missing, or where a trial, or a file of it in the
temporary folder, outlives the agent.
"""

import argparse
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from serving import service
from sweepd_agent.client import Client
from sweepd_agent.devices import count_cores

MODULE = "leaks_trial"
TRIAL = """
import os, signal
from pathlib import Path
import wandb

def train():
    number = wandb.init().config["i"]
    for step in range(3):
        wandb.log({"loss": number / (step + 1)})
    print("trial", number)
    if number % 10 == 3:
        raise ValueError("one of those that fail")
    mark = Path(os.environ["MARKS"]) / str(number)
    if number % 10 == 7 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    wandb.finish()
"""
UPSERT = """
mutation UpsertSweep($config: String, $project: String) {
  upsertSweep(input: {config: $config, projectName: $project}) {
    sweep { name project { name entity { name } } }
    configValidationWarnings
  }
}"""
STATUS = """
query Status($name: String!) {
  sweepdSweep(name: $name) { state sweepdStatus { issued finished failed queued running } }
}"""
PAGE = os.sysconf("SC_PAGE_SIZE")
MIB = 1 << 20
GONE = (FileNotFoundError, ProcessLookupError)

#: The most that each may grow by, from the second fifth of the trials to the last.
BARS: Mapping[str, float] = {
    "files": 3,
    "threads": 2,
    "children": 2,
    "memory_mib": 8.0,
    "temporary": 10,
    "service.files": 6,  # as many clients as happen to be connected
    "service.threads": 8,  # its pools have an end, but start threads as late as they are needed
}
Sample = dict[str, float]


class Watch:
    """Reads what the agent, its warm parents and the service hold."""

    def __init__(self, *, agent: int, service: int, temporary: Path) -> None:
        self._agent, self._service, self._temporary = agent, service, temporary
        self.samples: list[Sample] = []

    def look(self) -> None:
        """Take one sample."""
        warm = list(self._warm_parents())
        sample: Sample = {"temporary": len(os.listdir(self._temporary))}
        for name, pids in (("agent", [self._agent]), ("warm", warm), ("service", [self._service])):
            held = [holdings(pid) for pid in pids]
            for what in ("files", "threads", "children", "memory_mib"):
                sample[f"{name}.{what}"] = sum(one[what] for one in held)
        self.samples.append(sample)

    def _warm_parents(self) -> Iterator[int]:
        """Yield the first warm parent and the copies of it, which share its session."""
        pending = children(self._agent)
        while pending:
            pid = pending.pop()
            with suppress(*GONE):
                if os.getsid(pid) in children(self._agent):
                    yield pid
                    pending += children(pid)


def children(pid: int) -> list[int]:
    """Return the living children of a process, whichever thread started them."""
    found: list[int] = []
    with suppress(*GONE):
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += map(int, (task / "children").read_text().split())
    return found


def holdings(pid: int) -> Sample:
    """Return how many files, threads and children a process has, and its resident memory in MiB."""
    held: Sample = {"files": 0, "threads": 0, "children": 0, "memory_mib": 0}
    with suppress(*GONE):
        held["files"] = len(os.listdir(f"/proc/{pid}/fd"))
        held["threads"] = len(os.listdir(f"/proc/{pid}/task"))
        held["children"] = len(children(pid))
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        held["memory_mib"] = pages * PAGE / MIB
    return held


def create_sweep(client: Client, n_trials: int) -> str:
    """Register a grid of so many points and return its full name."""
    definition = {
        "program": f"{MODULE}:train",
        "method": "grid",
        "metric": {"name": "loss", "goal": "minimize"},
        "parameters": {"i": {"min": 0, "max": n_trials - 1, "distribution": "int_uniform"}},
    }
    variables = {"config": json.dumps(definition), "project": "leaks"}
    sweep = client.execute(UPSERT, variables)["upsertSweep"]["sweep"]
    return f"{sweep['project']['entity']['name']}/{sweep['project']['name']}/{sweep['name']}"


def warm_up(clients: Sequence[Client], sweep: str, service_pid: int) -> None:
    """Ask many questions at once until the service opens no more connections to its database.

    They are few and kept, but opened only when they are needed: on a busy machine, in the middle.
    """
    n_same, most = 0, 0.0
    with ThreadPoolExecutor(len(clients)) as pool:
        while n_same < 10:
            list(pool.map(lambda one: one.execute(STATUS, {"name": sweep}), clients))
            held = holdings(service_pid)["files"]
            n_same, most = (n_same + 1, most) if held <= most else (0, held)
    for one in clients:
        one.close()


def run_agent(
    sweep: str, *, slots: int, environment: Mapping[str, str], folder: Path, service_pid: int
) -> tuple[list[Sample], dict[str, int], list[str]]:
    """Run an agent to its end.

    Returns:
        What was held after each trial's end, how often each reason ended one, and what was left
        when the agent had ended.
    """
    marks, temporary = folder / "marks", folder / "tmp"
    for path in (marks, temporary):
        path.mkdir()
    (folder / f"{MODULE}.py").write_text(TRIAL)
    path = os.pathsep.join(filter(None, [str(folder), environment.get("PYTHONPATH")]))
    more = {"MARKS": str(marks), "TMPDIR": str(temporary), "PYTHONPATH": path}
    command = [sys.executable, "-m", "sweepd_agent", sweep, "--gpus", "none", "--json"]
    reasons: dict[str, int] = {}
    seen: set[int] = set()
    with (folder / "agent.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--slots", str(slots)],
            cwd=folder,
            env={**environment, **more, "WANDB_SILENT": "true"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
        )
        watch = Watch(agent=process.pid, service=service_pid, temporary=temporary)
        assert process.stdout is not None
        try:
            for line in process.stdout:
                event = json.loads(line)
                seen.add(event.get("pid", process.pid))
                if event["event"] == "trial_ended":
                    reasons[event["reason"]] = reasons.get(event["reason"], 0) + 1
                    watch.look()
        finally:
            process.terminate()
            code = process.wait(60)
    if code:
        sys.exit(f"the agent's exit code was {code}:\n{(folder / 'agent.log').read_text()}")
    left = [f"process {pid}" for pid in seen - {process.pid} if is_of(pid, folder)]
    left += os.listdir(temporary)
    return watch.samples, reasons, left


def is_of(pid: int, folder: Path) -> bool:
    """Return whether a process was started in this benchmark: another may have a dead one's id."""
    with suppress(*GONE, PermissionError):
        return os.fsencode(folder) in Path(f"/proc/{pid}/environ").read_bytes()
    return False


def growths(samples: Sequence[Sample]) -> dict[str, dict[str, float]]:
    """Return, by what is held, its median early and late, its growth, and the bar for that."""
    fifth = len(samples) // 5
    early, late = samples[fifth : 2 * fifth], samples[-fifth:]
    found = {}
    for name in samples[0]:
        first, last = (statistics.median(one[name] for one in part) for part in (early, late))
        bar = BARS.get(name, BARS[name.rpartition(".")[2]])
        found[name] = {"early": first, "late": last, "growth": last - first, "bar": bar}
    return found


def measure(n_trials: int, slots: int) -> dict[str, object]:
    """Run the trials and return what is printed of them."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with service() as served:
            environment = served.environment(folder)
            client = Client(environment["WANDB_BASE_URL"], environment["WANDB_API_KEY"])
            sweep = create_sweep(client, n_trials)
            askers = [Client(client.url, environment["WANDB_API_KEY"]) for _ in range(32)]
            warm_up(askers, sweep.rpartition("/")[2], served.pid)
            samples, reasons, left = run_agent(
                sweep, slots=slots, environment=environment, folder=folder, service_pid=served.pid
            )
            short = sweep.rpartition("/")[2]
            state = client.execute(STATUS, {"name": short})["sweepdSweep"]
            client.close()
    status = state["sweepdStatus"]
    return {
        "trials": n_trials,
        "slots": slots,
        "seconds": time.monotonic() - began,
        "state": state["state"],
        "status": status,
        "is_exact": status["issued"] == status["finished"] + status["failed"] == n_trials,
        "ended": reasons,
        "left": left,
        "held": growths(samples),
    }


def problems(result: Mapping[str, object]) -> list[str]:
    """Return what is not as it has to be, in words."""
    held = result["held"]
    assert isinstance(held, dict)
    found = [
        f"{name} grew by {row['growth']:.1f}, more than {row['bar']:g}"
        for name, row in held.items()
        if row["growth"] > row["bar"]
    ]
    if result["left"]:
        found.append(f"left by the agent: {result['left']}")
    if not result["is_exact"] or result["state"] != "FINISHED":
        found.append(f"the grid is {result['state']}, {result['status']}")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=1000, help="in all (default: 1000)")
    parser.add_argument("--slots", type=int, default=2, help="at once (default: 2)")
    parser.add_argument("--smoke", action="store_true", help="60 trials")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    load = os.getloadavg()[0]
    result = measure(60 if options.smoke else max(20, options.trials), options.slots)
    result["machine"] = f"{count_cores()} cores, {platform.machine()}, load {load:.1f} at the start"
    result["python"] = platform.python_version()
    result["wandb"] = importlib.metadata.version("wandb")
    result["problems"] = problems(result)
    print(json.dumps(result) if options.json else table(result))
    return 1 if result["problems"] else 0


def table(result: Mapping[str, object]) -> str:
    """Return the result for people."""
    held, ended = result["held"], result["ended"]
    assert isinstance(held, dict)
    assert isinstance(ended, dict)
    ends = ", ".join(f"{count} {reason}" for reason, count in ended.items())
    lines = [
        f"{result['trials']} trials, {result['slots']} at once, {result['seconds']:.0f} s: {ends}",
        f"{result['machine']}; Python {result['python']}; wandb {result['wandb']}",
        f"{'':24}{'early':>10}{'late':>10}{'growth':>10}{'bar':>8}",
    ]
    for name, row in held.items():
        numbers = "".join(f"{row[key]:>10.1f}" for key in ("early", "late", "growth"))
        lines.append(f"{name:24}{numbers}{row['bar']:>8g}")
    found = result["problems"]
    assert isinstance(found, list)
    lines.append("; ".join(found) or "flat")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
