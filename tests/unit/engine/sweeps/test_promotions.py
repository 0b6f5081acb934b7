"""Successive halving with promotions: paused trials go on under their run ids."""

import json

import pytest
from sqlalchemy import select

from sweepd.engine import agents, runs, suggest, sweeps
from sweepd.engine.stop_marks import RungMark, stop_marks
from sweepd.states import SweepState
from sweepd.store import tables as t

ASHA = "sweepd: {{stop: {{rule: asha, eta: 2, min_iter: 1, max_iter: 4, promote: {}}}}}\n"


@pytest.fixture
def sweep(lab, texts):
    def make(*, cap=4, promote="true"):
        return lab.create(texts["random"] + ASHA.format(promote) + f"run_cap: {cap}\n")

    return make


def _train(lab, agent, level, command=None, *, lease=True):
    """Run a trial that was handed out until it is told to stop, or has logged 4 values.

    Returns:
        The command, and how many values the run has logged in all.
    """
    command = command or lab.ask(agent)
    done = lab.start(command, lease=lease).history_lines
    for number in range(done, 4):
        done += 1
        if lab.log(command, level + 1.0 / done, offset=number, lease=lease).stopped:
            break
    lab.end(command, 0 if done == 4 else 143, lease=lease)
    return command, done


def test_paused_trial_goes_on_under_its_run_id_once_it_is_good_enough(lab, sweep):
    made = sweep()
    agent = lab.register(made)
    first, n_first = _train(lab, agent, 1.0)
    _, n_second = _train(lab, agent, 2.0)
    assert (n_first, n_second) == (1, 1)
    paused = lab.trial(made, first)
    assert (paused.reason, paused.objective, paused.rung) == ("stopped_early", 2.0, 1)

    again = lab.ask(agent)

    assert (again.type, again.run, again.attempt) == ("resume", first.run, 2)
    assert again.token != first.token
    assert again.config == first.config
    assert lab.run_of(again).stop_requested is None
    trial = lab.trial(made, again)
    assert (trial.state, trial.reason, trial.message) == ("leased", None, None)


def test_paused_trial_that_a_person_has_taken_up_is_given_to_no_agent(lab, sweep):
    made = sweep()
    agent = lab.register(made)
    first, _ = _train(lab, agent, 1.0)
    _train(lab, agent, 2.0)

    lab.take_up(first)

    assert lab.ask(agent).run != first.run
    assert lab.run_of(first).state == "running"


def test_promotions_use_up_no_retries(lab, sweep, texts):
    made = lab.create(texts["random"] + ASHA.format("true").replace("{stop", "{retries: 1, stop"))
    agent = lab.register(made)
    _train(lab, agent, 1.0)
    _train(lab, agent, 2.0)
    promoted = lab.ask(agent)
    assert promoted.attempt == 2
    lab.start(promoted)

    lab.report(promoted, "crashed")

    again = lab.ask(agent)
    assert (again.run, again.attempt) == (promoted.run, 3)
    lab.start(again)
    lab.report(again, "crashed")
    assert lab.trial(made, again).reason == "crashed"


def test_only_slot_in_quarantine_is_tried_with_a_promotion_if_nothing_else_is_left(lab, sweep):
    made = sweep(cap=2)
    agent = lab.register(made)
    first, _ = _train(lab, agent, 1.0)
    _train(lab, agent, 2.0)
    lab.write(agents.quarantine_slot, actor=lab.actor, agent_id=agent, reason="it fell off")
    assert lab.beat(agent) is None

    lab.clock.advance(lab.limits.canary_s)
    canary, _ = _train(lab, agent, 1.0)

    assert canary.run == first.run
    while lab.sweep(made).state == SweepState.RUNNING:
        _train(lab, agent, 1.0)
    assert lab.sweep(made).stop_reason == "run_cap reached: all 2 trials have ended"


def test_slot_in_quarantine_gets_no_promotion_that_another_one_can_have(lab, sweep):
    made = sweep(cap=2)
    bad, good = lab.register(made), lab.register(made)
    first, _ = _train(lab, bad, 1.0)
    _train(lab, bad, 2.0)
    lab.write(agents.quarantine_slot, actor=lab.actor, agent_id=bad, reason="it fell off")
    lab.clock.advance(lab.limits.canary_s)

    assert lab.beat(bad) is None
    assert lab.ask(good).run == first.run


def test_promoted_trial_runs_to_the_next_rung(lab, sweep):
    made = sweep()
    agent = lab.register(made)
    first, _ = _train(lab, agent, 1.0)
    _train(lab, agent, 2.0)

    again, n_values = _train(lab, agent, 1.0)

    assert (again.run, n_values) == (first.run, 2)
    assert lab.trial(made, again).rung == 2


