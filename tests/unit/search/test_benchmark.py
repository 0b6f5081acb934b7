"""What `bench/search.py` measures with: its problems, its searches, its ranks."""

import importlib
import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest

BENCH = Path(__file__).parents[3] / "bench"


@pytest.fixture(scope="module")
def regret():
    """Return what the benchmark is made of."""
    sys.path.insert(0, str(BENCH))
    try:
        yield {
            name: importlib.import_module(f"regret.{name}")
            for name in ("problem", "searches", "tables", "engines")
        }
    finally:
        sys.path.remove(str(BENCH))


class Scripted:
    """An engine that asks for given values and notes what it is told."""

    def __init__(self, values):
        self.values, self.told = list(values), []

    def ask(self):
        return {"x0": self.values.pop(0)}

    def tell(self, config, value):
        self.told.append((config["x0"], value))


@pytest.fixture
def line(regret):
    """A problem whose value is its parameter; it fails above 0.9 and its noise lies near 0.5."""

    def function(config):
        x = config["x0"]
        return math.nan if x > 0.9 else x - 0.4 * (0.45 < x < 0.55)

    problem = regret["problem"]
    return problem.Problem(
        "line", problem.floats([(0.0, 1.0)]), function, 0.0, lambda config: config["x0"]
    )


def test_oldest_running_trial_ends_first_and_regret_is_that_of_what_looks_best(regret, line):
    engine = Scripted([0.95, 0.7, 0.5, 0.2, 0.05])

    worth = regret["searches"].search(engine, line, parallel=2, n_trials=5)

    assert [x for x, _ in engine.told] == [0.95, 0.7, 0.5, 0.2, 0.05]
    assert math.isnan(engine.told[0][1])
    assert worth == [math.inf, 0.7, 0.5, 0.5, 0.05]


def test_regret_is_0_at_the_optimum_and_100_at_the_median_or_where_nothing_worked(line):
    assert line.regret(0.0) == 0.0
    assert line.regret(line.median) == 100.0
    assert line.regret(math.inf) == 100.0


def test_rank_is_one_and_the_chance_that_another_engine_is_better(regret):
    rows = [
        _row("a", 0, 1.0),
        _row("a", 1, 3.0),
        _row("b", 0, 2.0),
        *(_row("c", seed, 9.0) for seed in range(4)),
    ]
    tables = regret["tables"]

    found = tables.ranks(
        tables.Regrets(rows), engines=["a", "b", "c"], problems=["branin"], parallel=1, at=25
    )

    assert {name: rank for name, (rank, _) in found.items()} == {"a": 1.5, "b": 1.5, "c": 3.0}
    assert found["c"][1] == 0.0


def test_gain_is_the_mean_difference_on_the_seeds_that_both_have(regret):
    rows = [_row("all", seed, 1.0) for seed in range(4)]
    rows += [_row("without", seed, value) for seed, value in enumerate([2.0, 4.0])]
    regrets = regret["tables"].Regrets(rows)
    a_unit = regrets.of("branin", 1, 25)["without"][0] - regrets.of("branin", 1, 25)["all"][0]

    gain, error = regrets.gain("all", "without", ["branin"], 1, 25)

    assert gain == pytest.approx(2 * a_unit)  # of 1 and 3
    assert error == pytest.approx(a_unit)
    assert math.isnan(regrets.gain("all", "nobody", ["branin"], 1, 25)[0])


def _row(engine, seed, value):
    row = {"engine": engine, "problem": "branin", "parallel": 1, "seed": seed}
    return {**row, "value": {"25": value}}


@pytest.mark.parametrize(
    "name", ["digits-mlp", "digits-kernel", "diabetes-boosting", "cancer-svm", "diabetes-fourier"]
)
def test_live_problems_are_the_same_each_time(regret, name):
    problem = regret["searches"].PROBLEMS[name]
    config = problem.space.from_unit(np.full(problem.space.d, 0.4))

    first, second = problem.function(config), problem.function(config)

    assert math.isfinite(first)
    assert first == second
    assert json.loads(json.dumps(problem.axes())) == problem.axes()
