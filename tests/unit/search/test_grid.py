"""Grid search, held to W&B's own engine."""

import random
import warnings

import numpy as np
import pytest

from sweepd.errors import InvalidInput
from sweepd.search import Trial
from sweepd.search.grid import Grid

RNG = np.random.default_rng(0)


def _parameter(rng):
    low, values = rng.randint(-3, 3), [1, 2.5, "x", True, None, [1, 2], {"k": 1}, "", 0.1, False]
    return rng.choice(
        [
            lambda: {"values": rng.sample(values, rng.randint(1, 4))},
            lambda: {"min": low, "max": low + rng.randint(1, 3)},
            lambda: {"distribution": "q_uniform", "min": low, "max": low + 1.25, "q": 0.5},
            lambda: {"distribution": "q_uniform", "min": 0, "max": 10, "q": 5},
            lambda: {"value": "fixed"},
        ]
    )()


def _definition(rng):
    names = rng.sample(["b", "a", "lr", "z_1", "a.c", "B", "opt"], rng.randint(1, 4))
    parameters = {name: _parameter(rng) for name in names}
    if rng.random() < 0.5:
        inner = {name: _parameter(rng) for name in rng.sample(["y", "b", "c"], 2)}
        parameters["nested"] = {"parameters": inner}
    return parameters


def _walk(space, n=1):
    trials: list[Trial] = []
    while configs := Grid().suggest(space, trials, [], n, RNG, {})[0]:
        trials += [Trial(config, None) for config in configs]
    return [trial.config for trial in trials]


def test_order_is_that_of_wandbs_engine(oracle, space_of):
    rng = random.Random(0)

    for _ in range(120):
        parameters = _definition(rng)
        space = space_of(parameters)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            runs = oracle.next_runs({"method": "grid", "parameters": parameters}, [], n=10_000)
        expected = [
            {name: entry["value"] for name, entry in run.config.items()} for run in runs if run
        ]

        ours = [space.nest(config) for config in _walk(space, n=200)]

        assert [repr(c) for c in map(_sorted, ours)] == [repr(c) for c in map(_sorted, expected)]


def _sorted(value):
    """Return a config with its keys in order and its floats rounded: W&B adds q up."""
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return round(value, 9) if isinstance(value, float) else value


def test_points_that_are_out_are_not_given_again_whatever_became_of_them(space_of):
    space = space_of({"a": {"values": ["x", "y", "z", None]}})
    trials = [Trial({"a": "x"}, None, is_feasible=False)]

    configs, _ = Grid().suggest(space, trials, [{"a": "z"}], 9, RNG, {})

    assert configs == [{"a": "y"}, {"a": None}]


def test_a_config_that_is_not_on_the_grid_hides_no_point(space_of):
    space = space_of({"a": {"min": 1, "max": 3}, "b": {"values": [True, 1]}})
    strange = [{"a": 1.5, "b": True}, {"a": "1", "b": 1}, {"a": 2}, {"a": True, "b": 1}, {}]

    configs, _ = Grid().suggest(space, [Trial(c, 1.0) for c in strange], [], 9, RNG, {})

    assert len(configs) == 6


def test_true_and_1_are_two_points(space_of):
    assert [c["a"] for c in _walk(space_of({"a": {"values": [True, 1, "1"]}}))] == [True, 1, "1"]


def test_grid_of_constants_is_one_point(space_of):
    assert _walk(space_of({"a": {"value": 1}})) == [{"a": 1}]


def test_enormous_grid_starts_at_once(space_of):
    space = space_of({f"p{i}": {"min": 0, "max": 10**6} for i in range(8)})

    configs, _ = Grid().suggest(space, [], [], 2, RNG, {})

    assert [config["p7"] for config in configs] == [0, 1]


def test_continuous_parameter_has_no_grid(space_of):
    with pytest.raises(InvalidInput):
        Grid().suggest(space_of({"a": {"min": 0.0, "max": 1.0}}), [], [], 1, RNG, {})


def test_values_keep_their_type_beside_a_sweep_with_equal_ones(space_of):
    whole, real = space_of({"a": {"values": [1, 2]}}), space_of({"a": {"values": [1.0, 2.0]}})

    assert [repr(config["a"]) for config in _walk(whole)] == ["1", "2"]
    assert [repr(config["a"]) for config in _walk(real)] == ["1.0", "2.0"]
