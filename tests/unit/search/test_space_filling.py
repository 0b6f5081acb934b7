"""Points spread evenly over a space."""

from itertools import islice

import numpy as np

from sweepd.search import filler
from sweepd.search.space_filling import spread

PARAMETERS = {"a": {"min": 0.0, "max": 1.0}, "b": {"min": 0.0, "max": 1.0}}


def test_first_point_is_the_centre(space_of):
    assert filler(space_of(PARAMETERS), set(), 0, 3) == {"a": 0.5, "b": 0.5}


def test_points_lie_more_evenly_than_random_ones(space_of):
    configs = list(islice(spread(space_of(PARAMETERS), start=0, seed=1), 128))

    cells = {(int(8 * config["a"]), int(8 * config["b"])) for config in configs}
    assert len(cells) == 64  # random ones leave about 8 of 64 empty


def test_index_and_seed_decide(space_of):
    space = space_of(PARAMETERS)

    first = [filler(space, set(), index, 1) for index in range(60, 70)]

    assert first == [filler(space, set(), index, 1) for index in range(60, 70)]
    assert first[1:] != [filler(space, set(), index, 2) for index in range(61, 70)]
    assert len({space.key(config) for config in first}) == 10


def test_taken_points_are_passed_over_until_none_is_left(space_of):
    space = space_of({"a": {"values": ["x", "y", None]}, "b": {"min": 1, "max": 2}})
    taken: set[str] = set()

    for _ in range(6):
        config = filler(space, taken, 4, 0)
        assert config is not None
        assert space.key(config) not in taken
        taken.add(space.key(config))

    assert filler(space, taken, 4, 0) is None


def test_space_of_constants_has_one_point(space_of):
    space = space_of({"a": {"value": 1}})

    assert filler(space, set(), 5, 0) == {"a": 1}
    assert filler(space, {space.key({"a": 1})}, 6, 0) is None


def test_any_number_of_parameters_is_filled(space_of):
    space = space_of({f"x{i}": {"min": 0.0, "max": 1.0} for i in range(300)})

    config = filler(space, set(), 1000, 0)

    assert config is not None
    assert 0.4 < np.mean(list(config.values())) < 0.6
