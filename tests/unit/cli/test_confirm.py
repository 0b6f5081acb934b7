"""`confirm`: what it refuses, and how it prints what leaders came to."""

from dataclasses import replace

import pytest

from sweepd import results
from sweepd.cli import confirm as command
from sweepd.cli import define
from sweepd.cli.connect import connect
from sweepd.cli.winner import print_best
from sweepd.errors import ServerUnreachable
from sweepd.results import Confirmation, Confirmed, Plan, Ranked, Selection


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


@pytest.mark.parametrize(
    ("n_waiting", "words"),
    [
        pytest.param(4, "4 runs have not ended; agents of these run them", id="under way"),
        pytest.param(0, "not every leader was run again with fresh seeds", id="cut short"),
    ],
)
def test_nobody_is_called_the_best_before_all_have_had_their_seeds(
    selection, capsys, n_waiting, words
):
    unsettled = replace(selection.confirmation, n_waiting=n_waiting, is_settled=False)

    command._report(replace(selection, confirmation=unsettled))

    out = capsys.readouterr().out
    assert words in out
    assert out.splitlines()[1].split()[:2] == ["solid", "solid-1"]
    assert "best" not in out
    assert "the best single value" not in out


@pytest.fixture
def selected(monkeypatch, selection):
    """Answer each `select` with the same, and note each sweep that is registered."""
    monkeypatch.setattr(results, "select", lambda path, **_: selection)
    return selection


def test_options_that_register_nothing_are_told(local, selected):
    told = local("confirm", "alice/toys/s1", "--top", "2", "--seed-key", "rng").err
    untold = local("confirm", "alice/toys/s1").err

    assert "there are confirmations already: --top, --seed-key would count with --again" in told
    assert "there are confirmations already" not in untold


def test_grids_that_were_registered_before_one_could_not_be_are_told(
    monkeypatch, ours, local, selected
):
    ours.sweep["sweepdHandedOut"] = "{}"
    made = iter(["e/p/c1"])

    def register(*_, **__):
        if (path := next(made, None)) is None:
            raise ServerUnreachable("HTTP 502")
        return path

    plan = Plan(
        selected.ranking,
        "seed",
        (1,),
        ({"method": "grid", "parameters": {"seed": {"value": 1}}},) * 2,
    )
    monkeypatch.setattr(results, "plan_confirmation", lambda *_, **__: plan)
    monkeypatch.setattr(define, "register", register)

    told = local("confirm", "alice/toys/s1", "--again", code=75).err

    assert "registered of 2 sweeps: e/p/c1" in told
    assert "sweep confirm e/p/s1 --again" in told


def test_waiting_outlasts_a_server_that_is_away(monkeypatch, local, selection):
    pauses, answers = [], iter([ServerUnreachable("HTTP 502"), 3, 1, 0])
    waiting = replace(selection.confirmation, n_waiting=3, is_settled=False)
    found = iter([replace(selection, confirmation=waiting), selection])

    def ask(_):
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(results, "select", lambda path, **_: next(found))
    monkeypatch.setattr(results, "n_waiting_for", ask)
    monkeypatch.setattr(command.time, "sleep", pauses.append)

    done = local("confirm", "alice/toys/s1", "--wait")

    assert "HTTP 502; it is asked again" in done.err
    assert "waiting for 1 run (" in done.err
    assert pauses == [3.0, 4.5, 6.75, 3.0]
    assert "the best single value, 0.95 of lucky, is worth 0.81" in done.out
