"""No config twice."""

from itertools import repeat

import pytest

from sweepd.search.unique import Taken, configs_from, fresh


@pytest.fixture
def finite(space_of):
    return space_of(
        {
            "a": {"values": [True, 1, "1"]},
            "b": {"min": 0, "max": 2},
            "c": {"distribution": "q_log_uniform_values", "min": 1, "max": 4, "q": 1},
            "d": {"value": {"x": None}},
        }
    )


def test_every_config_of_a_finite_space_is_counted_once(finite):
    configs = list(configs_from(finite, start=17, count=1000))

    assert len(configs) == finite.size == 3 * 3 * 4
    assert len({finite.key(config) for config in configs}) == len(configs)
    assert all(finite.contains(config) for config in configs)


def test_values_of_probability_0_are_never_counted(space_of):
    space = space_of({"a": {"values": ["x", "y", "z"], "probabilities": [0.5, 0.0, 0.5]}})

    assert [config["a"] for config in configs_from(space, start=0, count=9)] == ["x", "z"]


def test_true_is_another_config_than_1(finite):
    one = {"a": True, "b": 0, "c": 1, "d": {"x": None}}
    taken = Taken(finite, [one])

    assert one in taken
    assert one | {"a": 1} not in taken
    assert one | {"b": 0.0} in taken


def test_true_is_another_config_than_1_in_a_space_without_end(space_of):
    space = space_of({"a": {"values": [True, 1]}, "x": {"min": 0.0, "max": 1.0}})
    taken = Taken(space, [{"a": True, "x": 0.5}])

    assert {"a": True, "x": 0.5} in taken
    assert {"a": 1, "x": 0.5} not in taken
    assert {"a": True, "x": 0.25} not in taken


def test_what_is_left_is_found_where_draws_repeat(finite):
    *others, last = configs_from(finite, start=5, count=100)
    taken = Taken(finite, others)

    assert fresh(repeat(others[0]), taken, start=7) == last
    taken.add(last)
    assert fresh(repeat(others[0]), taken, start=7) is None


def test_space_without_end_that_gives_nothing_new_is_exhausted(space_of):
    space = space_of({"x": {"distribution": "q_normal", "mu": 0, "sigma": 0.01, "q": 1}})

    assert fresh(repeat({"x": 0}), Taken(space, [{"x": 0}]), start=0) is None
