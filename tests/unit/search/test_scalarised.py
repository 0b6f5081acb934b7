"""Several objectives for a method that knows one."""

import numpy as np
import pytest

from sweepd.search import Scalarised, Trial
from sweepd.search.bayes import Bayes
from sweepd.search.pareto import hypervolume
from sweepd.search.random import Random
from sweepd.search.scalarised import chebyshev

SPACE = {"a": {"min": -3.0, "max": 3.0}, "b": {"min": -3.0, "max": 3.0}}


class Recorder:
    """Notes what it is told."""

    is_instant = False

    def __init__(self):
        self.told = []

    def suggest(self, space, trials, pending, n, rng, memo):
        self.told.append([trial.objective for trial in trials])
        return [{"a": float(len(pending)), "b": 0.0}], {"n": 1}


def _trials():
    return [
        Trial({"a": 0.0, "b": 0.0}, None, objectives=(0.0, 10.0)),
        Trial({"a": 1.0, "b": 0.0}, None, objectives=(4.0, 0.0)),
        Trial({"a": 2.0, "b": 0.0}, None, objectives=(2.0, 5.0)),
        Trial({"a": 2.5, "b": 0.0}, None, is_feasible=False),
        Trial({"a": 2.7, "b": 0.0}, None),
    ]


def test_distance_is_the_worst_share_and_a_little_of_the_sum():
    values = np.array([[0.0, 10.0], [4.0, 0.0], [2.0, 5.0]])

    assert chebyshev(values, np.array([0.25, 0.75])) == pytest.approx(
        [0.75 * 1.05, 0.25 * 1.05, 0.375 + 0.05 * 0.5]
    )
    assert chebyshev(np.ones((2, 2)), np.array([0.5, 0.5])).tolist() == [0.0, 0.0]


def test_one_huge_value_leaves_the_others_apart():
    values = np.array([[i / 10, 1.0 - i / 10] for i in range(10)] + [[1e30, 0.5]])

    distance = chebyshev(values, np.array([0.5, 0.5]))

    assert len(set(distance[:10].round(6))) == 10
    assert distance.argmax() == 10


def test_each_pick_has_weights_of_its_own_and_what_tells_nothing_still_does(space_of):
    method = Recorder()

    configs, memo = Scalarised(method).suggest(
        space_of(SPACE), _trials(), [{"a": 3.0, "b": 1.0}], 3, np.random.default_rng([1, 5]), {}
    )

    assert [config["a"] for config in configs] == [1.0, 2.0, 3.0]
    assert [len(weights) for weights in memo["weights"]] == [2, 2, 2]
    assert len({tuple(told[:3]) for told in method.told}) == 3
    assert all(told[3:] == [None, None] for told in method.told)


def test_each_pick_is_explained_under_its_own_weights(space_of):
    space, method = space_of(SPACE), Scalarised(Bayes())
    trials = [
        Trial(config, None, objectives=(config["a"] ** 2, abs(config["b"])))
        for config, _ in [
            (Random().suggest(space, [], [], 1, np.random.default_rng(i), {})[0][0], i)
            for i in range(12)
        ]
    ]
    given = (space, trials, [])
    configs, memo = method.suggest(*given, 2, np.random.default_rng([1, 12]), {})

    first, second = method.explain(*given, configs, memo)

    assert (first["weights"], second["weights"]) == tuple(memo["weights"])
    assert first["weights"] != second["weights"]
    assert first["origin"] in ("model", "doubting model")
    assert first["low"] < first["mean"] < first["high"]
    for near in first["nearest"]:
        assert near["objective"] is None
        assert tuple(near["objectives"]) == trials[near["index"]].objectives


def test_what_explains_nothing_leaves_its_weights(space_of):
    method, given = Scalarised(Recorder()), (space_of(SPACE), _trials(), [])
    configs, memo = method.suggest(*given, 1, np.random.default_rng(0), {})

    assert method.explain(*given, configs, memo) == [{"weights": memo["weights"][0]}]


def test_objectives_of_any_size_count_alike(space_of):
    told = []
    for factor in (1.0, 1e6):
        method = Recorder()
        trials = [
            Trial(t.config, None, objectives=tuple(np.multiply(t.objectives, (1.0, factor))))
            for t in _trials()[:3]
        ]
        Scalarised(method).suggest(space_of(SPACE), trials, [], 1, np.random.default_rng(0), {})
        told.append(method.told[0])

    assert told[0] == pytest.approx(told[1])


def test_front_of_bayes_beats_that_of_random(space_of):
    space = space_of(SPACE)

    def volume(method):
        trials = []
        for _ in range(20):
            rng = np.random.default_rng([4, len(trials)])
            (config,), _ = method.suggest(space, trials, [], 1, rng, {})
            values = [(config["a"] - x) ** 2 + config["b"] ** 2 for x in (-1.0, 1.0)]
            trials.append(Trial(config, None, objectives=tuple(values)))
        return hypervolume(np.array([t.objectives for t in trials]), np.array([4.0, 4.0]))

    assert volume(Scalarised(Bayes())) > volume(Random()) + 0.5
