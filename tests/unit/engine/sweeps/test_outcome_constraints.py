"""Constraints on what a run measures: judged when a trial ends."""

import json

import pytest
from sqlalchemy import update

from sweepd.engine import sweeps
from sweepd.engine.byhand import base_config
from sweepd.engine.observed import observe
from sweepd.engine.sweepviews import definition_of, trial_views
from sweepd.errors import Conflict
from sweepd.states import SweepState
from sweepd.store import tables as t

BOUNDED = """
method: random
metric: {name: loss, goal: minimize, target: 0.1}
parameters: {x: {min: 0.0, max: 1.0}}
sweepd: {outcome_constraints: {ms: {max: 5}}}
"""


@pytest.fixture
def sweep(lab):
    return lab.create(BOUNDED)


@pytest.fixture
def run(lab, sweep):
    """Run a trial to its end: a value of the metric, and its summary's other values."""
    agent = lab.register(sweep)

    def run(loss, exit_code=0, **summary):
        command = lab.ask(agent)
        lab.start(command, lease=False)
        lab.log(command, loss, lease=False)

        def keep(tx):
            text = json.dumps({"loss": loss, **summary})
            tx.conn.execute(update(t.run).where(t.run.c.name == command.run).values(summary=text))

        lab.write(keep)
        lab.end(command, exit_code, lease=False)
        return command

    return run


@pytest.fixture
def trials(lab, sweep):
    return lambda: lab.store.read_sync(trial_views, *[t.trial.c.sweep_id == sweep.id])


@pytest.fixture
def seen(lab, sweep):
    def seen():
        found = lab.store.read_sync(observe, sweep_id=sweep.id, definition=definition_of(sweep))
        return [(trial.objective, trial.is_feasible) for trial in found.trials]

    return seen


def test_a_trial_out_of_bounds_is_infeasible_and_never_the_best(lab, sweep, run, trials, seen):
    run(0.5, ms=4.5)
    out = run(0.2, ms=7)

    assert seen() == [(0.5, True), (None, False)]
    assert lab.sweep(sweep).best_value == 0.5
    assert trials()[1].message == "outcome constraints: ms is above 5"
    assert (trials()[1].reason, trials()[1].best, trials()[1].outcome) == (
        "finished",
        0.2,
        "broken",
    )
    assert lab.run_of(out).state == "finished"
    best = {"sweep_id": sweep.id, "space": definition_of(sweep).space, "like": "best"}
    assert lab.store.read_sync(base_config, **best) == json.loads(trials()[0].config)


def test_a_trial_that_never_logged_what_is_bounded_tells_nothing(lab, sweep, run, seen):
    command = run(0.2)

    assert seen() == [(None, True)]
    assert lab.sweep(sweep).best_value is None
    words = "outcome constraints: ms was never logged, so that it cannot be the best"
    assert lab.sweep(sweep).notice == f"run {command.run}: {words}"


def test_a_failed_trial_is_not_judged(run, trials, seen):
    run(0.2, exit_code=1, ms=9)

    assert trials()[0].outcome is None
    assert seen() == [(None, False)]


def test_values_that_come_late_make_no_best_of_a_trial_out_of_bounds(lab, sweep, run):
    command = run(0.2, ms=7)

    lab.log(command, 0.15, offset=1, lease=False)

    assert lab.sweep(sweep).best_value is None


@pytest.fixture
def go_on(lab):
    """Take up a run that has finished, and end it with another summary."""

    def go_on(command, **summary):
        lab.take_up(command)
        text = json.dumps(summary)
        lab.write(
            lambda tx: tx.conn.execute(
                update(t.run).where(t.run.c.name == command.run).values(summary=text)
            )
        )
        lab.end(command, lease=False)

    return go_on


def test_finished_run_that_a_person_takes_up_is_judged_by_what_it_measures_then(
    lab, sweep, run, trials, seen, go_on
):
    good, bad = run(0.5, ms=4), run(0.2, ms=7)

    go_on(good, loss=0.5, ms=99)
    go_on(bad, loss=0.2, ms=3)

    assert seen() == [(None, False), (0.2, True)]
    assert [trial.outcome for trial in trials()] == ["broken", None]
    assert [trial.message for trial in trials()] == ["outcome constraints: ms is above 5", None]
    assert lab.sweep(sweep).best_run == bad.run


def test_run_out_of_bounds_that_a_person_takes_up_is_not_the_best_by_its_summary(
    lab, sweep, seen, go_on
):
    command = lab.ask(lab.register(sweep))
    lab.start(command, lease=False)
    go_on(command, loss=0.01, ms=9)

    go_on(command, loss=0.01, ms=9)

    assert seen() == [(None, False)]
    assert lab.sweep(sweep).best_value is None


def test_only_a_trial_within_bounds_reaches_the_target(lab, sweep, run):
    run(0.05, ms=7)
    assert lab.sweep(sweep).stop_reason is None

    run(0.07, ms=3)

    assert "target reached" in lab.sweep(sweep).stop_reason
    assert lab.sweep(sweep).state == SweepState.FINISHED


def test_bounds_stay_once_trials_were_handed_out(lab, sweep, run):
    run(0.5, ms=4.5)

    with pytest.raises(Conflict, match=r"sweepd\.outcome_constraints"):
        lab.write(
            sweeps.update_sweep,
            actor=lab.actor,
            sweep_id=sweep.id,
            definition=BOUNDED.replace("max: 5", "max: 6"),
        )
