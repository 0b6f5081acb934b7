"""The faults of RELIABILITY.md at full length: many seeds of each, ten minutes of kills.

    python bench/faults.py                  200 seeds of each, and the kill loop on 200 points
                                            (of the state machine, 40)
    python bench/faults.py --seeds 20 --only errors --workers 4
    python bench/faults.py --minutes 30     begin nothing after half an hour
    python bench/faults.py --report         what has been run so far

Each fault is a test of `tests/fault` (or the state machine of the sweeps), which makes everything
anew for each seed, so that a failure is run again by its seed alone. Several seeds share a process,
and several processes, `--workers`, run at once: they mostly wait. All faults get on alike. Results
are appended to a JSONL file, one line a seed; what is there is not run again. What a failure left
on the disk stays there, and is named.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "bench" / "results" / "faults.jsonl"
N_SEEDS = 200
#: Seeds that share a process.
N_TOGETHER = 10
#: A deadline of a test is for a quiet machine; here it is so many times as long.
PATIENCE = "8"
IN_MEMORY = Path("/dev/shm")


@dataclass(frozen=True)
class Fault:
    """A test and what it is told.

    Args:
        test: its address, from the root of the repository.
        seeds: the variable that carries the seeds.
        settings: further variables.
        once: it is long, and one seed will do.
        most: seeds at most; of the state machine, each of which is 2,000 steps.
        kills: it kills processes; where it does not, the disk need not be a real one.
    """

    test: str
    seeds: str = "SWEEPD_SEEDS"
    settings: Mapping[str, str] | None = None
    once: bool = False
    most: int = N_SEEDS
    kills: bool = True


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
    "search that fails": Fault("tests/fault/test_fickle_search.py"),
    "people's commands": Fault("tests/fault/test_people.py"),
    "state machine": Fault(
        "tests/unit/engine/sweeps/test_machine.py",
        "SWEEPD_MACHINE_SEEDS",
        {"SWEEPD_MACHINE": "8"},
        most=40,
        kills=False,
    ),
}


def run(name: str, seeds: Sequence[int], scratch: Path) -> list[dict[str, object]]:
    """Run a fault with some seeds in one process; return the lines of the results.

    A seed whose test was skipped has no line. `scratch` keeps the compiled modules, which every
    process that a test starts would compile again otherwise.
    """
    fault = FAULTS[name]
    is_light = not fault.kills and IN_MEMORY.is_dir()
    folder = Path(tempfile.mkdtemp(prefix="sweepd-faults-", dir=IN_MEMORY if is_light else None))
    environment = {
        **{k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"},
        "PYTHONPYCACHEPREFIX": str(scratch),
        "TMPDIR": str(folder),
        "SWEEPD_PATIENCE": PATIENCE,
        **(fault.settings or {}),
        fault.seeds: ",".join(map(str, seeds)),
    }
    options = ["-q", "-n", "0", "--timeout", "3600"]
    places = [f"--basetemp={folder / 'tests'}", f"--junitxml={folder / 'results.xml'}"]
    with (folder / "output.txt").open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "pytest", *options, *places, fault.test],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        _, status, used = os.wait4(process.pid, 0)  # with all that it has waited for
        process.returncode = os.waitstatus_to_exitcode(status)
    rows = [row for seed in seeds if (row := _row(name, seed, folder)) is not None]
    for row in rows:
        row["cpu_s"] = round((used.ru_utime + used.ru_stime) / len(seeds), 1)
    if all(row["passed"] for row in rows):
        shutil.rmtree(folder, ignore_errors=True)
    else:
        print(f"{name}: what failed left {folder}", flush=True)
    return rows


def _row(name: str, seed: int, folder: Path) -> dict[str, object] | None:
    """Return what became of a seed, from the report of its process; None if it was skipped."""
    report = folder / "results.xml"
    cases = list(ElementTree.parse(report).iter("testcase")) if report.exists() else []
    own = [case for case in cases if FAULTS[name].once or f"[{seed}]" in case.get("name", "")]
    failures = [found for case in own for kind in ("failure", "error") for found in case.iter(kind)]
    if skips := [found for case in own for found in case.iter("skipped")]:
        print(f"{name}, seed {seed}: skipped: {skips[0].get('message')}", flush=True)
        return None
    row: dict[str, object] = {
        "fault": name,
        "seed": seed,
        "passed": bool(own) and not failures,
        "seconds": round(sum(float(case.get("time", "0")) for case in own), 1),
    }
    if failures:
        row["why"] = [found.get("message", "")[:500] for found in failures]
    elif not own:
        row["why"] = (folder / "output.txt").read_text().splitlines()[-5:]
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
    lines = ["| fault | seeds | passed | seconds each | of a processor |", "|---|---|---|---|---|"]
    for name, own in by_fault.items():
        seconds = _mean([float(str(row["seconds"])) for row in own])
        cpu = _mean([float(str(row["cpu_s"])) for row in own if "cpu_s" in row])
        passed = sum(bool(row["passed"]) for row in own)
        lines.append(f"| {name} | {len(own)} | {passed} | {seconds} | {cpu} |")
    return "\n".join(lines)


def _mean(values: Sequence[float]) -> str:
    return f"{sum(values) / len(values):.0f}" if values else ""


def batches(
    names: Sequence[str], n_seeds: int, done: set[tuple[object, object]]
) -> Iterator[tuple[str, list[int]]]:
    """Yield a fault and some of its seeds that were not run yet, every fault in turn."""
    for start in range(0, n_seeds, N_TOGETHER):
        for name in names:
            most = 1 if FAULTS[name].once else min(FAULTS[name].most, n_seeds)
            stop = min(start + N_TOGETHER, most)
            if left := [seed for seed in range(start, stop) if (name, seed) not in done]:
                yield name, left


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the results do not hold yet; return 1 if any run in them has failed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--seeds", type=int, default=N_SEEDS)
    parser.add_argument("--only", help="faults whose name contains this")
    parser.add_argument("--workers", type=int, default=2, help="processes at once (2)")
    parser.add_argument("--minutes", type=float, help="begin nothing after so many minutes")
    parser.add_argument("--report", action="store_true")
    options = parser.parse_args(arguments)
    rows = read(options.results)
    names = [name for name in FAULTS if (options.only or "") in name]
    if not names:
        parser.error(f"--only: no fault has {options.only!r} in its name: {', '.join(FAULTS)}")
    if not options.report:
        left = list(batches(names, options.seeds, {(row["fault"], row["seed"]) for row in rows}))
        rows += _run_all(left, options)
    print(report(rows))
    return 0 if all(row["passed"] for row in rows) else 1


def _run_all(
    left: Sequence[tuple[str, list[int]]], options: argparse.Namespace
) -> list[dict[str, object]]:
    """Run batches, several at once; append to the results, and tell, what comes of each."""
    until = time.monotonic() + 60 * (options.minutes or float("inf"))
    n_left, n_failed, rows = sum(len(seeds) for _, seeds in left), 0, list[dict[str, object]]()
    options.results.parent.mkdir(parents=True, exist_ok=True)

    def run_in_time(name: str, seeds: list[int]) -> list[dict[str, object]]:
        return run(name, seeds, Path(scratch)) if time.monotonic() < until else []

    with (
        tempfile.TemporaryDirectory(prefix="sweepd-compiled-") as scratch,
        ThreadPoolExecutor(options.workers) as pool,
        options.results.open("a") as file,
    ):
        for future in as_completed([pool.submit(run_in_time, *batch) for batch in left]):
            for row in future.result():
                rows.append(row)
                n_failed += not row["passed"]
                file.write(json.dumps(row) + "\n")
                file.flush()
                print(f"{len(rows)} of {n_left}, {n_failed} failed: {json.dumps(row)}", flush=True)
    return rows


if __name__ == "__main__":
    sys.exit(main())
