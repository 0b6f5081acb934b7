import json

import pytest
from sqlalchemy import select

from sweepd.store import tables as t

HYPERBAND = "early_terminate: {type: hyperband, min_iter: 2, eta: 2}\n"


@pytest.fixture
def curves(lab, texts):
    """Starts a sweep with hyperband and two good trials; logs values of a new trial when called."""
    sweep = lab.create(texts["random"] + HYPERBAND)

    def begin(*values):
        command = lab.ask(lab.register(sweep))
        lab.start(command)
        return command, lab.log(command, *values).stopped

    begin.sweep = sweep
    for values in ((3.0, 2.0, 1.0), (3.0, 2.0, 0.5)):
        assert not begin(*values)[1]
    return begin


def test_run_that_is_worse_at_a_band_is_stopped_through_both_channels(lab, curves):
    agent = lab.register(curves.sweep)
    command = lab.ask(agent)
    lab.start(command)
    assert not lab.log(command, 3.0, 3.0).stopped

    reply = lab.log(command, 3.0, offset=2)

    assert reply.stopped
    told = lab.beat(agent, command.run)
    assert (told.type, told.run) == ("stop", command.run)
    why = lab.run_of(command).stop_requested
    assert why == "early termination: after 2 values loss is 3, and 1 is needed to go on"


@pytest.mark.parametrize("exit_code", [0, 1])
def test_stopped_run_was_stopped_early_whatever_its_exit_code(lab, curves, exit_code):
    command, stopped = curves(9.0, 8.0, 7.0)
    assert stopped

    lab.end(command, exit_code)

    trial = lab.trial(curves.sweep, command)
    assert (trial.reason, trial.objective) == ("stopped_early", 7.0)


def test_stopped_run_that_its_agent_has_no_more_was_stopped_early(lab, curves):
    agent = lab.register(curves.sweep)
    command = lab.ask(agent)
    lab.start(command, lease=False)
    assert lab.log(command, 9.0, 8.0, 7.0, lease=False).stopped
    assert lab.beat(agent, command.run).type == "stop"

    assert lab.ask(agent).run != command.run

    trial = lab.trial(curves.sweep, command)
    assert (trial.reason, trial.objective) == ("stopped_early", 7.0)


def test_decision_is_an_event_with_band_and_threshold(lab, curves):
    curves(9.0, 8.0, 7.0)

    def read(tx):
        kind = t.event.c.kind == "trial.stop_requested"
        return [json.loads(data) for data in tx.conn.scalars(select(t.event.c.data).where(kind))]

    assert lab.store.read_sync(read) == [
        {"rule": "hyperband", "band": 2, "threshold": 1.0, "value": 7.0}
    ]


def test_maximised_metric_is_compared_the_other_way(lab, texts):
    sweep = lab.create(texts["random"].replace("minimize", "maximize") + HYPERBAND)
    stopped = []
    for value in (5.0, 6.0, 1.0, 9.0):
        command = lab.ask(lab.register(sweep))
        lab.start(command)
        stopped.append(lab.log(command, value, value, value).stopped)

    assert stopped == [False, False, True, False]


def test_without_a_rule_nothing_is_stopped(lab):
    sweep = lab.create()
    for value in (1.0, 9.0):
        command = lab.ask(lab.register(sweep))
        lab.start(command)
        assert not lab.log(command, value, value, value).stopped
