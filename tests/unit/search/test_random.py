"""Random search."""

import numpy as np

from sweepd.search import Trial
from sweepd.search.random import Random


def test_configs_are_independent_draws(space_of):
    space = space_of({"x": {"min": 0.0, "max": 1.0}, "n": {"min": 1, "max": 4}})

    configs, _ = Random().suggest(space, [], [], 400, np.random.default_rng(7), {})

    assert 0.45 < np.mean([config["x"] for config in configs]) < 0.55
    assert sorted(np.bincount([config["n"] for config in configs], minlength=5))[1] > 70


def test_draw_that_was_tried_is_passed_over(space_of):
    space = space_of({"a": {"values": list("abcdefgh")}})
    first, _ = Random().suggest(space, [], [], 1, np.random.default_rng(7), {})

    second, _ = Random().suggest(space, [Trial(first[0], 1.0)], [], 1, np.random.default_rng(7), {})

    assert second != first


def test_probabilities_are_respected(space_of):
    space = space_of(
        {
            "a": {"values": ["often", "seldom"], "probabilities": [0.9, 0.1]},
            "x": {"min": 0.0, "max": 1.0},
        }
    )

    configs, _ = Random().suggest(space, [], [], 500, np.random.default_rng(0), {})

    assert 420 < sum(config["a"] == "often" for config in configs) < 480
