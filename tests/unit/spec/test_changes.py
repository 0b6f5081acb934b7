"""What an edit changes in words; values set by their path; single values in YAML."""

import pytest

from sweepd.errors import InvalidInput
from sweepd.spec import changes_of, must_stay, read_definition, read_value, set_value

OLD = """\
# a search
method: random
program: train.py
run_cap: 60   # enough
metric: {name: loss, goal: minimize}
parameters:
  lr: {min: 0.1, max: 1.0}
  kind: {values: [a, b]}
"""


def edited(old: str, new: str) -> tuple[list[str], list[str]]:
    before, after = read_definition(old).definition, read_definition(new).definition
    return changes_of(before, after), must_stay(before, after)


@pytest.mark.parametrize(
    ("was", "becomes", "line"),
    [
        ("run_cap: 60", "run_cap: 200", "run_cap: 60 → 200"),
        ("run_cap: 60", "", "run_cap: 60 → nothing"),
        ("goal: minimize", "goal: minimize, target: 0.5", "metric.target: nothing → 0.5"),
        ("max: 1.0", "max: 2.0", "lr: a number from 0.1 to 1 → a number from 0.1 to 2"),
        ("[a, b]", "[a, c]", 'kind: one of "a", "b" → one of "a", "c"'),
        ("  kind: {values: [a, b]}\n", "", 'kind is gone: it was one of "a", "b"'),
        ("parameters:", "parameters:\n  n: {value: 3}", "n is new: only 3"),
        ("min: 0.1", "min: 1.0e-1", None),
    ],
)
def test_each_change_is_a_line_in_words(was: str, becomes: str, line: str | None) -> None:
    changes, stays = edited(OLD, OLD.replace(was, becomes))

    assert changes == ([line] if line else [])
    assert stays == []


@pytest.mark.parametrize(
    ("was", "becomes", "what"),
    [
        ("train.py", "other.py", "program"),
        ("method", "command: [python, x.py]\nmethod", "command"),
        ("minimize", "maximize", "the metric's name and goal"),
        ("method: random", "method: custom", "who searches"),
        ("method", "sweepd: {objective: last}\nmethod", "sweepd.objective"),
    ],
)
def test_what_trials_ran_and_were_judged_by_must_stay(was: str, becomes: str, what: str) -> None:
    assert edited(OLD, OLD.replace(was, becomes, 1))[1] == [what]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-5", 1e-5),
        ("3", 3),
        ("true", True),
        ("null", None),
        ("", None),
        ("adam", "adam"),
        ("'3'", "3"),
        ("[1, 2]", [1, 2]),
        ("{a: 1e3}", {"a": 1000.0}),
        ("- x: 1\n- x: 2\n", [{"x": 1}, {"x": 2}]),
        ("---\nx: 1\n", {"x": 1}),
    ],
)
def test_value_is_read_as_in_a_definition(text: str, value: object) -> None:
    assert read_value(text) == value
    assert type(read_value(text)) is type(value)


@pytest.mark.parametrize("text", ["[1", "!!python/object:os.system x", "a: b: c"])
def test_value_that_is_not_plain_yaml_is_refused_in_words(text: str) -> None:
    with pytest.raises(InvalidInput):
        read_value(text)


def test_setting_a_top_level_value_keeps_the_comments() -> None:
    text = set_value(OLD, "run_cap", 200)

    assert text == OLD.replace("run_cap: 60   # enough", "run_cap: 200")
    assert set_value(text, "name", "mine").endswith("name: mine\n")


def test_value_is_set_at_any_depth_and_below_keys_with_dots() -> None:
    text = OLD.replace("  lr:", "  opt.lr:")

    raised = read_definition(set_value(text, "parameters.opt.lr.max", 2.0)).definition
    aimed = read_definition(set_value(text, "metric.target", 0.1)).definition
    budget = set_value(text, "sweepd.seed", 7)

    assert raised.space["opt.lr"].distribution.contains(1.9)
    assert aimed.metric is not None
    assert aimed.metric.target == 0.1
    assert read_definition(budget).definition.own.seed == 7


@pytest.mark.parametrize("path", ["run_cap.x", "", "metric..x"])
def test_path_that_leads_nowhere_is_refused(path: str) -> None:
    with pytest.raises(InvalidInput):
        set_value(OLD, path, 1)
