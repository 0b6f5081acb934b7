"""Runs that a client puts into a sweep, as W&B's scheduler and `Sweep.enqueue_run` do."""

import json

import pytest
from effort import at_most_calls
from sqlalchemy import select

from sweepd.engine import enqueued, runs, sweeps
from sweepd.engine.access import Need
from sweepd.engine.observed import observe
from sweepd.errors import Conflict, InvalidInput, NotFound
from sweepd.states import RunState, SweepState
from sweepd.store import tables as t

SCHEDULED = """
method: custom
metric: {name: loss, goal: minimize}
scheduler: {engine: optuna, source: s.py, search_space: f}
"""


@pytest.fixture
def enqueue(lab):
    def enqueue(sweep, config, *, actor=None, **fields):
        _, run = lab.write(
            sweeps.enqueue_run,
            actor=actor or lab.actor,
            sweep_id=sweep.id,
            config={name: {"value": value} for name, value in config.items()},
            **fields,
        )
        return run

    return enqueue


@pytest.fixture
def state_of(lab):
    def state_of(run):
        found = {
            "actor": lab.actor,
            "entity": None,
            "project": "toy",
            "name": run,
            "need": Need.READ,
        }
        return lab.store.read_sync(runs.get_run, **found).state

    return state_of


def test_sweep_with_a_scheduler_hands_out_what_is_enqueued_and_nothing_else(lab, enqueue):
    sweep = lab.create(SCHEDULED)
    agent = lab.register(sweep)

    assert lab.beat(agent) is None
    run = enqueue(sweep, {"x": 1, "kind": "deep"})
    command = lab.run(agent, 1.0)

    assert (command.run, command.config) == (run, {"x": 1, "kind": "deep"})
    assert lab.beat(agent) is None
    assert lab.sweep(sweep).state == SweepState.RUNNING


def test_first_come_first_served(lab, enqueue):
    sweep = lab.create(SCHEDULED)
    made = [enqueue(sweep, {"x": x}) for x in range(3)]
    agent = lab.register(sweep)

    assert [lab.run(agent, 1.0).run for _ in made] == made


def test_enqueued_run_is_pending_until_an_agent_takes_it(lab, enqueue, state_of):
    sweep = lab.create(SCHEDULED)
    run = enqueue(sweep, {"x": 1}, display_name="by hand")

    found = {"actor": lab.actor, "entity": None, "project": "toy", "name": run, "need": Need.READ}
    view = lab.store.read_sync(runs.get_run, **found)

    assert (view.state, view.display_name, view.sweep) == (
        RunState.PENDING,
        "by hand",
        sweep.name,
    )
    assert json.loads(view.config) == {"x": {"value": 1}}
    assert lab.sweep(sweep).n_issued == 0


def test_cap_counts_those_that_were_taken_and_the_rest_ends_with_the_sweep(lab, enqueue, state_of):
    sweep = lab.create(SCHEDULED + "run_cap: 2\n")
    made = [enqueue(sweep, {"x": x}) for x in range(4)]
    agents = [lab.register(sweep) for _ in range(2)]

    commands = [lab.ask(agent) for agent in agents]
    assert lab.beat(lab.register(sweep)) is None
    for command in commands:
        lab.start(command, lease=False)
        lab.log(command, 1.0, lease=False)
        lab.end(command, lease=False)

    view = lab.sweep(sweep)
    assert (view.state, view.n_issued) == (SweepState.FINISHED, 2)
    assert [state_of(run) for run in made] == ["finished", "finished", "killed", "killed"]
    assert (view.n_finished, view.n_failed) == (2, 0)


def test_what_waits_when_a_sweep_ends_is_dropped_at_once_however_much_it_is(lab, enqueue):
    few, many = lab.create(SCHEDULED), lab.create(SCHEDULED)
    enqueue(few, {"x": 1})
    for x in range(40):
        enqueue(many, {"x": x})

    def drop(tx):
        enqueued.drop_all(tx, few.id, why="it ended")  # the statements are made once
        with at_most_calls(2_000):
            enqueued.drop_all(tx, many.id, why="it ended")

    lab.store.write_sync(drop)

    query = select(t.trial.c.reason, t.trial.c.message, t.event.c.kind, t.event.c.run_id)
    query = query.join(t.event, t.event.c.id == t.trial.c.ended_event)
    rows = lab.store.read_sync(lambda tx: tx.conn.execute(query).all())
    assert {row[:3] for row in rows} == {("killed", "it ended", "trial.ended")}
    assert len({row.run_id for row in rows}) == 41


