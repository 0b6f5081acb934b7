"""Configs picked one after the other."""

import numpy as np

from sweepd.search import Trial
from sweepd.search.picks import picks
from sweepd.search.random import draws


def test_ideas_that_are_out_are_passed_over_and_then_it_is_drawn(space_of):
    space = space_of({"a": {"values": list(range(6))}})
    trials, pending = [Trial({"a": 0}, 1.0)], [{"a": 1}]

    configs, filled = picks(
        space,
        trials,
        pending,
        9,
        np.random.default_rng([1, 2]),
        ideas=lambda out, running, own: [{"a": 0}, {"a": 1}, {"a": 2}],
        most=20,
    )

    assert configs[0] == {"a": 2}
    assert sorted(config["a"] for config in configs) == [2, 3, 4, 5]
    assert filled == configs[1:]


def test_each_pick_knows_what_runs_and_how_many_are_out(space_of):
    space, seen = space_of({"a": {"min": 0.0, "max": 1.0}}), []

    def ideas(out, running, own):
        seen.append((out, len(running)))
        return draws(space, own)

    given = (space, [Trial({"a": 0.5}, 1.0)], [{"a": 0.25}], 3, np.random.default_rng(0))
    _, filled = picks(*given, ideas=ideas, most=1)

    assert filled == []
    assert seen == [(2, 1), (3, 2), (4, 3)]
