"""Regret of search methods on public test functions, and the time that a suggestion takes.

    python bench/search.py               every search that is not in the results yet
    python bench/search.py --smoke       two minutes: fails unless `bayes` beats random search
    python bench/search.py --report      the tables; with --docs writes them into docs/search.md
    python bench/search.py --latency     time per suggestion at 100 and 1,000 trials

One trial at a time (P = 1), or eight pending (P = 8): the oldest ends, then a new one is asked for.
Regret is normalised: 0 is the optimum, 100 the median random config; it is taken at 25, 50 and 100
ended trials. Results are appended to a JSONL file, one line a search.
"""

import os

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"  # before numpy

import argparse
import json
import math
import sys
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from sweepd.names import METHODS
from sweepd.registry import Registry
from sweepd.search import Trial
from sweepd.spec import Categorical, Config, IntUniform, LogUniform, Space, read_definition

RESULTS = Path(__file__).parent / "results" / "search.jsonl"
DOCS = Path(__file__).parent.parent / "docs" / "search.md"
CHECKPOINTS = (25, 50, 100)
PARALLEL = (1, 8)
N_SEEDS, N_TRIALS = 10, 100
Values = Mapping[str, Any]


# The problems


@dataclass(frozen=True)
class Problem:
    """A function to minimise.

    Args:
        name: what the tables call it.
        parameters: its space, as in a definition.
        function: of a config.
        optimum: its lowest value.
    """

    name: str
    parameters: dict[str, dict[str, Any]]
    function: Callable[[Values], float]
    optimum: float

    @property
    def definition(self) -> dict[str, Any]:
        """Return the sweep definition that searches it."""
        metric = {"name": "loss", "goal": "minimize"}
        return {"method": "bayes", "metric": metric, "parameters": self.parameters}

    @property
    def space(self) -> Space:
        """Return the space of the definition."""
        return _space(self)

    def regret(self, value: float) -> float:
        """Return the normalised regret of a value: 0 the optimum, 100 the median random config."""
        return 100.0 * (value - self.optimum) / (_median(self) - self.optimum)

    def __hash__(self) -> int:
        return hash(self.name)


@cache
def _space(problem: Problem) -> Space:
    return read_definition(json.dumps(problem.definition)).definition.space


@cache
def _median(problem: Problem) -> float:
    rng = np.random.default_rng(0)
    return float(np.median([problem.function(problem.space.sample(rng)) for _ in range(4001)]))


def _floats(bounds: Iterable[tuple[float, float]]) -> dict[str, dict[str, Any]]:
    return {f"x{i}": {"min": low, "max": high} for i, (low, high) in enumerate(bounds)}


def _vector(config: Values) -> np.ndarray:
    return np.array([config[f"x{i}"] for i in range(len(config))])


def branin(config: Values) -> float:
    a, b = config["x0"], config["x1"]
    bowl = b - 5.1 / (4 * math.pi**2) * a * a + 5 / math.pi * a - 6
    return float(bowl * bowl + 10 * (1 - 1 / (8 * math.pi)) * math.cos(a) + 10)


_HARTMANN_ALPHA = np.array([1.0, 1.2, 3.0, 3.2])
# fmt: off
_HARTMANN_A = np.array([
    [10, 3, 17, 3.5, 1.7, 8], [0.05, 10, 17, 0.1, 8, 14],
    [3, 3.5, 1.7, 10, 17, 8], [17, 8, 0.05, 10, 0.1, 14],
])
_HARTMANN_P = 1e-4 * np.array([
    [1312, 1696, 5569, 124, 8283, 5886], [2329, 4135, 8307, 3736, 1004, 9991],
    [2348, 1451, 3522, 2883, 3047, 6650], [4047, 8828, 8732, 5743, 1091, 381],
])
# fmt: on


def hartmann6(config: Values) -> float:
    inner = (_HARTMANN_A * (_vector(config) - _HARTMANN_P) ** 2).sum(axis=1)
    return float(-(_HARTMANN_ALPHA * np.exp(-inner)).sum())


_ACKLEY_SHIFT = np.array([6.3, -11.2, 3.7, 14.9, -2.4])


def shifted_ackley(config: Values) -> float:
    x = _vector(config) - _ACKLEY_SHIFT
    root = math.sqrt(float((x * x).mean()))
    waves = float(np.cos(2 * math.pi * x).mean())
    return -20 * math.exp(-0.2 * root) - math.exp(waves) + 20 + math.e


_RATES = {"sgd": -1.2, "momentum": -2.0, "adam": -3.0, "rmsprop": -3.6}
_LOSSES = {"sgd": 0.25, "momentum": 0.1, "adam": 0.0, "rmsprop": 0.3}
_DEPTHS = {"relu": 3, "gelu": 5, "silu": 6, "tanh": 2}


