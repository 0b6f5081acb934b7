"""The median, threshold, plateau and NaN rules."""

import math
from statistics import fmean, median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweepd.search import Curves, Progress
from sweepd.search.median import Median
from sweepd.search.nan import Nan
from sweepd.search.plateau import Plateau
from sweepd.search.threshold import Threshold

NOBODY = Curves([])
CURVE = st.lists(st.floats(-100, 100), min_size=1, max_size=12)


def test_median_stops_a_run_whose_best_is_worse_than_the_usual_average():
    others = Curves([[4.0, 2.0], [6.0, 4.0], [9.0, 9.0, 9.0], [0.0]])  # averages 3, 5 and 9
    rule = Median(min_trials=3)

    assert rule.should_stop(Progress(curve=[8.0, 5.0]), others) is None
    decision = rule.should_stop(Progress(curve=[5.5, 8.0]), others)

    assert decision is not None
    assert (decision.band, decision.value, decision.threshold) == (2, 5.5, 5.0)


@pytest.mark.parametrize(
    ("keys", "n_values"),
    [
        pytest.param({"min_iter": 4}, 3, id="grace"),
        pytest.param({"min_iter": 2, "interval": 3}, 4, id="between two intervals"),
        pytest.param({"min_trials": 4}, 3, id="too few others"),
    ],
)
def test_median_waits(keys, n_values):
    others, run = Curves([[1.0] * 9] * 3), Progress(curve=[5.0] * n_values)

    assert Median(**{"min_trials": 3, **keys}).should_stop(run, others) is None
    assert Median(min_trials=3).should_stop(run, others) is not None


@given(curve=CURVE, others=st.lists(CURVE, max_size=8))
def test_median_is_what_its_definition_says(curve, others):
    n = len(curve)
    averages = [fmean(other[:n]) for other in others if len(other) >= n]

    decision = Median(min_trials=2).should_stop(Progress(curve=curve), Curves(others))

    expected = len(averages) >= 2 and min(curve) > median(averages)
    assert (decision is not None) == expected


@given(
    curve=CURVE,
    n_new=st.integers(0, 12),
    keys=st.fixed_dictionaries({"min_iter": st.integers(1, 6), "interval": st.integers(1, 6)}),
)
def test_median_judges_values_that_came_together_at_the_latest_of_its_intervals(curve, n_new, keys):
    rule, others = Median(min_trials=1, **keys), Curves([[0.0] * 12, [1.0] * 12])
    n_known = max(0, len(curve) - n_new)
    due = range(keys["min_iter"], len(curve) + 1, keys["interval"])
    latest = next((n for n in reversed(due) if n > n_known), None)

    decision = rule.should_stop(Progress(curve=curve, n_new=n_new), others)

    alone = None if latest is None else Progress(curve=curve[:latest])
    assert decision == (None if alone is None else rule.should_stop(alone, others))


def test_threshold_asks_for_the_bound_after_some_values_only():
    rule = Threshold(after=3, bound=1.0)

    assert rule.should_stop(Progress(curve=[9.0, 9.0]), NOBODY) is None
    assert rule.should_stop(Progress(curve=[9.0, 1.0, 9.0, 9.0]), NOBODY) is None
    decision = rule.should_stop(Progress(curve=[9.0, 1.5, 9.0]), NOBODY)
    assert decision is not None
    assert (decision.band, decision.value, decision.threshold) == (3, 1.5, 1.0)


@pytest.mark.parametrize(
    ("keys", "curve", "is_over"),
    [
        pytest.param({}, [5.0, 4.0, 4.0, 4.0, 4.0], True, id="no better three times"),
        pytest.param({}, [5.0, 4.0, 4.0, 4.0, 3.9], False, id="a little better"),
        pytest.param({"min_delta": 0.5}, [5.0, 4.0, 3.9, 3.8, 3.7], True, id="not by enough"),
        pytest.param({"min_delta": 0.5}, [5.0, 4.0, 3.9, 3.8, 3.4], False, id="by enough in all"),
        pytest.param({"min_iter": 6}, [4.0, 4.0, 4.0, 4.0, 4.0], False, id="too early"),
        pytest.param({}, [4.0, 4.0, 4.0], False, id="too few"),
    ],
)
def test_plateau_ends_a_run_that_does_not_improve(keys, curve, is_over):
    decision = Plateau(patience=3, **keys).should_stop(Progress(curve=curve), NOBODY)

    assert (decision is not None) == is_over
    assert decision is None or decision.outcome == "finished"


@given(curve=CURVE)
def test_plateau_never_ends_a_run_at_its_best_value(curve):
    run = Progress(curve=[*curve, min(curve) - 1.0])

    assert Plateau(patience=2, min_delta=0.5).should_stop(run, NOBODY) is None


@pytest.mark.parametrize(
    ("patience", "n_bad", "is_over"), [(3, 2, False), (3, 3, True), (1, 1, True), (0, 99, False)]
)
def test_nan_ends_a_run_after_so_many_in_a_row(patience, n_bad, is_over):
    decision = Nan(patience=patience).should_stop(Progress(curve=[1.0], n_bad=n_bad), NOBODY)

    assert (decision is not None) == is_over
    assert decision is None or decision.outcome == "diverged"


def test_curves_in_memory_are_read_by_column():
    curves = Curves([[1.0, 3.0], [], [5.0]])

    assert curves.at(0) == [1.0, 5.0]
    assert curves.means(1) == [2.0]
    assert math.isclose(curves.means(0)[1], 5.0)
