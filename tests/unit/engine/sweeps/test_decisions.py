"""Why a trial was suggested and stopped, as far as it was kept."""

import json

import pytest

from sweepd.engine import byhand, runs
from sweepd.engine.decisions import decision_of
from sweepd.store import tables as t

STOPPED = """
method: random
metric: {name: loss, goal: minimize}
parameters: {lr: {min: 0.0, max: 1.0}}
early_terminate: {type: hyperband, min_iter: 2, eta: 2}
"""

TWO = """
method: bayes
metrics:
- {name: loss, goal: minimize}
- {name: acc, goal: maximize}
parameters: {lr: {min: 0.0, max: 1.0}, wd: {min: 0.0, max: 1.0}}
"""


@pytest.fixture
def decision(lab):
    return lambda command: lab.store.read_sync(decision_of, run=lab.run_of(command))


@pytest.fixture
def explain(lab):
    def explain(command, **why):
        def write(tx):
            row = t.trial.c.run_id == lab.run_of(command).id
            tx.conn.execute(t.trial.update().where(row).values(why=json.dumps(why)))

        lab.write(write)

    return explain


def test_values_are_those_of_the_metric_whatever_its_goal(lab, texts, decision, explain):
    sweep = lab.create(texts["random"].replace("minimize", "maximize"))
    agent = lab.register(sweep)
    first = lab.run(agent, 0.25)
    command = lab.run(agent, 0.5)
    near = [{"number": 1, "distance": 0.1, "is_feasible": True}]
    explain(command, origin="model", mean=-0.5, low=-0.75, high=-0.25, nearest=near)

    found = decision(command)

    assert (found.low, found.mean, found.high, found.value) == (0.25, 0.5, 0.75, 0.5)
    (neighbour,) = found.nearest
    assert (neighbour.run, neighbour.value) == (first.run, 0.25)
    assert found.words.startswith("The model of the results so far")


@pytest.mark.parametrize(
    "entry",
    [
        {"number": None, "objective": 0.25},
        {"number": 99},
        {"number": True},
        {"number": "1"},
        {},
    ],
)
def test_neighbour_that_is_no_trial_of_the_sweep_is_left_out(lab, texts, decision, explain, entry):
    sweep = lab.create(texts["random"])
    agent = lab.register(sweep)
    lab.run(agent, 0.25)
    command = lab.run(agent, 0.5)
    explain(command, nearest=[entry, "nonsense"], mean="nonsense")

    assert decision(command).nearest == ()
    assert decision(command).mean is None


def test_trials_that_failed_alike_are_told_apart_though_prior_runs_came_first(
    lab, texts, decision, upsert, stream
):
    for number, lr in enumerate((0.1, 0.5, 0.9)):
        config = {"lr": {"value": lr}, "layers": {"value": 3}}
        prior = upsert(f"r{number}", config=json.dumps(config))
        stream(prior, history=[{"_step": 0, "loss": 1.0 + number}])
    filters = json.dumps({"$or": [{"name": f"r{number}"} for number in range(3)]})
    sweep = lab.create(texts["bayes"], prior_runs_filters=filters)
    agent, names = lab.register(sweep), []
    for i in range(8):
        lab.think()
        command = lab.ask(agent)
        names.append(command.run)
        lab.start(command)
        lab.stream(command, rows=[{"loss": float(i)}])
        lab.end(command, exit_code=i % 2)
    lab.think()
    command = lab.ask(agent)

    found = decision(command).nearest

    assert found
    for one in found:
        n_before = names.index(one.run)
        assert one.is_feasible is (n_before % 2 == 0)
        assert one.value == (float(n_before) if one.is_feasible else None)


def test_a_trial_with_the_number_of_one_that_was_deleted_is_no_neighbour(
    lab, texts, decision, explain
):
    agent = lab.register(lab.create(texts["random"]))
    lab.run(agent, 0.25)
    gone = lab.run(agent, 0.5)
    lab.write(runs.delete_run, actor=lab.actor, run_id=lab.run_of(gone).id)
    command = lab.run(agent, 0.75)
    explain(command, nearest=[{"number": 1, "distance": 1.0}, {"number": 2, "distance": 0.1}])

    assert [one.value for one in decision(command).nearest] == [0.25]


def test_only_what_finished_came_out(lab, texts, decision):
    agent = lab.register(lab.create(texts["random"]))
    command = lab.ask(agent)
    lab.start(command)
    lab.stream(command, rows=[{"loss": 9.0}])
    running = decision(command).value
    lab.end(command)

    assert (running, decision(command).value) == (None, 9.0)


@pytest.mark.parametrize(
    ("why", "words"),
    [
        ({"origin": "startup", "n_first": 10}, "One of the first 10 points, spread over the space"),
        ({"origin": "densities", "n_good": 3, "n_bad": 27}, "the 3 best trials it knew lie denser"),
        ({"origin": "normal law", "n_told": 18, "n_moves": 2}, "18 trials have moved in 2 steps"),
        ({"origin": "children", "n_parents": 20}, "two of the best 20 trials it knew"),
        ({"origin": "children"}, "two of the best few trials it knew"),
    ],
)
def test_methods_without_a_model_say_what_they_went_by(lab, texts, decision, why, words):
    sweep = lab.create(texts["random"])
    command = lab.ask(lab.register(sweep))

    def write(tx):
        row = t.trial.c.run_id == lab.run_of(command).id
        tx.conn.execute(t.trial.update().where(row).values(why=json.dumps(why), origin="search"))

    lab.write(write)

    assert words in decision(command).words
    assert decision(command).mean is None


def test_where_metrics_are_weighed_the_weights_and_the_nearest_fronts_are_told(lab, decision):
    sweep = lab.create(TWO)
    agent = lab.register(sweep)
    for i in range(7):
        command = lab.ask(agent)
        lab.start(command)
        lab.stream(command, rows=[{"loss": i / 8, "acc": i / 16}])
        lab.end(command)
    while (found := decision(lab.ask(agent))).origin != "search" or not found.nearest:
        lab.think()
        agent = lab.register(sweep)

    assert set(found.weights) == {"loss", "acc"}
    assert sum(found.weights.values()) == pytest.approx(1.0)
    assert "the metrics were weighed: loss " in found.words
    assert found.low < found.mean < found.high
    for near in found.nearest:
        assert near.value is None
        assert near.values["acc"] == near.values["loss"] / 2


def test_origin_is_told_where_the_search_says_nothing(lab, texts, decision):
    sweep = lab.create(texts["grid"])
    agent = lab.register(sweep)
    found = decision(lab.run(agent, 1.0))
    lab.write(byhand.enqueue, actor=lab.actor, sweep_id=sweep.id, configs=[{"a": 9, "b": "z"}])
    mine = decision(lab.run(agent, 1.0))

    assert (found.words, found.version, found.n_versions) == ("The next point of the grid.", 1, 1)
    assert (found.mean, found.nearest, found.stop) == (None, (), None)
    assert mine.words == "alice enqueued it."


def test_run_that_a_rule_stopped_says_what_it_was_compared_with(lab, decision):
    sweep = lab.create(STOPPED)
    commands = []
    for value in (1.0, 2.0, 9.0):
        command = lab.ask(lab.register(sweep))
        lab.start(command)
        lab.log(command, value, value, value)
        commands.append(command)

    stop = decision(commands[-1]).stop

    assert (stop.rule, stop.band, stop.value) == ("hyperband", 2, 9.0)
    assert stop.threshold < 9.0
    assert "9" in stop.words


def test_run_that_is_no_trial_has_no_decision(store, upsert):
    assert store.read_sync(decision_of, run=upsert()) is None
