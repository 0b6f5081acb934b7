"""Measure the time from one trial's last step to the next trial's first step, ours against W&B's.

    python bench/turnaround.py              12 trials each, about three minutes
    python bench/turnaround.py --smoke      6 trials each, on however busy a machine
    python bench/turnaround.py --cuda       trials whose steps run on the first GPU
    python bench/turnaround.py --json       the same as one JSON object

The agents work for the same service in the same run, one after the other, each on a sweep of its
own, ours once more with `--prefetch`, with the same training function: `wandb.init`, one row, 0.2 s
of work, one row, `finish`. The clock is read inside the trials' processes. No gap is left out, the
first included.
With `--cuda` a step is a product of matrices there, so that our trials, each a process of its own,
begin by creating a CUDA context; `wandb.agent` runs all of its trials in one process, which has it.
The bars, of medians: ours at least 7 times shorter and at most 0.6 s; with `--cuda` ours with
`--prefetch` at least 7 times shorter and at most 0.4 s; with `--smoke`, on a machine that others
use too, 5 times shorter and no more. Exit code 1 where one is not met.
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
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from serving import service
from sweepd_agent.client import Client
from sweepd_agent.devices import count_cores

RATIO_BAR, SMOKE_BAR = 7.0, 5.0
#: Of the median, in seconds, by the agent it is judged by.
CPU_BAR = ("sweepd", 0.6)
CUDA_BAR = ("prefetch", 0.4)
MODULE = "turnaround_trial"
NO_STEP = """
def step():
    pass
"""
CUDA_STEP = """
import torch

def step():
    weight = torch.ones(512, 512, device="cuda")
    torch.mm(weight, weight).sum().item()
"""
TRIAL = """
import json, os, time
import wandb

def train():
    begun = time.time()
    run = wandb.init()
    ready = time.time()
    step()
    run.log({"step": 0, "loss": float(run.config["x"]) ** 2})
    first = time.time()
    time.sleep(0.2)
    step()
    run.log({"step": 1, "loss": float(run.config["x"]) ** 2})
    last = time.time()
    run.finish()
    row = {"begun": begun, "ready": ready, "first": first, "last": last, "finished": time.time()}
    with open(os.environ["STAMPS"], "a") as file:
        file.write(json.dumps(row) + "\\n")
