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


SEVERAL = """
method: random
metrics: [{name: loss, goal: minimize}, {name: acc, goal: maximize}]
parameters: {a: {min: 0.0, max: 1.0}}
"""


@pytest.fixture
def several(lab):
    """A sweep of two metrics; starts a trial of it when called."""
    sweep = lab.create(SEVERAL)

    def begin():
        command = lab.ask(lab.register(sweep))
        lab.start(command)
        return command

    begin.sweep = sweep
    return begin


def notice(lab, several):
    return lab.sweep(several.sweep).notice


def test_one_of_several_metrics_that_is_misspelt_is_said_after_three_rows(lab, several):
    command = several()

    lab.stream(command, rows=[{"loss": 1.0, "accu": 0.1}] * 2)
    assert notice(lab, several) is None
    lab.stream(command, rows=[{"loss": 1.0, "accu": 0.1}], offset=2)

    assert notice(lab, several) == (
        f"run {command.run}, so far: the metric 'acc' was never logged; nearest: 'accu'; "
        "logged were: accu, loss"
    )


def test_runs_side_by_side_that_lack_a_metric_do_not_say_so_by_turns(lab, several):
    first, second = several(), several()
    lab.stream(first, rows=[{"loss": 1.0}] * 3)

    lab.stream(second, rows=[{"loss": 1.0, "accu": 0.1}] * 3)
    assert notice(lab, several).startswith(f"run {first.run}, so far: ")
    lab.stream(first, rows=[{"loss": 1.0, "accuracy": 0.1}], offset=3)

    assert f"run {first.run}" in notice(lab, several)
    assert "logged were: accuracy, loss" in notice(lab, several)


def test_each_of_several_metrics_is_said_and_goes_when_it_comes(lab, several):
    command = several()
    lab.stream(command, rows=[{"los": 1.0, "accu": 0.1}] * 3)
    assert "'loss' was never logged; nearest: 'los'" in notice(lab, several)
    assert "'acc' was never logged; nearest: 'accu'" in notice(lab, several)

    lab.stream(command, rows=[{"acc": 0.1}], offset=3)
    assert "'acc' was never" not in notice(lab, several)
    assert "'loss' was never" in notice(lab, several)
    lab.stream(command, rows=[{"loss": 0.1}], offset=4)

    assert notice(lab, several) is None


def test_one_of_several_metrics_that_comes_seldom_is_not_missed(lab, several):
    command, other = several(), several()
    lab.stream(command, rows=[{"acc": 0.1, "loss": 1.0}])

    lab.stream(command, rows=[{"loss": 1.0}] * 9, offset=1)
    lab.stream(other, rows=[{"loss": 1.0}] * 9)  # nor in a run beside the one that has it

    assert notice(lab, several) is None


def test_once_a_trial_has_finished_the_names_of_several_metrics_are_right(lab, several):
    command = several()
    summary = {"wandb-summary.json": {"offset": 0, "content": ['{"acc": 0.1}']}}
    lab.stream(command, rows=[{"loss": 1.0}])
    lab.end(command, files=summary)
    assert lab.trial(several.sweep, command).reason == "finished"

    lab.stream(several(), rows=[{"loss": 1.0}] * 9)

    assert notice(lab, several) is None


def test_all_of_several_metrics_that_a_short_trial_lacks_are_said_at_its_end(lab, several):
    command = several()
    lab.stream(command, rows=[{"epoch": 1}])

    lab.end(command)

    assert lab.trial(several.sweep, command).reason == "no_metric"
    assert notice(lab, several) == "; ".join(
        f"run {command.run}: the metric {name!r} was never logged; logged were: epoch"
        for name in ("acc", "loss")
    )


def test_what_a_trial_lacks_at_its_end_is_said_until_another_one_comes_to_log_it(lab, several):
    beside, command = several(), several()
    lab.stream(beside, rows=[{"loss": 1.0, "acc": 0.1}])
    lab.stream(command, rows=[{"loss": 1.0}])
    lab.end(command)
    lab.stream(beside, rows=[{"loss": 1.0, "acc": 0.1}], offset=1)
    assert f"run {command.run}: the metric 'acc' was never logged" in notice(lab, several)

    lab.stream(several(), rows=[{"loss": 1.0, "acc": 0.1}])

    assert notice(lab, several) is None


@pytest.mark.parametrize("value", ["high", True, None, [1.0]], ids=str)
def test_one_of_several_metrics_that_is_no_number_is_said_at_the_first_row(lab, several, value):
    lab.stream(several(), rows=[{"loss": 1.0, "acc": value}])

    assert "the metric 'acc' was logged as" in notice(lab, several)


def test_one_of_several_metrics_inside_a_mapping_is_said_until_it_is_outside(lab):
    sweep = lab.create(SEVERAL.replace("acc", "val.acc"))
    command = lab.ask(lab.register(sweep))
    lab.start(command)

    lab.stream(command, rows=[{"val": {"acc": 0.1}, "loss": 1.0}] * 3)
    assert "the metric 'val.acc' was logged inside 'val'" in lab.sweep(sweep).notice
    lab.stream(command, rows=[{"val.acc": 0.1, "loss": 1.0}], offset=3)

    assert lab.sweep(sweep).notice is None


@pytest.mark.parametrize("text", [None, SEVERAL], ids=["one metric", "several"])
def test_notice_is_withdrawn_at_the_end_of_a_run_whose_summary_has_the_metric(lab, texts, text):
    sweep = lab.create(text or texts["random"])
    agent = lab.register(sweep)
    command = lab.ask(agent)
    lab.start(command)
    lab.stream(command, rows=[{"epoch": i} for i in range(3)])
    assert "'loss' was never logged" in lab.sweep(sweep).notice

    summary = '{"loss": 0.5, "acc": 0.5}'
    lab.end(command, files={"wandb-summary.json": {"offset": 0, "content": [summary]}})

    assert lab.trial(sweep, command).reason == "finished"
    assert lab.sweep(sweep).notice is None
    second = lab.ask(agent)
    lab.start(second)
    lab.stream(second, rows=[{"epoch": i} for i in range(3)])
    assert lab.sweep(sweep).notice is None
