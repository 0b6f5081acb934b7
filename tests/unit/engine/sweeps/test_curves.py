"""What a trial comes to by what it logged: its curve, its objective, what is missing or NaN."""

import pytest


def test_finished_trial_keeps_best_last_and_objective(lab, held):
    sweep, _, command = held

    lab.log(command, 3.0, 1.0, 2.0)
    lab.end(command)

    trial = lab.trial(sweep, command)
    assert (trial.reason, trial.state, trial.n_values) == ("finished", "ended", 3)
    assert (trial.best, trial.last, trial.objective) == (1.0, 2.0, 1.0)
    view = lab.sweep(sweep)
    assert (view.best_value, view.best_run, view.n_finished) == (1.0, command.run, 1)


@pytest.mark.parametrize(
    ("rule", "objective"), [("best", -3.0), ("last", -2.0), ("mean:2", -1.5)], ids=str
)
def test_objective_follows_the_definitions_rule_and_is_signed_once(lab, texts, rule, objective):
    text = texts["random"].replace("minimize", "maximize") + f"sweepd: {{objective: '{rule}'}}\n"
    sweep = lab.create(text)

    command = lab.run(lab.register(sweep), 3.0, 1.0, 2.0)

    assert lab.trial(sweep, command).objective == objective
    assert lab.sweep(sweep).best_value == -objective


def test_rows_delivered_twice_count_once(lab, held):
    sweep, _, command = held

    lab.log(command, 3.0, 1.0)
    lab.log(command, 3.0, 1.0, 2.0)

    assert lab.trial(sweep, command).n_values == 3


@pytest.mark.parametrize(
    ("chunks", "curve"),
    [
        pytest.param({2: [5.0, 4.0], 0: [0.1, 0.2]}, (4, 0.1, 4.0), id="later lines first"),
        pytest.param({2: [1.0], 3: [float("nan")], 0: [0.5]}, (2, 0.5, 1.0), id="ends in NaN"),
        pytest.param({3: [float("nan")], 0: [0.5]}, (1, 0.5, 0.5), id="NaN first"),
    ],
)
def test_order_in_which_chunks_come_does_not_change_the_curve(lab, held, chunks, curve):
    sweep, _, command = held

    for offset, values in chunks.items():
        lab.log(command, *values, offset=offset)

    trial = lab.trial(sweep, command)
    assert (trial.n_values, trial.best, trial.last) == curve
    lab.end(command)
    is_bad = any(value != value for values in chunks.values() for value in values)
    assert lab.trial(sweep, command).reason == ("diverged" if is_bad else "finished")


def test_rows_written_over_others_take_their_place_in_the_curve(lab, held):
    sweep, _, command = held
    lab.log(command, 5.0, 0.1, 4.0)

    lab.stream(command, rows=[{"loss": 3.0}, {"acc": 1.0}])

    trial = lab.trial(sweep, command)
    assert (trial.n_values, trial.best, trial.last) == (2, 3.0, 4.0)


def test_curve_that_is_read_again_has_no_steps_that_a_later_attempt_did_again(lab, held):
    sweep, agent, command = held
    lab.log(command, 5.0, 4.0, 0.1)
    lab.report(command, "preempted")
    again = lab.ask(agent)
    lab.start(again)

    for offset, value, step in ((4, 2.0, 2), (3, 3.0, 1)):
        lab.stream(again, rows=[{"loss": value, "_step": step}], offset=offset)

    trial = lab.trial(sweep, command)
    assert (trial.n_values, trial.best, trial.last) == (3, 2.0, 2.0)


def test_steps_logged_again_by_a_later_attempt_replace_the_earlier_ones(lab, held):
    sweep, agent, command = held
    lab.log(command, 5.0, 4.0, 0.1)
    lab.report(command, "preempted")
    again = lab.ask(agent)
    lab.start(again)

    lab.stream(again, rows=[{"loss": 3.0, "_step": 1}, {"loss": 2.0, "_step": 2}], offset=3)

    trial = lab.trial(sweep, command)
    assert (trial.n_values, trial.best, trial.last) == (3, 2.0, 2.0)


def test_metric_that_stands_in_the_summary_alone_counts(lab, held):
    sweep, _, command = held
    files = {"wandb-summary.json": {"offset": 0, "content": ['{"loss": {"min": 0.25}}']}}

    lab.stream(command, files=files)
    lab.end(command)

    trial = lab.trial(sweep, command)
    assert (trial.reason, trial.objective) == ("finished", 0.25)


@pytest.mark.parametrize(("goal", "objective"), [("minimize", 0.25), ("maximize", -0.75)])
def test_of_both_extrema_in_the_summary_the_goals_own_counts(lab, texts, goal, objective):
    sweep = lab.create(texts["random"].replace("minimize", goal))
    command = lab.ask(lab.register(sweep))
    lab.start(command)
    summary = ['{"loss": {"min": 0.25, "max": 0.75}}']

    lab.stream(command, files={"wandb-summary.json": {"offset": 0, "content": summary}})
    lab.end(command)

    assert lab.trial(sweep, command).objective == objective


def test_no_metric_names_the_nearest_keys_that_were_logged(lab, held):
    sweep, agent, command = held

    lab.stream(command, rows=[{"losss": 1.0, "epoch": 1}])
    lab.end(command)

    trial = lab.trial(sweep, command)
    assert trial.reason == "no_metric"
    assert "metric 'loss' was never logged; nearest: 'losss'" in trial.message
    assert command.run in lab.sweep(sweep).notice
    assert lab.ask(agent).run != command.run


def test_metric_that_ends_in_nan_diverged(lab, held):
    sweep, _, command = held

    lab.log(command, 1.0, float("nan"))
    lab.end(command)

    trial = lab.trial(sweep, command)
    assert (trial.reason, trial.objective, trial.n_bad) == ("diverged", None, 1)
    assert lab.sweep(sweep).best_value is None


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        pytest.param("NaN", "diverged", id="NaN as text"),
        pytest.param(10**400, "diverged", id="larger than a float"),
        pytest.param("high", "no_metric", id="a word"),
        pytest.param(True, "no_metric", id="a truth value"),
        pytest.param(None, "no_metric", id="nothing"),
        pytest.param([1.0], "no_metric", id="a list"),
        pytest.param(3, "finished", id="a whole number"),
    ],
)
def test_values_that_are_not_numbers_are_told_apart(lab, held, value, reason):
    sweep, _, command = held

    lab.stream(command, rows=[{"loss": value}])
    lab.end(command)

    assert lab.trial(sweep, command).reason == reason


def test_summary_of_nan_diverged(lab, held):
    sweep, _, command = held
    files = {"wandb-summary.json": {"offset": 0, "content": ['{"loss": "NaN"}']}}

    lab.stream(command, files=files)
    lab.end(command)

    assert lab.trial(sweep, command).reason == "diverged"
