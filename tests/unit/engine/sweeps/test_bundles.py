"""Trials given away in advance, to a machine that is cut off: held until a day, settled once."""

import pytest
from sqlalchemy import select

from sweepd.engine import bundles
from sweepd.engine.access import Need
from sweepd.errors import Conflict, InvalidInput, LeaseLost
from sweepd.store import tables as t

CAPPED = """
method: random
run_cap: 4
metric: {name: loss, goal: minimize}
parameters: {lr: {min: 0.0, max: 1.0}}
"""
GRID = """
method: grid
metric: {name: loss, goal: minimize}
parameters: {a: {values: [1, 2, 3]}}
"""
BAYES = CAPPED.replace("random", "bayes").replace("run_cap: 4", "run_cap: 40")


def bring_back(lab, command, value=1.0):
    """Do what merging a trial does that ended well."""
    lab.start(command)
    lab.log(command, value)
    lab.end(command)
    lab.report(command, "finished", exit_code=0, ran_s=5.0)


def states(lab, sweep):
    return [(trial.state, trial.attempt, trial.reason) for trial in lab.trials(sweep)]


def test_bundle_starts_a_pending_sweep_and_holds_its_trials_in_silence(lab):
    sweep = lab.create(CAPPED)

    bundle, commands = lab.fill(sweep)
    lab.tick(400)

    assert (bundle.n_asked, bundle.n_given, bundle.n_out) == (2, 2, 2)
    assert len({command.run for command in commands}) == 2
    view = lab.sweep(sweep)
    assert (view.state, view.n_issued, view.n_running, view.n_bundled) == ("RUNNING", 2, 0, 2)
    assert states(lab, sweep) == [("leased", 1, None)] * 2


def test_repeated_request_gives_the_same_bundle_with_the_same_trials(lab):
    sweep = lab.create(CAPPED)

    first, again = lab.fill(sweep), lab.fill(sweep)

    assert first == again
    assert lab.sweep(sweep).n_issued == 2


def test_run_cap_is_exact_over_bundles_and_agents(lab):
    sweep = lab.create(CAPPED)
    agent = lab.register(sweep)
    lab.ask(agent)

    bundle, commands = lab.fill(sweep, 10)

    assert (bundle.n_asked, len(commands)) == (3, 3)
    assert lab.beat(lab.register(sweep)) is None
    assert lab.sweep(sweep).n_issued == 4


def test_bundle_of_a_sweep_that_has_nothing_left_ends_at_once(lab):
    sweep = lab.create(GRID)
    lab.fill(sweep, 3)

    bundle, commands = lab.fill(sweep, 3, key="f" * 16)

    assert (bundle.n_asked, commands) == (0, [])
    assert bundle.ended_at is not None


def test_sweep_ends_when_its_bundle_has_come_back(lab):
    sweep = lab.create(GRID)
    _, commands = lab.fill(sweep, 3)

    for command in commands:
        assert lab.sweep(sweep).state == "RUNNING"
        bring_back(lab, command)

    view = lab.sweep(sweep)
    assert (view.state, view.n_finished) == ("FINISHED", 3)
    (bundle,) = lab.store.read_sync(
        bundles.list_bundles, actor=lab.actor, sweep_id=sweep.id, need=Need.READ
    )
    assert bundle.n_out == 0
    assert [trial.reason for trial in bundle.trials] == ["finished"] * 3


def test_trial_that_comes_back_twice_counts_once(lab):
    sweep = lab.create(GRID)
    _, (command, *_) = lab.fill(sweep, 3)

    bring_back(lab, command)
    before = states(lab, sweep)
    bring_back(lab, command)

    assert states(lab, sweep) == before
    assert lab.trial(sweep, command).n_values == 1


def test_lapsed_bundle_gives_its_trials_to_others_without_a_try_less(lab):
    sweep = lab.create(GRID)
    lab.fill(sweep, 3, for_s=600)

    lab.tick(601)

    assert states(lab, sweep) == [("queued", 1, None)] * 3
    agent = lab.register(sweep)
    assert lab.ask(agent).attempt == 2


def test_bundle_whose_time_ran_out_while_the_service_was_down_can_still_come_back(lab):
    sweep = lab.create(GRID)
    _, (command, *_) = lab.fill(sweep, 3, for_s=600)
    lab.tick(300)
    lab.clock.advance(86_400)

    lab.tick(200)
    assert states(lab, sweep) == [("leased", 1, None)] * 3
    bring_back(lab, command)
    lab.tick(120)

    assert states(lab, sweep) == [("ended", 1, "finished"), *[("queued", 1, None)] * 2]


@pytest.mark.parametrize("is_made_before", [True, False], ids=["made before", "made after"])
@pytest.mark.parametrize("jump_s", [3600.0, -3600.0], ids=["forward", "back"])
def test_clock_that_jumps_changes_nothing_of_the_time_that_a_bundle_has(
    lab, jump_s, is_made_before
):
    sweep = lab.create(GRID)
    lab.tick(5)

    lab.clock.advance(0 if is_made_before else jump_s)
    lab.fill(sweep, 3, for_s=600)
    lab.clock.advance(jump_s if is_made_before else 0)

    lab.tick(580)
    assert states(lab, sweep) == [("leased", 1, None)] * 3
    lab.tick(40)
    assert states(lab, sweep) == [("queued", 1, None)] * 3


def test_what_comes_late_counts_if_nobody_has_taken_the_trial_since(lab):
    sweep = lab.create(GRID)
    _, (command, *_) = lab.fill(sweep, 3, for_s=600)
    lab.tick(601)

    bring_back(lab, command)

    assert states(lab, sweep)[0] == ("ended", 1, "finished")


