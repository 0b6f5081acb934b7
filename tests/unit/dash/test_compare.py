"""Runs side by side."""

import pytest

from sweepd.dash.compare import config_rows, metric_rows


def test_differing_keys_come_first() -> None:
    rows = config_rows([{"a": 1, "b": 2}, {"a": 1, "b": 3}])

    assert [(row["key"], row["differs"]) for row in rows] == [("b", True), ("a", False)]


def test_missing_key_is_a_difference_from_null() -> None:
    (row,) = config_rows([{"a": None}, {}])

    assert row["differs"]
    assert row["has"] == [True, False]


def test_one_and_one_point_zero_are_the_same_but_true_is_not() -> None:
    rows = config_rows([{"a": 1, "b": 1}, {"a": 1.0, "b": True}])

    assert {row["key"]: row["differs"] for row in rows} == {"a": False, "b": True}


@pytest.mark.parametrize(("goal", "verdict"), [("maximize", "better"), ("minimize", "worse")])
def test_delta_is_signed_and_judged_by_the_goal(goal: str, verdict: str) -> None:
    (row,) = metric_rows([{"m": 0.5}, {"m": 0.6}], metric="m", goal=goal)

    assert row["deltas"][0] is None
    assert row["deltas"][1]["value"] == pytest.approx(0.1)
    assert row["deltas"][1]["percent"] == pytest.approx(20.0)
    assert row["deltas"][1]["verdict"] == verdict


def test_unknown_direction_is_not_judged_and_has_no_best() -> None:
    (row,) = metric_rows([{"steps": 1}, {"steps": 2}], metric=None, goal="minimize")

    assert row["deltas"][1]["verdict"] == "unknown"
    assert row["best"] is None


def test_missing_value_has_no_delta() -> None:
    (row,) = metric_rows([{}, {"loss": 2.0}, {"loss": 1.0}], metric=None, goal="minimize")

    assert row["deltas"] == [None, None, None]
    assert row["best"] == 2


def test_objective_stands_first_with_its_rule() -> None:
    rows = metric_rows(
        [{"a": 1.0, "m": 0.8}, {"a": 1.0, "m": 0.7}],
        metric="m",
        goal="maximize",
        objectives=[0.9, 0.95],
        rule="best",
    )

    assert [(row["key"], row["note"]) for row in rows] == [("m", "best"), ("m", None), ("a", None)]
    assert rows[0]["best"] == 1


def test_equal_values_are_the_same_and_none_is_best() -> None:
    (row,) = metric_rows([{"loss": 1.0}, {"loss": 1.0}], metric=None, goal="minimize")

    assert row["deltas"][1]["verdict"] == "same"
    assert row["best"] is None


def test_own_keys_and_media_are_left_out() -> None:
    summary = {"_step": 3, "picture": {"_type": "image-file", "size": 3}, "val": {"loss": 1.0}}

    assert [row["key"] for row in metric_rows([summary], metric=None, goal="minimize")] == [
        "val.loss"
    ]
