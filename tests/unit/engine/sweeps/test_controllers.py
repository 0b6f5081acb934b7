"""W&B's local controller writes what it wants into its sweep."""

import json

import pytest

from sweepd.engine import sweeps
from sweepd.errors import ProtocolError
from sweepd.states import RunState, SweepState

LOCAL = """
method: grid
metric: {name: loss, goal: minimize}
controller: {type: local}
early_terminate: {type: hyperband, min_iter: 1}
parameters: {a: {values: [1, 2]}}
"""


@pytest.fixture
def control(lab):
    """Sends a controller's JSON; returns the scheduler's."""

    def control(sweep, **wanted):
        view, _ = lab.write(
            sweeps.update_sweep,
            actor=lab.actor,
            sweep_id=sweep.id,
            controller=json.dumps(wanted),
        )
        assert json.loads(view.controller) == wanted
        return json.loads(view.scheduler)["scheduled"]

    return control


def schedule(name, args):
    return {"id": name, "data": {"args": args}}


def test_our_search_leaves_the_sweep_alone(lab):
    agent = lab.register(lab.create(LOCAL))

    assert lab.beat(agent) is None


def test_what_is_scheduled_is_handed_out_once_and_noted(lab, control):
    sweep = lab.create(LOCAL)
    agent = lab.register(sweep)
    wanted = [schedule("s1", {"a": {"value": 2}})]

    scheduled = control(sweep, schedule=wanted)
    command = lab.ask(agent)

    assert scheduled == [{"id": "s1", "runid": command.run}]
    assert command.config == {"a": 2}
    assert control(sweep, schedule=wanted, earlystop=[]) == scheduled
    lab.start(command, lease=False)
    lab.end(command, lease=False, summary={"loss": 1})
    assert lab.beat(agent) is None


def test_schedule_without_args_ends_the_sweep_with_its_last_trial(lab, control):
    sweep = lab.create(LOCAL)
    agent = lab.register(sweep)
    control(sweep, schedule=[schedule("s1", {"a": {"value": 1}})])
    command = lab.ask(agent)

    control(sweep, schedule=[schedule("s2", None)])
    assert lab.sweep(sweep).state == SweepState.RUNNING
    lab.start(command, lease=False)
    lab.log(command, 1.0, lease=False)
    lab.end(command, lease=False)

    view = lab.sweep(sweep)
    assert view.state == SweepState.FINISHED
    assert "controller has nothing more" in view.stop_reason


def test_controller_stops_runs_early_and_no_rule_of_ours_does(lab, control):
    sweep = lab.create(LOCAL)
    agents = [lab.register(sweep) for _ in range(2)]
    control(sweep, schedule=[schedule(f"s{i}", {"a": {"value": i}}) for i in (1, 2)])
    good, bad = (lab.ask(agent) for agent in agents)
    for command, value in ((good, 0.0), (bad, 9.0)):
        lab.start(command, lease=False)
        assert not lab.log(command, value, lease=False).stopped

    control(sweep, schedule=[], earlystop=[bad.run, "of-no-sweep"])

    assert lab.beat(agents[1], bad.run).type == "stop"
    assert lab.beat(agents[0], good.run) is None
    lab.end(bad, 1, lease=False)
    assert lab.run_of(bad).state == RunState.KILLED
    assert lab.trial(sweep, bad).reason == "stopped_early"


def test_ended_sweep_schedules_nothing(lab, control):
    sweep = lab.create(LOCAL)
    lab.set_state(sweep, "FINISHED")

    assert control(sweep, schedule=[schedule("s1", {"a": {"value": 1}})]) == []


@pytest.mark.parametrize(
    "wanted",
    [
        pytest.param("[]", id="list"),
        pytest.param('{"schedule": [{"id": "s1"}]}', id="no data"),
        pytest.param('{"schedule": [{"id": "s1", "data": {"args": 3}}]}', id="args"),
        pytest.param('{"schedule": {"id": "s1"}}', id="no list"),
    ],
)
def test_other_json_is_refused(lab, wanted):
    sweep = lab.create(LOCAL)

    with pytest.raises(ProtocolError, match="controller"):
        lab.write(sweeps.update_sweep, actor=lab.actor, sweep_id=sweep.id, controller=wanted)
