"""`sweep replay`."""

import json

import numpy as np
import pytest

from sweepd.engine.replay import ReplayLog, versions
from sweepd.search import Taken
from sweepd.search.random import Random
from sweepd.spec import read_definition

TEXT = "method: random\nparameters: {lr: {min: 0.0, max: 1.0}}\nsweepd: {seed: 5}\n"


@pytest.fixture
def replay(ours, data, sweep):
    """Runs the command on a log of two random trials, with whatever is to be different in it."""
    ours.register(data)

    def replay(*arguments, configs=None, code=0, **other):
        space = read_definition(TEXT).definition.space
        drawn = [Random().pick(space, Taken(space), index=i, seed=5)[0] for i in (0, 1)]
        trials = [
            {"number": i + 1, "config": config, "key": space.key(config), "origin": "search"}
            | {"version": 1, "created_event": 10 + i, "position": i, "reason": None}
            | {"state": "leased", "attempt": 1}
            for i, config in enumerate(configs or drawn)
        ]
        log = ReplayLog(
            sweep="s1",
            definitions=[{"version": 1, "event": 1, "definition": TEXT, "seed": 5}],
            prior=[],
            trials=trials,
            events=[(10 + i, "trial.issued", i + 1, {"attempt": 1}) for i in (0, 1)],
            versions={**versions(), **other},
        )
        ours.sweep["sweepdReplayLog"] = log.text()
        return sweep("replay", "s1", "--data", data, *arguments, code=code)

    return replay


def test_same_suggestions_are_told_in_one_line(replay):
    assert replay().out == "2 of 2 suggestions are the same\n"


def test_others_are_shown_with_the_versions_and_exit_code_1(replay):
    done = replay(configs=[{"lr": 0.5}, {"lr": 0.25}], code=1, numpy="1.0")

    assert '{"lr": 0.5}' in done.out
    assert "0 of 2 suggestions are the same; 2 comparisons differ" in done.out
    assert f"numpy {np.__version__} (there 1.0)" in done.out


def test_json_tells_what_differs(replay):
    found = replay("--json", configs=[{"lr": 0.5}, {"lr": 0.25}], code=1).json

    assert found["suggestions"] == {"differs": 2}
    assert found["states"] == {"same": 2}
    assert [check["stored"] for check in found["checks"]] == [{"lr": 0.5}, {"lr": 0.25}]
    assert json.dumps(found["versions"]["here"]) == json.dumps(versions())