def mixed(config: Values) -> float:
    """Return a loss like that of training: the best rate hangs on optimizer, batch and depth.

    A rate that is ten times too high diverges: the loss is 3 whatever the rest. The lowest is 0.
    """
    batch, depth = math.log2(config["batch"]) - 6, config["layers"] - _DEPTHS[config["activation"]]
    rate = math.log10(config["rate"]) - _RATES[config["optimizer"]] - 0.2 * batch
    rate += 0.1 * (config["layers"] - 5)
    if rate > 1.0:
        return 3.0
    loss = _LOSSES[config["optimizer"]] + 0.05 * batch**2 + 0.6 * rate**2 + 0.06 * depth**2
    loss += {"relu": 0.1, "gelu": 0.0, "silu": 0.05, "tanh": 0.4}[config["activation"]]
    decay = math.log10(config["decay"]) + 4 + 10 * (config["dropout"] - 0.2)
    loss += 0.15 * decay**2 + 4 * (config["dropout"] - 0.2) ** 2
    return min(loss, 3.0)


PROBLEMS = (
    Problem("branin", _floats([(-5.0, 10.0), (0.0, 15.0)]), branin, 0.39788735772973816),
    Problem("hartmann6", _floats([(0.0, 1.0)] * 6), hartmann6, -3.322368011391339),
    Problem("ackley5", _floats([(-20.0, 20.0)] * 5), shifted_ackley, 0.0),
    Problem(
        "mixed",
        {
            "rate": {"distribution": "log_uniform_values", "min": 1e-5, "max": 1.0},
            "decay": {"distribution": "log_uniform_values", "min": 1e-7, "max": 1e-1},
            "optimizer": {"values": list(_RATES)},
            "activation": {"values": list(_DEPTHS)},
            "layers": {"min": 1, "max": 8},
            "batch": {"values": [16, 32, 64, 128, 256]},
            "dropout": {"min": 0.0, "max": 0.8},
        },
        mixed,
        0.0,
    ),
)


# The engines


class Engine(Protocol):
    """A search over one problem: asked for configs, told what came of them."""

    def ask(self) -> Config:
        """Return the next config to try."""
        ...

    def tell(self, config: Config, value: float) -> None:
        """Take what a config that was asked for came to."""
        ...


class Ours:
    """A method of `sweepd.names`."""

    def __init__(self, name: str, problem: Problem, seed: int) -> None:
        self.method = Registry("method", METHODS).load(name)()
        self.space, self.seed = problem.space, seed
        self.trials: list[Trial] = []
        self.pending: list[Config] = []
        self.memo: dict[str, Any] = {}

    def ask(self) -> Config:
        """Return the next config to try."""
        rng = np.random.default_rng([self.seed, len(self.trials) + len(self.pending)])
        configs, self.memo = self.method.suggest(
            self.space, self.trials, self.pending, 1, rng, self.memo
        )
        self.pending.append(configs[0])
        return configs[0]

    def tell(self, config: Config, value: float) -> None:
        """Take what a config came to."""
        self.pending.remove(config)
        self.trials.append(Trial(config, value))


class Optuna:
    """One of Optuna's samplers, with its defaults."""

    def __init__(self, sampler: str, problem: Problem, seed: int) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.study = optuna.create_study(sampler=getattr(optuna.samplers, sampler)(seed=seed))
        self.laws = {p.name: self._law(p.distribution) for p in problem.space.searched}
        self.running: list[tuple[Config, Any]] = []

    @staticmethod
    def _law(law: Any) -> Any:
        from optuna import distributions

        if isinstance(law, Categorical):
            return distributions.CategoricalDistribution(law.values)
        if isinstance(law, IntUniform):
            return distributions.IntDistribution(law.low, law.high)
        return distributions.FloatDistribution(law.low, law.high, log=isinstance(law, LogUniform))

    def ask(self) -> Config:
        """Return the next config to try."""
        trial = self.study.ask(self.laws)
        self.running.append((dict(trial.params), trial))
        return dict(trial.params)

    def tell(self, config: Config, value: float) -> None:
        """Take what a config came to."""
        at = next(i for i, (own, _) in enumerate(self.running) if own == config)
        self.study.tell(self.running.pop(at)[1], value)


