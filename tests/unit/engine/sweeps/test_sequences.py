"""The same seed and events give the same suggestions, whoever sends them and whenever."""

import json
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sweepd.engine import suggest, sweeps

SEEDED = "sweepd: {seed: 5}\n"
CATS = """
method: bayes
metric: {name: loss, goal: minimize}
parameters:
  lr: {distribution: log_uniform_values, min: 0.0001, max: 1.0}
  layers: {min: 1, max: 4}
  kind: {values: [a, b, c]}
sweepd: {seed: 5}
"""


def play(lab, text, events, *, n_early=0, ahead=64, restarts=()):
    """Send a sweep asks and results, the search at rest in between; return what was handed out.

    An event is None for an ask, else which of the running trials ends, and how. `ahead` are
    prepared at most, however many agents there are.
    """
    lab.limits = replace(lab.limits, max_prepared=ahead)
    sweep = lab.create(text)
    free = [lab.register(sweep) for _ in range(n_early)]
    running, given_out = [], []
    lab.think()
    for number, event in enumerate(events):
        if number in restarts:
            lab.restart()
        if event is None:
            agent = free.pop(0) if free else lab.register(sweep)
            lab.think()
            command = lab.ask(agent)
            lab.start(command, lease=False)
            given_out.append(command.config)
            running.append((agent, command))
        elif running:
            which, value = event
            agent, command = running.pop(which % len(running))
            if value is not None:
                lab.log(command, value, lease=False)
            lab.end(command, 0 if value is not None else 1, lease=False)
            free.append(agent)
        lab.think()
    return sweep, given_out


EVENTS = [None, None, None, (1, 0.5), None, (0, 2.0), None, None, (2, None), None, (1, 0.25)]
EVENTS += [None, None, (0, 1.0), (0, 0.125), None, None, None]


def test_number_of_agents_does_not_matter(lab):
    _, few = play(lab, CATS, EVENTS, ahead=1)
    _, many = play(lab, CATS, EVENTS, n_early=24)

    assert many == few
    assert len({json.dumps(config) for config in few}) == len(few)


def test_restarts_do_not_matter(lab):
    _, plain = play(lab, CATS, EVENTS)
    _, again = play(lab, CATS, EVENTS, restarts=(3, 4, 9, 14), n_early=4)

    assert again == plain


@settings(
    max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    events=st.lists(
        st.none() | st.tuples(st.integers(0, 5), st.none() | st.sampled_from([0.0, 1.0, 0.25])),
        min_size=4,
        max_size=14,
    ),
    n_early=st.integers(1, 9),
)
@pytest.mark.parametrize("method", ["bayes", "random"])
def test_same_events_give_the_same_trials(lab, method, events, n_early):
    text = CATS.replace("bayes", method)

    few = play(lab, text, events, ahead=1)[1]
    assert few == play(lab, text, events, n_early=n_early)[1]


def test_grid_and_random_ignore_outcomes_too(lab, texts):
    for method in ("grid", "random"):
        text = texts[method] + SEEDED
        _, smooth = play(lab, text, [None, (0, 1.0)] * 6)
        _, rough = play(lab, text, [None, None, (1, None), None, None, None, (0, 3.0), None])

        assert rough == smooth


def test_more_of_a_sequence_replaces_nothing_of_it(lab, texts):
    sweep = lab.create(texts["bayes"] + SEEDED)
    agent = lab.register(sweep)
    lab.think()
    first = lab.ask(agent)
    lab.think()
    for _ in range(3):
        lab.register(sweep)
    job = lab.store.read_sync(suggest.next_job, limits=lab.limits)

    assert (job.n, job.start) == (3, 2)
    assert job.pending[0] == first.config
    assert job.basis_event < lab.store.newest_event


def test_trial_keeps_the_event_that_it_was_suggested_from(lab, texts):
    sweep, _ = play(lab, texts["bayes"] + SEEDED, [None, None, (0, 1.0), None, None])

    first, second, third, fourth = lab.trials(sweep)
    assert first.basis_event == second.basis_event < third.basis_event == fourth.basis_event
    assert [one.position for one in (first, second, third, fourth)] == [0, 1, 0, 1]


def test_enqueued_run_and_a_filler_start_new_sequences(lab, texts):
    sweep = lab.create(texts["bayes"] + SEEDED)
    agents = [lab.register(sweep) for _ in range(3)]
    lab.think()
    lab.write(
        sweeps.enqueue_run, actor=lab.actor, sweep_id=sweep.id, config={"lr": 0.1, "layers": 3}
    )

    job = lab.store.read_sync(suggest.next_job, limits=lab.limits)
    assert (job.n, job.start) == (3, 0)
    lab.think()
    for agent in [*agents, lab.register(sweep), lab.register(sweep)]:
        lab.ask(agent)
    job = lab.store.read_sync(suggest.next_job, limits=lab.limits)

    assert [one.origin for one in lab.trials(sweep)] == ["enqueued", *["search"] * 3, "filler"]
    assert (job.start, len(job.pending)) == (0, 5)


def test_late_values_are_news_for_the_search(lab, texts):
    sweep = lab.create(texts["bayes"])
    command = lab.run(lab.register(sweep), 1.0)
    lab.think()

    lab.log(command, 0.5, offset=1, lease=False)

    job = lab.store.read_sync(suggest.next_job, limits=lab.limits)
    assert [trial.objective for trial in job.trials] == [0.5]


def test_values_of_running_trials_are_kept_as_they_were_looked_at(lab, texts):
    goal = "goal: minimize, impute_while_running: latest"
    sweep = lab.create(texts["bayes"].replace("goal: minimize", goal))
    agent = lab.register(sweep)
    lab.think()
    command = lab.ask(agent)
    lab.start(command, lease=False)
    lab.log(command, 3.0, lease=False)
    lab.think()
    done = lab.register(sweep)
    lab.run(done, 1.0)
    lab.think()
    lab.log(command, 2.0, offset=1, lease=False)
    lab.register(sweep)

    job = lab.store.read_sync(suggest.next_job, limits=lab.limits)

    assert job.start > 0
    assert [trial.objective for trial in job.trials] == [1.0, 3.0]
