"""Stop rules and initial configs: what goes together with the rest of a definition."""

import pytest

from sweepd.errors import DefinitionError
from sweepd.spec import read_definition

METRIC = {"name": "loss", "goal": "minimize"}
X = {"x": {"values": [1, 2]}}


@pytest.mark.parametrize(
    ("rule", "path", "words"),
    [
        ({"min_iter": 3}, "early_terminate", "needs type"),
        ("hyperband", "early_terminate", "write early_terminate: {type: hyperband, min_iter: …}"),
        ({"type": "median", "min_iter": 3}, "early_terminate.type", "must be hyperband"),
        ({"type": "hyperband"}, "early_terminate", "needs min_iter, or max_iter and s"),
        ({"type": "hyperband", "max_iter": 9}, "early_terminate", "max_iter needs s"),
        ({"type": "hyperband", "s": 2}, "early_terminate", "needs min_iter"),
        ({"type": "hyperband", "min_iter": 0}, "early_terminate.min_iter", "at least 1"),
        ({"type": "hyperband", "min_iter": 1, "eta": 1}, "early_terminate.eta", "above 1, not 1"),
        ({"type": "hyperband", "min_iter": 1, "strict": 1}, "early_terminate.strict", "true or"),
        ({"type": "hyperband", "max_iter": 2, "s": 1}, "early_terminate", "below 1: no run is"),
    ],
)
def test_a_stop_rule_that_cannot_work_is_refused(rule, path, words, text_of, refusal):
    found = refusal(text_of(X, metric=METRIC, early_terminate=rule))

    assert list(found) == [path]
    assert words in found[path].message


def test_a_stop_rule_needs_a_metric(text_of, refusal):
    found = refusal(text_of(X, early_terminate={"type": "hyperband", "min_iter": 1}))

    assert "early_terminate needs a metric" in found[""].message


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ({"min_iter": 3, "max_iter": 27}, "has no effect without s"),
        ({"min_iter": 3, "max_iter": 27, "s": 2}, "has no effect beside max_iter and s"),
        ({"max_iter": 9, "s": 5}, "only 2 are at least 1: [1, 3]"),
        ({"min_iter": 10}, "epochs is at most 10"),
        ({"max_iter": 60, "s": 1}, "the first band is after 20"),
    ],
)
def test_a_stop_rule_that_does_less_than_it_says_is_pointed_out(rule, words, parsed):
    found = parsed(
        {"epochs": {"values": [5, 10]}, **X},
        metric=METRIC,
        early_terminate={"type": "hyperband"} | rule,
    )

    assert words in "".join(str(warning) for warning in found.warnings)
    rule_read = found.definition.early_terminate
    assert (rule_read.min_iter is None) != (rule_read.max_iter is None)


@pytest.mark.parametrize(
    ("entry", "path", "words"),
    [
        (3, "sweepd.initial[0]", "must be a mapping"),
        ({"lr": 0.5}, "sweepd.initial[0]", "needs o.k: a trial sets every parameter"),
        ({"lr": 2.0, "o.k": 1}, "sweepd.initial[0].lr", "a number from 0 to 1, not 2.0"),
        ({"lr": "x", "o.k": 1}, "sweepd.initial[0].lr", "a number from 0 to 1, not x"),
        ({"lr": 0.5, "o": {"k": 3}}, "sweepd.initial[0].o.k", "one of 1, 2, not 3"),
        ({"rl": 0.5, "lr": 0.5, "o.k": 1}, "sweepd.initial[0].rl", "known: c, lr, o.k"),
        ({"lr": 0.5, "o.k": 1, "c": 8}, "sweepd.initial[0].c", "only 7, not 8"),
    ],
)
def test_an_initial_config_outside_the_space_is_refused(entry, path, words, text_of, refusal):
    space = {
        "lr": {"min": 0.0, "max": 1.0},
        "o": {"parameters": {"k": {"values": [1, 2]}}},
        "c": {"value": 7},
    }

    found = refusal(text_of(space, sweepd={"initial": [entry]}))

    assert list(found) == [path]
    assert words in found[path].message


def test_initial_configs_are_read_flat_and_whole(parsed):
    space = {"n": {"min": 1, "max": 9}, "o": {"parameters": {"k": {"values": [1, 2]}}}}
    space["c"] = {"value": 7}

    own = parsed(space, sweepd={"initial": [{"n": 3.0, "o": {"k": 1}}, {"n": 4, "o.k": 2}]})

    first, second = own.definition.own.initial
    assert first == {"c": 7, "n": 3, "o.k": 1}
    assert type(first["n"]) is int
    assert second == {"c": 7, "n": 4, "o.k": 2}


def test_a_space_with_problems_is_not_used_against_the_initial_configs(text_of, refusal):
    found = refusal(text_of({"lr": {"min": 1}}, sweepd={"initial": [{"lr": 3}]}))

    assert list(found) == ["parameters.lr"]


def test_run_cap_above_what_the_protocol_can_carry_is_refused() -> None:
    text = "method: random\nrun_cap: 3000000000\nparameters: {x: {min: 0.0, max: 1.0}}\n"

    with pytest.raises(DefinitionError, match="run_cap: must be at most 2147483647"):
        read_definition(text)
