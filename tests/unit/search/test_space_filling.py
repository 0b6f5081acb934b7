"""Points spread evenly over a space."""

from itertools import islice

import numpy as np

from sweepd.search import Taken, filler
from sweepd.search.space_filling import spread

PARAMETERS = {"a": {"min": 0.0, "max": 1.0}, "b": {"min": 0.0, "max": 1.0}}


def fill(space, keys=(), *, index, seed):
    return filler(space, Taken(space, keys=keys), index=index, seed=seed)


def test_first_point_is_the_centre(space_of):
    assert fill(space_of(PARAMETERS), index=0, seed=3) == ({"a": 0.5, "b": 0.5}, 0)


def test_points_lie_more_evenly_than_random_ones(space_of):
    configs = list(islice(spread(space_of(PARAMETERS), start=0, seed=1), 128))

    cells = {(int(8 * config["a"]), int(8 * config["b"])) for config in configs}
    assert len(cells) == 64  # random ones leave about 8 of 64 empty


def test_index_and_seed_decide(space_of):
    space = space_of(PARAMETERS)

    first = [fill(space, index=index, seed=1)[0] for index in range(60, 70)]

    assert first == [fill(space, index=index, seed=1)[0] for index in range(60, 70)]
    assert first[1:] != [fill(space, index=index, seed=2)[0] for index in range(61, 70)]
    assert len({space.key(config) for config in first}) == 10


def test_taken_points_are_passed_over_until_none_is_left(space_of):
    space = space_of({"a": {"values": ["x", "y", None]}, "b": {"min": 1, "max": 2}})
    taken: set[str] = set()

    for _ in range(6):
        config, _ = fill(space, taken, index=4, seed=0)
        assert space.key(config) not in taken
        taken.add(space.key(config))

    assert fill(space, taken, index=4, seed=0) is None


def test_space_of_constants_has_one_point(space_of):
    space = space_of({"a": {"value": 1}})

    assert fill(space, index=5, seed=0) == ({"a": 1}, 5)
    assert fill(space, {space.key({"a": 1})}, index=6, seed=0) is None


def test_any_number_of_parameters_is_filled(space_of):
    space = space_of({f"x{i}": {"min": 0.0, "max": 1.0} for i in range(300)})

    config, number = fill(space, index=1000, seed=0)

    assert number == 1000
    assert 0.4 < np.mean(list(config.values())) < 0.6


def test_number_of_a_point_tells_where_the_next_search_for_one_begins(space_of):
    space = space_of(PARAMETERS)
    taken = Taken(space, [fill(space, index=index, seed=1)[0] for index in (7, 8)])

    config, number = filler(space, taken, index=7, seed=1)

    assert (number, config) == (9, fill(space, index=9, seed=1)[0])
