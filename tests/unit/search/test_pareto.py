"""Fronts of several objectives, and the volume that they dominate."""

from itertools import pairwise

import numpy as np
import pytest

from sweepd.search.pareto import (
    best_first,
    crowding,
    front,
    fronts,
    hypervolume,
    last_joined,
)


def _plain_front(values):
    """Return the front by comparing every pair."""
    beaten = [
        any((other <= own).all() and (other < own).any() for other in values) for own in values
    ]
    return [i for i, is_beaten in enumerate(beaten) if not is_beaten]


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_front_is_what_comparing_every_pair_gives(k):
    values = np.random.default_rng(k).integers(0, 6, size=(60, k)).astype(float)  # many ties

    assert front(values).tolist() == _plain_front(values)


@pytest.mark.parametrize("k", [1, 2, 3, 8])
@pytest.mark.parametrize("span", [2, 6, 10**6])
def test_last_to_join_the_front_is_what_comparing_with_all_before_gives(k, span):
    rng = np.random.default_rng([k, span])
    values = rng.integers(0, span, size=(60, k)).astype(float)
    values[30:] += span * rng.integers(0, 2)  # at times nothing gets better any more
    joined = [i for i, own in enumerate(values) if not (values[:i] <= own).all(axis=1).any(axis=0)]

    for n in range(1, len(values) + 1):
        assert last_joined(values[:n]) == max(i for i in joined if i < n)
    assert last_joined(values[:0]) is None


def test_fronts_hold_each_trial_once_and_each_is_beaten_by_the_one_before():
    values = np.random.default_rng(0).random((50, 2))

    groups = fronts(values)

    assert sorted(np.concatenate(groups).tolist()) == list(range(50))
    for better, worse in pairwise(groups):
        for i in worse:
            assert any((values[j] <= values[i]).all() for j in better)


def test_nothing_has_an_empty_front():
    assert front(np.empty((0, 2))).tolist() == []
    assert best_first(np.empty((0, 2))).tolist() == []
    assert hypervolume(np.empty((0, 2)), np.ones(2)) == 0.0


def test_ends_of_a_front_have_the_most_room():
    values = np.array([[0.0, 1.0], [0.1, 0.9], [0.5, 0.5], [1.0, 0.0]])

    assert crowding(values).tolist() == [np.inf, 1.0, 1.8, np.inf]
    assert best_first(values).tolist() == [0, 3, 2, 1]
    assert best_first(values, least=3).tolist() == [0, 3, 2]


def test_one_objective_is_sorted_by_value():
    assert best_first(np.array([[3.0], [1.0], [2.0], [1.0]])).tolist() == [1, 3, 2, 0]


def test_hypervolume_of_boxes_is_their_union():
    values = np.array([[0.0, 2.0], [1.0, 1.0], [1.5, 1.5], [4.0, 0.0]])

    assert hypervolume(values, np.array([3.0, 3.0])) == pytest.approx(3 + 2)
    assert hypervolume(np.array([[1.0, 2.0, 3.0]]), np.array([2.0, 4.0, 6.0])) == pytest.approx(6)


def test_hypervolume_agrees_with_counting_random_points():
    rng = np.random.default_rng(3)
    values, points = rng.random((12, 3)), rng.random((40_000, 3))

    is_dominated = (values[None] <= points[:, None]).all(axis=2).any(axis=1)

    assert hypervolume(values, np.ones(3)) == pytest.approx(is_dominated.mean(), abs=0.01)
