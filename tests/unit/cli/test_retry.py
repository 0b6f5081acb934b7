"""`sweep retry`."""

import json

import pytest


@pytest.fixture
def local(ours, data, sweep):
    """Run a command against the service on this machine, which takes what it is given."""
    ours.register(data)
    asked = []

    def retry(info, input):
        asked.append(input)
        return {"sweep": ours.sweep, "runs": ["r1", "r2"]}

    ours.root |= {"sweepdRetry": retry}

    def run(*arguments, **how):
        return sweep(*arguments, "--data", data, **how)

    run.asked = asked
    return run


def test_retry_of_a_sweep_names_the_runs_that_wait(local, data):
    done = local("retry", "s1", code=0)

    assert local.asked == [{"sweepId": "U3dlZXA6MQ=="}]
    assert "alice/toys/r1: waits for an agent" in done.out
    assert f"`sweep agent alice/toys/s1 --data {data}` runs what waits" in done.out


def test_retry_as_json_has_full_paths(local):
    done = local("retry", "s1", "--json", code=0)

    assert json.loads(done.out)["runs"] == ["alice/toys/r1", "alice/toys/r2"]


def test_retry_of_what_is_not_there_is_refused(local):
    done = local("retry", "alice/toys/nosuch", code=1)

    assert "there is no sweep and no run" in done.err