def test_what_comes_after_another_attempt_began_is_kept_without_effect(lab):
    sweep = lab.create(GRID)
    _, (command, *_) = lab.fill(sweep, 3, for_s=600)
    lab.tick(601)
    again = lab.ask(lab.register(sweep))
    assert again.run == command.run

    lab.start(command)
    reply = lab.log(command, 0.1)
    with pytest.raises(LeaseLost):
        lab.report(command, "finished", exit_code=0)
    bring_back(lab, again, 3.0)

    assert reply.stopped
    assert lab.trial(sweep, command).best == 3.0
    assert states(lab, sweep)[0] == ("ended", 2, "finished")


def test_bundle_given_back_hands_over_what_it_did_not_run(lab):
    sweep = lab.create(GRID)
    bundle, (command, *_) = lab.fill(sweep, 3)
    bring_back(lab, command)

    for _ in range(2):
        ended = lab.write(bundles.give_back, actor=lab.actor, bundle_id=bundle.id)

    assert ended.n_out == 0
    assert [state for state, _, _ in states(lab, sweep)] == ["ended", "queued", "queued"]


def test_cancelled_sweep_takes_its_bundles_back(lab):
    sweep = lab.create(GRID)
    lab.fill(sweep, 3)

    lab.set_state(sweep, "CANCELED")
    lab.tick(1)

    assert states(lab, sweep) == [("ended", 1, "killed")] * 3


def test_stopped_sweep_still_takes_what_its_bundle_brings(lab):
    sweep = lab.create(GRID)
    _, (command, *_) = lab.fill(sweep, 2)
    lab.set_state(sweep, "FINISHED")
    lab.tick(1)

    bring_back(lab, command)

    assert states(lab, sweep) == [("ended", 1, "finished"), ("leased", 1, None)]


@pytest.mark.parametrize("state", ["PAUSED", "FINISHED", "CANCELED"])
def test_sweep_that_hands_nothing_out_makes_no_bundle(lab, state):
    sweep = lab.create(CAPPED)
    lab.register(sweep)
    lab.set_state(sweep, state)

    with pytest.raises(Conflict, match=sweep.name):
        lab.fill(sweep)


def test_patient_bundle_waits_for_the_search_and_gets_what_it_suggests(lab):
    sweep = lab.create(BAYES)
    asked = 6

    bundle, commands = lab.fill(sweep, asked, is_patient=True)
    for _ in range(asked):
        lab.think()
        bundle, commands = lab.fill(sweep, asked, is_patient=True)
        if bundle.n_given == asked:
            break

    origins = {trial.origin for trial in lab.trials(sweep)}
    assert (len(commands), origins) == (asked, {"search"})


def test_patient_bundle_does_not_wait_for_more_than_the_cap(lab):
    sweep = lab.create(BAYES.replace("run_cap: 40", "run_cap: 2"))

    for _ in range(3):
        lab.think()
        bundle, commands = lab.fill(sweep, 6, is_patient=True)

    assert (bundle.n_given, bundle.n_asked, len(commands)) == (2, 2, 2)


def test_impatient_bundle_is_full_at_once(lab):
    sweep = lab.create(BAYES)

    bundle, commands = lab.fill(sweep, 6)

    assert (bundle.n_given, len(commands)) == (6, 6)
    assert {trial.origin for trial in lab.trials(sweep)} == {"filler"}


def test_rules_and_time_limits_stop_nothing_that_a_bundle_runs(lab):
    rules = "early_terminate: {type: hyperband, min_iter: 1, eta: 2}\n"
    sweep = lab.create(CAPPED + rules + "sweepd: {timeout: {minutes: 1}}\n")
    for value in (1.0, 2.0):
        lab.run(lab.register(sweep), value, value)
    _, (command, *_) = lab.fill(sweep, 1)

    lab.tick(300)
    lab.start(command)
    reply = lab.log(command, 9.0, 9.0, 9.0)
    lab.end(command)

    assert not reply.stopped
    assert lab.trial(sweep, command).reason == "finished"


def test_time_that_a_bundle_is_away_is_no_time_of_a_gpu(lab):
    budget = "sweepd: {budget: {gpu_hours: 0.01}}\n"
    sweep = lab.create(CAPPED + budget)
    _, (command, *_) = lab.fill(sweep, 2)

    lab.tick(300)
    assert lab.sweep(sweep).stop_reason is None
    lab.start(command)
    lab.log(command, 1.0)
    lab.end(command)
    lab.report(command, "finished", exit_code=0, ran_s=40.0)
    lab.tick(1)

    assert "GPU hours" in lab.sweep(sweep).stop_reason


def test_trial_that_has_begun_elsewhere_is_no_trial_for_a_bundle(lab):
    sweep = lab.create(GRID)
    command = lab.ask(agent := lab.register(sweep))
    lab.start(command)
    lab.report(command, "preempted")
    lab.leave(agent)

    _, commands = lab.fill(sweep, 3)

    assert command.run not in {one.run for one in commands}
    assert len(commands) == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param({"key": "short"}, "key", id="key"),
        pytest.param({"n": 0}, "1 to 1000", id="none"),
        pytest.param({"for_s": 1.0}, "a minute to a year", id="too short"),
    ],
)
def test_bundle_out_of_bounds_is_refused_in_words(lab, arguments, words):
    with pytest.raises(InvalidInput, match=words):
        lab.fill(lab.create(CAPPED), **arguments)


def test_events_tell_what_became_of_a_bundle(lab):
    sweep = lab.create(GRID)
    lab.fill(sweep, 3, for_s=600)
    lab.tick(601)

    def kinds(tx):
        query = select(t.event.c.kind).where(t.event.c.kind.like("bundle.%"))
        return tx.conn.scalars(query.order_by(t.event.c.id)).all()

    assert lab.store.read_sync(kinds) == ["bundle.made", "bundle.ended"]
