"""`best` and `export`: what they refuse before the results are asked for."""

import pytest


@pytest.fixture
def local(ours, data, sweep):
    """Run a command against the service on this machine."""
    ours.register(data)
    return lambda *arguments, **how: sweep(*arguments, "--data", data, **how)


@pytest.mark.parametrize("name", ["nope", "alice/toys/nope"])
def test_a_sweep_that_does_not_exist_is_one_sentence(local, name):
    assert f"there is no sweep {name} on" in local("best", name, code=1).err


@pytest.mark.parametrize("name", ["nope", "alice/toys/nope"])
def test_to_export_what_does_not_exist_says_how_a_run_is_named(local, name):
    err = local("export", name, code=1).err

    assert f"there is no sweep and no run {name} on" in err
    assert "name a run as entity/project/run" in err


def test_the_best_is_one_of_a_sweep_not_of_a_run(local):
    assert "alice/toys/r1 is a run" in local("best", "alice/toys/r1", code=2).err


def test_a_rule_chooses_among_a_sweeps_runs_only(local):
    done = local("export", "alice/toys/r1", "--by", "last", code=2)

    assert "--by chooses among the runs of a sweep" in done.err


def test_a_file_that_cannot_be_made_is_told_before_anything_is_asked(local, ours, folder):
    (folder / "file").touch()

    assert "cannot make file/m.onnx" in local("export", "s1", "--out", "file/m.onnx", code=2).err
    assert "is a directory" in local("export", "s1", "--out", folder, code=2).err
    assert ours.keys == []


def test_a_rule_that_there_is_not_lists_those_there_are(local):
    err = local("best", "s1", "--by", "first", code=2).err

    assert "best, last or mean:k" in err
    assert "'first'" in err
