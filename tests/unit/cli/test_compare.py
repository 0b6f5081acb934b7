"""`compare`: what it refuses before the results are asked for, and how it prints them."""

import pytest

from sweepd.cli import compare as command
from sweepd.results.compare import Compared, Comparison


@pytest.fixture
def local(ours, data, sweep):
    """Run a command against the service on this machine."""
    ours.register(data)
    return lambda *arguments, **how: sweep(*arguments, "--data", data, **how)


def test_a_run_that_does_not_exist_is_one_sentence(local):
    assert "there is no run alice/toys/nope on" in local("compare", "alice/toys/nope", code=1).err


def test_how_a_run_is_named_is_said_of_an_id_alone(local):
    err = local("compare", "r1", "r1", code=1).err

    assert "there is no run r1 on" in err
    assert "name a run as entity/project/run" in err


def test_a_sweep_is_not_compared(local):
    assert "is a sweep; name runs to compare" in local("compare", "s1", "s1", code=2).err


def test_runs_of_two_servers_are_not_compared(local):
    a, b = "http://a.test/e/p/runs/r1", "http://b.test/e/p/runs/r1"

    assert "the runs are on 2 servers" in local("compare", a, b, code=2).err


def test_one_run_is_not_compared(local):
    assert "1 named: name 2 to 50" in local("compare", "alice/toys/r1", code=2).err


def test_runs_of_one_name_are_told_apart_by_their_paths(capsys):
    one = Compared("e/p/a", "twin", "finished", "", {"lr": 0.1}, {}, {}, {"duration_s": 75})
    other = Compared("e/q/b", "twin", "failed", "", {"lr": 0.1}, {}, {"best x": 2.0})

    command._print(Comparison((one, other)), is_whole=False)

    out = capsys.readouterr().out
    assert "e/p/a" in out.splitlines()[0]
    assert "1 min 15 s" in out
    assert "their configs are the same" in out
