"""Asynchronous successive halving: who goes on from a rung, at once or later."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweepd.search import Curves, Progress
from sweepd.search.asha import Asha

VALUES = st.lists(st.floats(-5, 5).map(lambda value: round(value, 1)), min_size=1, max_size=40)
ETAS = st.sampled_from([2, 3, 4, 1.5, 2.7])


def _arrive(rule, values):
    """Let one-value runs reach the first rung one after the other; return who goes on at once."""
    went_on = []
    for i, value in enumerate(values):
        others = Curves([[before] for before in values[:i]])
        if rule.should_stop(Progress(curve=[value]), others) is None:
            went_on.append(i)
    return went_on


def _promotable(rule, values, went_on, **rest):
    """Return who is promotable at the first rung."""
    paused = {i: 1 for i in range(len(values)) if i not in went_on}
    found = rule.promotable(paused, lambda rung: list(enumerate(values)), **rest)
    return [i for i, _ in found]


@pytest.mark.parametrize(
    ("keys", "rungs"),
    [
        pytest.param({"max_iter": 27}, (1, 3, 9), id="below max_iter, which is none"),
        pytest.param({"min_iter": 2, "max_iter": 20}, (2, 6, 18), id="from min_iter"),
        pytest.param({"max_iter": 10, "eta": 1.5}, (1, 2, 3, 5, 7), id="eta with a fraction"),
        pytest.param({"min_iter": 9, "max_iter": 9}, (), id="no rung"),
    ],
)
def test_rungs_are_those_of_the_definition(keys, rungs):
    assert Asha(**keys).rungs == rungs


def test_rungs_without_max_iter_have_no_end_that_a_run_could_reach():
    assert Asha(min_iter=2, eta=4).rungs[:4] == (2, 8, 32, 128)
    assert Asha().rungs[-1] > 1e14


def test_run_is_judged_once_at_each_rung_by_its_value_there():
    rule, others = Asha(eta=2, max_iter=8), Curves([[1.0] * 8, [2.0] * 8])

    assert rule.should_stop(Progress(curve=[9.0]), others) is not None
    assert rule.should_stop(Progress(curve=[1.5, 9.0, 9.0], rung=2), others) is None
    assert rule.should_stop(Progress(curve=[9.0, 9.0, 9.0, 0.5, 9.0], rung=2), others) is None
    assert rule.should_stop(Progress(curve=[0.5, 0.5, 0.5, 9.0], rung=2), others) is not None


def test_decision_tells_the_numbers_it_was_made_by():
    others = Curves([[1.0], [2.0], [3.0], [4.0], [5.0]])

    decision = Asha(eta=3).should_stop(Progress(curve=[2.5]), others)

    assert decision is not None
    assert (decision.band, decision.value, decision.threshold) == (1, 2.5, 2.0)
    assert "among the best 2 of 6" in decision.why
    assert not decision.is_paused


def test_first_to_arrive_goes_on_only_if_nobody_can_come_back():
    first = Progress(curve=[1.0])

    assert Asha().should_stop(first, Curves([])) is None
    waits = Asha(promote=True).should_stop(first, Curves([]))
    assert waits is not None
    assert waits.is_paused
    assert waits.threshold is None
    assert "1 of the 3" in waits.why


def test_of_equal_values_the_earlier_ones_are_better():
    rule = Asha(eta=2, promote=True)

    assert _arrive(rule, [1.0] * 6) == []
    assert _promotable(rule, [1.0] * 6, []) == [0, 1, 2]


def test_promotion_is_from_the_highest_rung_first_and_the_best_first():
    rule = Asha(eta=2, promote=True)
    at = {
        1: [("a", 3.0), ("b", 1.0), ("c", 2.0), ("d", 0.0), ("e", 9.0), ("f", 0.5)],
        2: [("d", 7.0), ("f", 5.0)],
    }
    paused = {"a": 1, "b": 1, "c": 1, "e": 1, "d": 2, "f": 2}

    found = rule.promotable(paused, at.__getitem__)

    assert [key for key, _ in found] == ["f", "b"]
    assert found[0][1] == (2, 5.0, 5.0, 2)
    assert found[1][1] == (1, 1.0, 1.0, 6)


def test_best_of_too_few_goes_on_once_no_others_will_come():
    rule = Asha(eta=3, promote=True)

    assert _promotable(rule, [2.0, 1.0], []) == []
    assert _promotable(rule, [2.0, 1.0], [], at_least=1) == [1]
    assert _promotable(rule, [2.0, 1.0], [1], at_least=1) == []


@given(values=VALUES, eta=ETAS)
def test_promotable_trials_and_those_that_went_on_are_never_more_than_the_best_part(values, eta):
    rule = Asha(eta=eta, promote=True)
    went_on = _arrive(rule, values)

    promoted = _promotable(rule, values, went_on)

    best = sorted(range(len(values)), key=values.__getitem__)[: int(len(values) / eta)]
    assert set(promoted) <= set(best)
    assert set(promoted) | set(went_on) >= set(best)


@given(values=VALUES, eta=ETAS, seed=st.integers(0, 100))
def test_in_whatever_order_they_arrive_the_best_part_goes_on_in_the_end(values, eta, seed):
    rule = Asha(eta=eta, promote=True)
    shuffled = random.Random(seed).sample(values, len(values))

    went_on = _arrive(rule, shuffled)
    in_the_end = {*went_on, *_promotable(rule, shuffled, went_on)}

    n_best = int(len(values) / eta)
    assert sorted(shuffled[i] for i in in_the_end)[:n_best] == sorted(values)[:n_best]


@given(values=VALUES, eta=ETAS)
def test_where_nobody_comes_back_each_newcomer_in_the_best_part_goes_on(values, eta):
    went_on = _arrive(Asha(eta=eta), values)

    assert went_on[0] == 0
    for i in range(1, len(values)):
        is_better_than = sum(values[i] < before for before in values[:i])
        slots = max(1, int((i + 1) / eta))
        assert (i in went_on) == (i - is_better_than < slots)
