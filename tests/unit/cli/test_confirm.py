"""`confirm`: what it refuses, and how it prints what leaders came to."""

from dataclasses import replace

import pytest

from sweepd.cli import confirm as command
from sweepd.cli.connect import connect
from sweepd.cli.winner import print_best
from sweepd.results import Confirmation, Confirmed, Ranked, Selection


@pytest.fixture
def local(ours, data, sweep):
    """Run a command against the service on this machine."""
    ours.register(data)
    return lambda *arguments, **how: sweep(*arguments, "--data", data, **how)


def ranked(name, value):
    return Ranked(f"e/p/{name}-1", f"{name}-1", name, value, {"lr": 0.1}, {}, "")


@pytest.fixture
def selection():
    """A sweep whose lucky winner fell behind."""
    lucky, solid = ranked("lucky", 0.95), ranked("solid", 0.9)
    leaders = (
        Confirmed(solid, (0.89, 0.9, 0.91), "maximize"),
        Confirmed(lucky, (0.80, 0.82), "maximize", n_without=1, is_tied=False),
    )
    confirmation = Confirmation(leaders, ("e/p/c1",))
    rule = ("acc", "maximize", "best", ("lr",))
    return Selection("e/p/s1", *rule, (solid, lucky), (lucky, solid), (), confirmation)


def test_only_the_leaders_of_a_sweep_are_confirmed(local):
    assert (
        "alice/toys/r1 is a run; the leaders are" in local("confirm", "alice/toys/r1", code=2).err
    )
    assert "there is no sweep nope on" in local("confirm", "nope", code=1).err


def test_the_best_are_printed_with_commands_that_take_them(selection, capsys):
    print_best(selection, limit=2)

    printed = capsys.readouterr().out
    assert printed.splitlines()[1].split()[:4] == ["1", "solid", "solid-1", "0.9"]
    assert "compare them with: sweep compare e/p/solid-1 e/p/lucky-1\n" in printed
    assert "export one with: sweep export e/p/solid-1\n" in printed


def test_leaders_are_printed_with_interval_and_fall(selection, capsys):
    command._report(selection)

    head, solid, lucky, words = capsys.readouterr().out.splitlines()
    assert "90 % interval" in head
    assert "without a value" in head
    assert solid.split()[:8] == ["solid", "solid-1", "0.9", "0.8831", "to", "0.9169", "3", "best"]
    assert lucky.split()[2] == "0.81"
    assert "the best single value, 0.95 of lucky, is worth 0.81 with 2 of 3 fresh seeds" in words


@pytest.mark.parametrize(
    ("values", "is_told"),
    [
        ([(0.9, 0.9), (0.8, 0.8, 0.8), (0.7,)], True),
        ([(0.9, 0.9), (0.8, 0.8, 0.81)], False),
        ([(0.9, 0.9, 0.9)], True),
        ([(0.9, 0.9)], False),
        ([(0.9,), (0.8,)], False),
        ([(), ()], False),
    ],
)
def test_seeds_that_change_nothing_are_told_of(selection, capsys, values, is_told):
    leaders = [Confirmed(ranked(f"r{n}", 0.9), one, "maximize") for n, one in enumerate(values)]
    confirmation = replace(selection.confirmation, leaders=tuple(leaders))

    command._report(replace(selection, confirmation=confirmation))

    assert ("whatever the seed" in capsys.readouterr().out) is is_told
    assert confirmation.as_json()["is_seed_idle"] is is_told


def test_best_says_in_one_line_what_was_confirmed(selection, capsys):
    print_best(selection, limit=5)

    out = capsys.readouterr().out
    assert out.splitlines()[1].split()[:2] == ["1", "solid"]
    assert "confirmed with fresh seeds: 2 leaders first" in out
    assert "the best single value is 0.95 (lucky)" in out


def test_what_has_not_run_is_told_with_what_runs_it(selection, capsys):
    waiting = Confirmation((), ("e/p/c1",), n_waiting=4)

    command._report(replace(selection, confirmation=waiting))

    out = capsys.readouterr().out
    assert "4 runs have not ended" in out
    assert "sweep agent e/p/c1" in out


def test_runs_of_no_leaders_configuration_are_told_of(selection, capsys):
    strange = Confirmation((), ("e/p/c1",), n_strangers=2)

    command._report(replace(selection, confirmation=strange))

    out = capsys.readouterr().out
    assert "2 finished runs of the confirmation have the configuration of no leader" in out
    assert "--again registers others" not in out


def test_our_service_is_asked_what_the_trials_were_given(ours, data, selection):
    ours.register(data)
    ours.sweep["sweepdHandedOut"] = '{"r1": {"lr": 0.1}}'

    with connect(None, data) as api:
        assert command._handed_out(api, "e/p/s1") == {"r1": {"lr": 0.1}}


def test_what_will_never_run_is_told_as_such(selection, capsys):
    command._report(replace(selection, confirmation=Confirmation((), ("e/p/c1",))))

    assert "--again registers others" in capsys.readouterr().out


def test_one_seed_asks_for_another(selection, capsys):
    one = Confirmed(selection.ranking[0], (0.9,), "maximize")
    other = Confirmed(selection.ranking[1], (0.8,), "maximize")

    command._report(replace(selection, confirmation=Confirmation((one, other), ("e/p/c1",))))

    assert "an interval needs two seeds or more" in capsys.readouterr().out
