"""Trials that an agent fetches while another one runs: `--prefetch`."""

import pytest

CAPPED = """
method: random
run_cap: 3
metric: {name: loss, goal: minimize}
parameters: {lr: {min: 0.0, max: 1.0}}
"""


@pytest.fixture
def fetched(lab):
    """A sweep, its agent, the trial that it runs, and the one that it has fetched ahead."""
    sweep = lab.create(CAPPED)
    agent = lab.register(sweep)
    first = lab.ask(agent)
    lab.start(first)
    second = lab.beat_ahead(agent, first.run, wants=True)
    return sweep, agent, first, second


def states(lab, sweep):
    return [(trial.state, trial.attempt, trial.reason) for trial in lab.trials(sweep)]


def test_agent_gets_one_more_trial_than_it_runs_and_no_third(lab, fetched):
    sweep, agent, first, second = fetched

    assert second.run != first.run
    assert lab.beat_ahead(agent, first.run, second.run, waiting=[second.run]) is None
    assert lab.sweep(sweep).n_issued == 2


def test_run_cap_is_exact_with_trials_fetched_ahead(lab, fetched):
    sweep, *_ = fetched
    other = lab.register(sweep)
    third = lab.ask(other)
    lab.start(third)

    assert lab.beat_ahead(other, third.run, wants=True) is None
    assert lab.beat(lab.register(sweep)) is None
    assert lab.sweep(sweep).n_issued == 3


def test_answer_that_was_lost_is_given_again(lab, fetched):
    _, agent, first, second = fetched

    again = lab.beat_ahead(agent, first.run, wants=True)

    assert (again.run, again.token) == (second.run, second.token)


def test_lease_is_kept_while_the_trial_waits(lab, fetched):
    sweep, agent, first, second = fetched

    for _ in range(10):
        lab.tick(30)
        lab.beat_ahead(agent, first.run, second.run, waiting=[second.run])

    assert states(lab, sweep) == [("leased", 1, None)] * 2


def test_trial_given_back_goes_to_another_agent_without_a_try_less(lab, fetched):
    sweep, agent, first, second = fetched

    assert lab.beat_ahead(agent, first.run, returned=[second.run]) is None

    assert states(lab, sweep)[1] == ("queued", 1, None)
    again = lab.ask(lab.register(sweep))
    assert (again.run, again.attempt) == (second.run, 2)


@pytest.mark.parametrize("state", ["FINISHED", "CANCELED"])
def test_trial_that_waits_does_not_begin_after_the_end_of_its_sweep(lab, fetched, state):
    sweep, agent, first, second = fetched
    lab.set_state(sweep, state)
    told = {}

    for _ in range(3):
        command = lab.beat_ahead(agent, first.run, second.run, waiting=[second.run])
        if command is not None:
            told[command.run] = command.type

    assert told[second.run] == "stop"
    assert states(lab, sweep)[1] == ("ended", 1, "killed")


def test_trial_that_waits_is_taken_back_in_a_pause(lab, fetched):
    sweep, agent, first, second = fetched
    lab.set_state(sweep, "PAUSED")

    command = lab.beat_ahead(agent, first.run, second.run, waiting=[second.run])

    assert (command.type, command.run) == ("stop", second.run)
    assert [state for state, *_ in states(lab, sweep)] == ["leased", "queued"]


def test_trial_that_has_begun_is_not_taken_back(lab, fetched):
    sweep, agent, first, second = fetched
    lab.end(first)
    lab.start(second)
    lab.set_state(sweep, "FINISHED")

    assert lab.beat_ahead(agent, second.run, waiting=[second.run]) is None
    assert states(lab, sweep)[1] == ("leased", 1, None)


def test_heartbeat_without_a_word_of_it_fetches_nothing(lab, fetched):
    _, agent, first, second = fetched

    assert lab.beat(agent, first.run, second.run) is None