class Wandb:
    """The Bayesian search of W&B's own engine (package `sweeps`)."""

    def __init__(self, problem: Problem, seed: int) -> None:
        import random

        import sweeps

        self.sweeps, self.definition = sweeps, sweeps.SweepConfig(problem.definition)
        random.seed(seed)
        np.random.seed(seed)
        self.runs: list[Any] = []

    def ask(self) -> Config:
        """Return the next config to try."""
        run = self.sweeps.next_run(self.definition, self.runs)
        run.state = self.sweeps.RunState.running
        self.runs.append(run)
        return {name: entry["value"] for name, entry in run.config.items()}

    def tell(self, config: Config, value: float) -> None:
        """Take what a config came to."""
        for run in self.runs:
            own = {name: entry["value"] for name, entry in run.config.items()}
            if run.state == self.sweeps.RunState.running and own == config:
                run.state, run.summary_metrics = self.sweeps.RunState.finished, {"loss": value}
                return


ENGINES: dict[str, Callable[[Problem, int], Engine]] = {
    "bayes": lambda problem, seed: Ours("bayes", problem, seed),
    "random": lambda problem, seed: Ours("random", problem, seed),
    "optuna-tpe": lambda problem, seed: Optuna("TPESampler", problem, seed),
    "wandb-bayes": Wandb,
    "optuna-gp": lambda problem, seed: Optuna("GPSampler", problem, seed),
}


def search(
    engine: Engine, problem: Problem, *, parallel: int, n_trials: int
) -> tuple[list[float], float]:
    """Return the lowest value after each ended trial, and the engine's CPU seconds."""
    running: list[Config] = []
    lows: list[float] = []
    asked, spent = 0, 0.0
    while len(lows) < n_trials:
        started = time.process_time()
        while len(running) < parallel and asked < n_trials:
            running.append(engine.ask())
            asked += 1
        config = running.pop(0)
        value = problem.function(config)
        engine.tell(config, value)
        spent += time.process_time() - started
        lows.append(min(value, lows[-1]) if lows else value)
    return lows, spent


# The results


def _jobs(engines: Sequence[str], seeds: int) -> Iterator[tuple[str, Problem, int, int]]:
    for engine in engines:
        for problem in PROBLEMS:
            for parallel in PARALLEL:
                for seed in range(seeds):
                    yield engine, problem, parallel, seed


def _key(row: Values) -> tuple[Any, ...]:
    return row["engine"], row["problem"], row["parallel"], row["seed"]


def read_results(path: Path) -> list[dict[str, Any]]:
    lines = path.read_text().splitlines() if path.exists() else []
    return [json.loads(line) for line in lines if line]


def measure(path: Path, *, engines: Sequence[str], seeds: int, n_trials: int) -> None:
    """Append one line for every search that the file does not hold yet."""
    done = {_key(row) for row in read_results(path)}
    path.parent.mkdir(parents=True, exist_ok=True)
    for engine, problem, parallel, seed in _jobs(engines, seeds):
        if (engine, problem.name, parallel, seed) in done:
            continue
        made = ENGINES[engine](problem, seed)
        lows, spent = search(made, problem, parallel=parallel, n_trials=n_trials)
        row = {
            "engine": engine,
            "problem": problem.name,
            "parallel": parallel,
            "seed": seed,
            "regret": {
                str(n): float(f"{problem.regret(lows[n - 1]):.6g}")
                for n in CHECKPOINTS
                if n <= n_trials
            },
            "ms_per_suggestion": round(1e3 * spent / n_trials, 2),
        }
        with path.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(
            f"{engine:12} {problem.name:10} P={parallel} seed {seed}: {row['regret']}", flush=True
        )


Cell = tuple[float, float]  # mean and standard error


