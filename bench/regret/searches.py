"""Run searches and keep what came out, one line of JSON each."""

import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from regret.engines import Engine
from regret.functions import FUNCTIONS
from regret.live import LIVE
from regret.problem import Problem, Values
from sweepd.spec import Config

__all__ = ["CHECKPOINTS", "HELD_OUT", "PROBLEMS", "measure", "read_results", "search"]

#: Ended trials at which the regret is taken, for so many trials at a time.
CHECKPOINTS = {1: (25, 50, 100), 8: (25, 50, 100), 32: (64, 96, 128)}
PROBLEMS = {problem.name: problem for problem in (*FUNCTIONS, *LIVE)}
#: Never looked at while a setting was chosen.
HELD_OUT = ("michalewicz5", "styblinski8", "cancer-svm", "diabetes-fourier")


def search(engine: Engine, problem: Problem, *, parallel: int, n_trials: int) -> list[float]:
    """Return what the config that looks best is really worth, after each ended trial.

    The oldest of the running trials ends, then a new one is asked for. Without noise this is the
    lowest value so far; inf until something has not failed.
    """
    running: list[Config] = []
    worth: list[float] = []
    asked, lowest = 0, math.inf
    while len(worth) < n_trials:
        while len(running) < parallel and asked < n_trials:
            running.append(engine.ask())
            asked += 1
        config = running.pop(0)
        value = problem.function(config)
        engine.tell(config, value)
        if value < lowest:
            lowest = value
            worth.append(problem.value(config))
        else:
            worth.append(worth[-1] if worth else math.inf)
    return worth


def measure(
    path: Path,
    *,
    engines: dict[str, Callable[[Problem, int], Engine]],
    problems: Sequence[str],
    parallels: Sequence[int],
    seeds: Iterable[int],
    n_trials: int | None = None,
) -> None:
    """Append one line for every search that the file does not hold yet; seed by seed."""
    done = {_key(row) for row in read_results(path)}
    path.parent.mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        for name, problem, parallel in _jobs(engines, problems, parallels):
            if (name, problem.name, parallel, seed) in done:
                continue
            n = n_trials or max(CHECKPOINTS[parallel])
            engine = engines[name](problem, seed)
            before = engine.seconds()
            worth, spent = search(engine, problem, parallel=parallel, n_trials=n), 0.0
            spent = engine.seconds() - before
            if hasattr(engine, "close"):
                engine.close()
            row = {
                "engine": name,
                "problem": problem.name,
                "parallel": parallel,
                "seed": seed,
                "value": {
                    str(at): _rounded(worth[at - 1]) for at in CHECKPOINTS[parallel] if at <= n
                },
                "ms_per_suggestion": round(1e3 * spent / n, 2),
            }
            with path.open("a") as file:
                file.write(json.dumps(row) + "\n")
            print(f"{name:12} {problem.name:17} P={parallel} {seed}: {row['value']}", flush=True)


def read_results(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a results file; none if there is no file."""
    lines = path.read_text().splitlines() if path.exists() else []
    return [json.loads(line) for line in lines if line]


def _jobs(
    engines: Iterable[str], problems: Sequence[str], parallels: Sequence[int]
) -> Iterator[tuple[str, Problem, int]]:
    for engine in engines:
        for problem in problems:
            for parallel in parallels:
                yield engine, PROBLEMS[problem], parallel


def _key(row: Values) -> tuple[Any, ...]:
    return row["engine"], row["problem"], row["parallel"], row["seed"]


def _rounded(value: float) -> float | None:
    return float(f"{value:.7g}") if math.isfinite(value) else None
