"""`sweepd.outcome_constraints`: what is read, and how a run is judged."""

import math

import pytest

from sweepd.spec import Bounds, Outcome, bounds_in, judge

METRIC = {"name": "loss"}


def test_bounds_are_read_by_metric(parsed):
    block = {"latency_ms": {"max": 5}, "f1": {"min": 0.5, "max": 1}}

    own = parsed(metric=METRIC, sweepd={"outcome_constraints": block}).definition.own

    assert own.outcome_constraints == {
        "latency_ms": Bounds(high=5),
        "f1": Bounds(low=0.5, high=1),
    }
    assert bounds_in({"sweepd": {"outcome_constraints": block}}) == own.outcome_constraints


@pytest.mark.parametrize(
    ("block", "path", "words"),
    [
        (3, "", "must be a mapping such as"),
        ({"a": 5}, ".a", "must have min, max or both, not 5: write {max: 5}"),
        ({"a": {}}, ".a", "must have min, max or both"),
        ({"a": {"max": "x"}}, ".a.max", "must be a finite number, not x"),
        ({"a": {"min": 2, "max": 1}}, ".a", "min 2 is above max 1"),
        ({"loss": {"max": 1}}, ".loss", "is the metric itself"),
        ({f"m{i}": {"max": 1} for i in range(51)}, "", "has 51 metrics: at most 50"),
    ],
)
def test_what_makes_no_sense_is_refused_in_words(block, path, words, refusal, text_of):
    text = text_of({"x": {"values": [1, 2]}}, metric=METRIC, sweepd={"outcome_constraints": block})

    found = refusal(text)

    assert list(found) == [f"sweepd.outcome_constraints{path}"]
    assert words in found[f"sweepd.outcome_constraints{path}"].message


def test_an_unknown_key_is_told_with_the_nearest(parsed):
    block = {"outcome_constraints": {"a": {"maxx": 5}}}

    warned = {w.path: w.message for w in parsed(metric=METRIC, sweepd=block).warnings}

    assert "did you mean max?" in warned["sweepd.outcome_constraints.a.maxx"]
    assert "no effect" in warned["sweepd.outcome_constraints.a"]


@pytest.mark.parametrize(
    ("summary", "wanted"),
    [
        ({"ms": 5}, None),
        ({"ms": 5.1}, "above 5"),
        ({"ms": -1}, "below 0"),
        ({"ms": "NaN"}, "NaN"),
        ({"ms": math.nan}, "NaN"),
        ({"ms": "-Infinity"}, "below 0"),
        ({"ms": 10**400}, "above 5"),
        ({"ms": {"min": 1, "last": 7}}, "above 5"),
        ({"ms": {"max": 4}}, None),
        ({}, "was never logged"),
        ({"ms": "fast"}, "was never logged"),
        ({"ms": True}, "was never logged"),
        ({"ms": [1]}, "was never logged"),
    ],
)
def test_a_run_is_judged_by_its_summary(summary, wanted):
    found = list(judge(summary, {"ms": Bounds(0, 5)}))

    outcome = Outcome.MISSING if wanted == "was never logged" else Outcome.BROKEN
    assert found == ([] if wanted is None else [(outcome, "ms", wanted)])


def test_a_dot_leads_into_what_is_nested():
    bounds = {"perf.ms": Bounds(high=5)}

    assert list(judge({"perf": {"ms": 4}}, bounds)) == []
    assert list(judge({"perf.ms": 4, "perf": {"ms": 9}}, bounds)) == []
    assert len(list(judge({"perf": 3}, bounds))) == 1


def test_what_is_odd_in_a_definition_of_another_server_is_left_out():
    block = {"a": {"max": "x", "min": 1}, "b": 3, "c": {"max": 2}}

    assert bounds_in({"sweepd": {"outcome_constraints": block}}) == {
        "a": Bounds(low=1),
        "c": Bounds(high=2),
    }
    assert bounds_in({"sweepd": [1]}) == bounds_in({"sweepd": {"outcome_constraints": 1}}) == {}