def _mean(values: Sequence[float]) -> Cell:
    error = float(np.std(values, ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return float(np.mean(values)), error


def ranks(rows: Sequence[Values], *, at: int, parallel: int) -> dict[str, Cell]:
    """Return each engine's rank by regret, 1 the best: mean and standard error.

    Only searches that every engine has done count; regrets that agree to 0.001 share their rank.
    Each seed gives one mean over the problems; the error is that over the seeds.
    """
    groups: dict[tuple[str, int], dict[str, float]] = defaultdict(dict)
    for row in rows:
        if row["parallel"] == parallel and str(at) in row["regret"]:
            groups[row["problem"], row["seed"]][row["engine"]] = row["regret"][str(at)]
    engines = {engine for group in groups.values() for engine in group}
    by_seed: dict[str, dict[int, list[float]]] = {name: defaultdict(list) for name in engines}
    for (_, seed), group in groups.items():
        if len(group) == len(engines):
            for engine, value in group.items():
                others = np.array([other for name, other in group.items() if name != engine])
                tied, lower = np.isclose(others, value, atol=1e-3), others < value
                rank = 1 + (lower & ~tied).sum() + 0.5 * tied.sum()
                by_seed[engine][seed].append(float(rank))
    return {
        name: _mean([float(np.mean(own)) for own in by_seed[name].values()]) for name in engines
    }


def report(rows: Sequence[Values]) -> str:
    """Return the tables in markdown: mean ranks, then the regret on each problem."""
    lines = []
    for parallel in PARALLEL:
        tables = [ranks(rows, at=at, parallel=parallel) for at in CHECKPOINTS]
        engines = sorted(tables[-1], key=lambda name: tables[-1][name])
        head = " | ".join(f"at {at} trials" for at in CHECKPOINTS)
        lines += [f"| mean rank, P = {parallel} | {head} |", "|---" * (1 + len(CHECKPOINTS)) + "|"]
        for name in engines:
            cells = " | ".join("{:.2f} ± {:.2f}".format(*table[name]) for table in tables)
            lines.append(f"| {name} | {cells} |")
        lines.append("")
    cells = defaultdict(list)
    for row in rows:
        for at, value in row["regret"].items():
            cells[row["engine"], row["problem"], row["parallel"], int(at)].append(value)
    columns = [(problem.name, parallel) for problem in PROBLEMS for parallel in PARALLEL]
    for at in CHECKPOINTS:
        head = " | ".join(f"{problem}, P = {parallel}" for problem, parallel in columns)
        lines += [f"| regret at {at} trials | {head} |", "|---" * (1 + len(columns)) + "|"]
        for name in engines:
            own = [cells.get((name, *column, at)) for column in columns]
            texts = ["{:.2f} ± {:.2f}".format(*_mean(values)) if values else "-" for values in own]
            lines.append(f"| {name} | {' | '.join(texts)} |")
        lines.append("")
    return "\n".join(lines)


def write_docs(path: Path, tables: str) -> None:
    """Put the tables between the marks of a documentation page."""
    text = path.read_text()
    start, end = "<!-- bench/search.py -->\n", "<!-- end -->"
    before, rest = text.split(start)
    path.write_text(before + start + tables + end + rest.split(end)[1])


def smoke() -> int:
    """Return 0 if `bayes` beats random search on a few short searches, 1 if not."""
    wins, total = 0, 0
    for problem in PROBLEMS:
        for parallel in PARALLEL:
            for seed in range(3):
                regret = {}
                for name in ("bayes", "random"):
                    made = ENGINES[name](problem, seed)
                    lows, _ = search(made, problem, parallel=parallel, n_trials=40)
                    regret[name] = problem.regret(lows[-1])
                wins, total = wins + (regret["bayes"] < regret["random"]), total + 1
                print(f"{problem.name:10} P={parallel} seed {seed}: {regret}", flush=True)
    print(f"bayes beat random search in {wins} of {total} searches")
    return 0 if wins >= 0.8 * total else 1


def latency() -> None:
    """Print the time that a suggestion takes with 8 parameters, its share of the fits included."""
    bounds = [(0.0, 1.0)] * 8
    problem = Problem(
        "sphere", _floats(bounds), lambda c: float(((_vector(c) - 0.3) ** 2).sum()), 0
    )
    for n, n_asked in ((100, 20), (1000, 50)):
        engine = Ours("bayes", problem, 0)
        rng = np.random.default_rng(0)
        for _ in range(n):
            config = problem.space.sample(rng)
            engine.trials.append(Trial(config, problem.function(config)))
        engine.tell(engine.ask(), 1.0)
        wall, used = [], []
        for _ in range(n_asked):  # the number of trials grows by 5 %: a fit is among them
            started = time.perf_counter(), time.process_time()
            config = engine.ask()
            wall.append(1e3 * (time.perf_counter() - started[0]))
            used.append(1e3 * (time.process_time() - started[1]))
            engine.tell(config, problem.function(config))
        print(
            f"{n} trials: {np.mean(wall):.0f} ms mean, {np.max(wall):.0f} ms with a fit; "
            f"CPU {np.mean(used):.0f} and {np.max(used):.0f} ms"
        )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=list(ENGINES))
    parser.add_argument("--seeds", type=int, default=N_SEEDS)
    parser.add_argument("--trials", type=int, default=N_TRIALS)
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--report", action="store_true")
    parser.add_argument("--docs", action="store_true", help="with --report: write docs/search.md")
    parser.add_argument("--latency", action="store_true")
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore")  # of the other engines
    if options.smoke:
        return smoke()
    if options.latency:
        latency()
    elif options.report:
        tables = report(read_results(options.results))
        print(tables)
        if options.docs:
            write_docs(DOCS, tables)
    else:
        measure(
            options.results, engines=options.engines, seeds=options.seeds, n_trials=options.trials
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