def test_values_that_are_logged_again_after_a_resume_are_not_judged_again(lab, sweep):
    made = sweep()
    agent = lab.register(made)
    first, _ = _train(lab, agent, 1.0)
    _train(lab, agent, 2.0)
    again = lab.ask(agent)
    lab.start(again)

    reply = lab.stream(again, rows=[{"_step": 0, "loss": 99.0}], offset=1)

    assert again.run == first.run
    assert not reply.stopped


def test_after_the_cap_promotions_go_on_until_one_has_run_to_the_end(lab, sweep):
    made = sweep(cap=8)
    agent = lab.register(made)
    levels = {}
    n_values = 0
    for _ in range(50):
        command = lab.beat(agent)
        if command.type == "exit":
            break
        level = levels.setdefault(command.run, float((3 * len(levels)) % 8))
        before = lab.run_of(command).history_lines
        _, done = _train(lab, agent, level, command)
        n_values += done - before

    ended = lab.sweep(made)
    trials = lab.trials(made)
    assert ended.state == "FINISHED"
    assert ended.stop_reason == "run_cap reached: all 8 trials have ended"
    assert len(trials) == 8
    best = min(trials, key=lambda trial: trial.objective)
    assert (best.n_values, best.reason) == (4, "finished")
    assert [trial.objective for trial in trials if trial.rung == 2].count(0.25) == 1
    assert n_values == sum(trial.n_values for trial in trials) < 8 * 4


def test_best_of_too_few_for_a_rung_runs_to_the_end_all_the_same(lab, sweep):
    made = sweep(cap=1)
    agent = lab.register(made)

    commands = [_train(lab, agent, 1.0)[0] for _ in range(3)]

    assert {command.run for command in commands} == {commands[0].run}
    assert [command.attempt for command in commands] == [1, 2, 3]
    assert lab.trial(made, commands[0]).reason == "finished"
    assert lab.beat(agent).type == "exit"


def test_trials_that_run_hold_up_the_last_promotions(lab, sweep):
    made = sweep(cap=2)
    one, other = lab.register(made), lab.register(made)
    held = lab.ask(other)
    lab.start(held)
    _train(lab, one, 1.0)

    assert lab.beat(one) is None

    lab.end(held, 1)
    lab.report(held, "error")
    assert lab.ask(one).type == "resume"


def test_promotion_is_an_event_with_its_numbers(lab, sweep):
    agent = lab.register(sweep())
    _train(lab, agent, 1.0)
    _train(lab, agent, 2.0)
    lab.ask(agent)

    def read(tx):
        kind = t.event.c.kind == "trial.promoted"
        return [json.loads(data) for data in tx.conn.scalars(select(t.event.c.data).where(kind))]

    assert lab.store.read_sync(read) == [
        {"rung": 1, "value": 2.0, "threshold": 2.0, "n_reached": 2}
    ]


def test_late_writes_of_the_paused_attempt_change_nothing(lab, sweep):
    made = sweep()
    agent = lab.register(made)
    first, _ = _train(lab, agent, 1.0)
    _train(lab, agent, 2.0)
    again = lab.ask(agent)
    lab.start(again)

    assert lab.log(first, -9.0, offset=1).stopped
    lab.end(first, 143)

    trial = lab.trial(made, again)
    assert (trial.state, trial.n_values, trial.best) == ("leased", 1, 2.0)


@pytest.mark.parametrize("jump_s", [0, -3600])
def test_process_without_a_token_is_waited_for_before_its_trial_is_promoted(lab, sweep, jump_s):
    """It was killed, so that its client may yet say `complete`, or may not."""
    made = sweep()
    agent = lab.register(made)
    command = lab.ask(agent)
    lab.start(command, lease=False)
    assert lab.log(command, 1.0, lease=False).stopped
    assert lab.beat(agent, command.run).type == "stop"
    other = lab.ask(agent)  # the agent has it no more
    assert other.run != command.run
    _train(lab, agent, 2.0, other)

    third = lab.ask(agent)
    assert third.run not in (command.run, other.run)
    _train(lab, agent, 3.0, third)
    lab.tick()
    lab.clock.advance(jump_s)
    lab.tick()
    lab.tick(20)

    assert lab.ask(agent).run == command.run


def test_process_without_a_token_that_said_its_end_is_not_waited_for(lab, sweep):
    agent = lab.register(sweep())
    first, _ = _train(lab, agent, 1.0, lease=False)
    _train(lab, agent, 2.0, lease=False)

    assert lab.ask(agent).run == first.run


def test_sweep_that_is_stopped_promotes_nobody(lab, sweep):
    made = sweep()
    agent = lab.register(made)
    _train(lab, agent, 1.0)
    _train(lab, agent, 2.0)

    lab.set_state(made, "FINISHED")

    assert lab.beat(agent).type == "exit"
    assert [trial.state for trial in lab.trials(made)] == ["ended", "ended"]


