"""Sweeps of several metrics: what a trial came to, the front, and what the search is told."""

import json

import pytest

from sweepd.engine import byhand, computing, files, fronts, sweeps
from sweepd.engine.observed import observe
from sweepd.engine.sweeps import definition_of
from sweepd.errors import InvalidInput, Reason
from sweepd.search import Scalarised
from sweepd.store import Written

TWO = """
method: nsga2
metrics:
- {name: loss, goal: minimize}
- {name: acc, goal: maximize}
parameters: {lr: {min: 0.0, max: 1.0}}
"""


def run(lab, agent, *rows, exit_code=0):
    """Take one trial from hand-out to its end; rows are (loss, acc), None where not logged."""
    command = lab.ask(agent)
    lab.start(command, lease=False)
    named = [dict(zip(("loss", "acc"), row, strict=True)) for row in rows]
    kept = [{k: v for k, v in row.items() if v is not None} for row in named]
    if kept:
        lab.stream(command, rows=kept, lease=False)
    lab.end(command, exit_code, lease=False)
    return command


def front_of(lab, sweep):
    return lab.store.read_sync(fronts.pareto_front, sweep.id)


def observed(lab, sweep):
    definition = definition_of(sweep)
    return lab.store.read_sync(lambda tx: observe(tx, sweep.id, definition))


def test_a_trial_comes_to_the_best_of_each_metric_on_its_own(lab):
    sweep = lab.create(TWO)
    command = run(lab, lab.register(sweep), (0.5, 0.1), (0.2, None), (0.3, 0.9), (None, 0.8))

    trial = lab.trial(sweep, command)

    assert trial.reason == Reason.FINISHED
    assert trial.objective is None
    (told,) = observed(lab, sweep).trials
    assert (told.objective, told.objectives) == (None, (0.2, -0.9))


@pytest.mark.parametrize(("rule", "values"), [("last", (0.4, -0.6)), ("mean:2", (0.3, -0.7))])
def test_the_definitions_rule_is_that_of_every_metric(rule, values, lab):
    sweep = lab.create(f"{TWO}sweepd: {{objective: '{rule}'}}")

    run(lab, lab.register(sweep), (0.1, 0.9), (0.2, 0.8), (0.4, 0.6))

    (told,) = observed(lab, sweep).trials
    assert told.objectives == pytest.approx(values)


def test_a_metric_that_is_missing_is_named_and_tells_nothing(lab):
    sweep = lab.create(TWO)
    command = run(lab, lab.register(sweep), (0.5, None))

    trial = lab.trial(sweep, command)

    assert trial.reason == Reason.NO_METRIC
    assert "'acc' was never logged" in trial.message
    (told,) = observed(lab, sweep).trials
    assert (told.objectives, told.is_feasible) == ((), True)
    assert front_of(lab, sweep) == ()


def test_a_metric_that_ends_as_nan_is_a_failure_of_the_config(lab):
    sweep = lab.create(TWO)
    command = run(lab, lab.register(sweep), (0.5, 0.5), (0.4, "NaN"))

    trial = lab.trial(sweep, command)

    assert trial.reason == Reason.DIVERGED
    assert "last value of acc" in trial.message
    (told,) = observed(lab, sweep).trials
    assert (told.objectives, told.is_feasible) == ((), False)


@pytest.mark.parametrize("acc", ["0.75", '{"min": 0.25, "max": 0.75}'])
def test_a_metric_may_stand_in_the_summary_alone(lab, acc):
    sweep = lab.create(TWO)
    command = lab.ask(lab.register(sweep))
    lab.start(command, lease=False)
    lab.log(command, 0.25, lease=False)
    summary = {"wandb-summary.json": {"offset": 0, "content": [f'{{"acc": {acc}}}']}}
    lab.stream(command, lease=False, files=summary)
    lab.end(command, lease=False)

    (told,) = observed(lab, sweep).trials
    assert told.objectives == (0.25, -0.75)


def test_front_holds_what_nobody_beats_and_no_trial_that_failed(lab):
    sweep = lab.create(TWO)
    agent = lab.register(sweep)
    accurate = run(lab, agent, (0.9, 0.9))
    run(lab, agent, (0.95, 0.8))  # worse in both
    quick = run(lab, agent, (0.1, 0.2))
    run(lab, agent, (0.0, 1.0), exit_code=1)  # better in both, and broken

    found = front_of(lab, sweep)

    assert [(one.run, dict(one.values)) for one in found] == [
        (quick.run, {"loss": 0.1, "acc": 0.2}),
        (accurate.run, {"loss": 0.9, "acc": 0.9}),
    ]
    view = lab.sweep(sweep)
    assert (view.metric, view.best_run, view.best_value) == (None, None, None)


