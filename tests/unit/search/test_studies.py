"""What Optuna's samplers are told."""

import subprocess
import sys

import numpy as np
import pytest

from sweepd.errors import SearchError
from sweepd.search import Trial
from sweepd.search.studies import Study, axes_of, load, told_of

ODD = {"values": [None, False, 0, "", [1, [2]], {"k": {"x": None}}, True]}
SPACE = {
    "float": {"min": 0.0, "max": 2.0},
    "log": {"distribution": "log_uniform_values", "min": 1e-5, "max": 0.1},
    "inverse": {"distribution": "inv_log_uniform_values", "min": 0.5, "max": 0.99},
    "quantised": {"distribution": "q_log_uniform_values", "min": 8, "max": 512, "q": 8},
    "normal": {"distribution": "normal", "mu": 3, "sigma": 2},
    "skewed": {"distribution": "log_normal", "mu": -7, "sigma": 2},
    "rounded": {"distribution": "q_normal", "mu": 0, "sigma": 1, "q": 0.25},
    "share": {"distribution": "beta", "a": 2, "b": 3},
    "whole": {"min": -3, "max": 8},
    "ordered": {"values": [10, 0.1, 1]},
    "odd": ODD,
    "often": {"values": ["x", "y", "never"], "probabilities": [0.9, 0.1, 0.0]},
    "weighted": {"values": [3, 1], "probabilities": [0.25, 0.75]},
}


def test_every_law_goes_there_and_back(space_of, rng):
    space = space_of(SPACE)

    for config in (space.sample(rng) for _ in range(200)):
        for axis in axes_of(space):
            value = config[axis.name]
            known = axis.inward(value)
            assert axis.distribution._contains(axis.distribution.to_internal_repr(known))
            back = axis.outward(known)
            if isinstance(value, float):
                assert back == pytest.approx(value, rel=1e-6)
            else:
                assert (back, type(back)) == (value, type(value))


def test_values_without_a_chance_are_never_asked_for(space_of):
    often = next(axis for axis in axes_of(space_of(SPACE)) if axis.name == "often")

    assert often.distribution.choices == (0, 1)
    assert not often.contains("never")


@pytest.mark.parametrize(("name", "rel"), [("normal", 0.2), ("skewed", 0.3), ("share", 0.1)])
def test_draws_of_optunas_follow_our_own_laws(name, rel, space_of):
    import optuna

    space = space_of({name: SPACE[name]})
    asked = Study(space, []).ask(optuna.samplers.RandomSampler(seed=1))
    drawn = sorted(next(asked)[name] for _ in range(300))

    middle = space[name].distribution.ppf(0.5)
    assert drawn[150] == pytest.approx(middle, rel=rel, abs=0.3 if name == "normal" else 0)


def test_failed_trials_stand_as_the_worst_and_silent_ones_tell_nothing(space_of):
    space = space_of({"a": {"min": 0.0, "max": 1.0}})
    trials = [
        Trial({"a": 0.1}, 2.0),
        Trial({"a": 0.2}, None, is_feasible=False),
        Trial({"a": 0.3}, None),
        Trial({"a": 0.4}, float("inf")),
        Trial({"a": 0.5}, -1.0, is_feasible=False),
        Trial({"b": 1}, 1.0),
        Trial({"a": 7.0}, 1.0),
        Trial({"a": 0.6}, 5.0),
    ]

    told = [(one.config["a"], one.values) for one in told_of(space, trials)]

    assert told == [(0.1, (2.0,)), (0.2, (5.0,)), (0.5, (5.0,)), (0.6, (5.0,))]


def test_several_objectives_are_told_whole_or_not_at_all(space_of):
    space = space_of({"a": {"min": 0.0, "max": 1.0}})
    trials = [
        Trial({"a": 0.1}, None, objectives=(1.0, 4.0)),
        Trial({"a": 0.2}, None, objectives=(3.0, 2.0)),
        Trial({"a": 0.3}, None, is_feasible=False),
        Trial({"a": 0.4}, 1.0),
        Trial({"a": 0.5}, None, objectives=(1.0, float("nan"))),
    ]

    assert [one.values for one in told_of(space, trials)] == [(1.0, 4.0), (3.0, 2.0), (3.0, 4.0)]


def test_of_many_trials_the_best_are_kept_and_a_steady_sample_of_the_others(space_of, rng):
    space = space_of({"a": {"min": 0.0, "max": 1.0}})
    trials = [Trial(space.sample(rng), float(v)) for v in rng.permutation(400)]

    kept = told_of(space, trials, most=100)
    later = told_of(space, [*trials, Trial(space.sample(rng), 1e9)], most=100)

    assert len(kept) == 100
    assert {one.values[0] for one in kept} >= set(map(float, range(50)))
    assert len({one.values for one in kept} & {one.values for one in later}) >= 98


def test_missing_package_is_named_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)

    with pytest.raises(SearchError, match=r"optuna.*pip install 'sweepd\[optuna\]'"):
        load("optuna")


def test_a_list_of_the_methods_imports_no_optuna():
    code = (
        "import sys\nfrom sweepd.names import METHODS\nfrom sweepd.registry import Registry\n"
        "for name in METHODS: Registry('method', METHODS).load(name)()\n"
        "assert not {'optuna', 'cmaes'} & set(sys.modules)"
    )

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_running_trials_are_seen_by_the_next_question(space_of):
    import optuna

    space = space_of({"a": {"min": 0.0, "max": 1.0}})
    trials = [Trial({"a": (i + 0.5) / 20}, abs(i / 20 - 0.3)) for i in range(20)]
    study = Study(space, told_of(space, trials))

    def ask():
        sampler = optuna.samplers.TPESampler(n_startup_trials=0, multivariate=True, seed=1)
        return next(study.ask(sampler))["a"]

    first = ask()
    assert ask() == first
    study.run([{"a": x} for x in np.linspace(first - 0.02, first + 0.02, 30)])

    assert ask() != first