def test_process_may_begin_an_enqueued_run_without_an_agent(lab, enqueue, state_of):
    sweep = lab.create(SCHEDULED)
    run = enqueue(sweep, {"x": 1})
    other = enqueue(sweep, {"x": 2})

    change = runs.RunChange(name=run, project="toy", host="box")
    lab.write(runs.upsert_run, actor=lab.actor, change=change)

    assert state_of(run) == RunState.RUNNING
    assert lab.ask(lab.register(sweep)).run == other
    assert lab.sweep(sweep).n_issued == 2


def test_stopping_a_run_that_waits_ends_it_at_once(lab, enqueue, state_of):
    sweep = lab.create(SCHEDULED)
    run = enqueue(sweep, {"x": 1})
    found = {"actor": lab.actor, "entity": None, "project": "toy", "name": run, "need": Need.READ}
    run_id = lab.store.read_sync(runs.get_run, **found).id

    lab.write(runs.request_stop, actor=lab.actor, run_id=run_id)

    assert state_of(run) == RunState.KILLED
    assert lab.beat(lab.register(sweep)) is None


def test_deleting_a_run_that_waits_takes_it_out_of_the_queue(lab, enqueue):
    sweep = lab.create(SCHEDULED)
    run = enqueue(sweep, {"x": 1})
    found = {"actor": lab.actor, "entity": None, "project": "toy", "name": run, "need": Need.READ}
    run_id = lab.store.read_sync(runs.get_run, **found).id

    lab.write(runs.delete_run, actor=lab.actor, run_id=run_id)

    assert lab.beat(lab.register(sweep)) is None


def test_enqueued_run_that_an_agent_loses_is_handed_out_again(lab, enqueue):
    sweep = lab.create(SCHEDULED)
    run = enqueue(sweep, {"opt": {"lr": 0.5}})
    lab.ask(lab.register(sweep))
    lab.tick(lab.limits.lease_s + 5)

    again = lab.ask(lab.register(sweep))

    assert (again.run, again.attempt, again.config) == (run, 2, {"opt": {"lr": 0.5}})


def test_enqueued_runs_go_before_the_sweeps_own_search_and_count_towards_its_cap(lab, enqueue):
    sweep = lab.create("method: grid\nrun_cap: 2\nparameters: {a: {values: [1, 2, 3]}}\n")
    enqueue(sweep, {"a": 2})
    agent = lab.register(sweep)

    given = [lab.run(agent).config["a"] for _ in range(2)]

    assert given == [2, 1]
    assert lab.beat(agent).type == "exit"


def test_process_that_begins_an_enqueued_run_over_the_cap_is_refused(lab, enqueue, state_of):
    sweep = lab.create(SCHEDULED + "run_cap: 1\n")
    enqueue(sweep, {"x": 1})
    lab.ask(lab.register(sweep))
    run = enqueue(sweep, {"x": 2})
    change = runs.RunChange(name=run, project="toy", host="box")

    with pytest.raises(Conflict, match="has begun the 1 runs of its run_cap"):
        lab.write(runs.upsert_run, actor=lab.actor, change=change)

    assert lab.sweep(sweep).n_issued == 1
    assert state_of(run) == "pending"


def test_config_of_the_space_teaches_the_search_and_another_does_not(lab, texts, enqueue):
    sweep = lab.create(texts["random"])
    enqueue(sweep, {"lr": 0.5, "layers": 3})
    enqueue(sweep, {"lr": 7.0})
    agent = lab.register(sweep)
    for value in (1.0, 2.0):
        lab.run(agent, value)

    definition = sweeps.definition_of(lab.sweep(sweep))
    seen = lab.store.read_sync(observe, sweep_id=sweep.id, definition=definition)

    assert [(trial.config["lr"], trial.objective) for trial in seen.trials] == [(0.5, 1.0)]


