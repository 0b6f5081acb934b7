"""`report`: what it refuses before the results are asked for."""

import pytest

from sweepd.cli import report as command


@pytest.fixture
def local(ours, data, sweep):
    """Run a command against the service on this machine."""
    ours.register(data)
    return lambda *arguments, **how: sweep(*arguments, "--data", data, **how)


def test_only_a_sweep_is_reported(local, folder):
    assert "alice/toys/r1 is a run; a report is" in local("report", "alice/toys/r1", code=2).err
    assert "there is no sweep nope on" in local("report", "nope", code=1).err
    assert list(folder.iterdir()) == []


def test_a_file_that_cannot_be_made_is_told_before_anything_is_asked(local, ours, folder):
    (folder / "file").touch()

    assert "cannot make file/r.html" in local("report", "s1", "--out", "file/r.html", code=2).err
    assert ours.keys == []


@pytest.mark.parametrize(
    ("several", "asked"), [([], None), (["acc", "size"], "acc")], ids=["one metric", "several"]
)
def test_our_service_is_asked_which_parameters_matter(ours, data, several, asked):
    ours.register(data)
    heard = []

    def importance(info, metric=None, goal=None):
        heard.append(metric)
        told = {"metric": metric, "goal": "minimize", "runs": 3, "runsNeeded": 20, "metrics": []}
        return {**told, "isComputing": False, "parameters": []}

    entry = ours.root["sweepdSweep"](None, "s1")
    entry["sweepdImportance"] = importance
    entry["sweepdStatus"]["metrics"] = [{"name": name} for name in several]

    assert command._importance("s1", None, data)["runsNeeded"] == 20
    assert heard == [asked]


def test_other_servers_are_not_asked(plain, data):
    assert command._importance("alice/toys/s1", plain.url, data) is None