def test_trial_that_a_person_stops_is_not_promoted(lab, sweep):
    made = sweep()
    agent, other = lab.register(made), lab.register(made)
    killed = lab.ask(agent)
    lab.start(killed)
    lab.report(killed, "killed")
    _train(lab, other, 2.0)
    _train(lab, other, 3.0)

    assert lab.ask(other).run != killed.run


@pytest.mark.parametrize("has_ended", [True, False], ids=["paused", "about to pause"])
def test_paused_trial_that_a_person_stops_is_not_promoted(lab, sweep, has_ended):
    made = sweep()
    agent = lab.register(made)
    first = lab.ask(agent)
    lab.start(first)
    assert lab.log(first, 1.0).stopped
    if has_ended:
        lab.end(first, 143)

    run = lab.run_of(first)
    for _ in range(2):  # a person may well press the button twice
        lab.write(runs.request_stop, actor=lab.actor, run_id=run.id)

    lab.end(first, 143)
    second, _ = _train(lab, agent, 2.0)
    assert lab.ask(agent).run not in (first.run, second.run)
    assert lab.trial(made, first).reason == "stopped_early"


def test_sweep_whose_last_paused_trial_a_person_stops_is_done(lab, sweep):
    made = sweep(cap=1)
    agent = lab.register(made)
    first, _ = _train(lab, agent, 1.0)
    assert lab.sweep(made).state == "RUNNING"

    lab.write(runs.request_stop, actor=lab.actor, run_id=lab.run_of(first).id)

    assert lab.sweep(made).state == "FINISHED"
    assert lab.beat(agent).type == "exit"


def test_edit_that_takes_promote_away_leaves_nothing_to_promote(lab, sweep, texts):
    made = sweep(cap=9)
    agent = lab.register(made)
    paused = [_train(lab, agent, level)[0] for level in (1.0, 2.0)]
    running = lab.ask(lab.register(made))
    assert running.run == paused[0].run
    lab.start(running)
    assert lab.log(running, 1.5, offset=1).stopped

    for promote in ("false", "true"):  # to write it again brings nobody back
        text = texts["random"] + ASHA.format(promote) + "run_cap: 9\n"
        lab.write(sweeps.update_sweep, actor=lab.actor, sweep_id=made.id, definition=text)
    lab.end(running, 143)

    new = lab.ask(agent)
    assert new.run not in {command.run for command in paused}
    assert [one.reason for one in lab.trials(made)][:2] == ["stopped_early"] * 2


def test_pauses_do_not_use_up_the_retries(lab, sweep):
    made = sweep(cap=1)
    agent = lab.register(made)
    _train(lab, agent, 1.0)
    command, _ = _train(lab, agent, 1.0)
    for attempt in (3, 4):
        command = lab.ask(agent)
        assert command.attempt == attempt
        lab.start(command)
        lab.report(command, "preempted")

    assert lab.ask(agent).attempt == 5


def test_without_promote_the_first_goes_on_and_the_stopped_are_never_seen_again(lab, sweep):
    made = sweep(cap=3, promote="false")
    agent = lab.register(made)

    trained = [_train(lab, agent, level)[1] for level in (1.0, 2.0, 0.5)]

    assert trained == [4, 1, 4]
    assert lab.beat(agent).type == "exit"


def test_paused_trial_teaches_the_search_its_value_so_far(lab, sweep, texts):
    text = texts["bayes"] + ASHA.format("true") + "run_cap: 9\n"
    made = lab.create(text)
    agent = lab.register(made)
    _train(lab, agent, 1.0)

    job = lab.store.read_sync(suggest.next_job)

    assert [trial.objective for trial in job.trials] == [2.0]
    assert list(job.pending) == []


def test_paused_trials_survive_a_restart(lab, sweep):
    agent = lab.register(sweep())
    first, _ = _train(lab, agent, 1.0)
    _train(lab, agent, 2.0)

    lab.restart()

    assert lab.ask(agent).run == first.run


def test_marks_of_a_run_tell_its_rungs_and_what_was_decided(lab, sweep):
    agent = lab.register(sweep())
    first, _ = _train(lab, agent, 1.0)
    _train(lab, agent, 2.0)
    _train(lab, agent, 1.0)

    marks = lab.store.read_sync(stop_marks, run=lab.run_of(first))

    assert marks.rungs == (
        RungMark("asha", 1, 0, 2.0, 2.0, 2),
        RungMark("asha", 2, 1, 1.5, None, 1),
    )
    assert [kind for _, kind, _ in marks.decisions] == [
        "trial.stop_requested",
        "trial.promoted",
        "trial.stop_requested",
    ]
    assert marks.decisions[-1][2]["band"] == 2
