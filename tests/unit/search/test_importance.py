"""Which parameters matter, and how sure that is."""

import numpy as np
import pytest

from sweepd.search import importance
from sweepd.search.importance import measure
from sweepd.spec import read_definition

SPACE = read_definition(
    """
method: random
parameters:
  lr: {distribution: log_uniform_values, min: 1.0e-4, max: 1.0}
  width: {values: [64, 16, 32]}
  flag: {values: [true, false]}
  kind: {values: [sgd, null, [1, 2]]}
  noise: {min: 0.0, max: 1.0}
  depth: {min: 1, max: 5}
  fixed: {value: 3}
"""
).definition.space


def trials(n, *, seed=0):
    """Draw configs, and objectives that lr decides, kind and flag shift, and noise does not."""
    rng = np.random.default_rng(seed)
    configs = [SPACE.sample(rng) for _ in range(n)]
    objectives = [
        np.log10(c["lr"])
        + 0.8 * (c["kind"] is not None)
        - 0.5 * c["flag"]
        + 0.05 * rng.standard_normal()
        for c in configs
    ]
    return configs, objectives


def by_name(found):
    return {one.name: one for one in found}


def test_what_decides_has_the_greatest_share_and_its_sign_and_the_rest_little():
    found = by_name(measure(SPACE, *trials(200), seed=1))

    assert max(found.values(), key=lambda one: one.share).name == "lr"
    assert sum(one.share for one in found.values()) == pytest.approx(1)
    assert found["noise"].share < 0.1 < found["lr"].share
    assert found["lr"].trend > 0.8
    assert found["lr"].trend_low > 0.7
    assert found["noise"].trend_low < 0 < found["noise"].trend_high
    assert found["flag"].trend < 0
    assert "fixed" not in found


def test_interval_holds_the_value_and_narrows_with_runs():
    few = by_name(measure(SPACE, *trials(30), seed=1))["lr"]
    many = by_name(measure(SPACE, *trials(300), seed=1))["lr"]

    for one in (few, many):
        assert one.share_low <= one.share <= one.share_high
        assert one.trend_low <= one.trend <= one.trend_high
    assert many.trend_high - many.trend_low < few.trend_high - few.trend_low


def test_categories_have_a_best_value_and_no_trend():
    found = by_name(measure(SPACE, *trials(200), seed=1))

    assert found["kind"].trend is None
    assert found["kind"].best == "null"  # that value is the best
    assert found["width"].trend is not None


def test_where_all_runs_came_to_one_value_no_category_is_the_best():
    configs, _ = trials(50)

    found = by_name(measure(SPACE, configs, [0.5] * 50, seed=1))

    assert (found["kind"].best, found["lr"].best, found["lr"].trend) == (None, None, None)


def test_of_one_value_or_two_that_are_alike_none_is_the_best():
    configs, objectives = trials(60)
    kinds = SPACE["kind"].distribution.values
    tied = [0.0 if config["kind"] in kinds[:2] else 1.0 for config in configs]
    alone = [{**config, "kind": kinds[0]} for config in configs]

    assert by_name(measure(SPACE, configs, tied, seed=1))["kind"].best is None
    assert by_name(measure(SPACE, alone, objectives, seed=1))["kind"].best is None


def test_same_runs_give_the_same_answer_and_another_seed_other_intervals():
    runs = trials(40)

    first = measure(SPACE, *runs, seed=3)

    assert measure(SPACE, *runs, seed=3) == first
    assert measure(SPACE, *runs, seed=4) != first


def test_too_few_runs_are_counted_and_nothing_else_is_said():
    configs, objectives = trials(25)
    for config in configs[:6]:
        del config["depth"]
    configs[0]["width"] = 999  # of an older version of the definition

    found = by_name(measure(SPACE, configs, objectives, seed=0))
    none = measure(SPACE, configs[:19], objectives[:19], seed=0)

    assert (found["depth"].n, found["depth"].share, found["depth"].trend) == (19, None, None)
    assert found["width"].n == 24
    assert found["lr"].share is not None
    assert {(one.n <= 19, one.share, one.trend) for one in none} == {(True, None, None)}


def test_parameter_that_only_some_runs_have_is_measured_among_those():
    configs, objectives = trials(120)
    for config in configs[:60]:
        del config["depth"]

    found = by_name(measure(SPACE, configs, objectives, seed=0))["depth"]

    assert found.n == 60
    assert 0 <= found.share < 0.5


@pytest.mark.parametrize("value", [0.0, 1e300, -5.0])
def test_objective_that_is_always_the_same_has_no_trend(value):
    configs, _ = trials(40)

    found = measure(SPACE, configs, [value] * 40, seed=0)

    assert all(one.trend is None for one in found)


def test_without_optuna_there_are_trends_and_no_shares(monkeypatch):
    monkeypatch.setattr(importance, "has_shares", lambda: False)

    found = by_name(measure(SPACE, *trials(60), seed=0))

    assert found["lr"].share is None
    assert found["lr"].trend > 0.5