def test_nested_config_is_told_as_it_came(lab, enqueue):
    sweep = lab.create("method: random\nparameters:\n  o: {parameters: {lr: {min: 0.0, max: 1}}}\n")
    enqueue(sweep, {"o": {"lr": 0.5}})
    enqueue(sweep, {"o": {"lr": 0.5, "more": 1}})
    agent = lab.register(sweep)

    told = [lab.run(agent).config for _ in range(2)]

    assert told == [{"o": {"lr": 0.5}}, {"o": {"lr": 0.5, "more": 1}}]


NESTED = "method: random\nparameters:\n  opt: {parameters: {lr: {min: 0.0, max: 1}}}\n"


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"opt.lr": 0.1, "opt": 5}, "opt is 5, and opt.lr would be in it"),
        ({"opt": {"lr": 0.9, "more": 1}, "opt.lr": 0.1}, "opt.lr is given both flat and nested"),
    ],
)
def test_config_that_says_two_things_of_a_name_is_refused(lab, enqueue, config, words):
    sweep = lab.create(NESTED)

    with pytest.raises(InvalidInput, match=words):
        enqueue(sweep, config)

    assert lab.trials(sweep) == []


def test_flat_names_are_told_and_kept_nested(lab, enqueue):
    sweep = lab.create(NESTED)
    enqueue(sweep, {"opt.lr": 0.1, "opt": {"more": 1}})

    command = lab.ask(lab.register(sweep))

    assert command.config == {"opt": {"lr": 0.1, "more": 1}}
    assert json.loads(lab.run_of(command).config) == {"opt": {"value": command.config["opt"]}}


@pytest.fixture
def spoil(lab):
    """Make the config of a trial that waits one that cannot be run, as an old service took it."""

    def spoil(run):
        config = json.dumps({"opt.lr": 0.1, "opt": 5})
        run_id = select(t.run.c.id).where(t.run.c.name == run).scalar_subquery()
        of_run = t.trial.update().where(t.trial.c.run_id == run_id)
        lab.write(lambda tx: tx.conn.execute(of_run.values(config=config)))

    return spoil


def test_what_waits_and_cannot_be_run_ends_with_words_and_holds_nobody_up(lab, enqueue, spoil):
    sweep = lab.create(NESTED)
    spoil(enqueue(sweep, {"opt.lr": 0.1}))
    good = enqueue(sweep, {"opt.lr": 0.2})

    command = lab.ask(lab.register(sweep))

    bad, _ = lab.trials(sweep)
    assert command.run == good
    assert (bad.state, bad.reason) == ("ended", "killed")
    assert bad.message == "it cannot be run: config: opt is 5, and opt.lr would be in it"
    assert lab.sweep(sweep).n_issued == 1


def test_what_waits_and_cannot_be_run_holds_no_bundle_up(lab, enqueue, spoil):
    sweep = lab.create(NESTED)
    spoil(enqueue(sweep, {"opt.lr": 0.1}))

    _, commands = lab.fill(sweep, 2)

    assert len(commands) == 2
    assert lab.trials(sweep)[0].state == "ended"


def test_ended_sweep_takes_no_more(lab, enqueue):
    sweep = lab.create(SCHEDULED)
    lab.set_state(sweep, "FINISHED")

    with pytest.raises(Conflict, match="takes no more runs: stopped by alice"):
        enqueue(sweep, {"x": 1})


def test_paused_sweep_keeps_what_is_enqueued_until_it_goes_on(lab, enqueue):
    sweep = lab.create(SCHEDULED)
    agent = lab.register(sweep)
    lab.set_state(sweep, "PAUSED")
    run = enqueue(sweep, {"x": 1})

    assert lab.beat(agent) is None
    lab.set_state(sweep, "RUNNING")
    assert lab.ask(agent).run == run


@pytest.mark.parametrize("config", [{"": 1}, {"_wandb": {}}, {"x": float("nan")}])
def test_what_is_no_config_is_refused(lab, enqueue, config):
    with pytest.raises(InvalidInput, match="config: "):
        enqueue(lab.create(SCHEDULED), config)


def test_sweep_of_another_takes_nothing(lab, bob, enqueue):
    sweep = lab.create(SCHEDULED)

    with pytest.raises(NotFound):
        enqueue(sweep, {"x": 1}, actor=bob)
    assert lab.store.read_sync(lambda tx: tx.conn.execute(t.trial.select()).all()) == []