def test_trials_out_of_their_outcome_constraints_are_not_on_the_front(lab):
    sweep = lab.create(f"{TWO}sweepd: {{outcome_constraints: {{size: {{max: 5}}}}}}")
    agent = lab.register(sweep)
    commands = []
    for size in (5, 6):
        commands.append(lab.ask(agent))
        lab.start(commands[-1], lease=False)
        row = {"loss": 1 / size, "acc": size / 10, "size": size}
        lab.stream(commands[-1], rows=[row], lease=False)
        summary = {"wandb-summary.json": {"offset": 0, "content": [json.dumps(row)]}}
        lab.stream(commands[-1], files=summary, lease=False)
        lab.end(commands[-1], lease=False)

    assert [one.run for one in front_of(lab, sweep)] == [commands[0].run]
    assert [trial.is_feasible for trial in observed(lab, sweep).trials] == [True, False]


def test_trial_out_of_its_outcome_constraints_stays_off_the_front_when_a_person_takes_it_up(lab):
    sweep = lab.create(f"{TWO}sweepd: {{outcome_constraints: {{size: {{max: 5}}}}}}")
    agent = lab.register(sweep)
    command = run(lab, agent, (0.1, 0.9))

    lab.take_up(command)
    lab.end(command, lease=False)

    assert front_of(lab, sweep) == ()


def test_sweep_ends_once_one_run_has_reached_every_target(lab):
    sweep = lab.create(
        TWO.replace("goal: minimize", "goal: minimize, target: 0.3").replace(
            "goal: maximize", "goal: maximize, target: 0.5"
        )
    )
    agent = lab.register(sweep)
    run(lab, agent, (0.1, 0.1))
    assert lab.sweep(sweep).stop_reason is None

    command = run(lab, agent, (0.3, 0.6))

    assert lab.sweep(sweep).stop_reason == (
        f"targets reached: run {command.run} logged loss = 0.3 (target 0.3), acc = 0.6 (target 0.5)"
    )


def test_targets_that_a_run_has_reached_already_end_the_sweep_when_an_edit_sets_them(lab):
    sweep = lab.create(TWO)
    agent = lab.register(sweep)
    run(lab, agent, (0.1, 0.1))
    command = run(lab, agent, (0.3, 0.6))
    text = TWO.replace("acc, goal: maximize", "acc, goal: maximize, target: 0.5")

    lab.write(sweeps.update_sweep, actor=lab.actor, sweep_id=sweep.id, definition=text)

    words = f"targets reached: run {command.run} logged acc = 0.6 (target 0.5)"
    assert lab.sweep(sweep).stop_reason == words


@pytest.mark.parametrize("method", ["nsga2", "tpe", "bayes", "qmc", "random"])
def test_every_method_searches_by_several_metrics(method, lab):
    sweep = lab.create(TWO.replace("nsga2", method))
    agent = lab.register(sweep)

    for i in range(8):
        lab.think()
        run(lab, agent, (i / 10, i / 10))

    lab.think()
    assert len(front_of(lab, sweep)) == 8
    assert lab.sweep(sweep).notice is None
    assert len({trial.config for trial in lab.trials(sweep)}) == 8


def test_a_method_that_knows_one_objective_is_shown_one(lab):
    bayes = definition_of(TWO.replace("nsga2", "bayes"))

    assert isinstance(computing.method_of(bayes), Scalarised)
    assert not isinstance(computing.method_of(definition_of(TWO)), Scalarised)


def test_prior_runs_tell_every_metric(lab):
    old = lab.create(TWO)
    agent = lab.register(old)
    whole, half = run(lab, agent, (0.5, 0.5)), run(lab, agent, (0.5, None))
    names = ", ".join(f'{{"name": "{c.run}"}}' for c in (whole, half))

    sweep = lab.create(TWO, prior_runs_filters=f'{{"$or": [{names}]}}')

    assert [trial.objectives for trial in observed(lab, sweep).trials] == [(0.5, -0.5)]


def test_there_is_no_best_to_enqueue_another_like(lab):
    sweep = lab.create(TWO)
    run(lab, lab.register(sweep), (0.5, 0.5))

    with pytest.raises(InvalidInput, match="front"):
        lab.write(byhand.enqueue, actor=lab.actor, sweep_id=sweep.id, configs=[{}], like="best")


def test_checkpoints_of_the_whole_front_are_kept(lab):
    sweep = lab.create(TWO)
    agent = lab.register(sweep)
    commands = [run(lab, agent, (i / 10, i / 10)) for i in range(3)]
    worst = run(lab, agent, (0.9, 0.0))
    for command in (*commands, worst):
        written = Written(key=command.run, size=1, md5="", sha256=command.run)
        lab.write(
            files.register,
            run_id=lab.run_of(command).id,
            name="checkpoint.pt",
            mimetype="",
            written=written,
        )

    lab.write(files.prune_checkpoints, sweep_id=sweep.id, keep=1)

    gone = [
        lab.store.read_sync(files.pruned_notice, run_id=lab.run_of(command).id)
        for command in (*commands, worst)
    ]
    assert gone[:3] == [None, None, None]
    assert gone[3].endswith("keeps the checkpoints of its front")