"""
WANDB_AGENT = f"""
import sys, wandb, {MODULE}
wandb.agent(sys.argv[1], function={MODULE}.train, count=int(sys.argv[2]))
"""
UPSERT = """
mutation UpsertSweep($config: String, $project: String) {
  upsertSweep(input: {config: $config, projectName: $project}) {
    sweep { name project { name entity { name } } }
    configValidationWarnings
  }
}"""
Stamps = Mapping[str, float]
PARTS: Mapping[str, Callable[[Stamps, Stamps], float]] = {
    "finish: the last rows reach the server": lambda a, b: a["finished"] - a["last"],
    "handover: end, report, next trial, start": lambda a, b: b["begun"] - a["finished"],
    "wandb.init": lambda a, b: b["ready"] - b["begun"],
    "the first step and row": lambda a, b: b["first"] - b["ready"],
}


def create_sweep(environment: Mapping[str, str], run_cap: int) -> str:
    """Register a sweep of so many trials and return its full name."""
    definition = {
        "program": f"{MODULE}:train",
        "method": "random",
        "run_cap": run_cap,
        "metric": {"name": "loss", "goal": "minimize"},
        "parameters": {"x": {"min": -1.0, "max": 1.0}},
    }
    client = Client(environment["WANDB_BASE_URL"], environment["WANDB_API_KEY"])
    variables = {"config": json.dumps(definition), "project": "turnaround"}
    sweep = client.execute(UPSERT, variables)["upsertSweep"]["sweep"]
    client.close()
    return f"{sweep['project']['entity']['name']}/{sweep['project']['name']}/{sweep['name']}"


def run_agent(
    command: Sequence[str], *, environment: Mapping[str, str], folder: Path, is_cuda: bool
) -> list[Stamps]:
    """Run an agent to its end and return its trials' times, in seconds since the epoch."""
    folder.mkdir()
    (folder / f"{MODULE}.py").write_text(TRIAL + (CUDA_STEP if is_cuda else NO_STEP))
    stamps = folder / "stamps.jsonl"
    path = os.pathsep.join(filter(None, [str(folder), environment.get("PYTHONPATH")]))
    more = {"STAMPS": str(stamps), "PYTHONPATH": path, "WANDB_SILENT": "true"}
    done = subprocess.run(
        command,
        cwd=folder,
        env={**environment, **more},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    if done.returncode or not stamps.exists():
        sys.exit(f"{' '.join(command)} failed:\n{done.stdout}\n{done.stderr}")
    return [json.loads(line) for line in stamps.read_text().splitlines()]


def measure(trials: int, *, is_cuda: bool) -> dict[str, list[Stamps]]:
    """Return the trials' times for the agents."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with service() as served:
            environment = served.environment(folder)
            ours = create_sweep(environment, trials)
            theirs = create_sweep(environment, trials)
            ahead = create_sweep(environment, trials)
            gpus = "0" if is_cuda else "none"
            agent = [sys.executable, "-m", "sweepd_agent", "--gpus", gpus, "--slots", "1"]
            commands = {
                "sweepd": [*agent, ours],
                "prefetch": [*agent, ahead, "--prefetch"],
                "wandb": [sys.executable, "-c", WANDB_AGENT, theirs, str(trials)],
            }
            return {
                name: run_agent(
                    command, environment=environment, folder=folder / name, is_cuda=is_cuda
                )
                for name, command in commands.items()
            }


def gaps(rows: Sequence[Stamps]) -> list[float]:
    """Return the seconds from each trial's last step to the next one's first."""
    return [after["first"] - before["last"] for before, after in pairwise(rows)]


def breakdown(rows: Sequence[Stamps]) -> dict[str, float]:
    """Return the median seconds of each part of the gap."""
    return {
        name: statistics.median(part(before, after) for before, after in pairwise(rows))
        for name, part in PARTS.items()
    }


def summary(rows: Sequence[Stamps]) -> dict[str, object]:
    """Return what is printed of one agent."""
    found = gaps(rows)
    return {
        "trials": len(rows),
        "median_s": statistics.median(found),
        "p90_s": statistics.quantiles(found, n=10, method="inclusive")[-1],
        "worst_s": max(found),
        "breakdown_s": breakdown(rows),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=12, help="of each agent (default: 12)")
    parser.add_argument("--smoke", action="store_true", help="6 trials of each agent")
    parser.add_argument("--cuda", action="store_true", help="steps on the first GPU")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    load = os.getloadavg()[0]
    device = cuda_device() if options.cuda else None
    trials = 6 if options.smoke else max(3, options.trials)
    measured = measure(trials, is_cuda=options.cuda)
    agents = {name: summary(rows) for name, rows in measured.items()}
    judged, longest_s = CUDA_BAR if options.cuda else CPU_BAR
    ratio = float(str(agents["wandb"]["median_s"])) / float(str(agents[judged]["median_s"]))
    ratio_bar = SMOKE_BAR if options.smoke else RATIO_BAR
    is_quick = options.smoke or float(str(agents[judged]["median_s"])) <= longest_s
    result = {
        "machine": f"{count_cores()} cores, {platform.machine()}, load {load:.1f} at the start",
        "device": device,
        "python": platform.python_version(),
        "wandb": importlib.metadata.version("wandb"),
        "agents": agents,
        "ratio": ratio,
        "ratio_bar": ratio_bar,
        "judged": judged,
        "longest_s": None if options.smoke else longest_s,
        "is_met": ratio >= ratio_bar and is_quick,
    }
    print(json.dumps(result) if options.json else table(result))
    return 0 if result["is_met"] else 1


def cuda_device() -> str:
    """Return the first GPU's name; exit in words where torch finds none."""
    import torch

    if not torch.cuda.is_available():
        sys.exit("--cuda: torch finds no CUDA device here")
    return torch.cuda.get_device_name(0)


def table(result: Mapping[str, object]) -> str:
    """Return the result for people."""
    agents = result["agents"]
    assert isinstance(agents, dict)
    names = {
        "sweepd": "python -m sweepd_agent",
        "prefetch": "python -m sweepd_agent --prefetch",
        "wandb": "wandb.agent(function=…)",
    }
    lines = [
        "from one trial's last step to the next trial's first step, a trial of 0.2 s",
        "; ".join(
            [
                f"{result['machine']}",
                *([f"{result['device']}"] if result["device"] else []),
                f"Python {result['python']}",
                f"wandb {result['wandb']}",
            ]
        ),
        f"{'':42}{'trials':>8}{'median':>10}{'p90':>10}{'worst':>10}",
    ]
    for name, facts in agents.items():
        seconds = "".join(f"{facts[key]:>8.2f} s" for key in ("median_s", "p90_s", "worst_s"))
        lines.append(f"{names[name]:42}{facts['trials']:>8}{seconds}")
        lines += [f"  {part:40}{'':8}{s:>8.2f} s" for part, s in facts["breakdown_s"].items()]
    judged = names[str(result["judged"])]
    lines.append(f"{judged}: {result['ratio']:.1f} times shorter (bar: {result['ratio_bar']:g})")
    if result["longest_s"] is not None:
        lines.append(f"{judged}: at most {result['longest_s']} s")
    lines.append("met" if result["is_met"] else "MISSED")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
