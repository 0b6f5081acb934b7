"""Tables, JSON, numbers and times."""

import json

import pytest

from sweepd.cli.console import echo_json, format_duration, format_number, print_table, say


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "–"),
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 0 s"),
        (200, "3 min 20 s"),
        (7500, "2 h 5 min"),
    ],
)
def test_durations_are_said_as_people_do(seconds, text):
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"), [(None, "–"), (0.123456, "0.1235"), (12345, "12345"), (1e-9, "1e-09")]
)
def test_numbers_have_four_digits(value, text):
    assert format_number(value) == text


def test_json_is_strict(capsys):
    echo_json({"a": float("nan"), "b": [1.5, float("inf")], "c": (1, {"d": "x"})})

    assert json.loads(capsys.readouterr().out) == {
        "a": None,
        "b": [1.5, None],
        "c": [1, {"d": "x"}],
    }


def test_names_of_runs_are_not_markup(capsys):
    print_table(["run", "[bold]m[/bold]"], [["[/red] me", [True, None]], ["[link=x]", False]])

    out = capsys.readouterr().out
    assert "[/red] me" in out
    assert "[bold]m[/bold]" in out
    assert "[true, null]" in out
    assert "[link=x]" in out


def test_a_table_into_a_pipe_is_as_wide_as_it_needs_to_be(capsys):
    print_table(["a", "b"], [["x" * 300, "y" * 300]])

    assert f"{'x' * 300}  {'y' * 300}" in capsys.readouterr().out


def test_names_of_others_give_the_terminal_no_commands(capsys):
    hostile = "a\x1b]0;owned\x07\x1b[2J\x9b31mb\x00\x7f"

    print_table(["name"], [[hostile]])
    say(hostile)

    out = capsys.readouterr().out
    assert out.split("\n")[1].strip() == out.split("\n")[2]
    assert not set(out) - {"\n"} & {chr(code) for code in (*range(32), *range(127, 160))}
    assert "owned" in out
