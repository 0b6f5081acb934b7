"""`sweepd.stop` of a definition."""

import pytest

from sweepd.errors import DefinitionError
from sweepd.spec import read_definition

TEXT = """
method: random
metric: {{name: loss, goal: {goal}}}
parameters: {{lr: {{min: 0.0, max: 1.0}}}}
sweepd: {{stop: {stop}}}
"""


def _stops(stop, goal="minimize"):
    text = TEXT.format(stop=stop, goal=goal)
    return read_definition(text, allow_unknown=False).definition.own.stop


def _problems(stop, goal="minimize"):
    with pytest.raises(DefinitionError) as caught:
        _stops(stop, goal)
    return [(one.path, one.message) for one in caught.value.violations]


def test_nan_is_watched_for_unless_a_definition_says_otherwise():
    plain = "method: random\nmetric: {name: loss}\nparameters: {lr: {min: 0.0, max: 1.0}}"

    (alone,) = read_definition(plain).definition.own.stop
    assert (alone.rule, alone.arguments("minimize")) == ("nan", {"patience": 3})
    assert [one.rule for one in _stops("{rule: median}")] == ["nan", "median"]
    assert [one.arguments("minimize") for one in _stops("{rule: nan, patience: 0}")] == [
        {"patience": 0}
    ]
    assert _stops("{rule: none}") == ()


@pytest.mark.parametrize(
    ("stop", "arguments"),
    [
        pytest.param("{rule: asha}", {"min_iter": 1, "max_iter": None, "eta": 3}, id="asha"),
        pytest.param(
            "{rule: median}", {"min_iter": 1, "min_trials": 5, "interval": 1}, id="median"
        ),
        pytest.param(
            "{rule: plateau}", {"patience": 10, "min_delta": 0, "min_iter": 1}, id="plateau"
        ),
        pytest.param("{rule: threshold, max: 2}", {"after": 1, "bound": 2.0}, id="threshold"),
    ],
)
def test_keys_have_defaults(stop, arguments):
    (block,) = [one for one in _stops(stop) if one.rule != "nan"]

    assert {**arguments, **block.arguments("minimize")} == block.arguments("minimize")
    assert arguments.items() <= block.arguments("minimize").items()


def test_bound_of_a_maximised_metric_is_its_least_value():
    (_, block) = _stops("{rule: threshold, after: 5, min: 0.1}", goal="maximize")

    assert block.arguments("maximize") == {"after": 5, "bound": -0.1}


def test_several_rules_are_a_list():
    stops = _stops("[{rule: asha, max_iter: 27}, {rule: nan, patience: 1}]")

    assert {one.rule: one.arguments("minimize") for one in stops}["nan"] == {"patience": 1}
    assert {one.rule for one in stops} == {"asha", "nan"}


@pytest.mark.parametrize(
    ("stop", "path", "words"),
    [
        (
            "asha",
            "sweepd.stop",
            "must be a mapping with rule, not asha: write stop: {rule: asha}",
        ),
        ("{min_iter: 2}", "sweepd.stop", "needs rule: asha, median"),
        ("{rule: ashas}", "sweepd.stop.rule", "did you mean asha?"),
        ("{rule: hyperband}", "sweepd.stop.rule", "write early_terminate: {type: hyperband"),
        ("{rule: asha, eta: 1}", "sweepd.stop.eta", "must be above 1, not 1"),
        ("{rule: asha, min_iter: 0}", "sweepd.stop.min_iter", "must be at least 1, not 0"),
        (
            "{rule: asha, min_iter: 9, max_iter: 9}",
            "sweepd.stop",
            "min_iter 9 is not below max_iter 9",
        ),
        ("{rule: median, min_trails: 2}", "sweepd.stop.min_trails", "did you mean min_trials?"),
        ("{rule: threshold}", "sweepd.stop", "needs max"),
        ("{rule: threshold, min: 1}", "sweepd.stop.min", "write max"),
        ("{rule: plateau, min_delta: -1}", "sweepd.stop.min_delta", "must be at least 0, not -1"),
        ("{rule: nan, patience: x}", "sweepd.stop.patience", "must be a number, not x"),
        ("[{rule: nan}, {rule: nan}]", "sweepd.stop[1]", "nan is given twice"),
        ("[{rule: none}, {rule: nan}]", "sweepd.stop", "none cannot stand beside"),
    ],
)
def test_what_is_wrong_is_said_in_words(stop, path, words):
    ((where, message),) = _problems(stop)

    assert where == path
    assert words in message


def test_every_problem_is_reported_at_once():
    problems = _problems("[{rule: asha, eta: 0, min_iter: 0}, {rule: medain}]")

    assert len(problems) == 3


def test_rules_need_a_metric():
    text = "method: random\nparameters: {a: {values: [1, 2]}}\nsweepd: {stop: {rule: median}}"

    with pytest.raises(DefinitionError, match="needs a metric"):
        read_definition(text)


def test_own_rule_at_the_place_of_wandbs_is_shown_where_it_belongs():
    text = TEXT.format(stop="{rule: none}", goal="minimize") + "early_terminate: {type: asha}\n"

    with pytest.raises(DefinitionError, match=r"write sweepd: \{stop: \{rule: asha\}\}"):
        read_definition(text)
