"""What better means."""

import math

import pytest

from sweepd.errors import InvalidInput
from sweepd.spec import check_rule, reduce_curve, sign, signed


def test_an_objective_is_better_the_lower_it_is():
    assert signed(0.9, "maximize") < signed(0.8, "maximize")
    assert signed(0.1, "minimize") < signed(0.2, "minimize")
    assert (sign("minimize"), sign("maximize")) == (1.0, -1.0)


@pytest.mark.parametrize(
    ("rule", "goal", "expected"),
    [
        ("best", "maximize", 5.0),
        ("best", "minimize", 1.0),
        ("last", "maximize", 2.0),
        ("mean:2", "minimize", 3.5),
        ("mean:99", "maximize", 2.75),
    ],
)
def test_one_value_stands_for_a_curve(rule, goal, expected):
    assert reduce_curve([1, 3, 5, 2], rule=rule, goal=goal) == expected


@pytest.mark.parametrize("rule", ["best", "last", "mean:3"])
def test_values_that_are_not_finite_are_passed_over(rule):
    assert reduce_curve([1.0, math.nan, math.inf], rule=rule, goal="maximize") == 1.0
    assert reduce_curve([math.nan], rule=rule, goal="maximize") is None
    assert reduce_curve([], rule=rule, goal="minimize") is None


@pytest.mark.parametrize("rule", ["mean", "mean:0", "mean:-1", "first", "", "mean:1.5"])
def test_an_unknown_rule_is_refused_in_words(rule):
    with pytest.raises(InvalidInput, match="best, last or mean:k"):
        check_rule(rule)
