"""The faults of RELIABILITY.md at full length: many seeds of each, ten minutes of kills.

    python bench/faults.py                  200 seeds of each, and the kill loop on 200 points
    python bench/faults.py --seeds 20 --only errors
    python bench/faults.py --report         what has been run so far

Each fault is a test of `tests/fault` (or the state machine of the sweeps), run in a process of its
own with one seed, so that a failure is run again by its seed alone. Results are appended to a JSONL
file, one line a run; what is there is not run again.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "bench" / "results" / "faults.jsonl"
N_SEEDS = 200


@dataclass(frozen=True)
class Fault:
    """A test and what it is told.

    Args:
        test: its address, from the root of the repository.
        seed: the variable that carries the seed.
        settings: further variables.
        once: it is long, and one seed will do.
    """

    test: str
    seed: str = "SWEEPD_SEEDS"
    settings: Mapping[str, str] | None = None
    once: bool = False


#: By the name that the results call them.
FAULTS = {
    "kill loop": Fault(
        "tests/fault/test_ballistic.py",
        "SWEEPD_SEED",
        {"SWEEPD_KILL_S": "600", "SWEEPD_KILL_POINTS": "200"},
        once=True,
    ),
    "killed in requests": Fault("tests/fault/test_killed_in_requests.py"),
    "errors and lost answers": Fault(
        "tests/fault/test_network.py::test_sweep_is_exact_over_a_network_of_errors_and_lost_answers"
    ),
    "killed agents": Fault("tests/fault/test_killed_agents.py", settings={"SWEEPD_ACTS": "8"}),
    "crowds": Fault("tests/fault/test_crowds.py"),
    "partition": Fault(
        "tests/fault/test_network.py::test_partition_of_any_length_heals_and_the_sweep_is_exact"
    ),
    "host that vanishes": Fault(
        "tests/fault/test_network.py::test_trials_of_a_host_that_vanishes_go_to_another_one"
    ),
    "people's commands": Fault("tests/fault/test_people.py"),
    "project deleted": Fault(
        "tests/fault/test_people.py"
        "::test_project_that_is_deleted_under_load_leaves_nothing_and_its_name_is_free"
    ),
    "state machine": Fault(
        "tests/unit/engine/sweeps/test_machine.py", "SWEEPD_MACHINE_SEED", {"SWEEPD_MACHINE": "8"}
    ),
}


def run(name: str, seed: int) -> dict[str, object]:
    """Run a fault with one seed; return the line of the results."""
    fault = FAULTS[name]
    environment = {**os.environ, **(fault.settings or {}), fault.seed: str(seed)}
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n", "0", "-x", "--timeout", "3600", fault.test],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    row: dict[str, object] = {
        "fault": name,
        "seed": seed,
        "passed": done.returncode == 0,
        "seconds": round(time.monotonic() - started, 1),
    }
    if done.returncode:
        row["why"] = [line for line in done.stdout.splitlines() if line.startswith("E ")][:5]
    return row


def read(path: Path) -> list[dict[str, object]]:
    """Return the results so far."""
    lines = path.read_text().splitlines() if path.exists() else []
    return [json.loads(line) for line in lines if line]


def report(rows: Sequence[Mapping[str, object]]) -> str:
    """Return a table in markdown: how many seeds of each fault were run, and how many passed."""
    by_fault: dict[str, list[Mapping[str, object]]] = defaultdict(list)
    for row in rows:
        by_fault[str(row["fault"])].append(row)
    lines = ["| fault | seeds | passed | seconds each |", "|---|---|---|---|"]
    for name, own in by_fault.items():
        seconds = sum(float(str(row["seconds"])) for row in own) / len(own)
        passed = sum(bool(row["passed"]) for row in own)
        lines.append(f"| {name} | {len(own)} | {passed} | {seconds:.0f} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the results do not hold yet; return 1 if any run in them has failed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--seeds", type=int, default=N_SEEDS)
    parser.add_argument("--only", help="faults whose name contains this")
    parser.add_argument("--report", action="store_true")
    options = parser.parse_args(arguments)
    rows = read(options.results)
    done = {(row["fault"], row["seed"]) for row in rows}
    names = [name for name in FAULTS if (options.only or "") in name]
    if not names:
        parser.error(f"--only: no fault has {options.only!r} in its name: {', '.join(FAULTS)}")
    for seed in () if options.report else range(options.seeds):
        for name in names:
            if (name, seed) in done or (FAULTS[name].once and seed):
                continue
            row = run(name, seed)
            rows.append(row)
            options.results.parent.mkdir(parents=True, exist_ok=True)
            with options.results.open("a") as file:
                file.write(json.dumps(row) + "\n")
            print(json.dumps(row), flush=True)
    print(report(rows))
    return 0 if all(row["passed"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
