"""A metric that is never logged is noticed while the first trial runs."""

import pytest


@pytest.fixture
def begun(lab):
    sweep = lab.create()
    agent = lab.register(sweep)
    command = lab.ask(agent)
    lab.start(command)
    return sweep, agent, command


def test_misspelt_metric_is_said_after_three_rows_with_the_nearest_names(lab, begun):
    sweep, _, command = begun

    lab.stream(command, rows=[{"losss": 1.0, "epoch": 0}, {"losss": 1.0, "epoch": 1}])
    assert lab.sweep(sweep).notice is None
    lab.stream(command, rows=[{"losss": 1.0, "epoch": 2}], offset=2)

    assert lab.sweep(sweep).notice == (
        f"run {command.run}, so far: the metric 'loss' was never logged; nearest: 'losss'; "
        "logged were: losss, epoch"
    )


def test_notice_is_withdrawn_when_the_metric_does_come(lab, begun):
    sweep, _, command = begun
    lab.stream(command, rows=[{"step_loss": i} for i in range(3)])
    assert "'step_loss'" in lab.sweep(sweep).notice

    lab.stream(command, rows=[{"loss": 0.5}], offset=3)

    assert lab.sweep(sweep).notice is None


def test_once_a_trial_has_logged_it_the_name_is_right(lab, begun):
    sweep, agent, command = begun
    lab.log(command, 1.0)
    lab.end(command)
    second = lab.ask(agent)
    lab.start(second)

    lab.stream(second, rows=[{"step_loss": i} for i in range(9)])

    assert lab.sweep(sweep).notice is None


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("high", 'as text ("high")'),
        (True, "as a truth value (true)"),
        (None, "as nothing (null)"),
        ([1.0], "as a list ([1.0])"),
    ],
    ids=str,
)
def test_metric_that_is_no_number_is_said_at_the_first_row_and_at_the_end(lab, begun, value, words):
    sweep, _, command = begun

    lab.stream(command, rows=[{"loss": value}])

    assert f"the metric 'loss' was logged {words}, which is no number" in lab.sweep(sweep).notice
    files = {"wandb-summary.json": {"offset": 0, "content": ['{"loss": "x"}']}}
    lab.stream(command, files=files)
    lab.end(command)
    trial = lab.trial(sweep, command)
    assert trial.reason == "no_metric"
    assert "'loss' was logged as text" in trial.message


def test_metric_of_nan_is_there(lab, begun):
    sweep, _, command = begun

    lab.log(command, *[float("nan")] * 5)

    assert lab.sweep(sweep).notice is None


@pytest.mark.parametrize(
    ("metric", "words"),
    [
        (
            "val.loss",
            "the metric 'val.loss' was logged inside 'val', and a sweep reads only the top level: "
            "run.log({'val.loss': …})",
        ),
        (
            "val/loss",
            "the metric 'val/loss' was never logged; nearest: 'val.loss', inside 'val', and a "
            "sweep reads only the top level: run.log({'val/loss': …}); "
            "logged were: val.loss, epoch",
        ),
    ],
)
def test_metric_inside_a_mapping_is_said_with_what_mends_it(lab, metric, words):
    sweep = lab.create(
        f"method: random\nmetric: {{name: {metric}}}\nparameters: {{a: {{min: 0.0, max: 1.0}}}}\n"
    )
    command = lab.ask(lab.register(sweep))
    lab.start(command)

    lab.stream(command, rows=[{"val": {"loss": 0.5}, "epoch": i} for i in range(3)])
    assert lab.sweep(sweep).notice == f"run {command.run}, so far: {words}"
    summary = '{"val": {"loss": 0.5}, "epoch": 2}'
    lab.end(command, files={"wandb-summary.json": {"offset": 0, "content": [summary]}})

    assert lab.trial(sweep, command).message == words
