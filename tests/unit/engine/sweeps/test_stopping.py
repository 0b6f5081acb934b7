import json
import random

import pytest
from sqlalchemy import select

from sweepd.engine import runs, sweeps
from sweepd.engine.observed import observe
from sweepd.store import tables as t

HYPERBAND = "early_terminate: {type: hyperband, min_iter: 2, eta: 2}\n"


@pytest.fixture
def curves(lab, texts):
    """Starts a sweep with hyperband and two good trials; logs values of a new trial when called."""
    sweep = lab.create(texts["random"] + HYPERBAND)

    def begin(*values):
        command = lab.ask(lab.register(sweep))
        lab.start(command)
        return command, lab.log(command, *values).stopped

    begin.sweep = sweep
    for values in ((3.0, 2.0, 1.0), (3.0, 2.0, 0.5)):
        assert not begin(*values)[1]
    return begin


def test_run_that_is_worse_at_a_band_is_stopped_through_both_channels(lab, curves):
    agent = lab.register(curves.sweep)
    command = lab.ask(agent)
    lab.start(command)
    assert not lab.log(command, 3.0, 3.0).stopped

    reply = lab.log(command, 3.0, offset=2)

    assert reply.stopped
    told = lab.beat(agent, command.run)
    assert (told.type, told.run) == ("stop", command.run)
    why = lab.run_of(command).stop_requested
    assert why == "early termination: after 2 values loss is 3, and 1 is needed to go on"


@pytest.mark.parametrize("exit_code", [0, 1])
def test_stopped_run_was_stopped_early_whatever_its_exit_code(lab, curves, exit_code):
    command, stopped = curves(9.0, 8.0, 7.0)
    assert stopped

    lab.end(command, exit_code)

    trial = lab.trial(curves.sweep, command)
    assert (trial.reason, trial.objective) == ("stopped_early", 7.0)


@pytest.mark.parametrize("exit_code", [0, 1])
def test_stopped_run_is_killed_whatever_its_exit_code(lab, curves, exit_code):
    command, _ = curves(9.0, 8.0, 7.0)

    lab.end(command, exit_code)

    assert lab.run_of(command).state == "killed"


def test_stopped_run_of_another_agent_is_killed_though_it_exits_with_0(lab, curves):
    command = lab.ask(lab.register(curves.sweep))
    lab.start(command, lease=False)
    assert lab.log(command, 9.0, 8.0, 7.0, lease=False).stopped

    lab.end(command, lease=False)

    assert lab.run_of(command).state == "killed"


def test_run_that_a_person_stops_and_that_exits_with_0_has_finished(lab, curves):
    command, _ = curves(0.4, 0.3, 0.2)
    lab.write(runs.request_stop, actor=lab.actor, run_id=lab.run_of(command).id)

    lab.end(command)

    assert lab.run_of(command).state == "finished"
    assert lab.trial(curves.sweep, command).reason == "finished"


def test_converged_run_that_exits_with_0_has_finished(lab, texts):
    sweep = lab.create(texts["random"] + _own("{rule: plateau, patience: 2}"))
    command, stopped = _begin(lab, sweep, 3.0, 1.0, 1.5, 1.0)
    assert stopped

    lab.end(command)

    assert lab.run_of(command).state == "finished"


def test_stopped_run_that_its_agent_has_no_more_was_stopped_early(lab, curves):
    agent = lab.register(curves.sweep)
    command = lab.ask(agent)
    lab.start(command, lease=False)
    assert lab.log(command, 9.0, 8.0, 7.0, lease=False).stopped
    assert lab.beat(agent, command.run).type == "stop"

    assert lab.ask(agent).run != command.run

    trial = lab.trial(curves.sweep, command)
    assert (trial.reason, trial.objective) == ("stopped_early", 7.0)


def test_decision_is_an_event_with_band_and_threshold(lab, curves):
    curves(9.0, 8.0, 7.0)

    def read(tx):
        kind = t.event.c.kind == "trial.stop_requested"
        return [json.loads(data) for data in tx.conn.scalars(select(t.event.c.data).where(kind))]

    assert lab.store.read_sync(read) == [
        {"rule": "hyperband", "band": 2, "threshold": 1.0, "value": 7.0}
    ]


def test_maximised_metric_is_compared_the_other_way(lab, texts):
    sweep = lab.create(texts["random"].replace("minimize", "maximize") + HYPERBAND)
    stopped = []
    for value in (5.0, 6.0, 1.0, 9.0):
        command = lab.ask(lab.register(sweep))
        lab.start(command)
        stopped.append(lab.log(command, value, value, value).stopped)

    assert stopped == [False, False, True, False]


def test_without_a_rule_nothing_is_stopped(lab):
    sweep = lab.create()
    for value in (1.0, 9.0):
        command = lab.ask(lab.register(sweep))
        lab.start(command)
        assert not lab.log(command, value, value, value).stopped


def _begin(lab, sweep, *values):
    """Start a trial that logs values; return its command and whether it is to stop."""
    command = lab.ask(lab.register(sweep))
    lab.start(command)
    return command, lab.log(command, *values).stopped


def _own(rules):
    return f"sweepd: {{stop: {rules}}}\n"


def test_run_that_logs_nan_three_times_in_a_row_has_diverged(lab, texts):
    sweep = lab.create(texts["random"])
    command, stopped = _begin(lab, sweep, 1.0, float("nan"), float("inf"))
    assert not stopped
    assert not lab.log(command, 2.0, float("nan"), float("nan"), offset=3).stopped

    assert lab.log(command, float("nan"), offset=6).stopped

    lab.end(command, 143)
    trial = lab.trial(sweep, command)
    assert (trial.reason, trial.objective) == ("diverged", None)
    assert trial.message == (
        "early termination: it has diverged: loss was NaN or infinite 3 times in a row"
    )


def test_diverged_run_that_falls_silent_has_diverged_too(lab, texts):
    sweep = lab.create(texts["random"])
    command, stopped = _begin(lab, sweep, float("nan"), float("nan"), float("nan"))
    assert stopped

    lab.tick(seconds=600)

    assert lab.trial(sweep, command).reason == "diverged"


@pytest.mark.parametrize("stop", ["{rule: none}", "{rule: nan, patience: 0}"])
def test_nan_is_not_watched_for_where_a_definition_says_so(lab, texts, stop):
    sweep = lab.create(texts["random"] + _own(stop))

    _, stopped = _begin(lab, sweep, *[float("nan")] * 9)

    assert not stopped


def test_converged_run_is_finished_with_its_objective(lab, texts):
    sweep = lab.create(texts["random"] + _own("{rule: plateau, patience: 2}"))
    command, stopped = _begin(lab, sweep, 3.0, 1.0, 1.5, 1.0)
    assert stopped

    lab.end(command, 143)

    trial = lab.trial(sweep, command)
    assert (trial.reason, trial.objective) == ("finished", 1.0)
    assert trial.message is not None
    assert "it has converged: loss has not got better than 1" in trial.message
    assert lab.run_of(command).state == "finished"
    assert lab.sweep(sweep).best_run == command.run


def test_median_rule_compares_with_running_averages(lab, texts):
    sweep = lab.create(texts["random"] + _own("{rule: median, min_trials: 2}"))
    assert not _begin(lab, sweep, 4.0, 2.0)[1]  # on average 3
    assert not _begin(lab, sweep, 1.0, 1.0, 1.0)[1]  # 1, so that the median is 2

    assert not _begin(lab, sweep, 8.0, 2.0)[1]  # 5, so that the median is 3
    command, stopped = _begin(lab, sweep, 8.0, 3.5)

    assert stopped
    why = lab.run_of(command).stop_requested
    assert why.startswith("early termination: the best of 2 values of loss is 3.5, worse than 3,")


EVERY_FIFTH = _own("{rule: median, min_trials: 1, min_iter: 4, interval: 5}")  # after 4, 9, 14


def test_median_rule_judges_a_run_whose_rows_jump_over_its_interval(lab, texts):
    sweep = lab.create(texts["random"] + EVERY_FIFTH)
    _begin(lab, sweep, *[2.0] * 20)

    command, stopped = _begin(lab, sweep, 9.0, 9.0, 9.0, 9.0, 1.0)

    assert stopped
    why = lab.run_of(command).stop_requested
    assert why.startswith("early termination: the best of 4 values of loss is 9, worse than 2,")


def test_median_rule_judges_a_run_once_at_each_interval(lab, texts):
    sweep = lab.create(texts["random"] + EVERY_FIFTH)
    command, stopped = _begin(lab, sweep, *[9.0] * 5)  # there is nobody to compare it with
    assert not stopped
    _begin(lab, sweep, *[2.0] * 20)

    assert not lab.log(command, 9.0, 9.0, 9.0, offset=5).stopped
    assert not lab.log(command, float("nan"), offset=8).stopped
    assert lab.log(command, 9.0, 9.0, offset=9).stopped


@pytest.mark.parametrize(
    ("rows", "offset"),
    [
        pytest.param([{"_step": 3, "loss": 8.0}, {"_step": 4, "loss": 8.0}], 8, id="steps again"),
        pytest.param([{"loss": 8.0}, {"loss": 8.0}], 2, id="lines again"),
    ],
)
def test_values_that_take_the_place_of_others_are_judged_in_their_turn(lab, texts, rows, offset):
    sweep = lab.create(texts["random"] + EVERY_FIFTH)
    command, _ = _begin(lab, sweep, *[9.0] * 8)
    _begin(lab, sweep, *[2.0] * 20)

    assert lab.stream(command, rows=rows, offset=offset).stopped

    assert "the best of 4 values of loss is 8" in lab.run_of(command).stop_requested


def test_run_that_was_out_of_reach_is_judged_by_what_it_brings(lab, texts):
    sweep = lab.create(texts["random"] + EVERY_FIFTH)
    agent = lab.register(sweep)
    lab.run(agent, *[2.0] * 4)
    command = lab.ask(agent)
    lab.start(command)
    lab.tick(seconds=600)
    assert lab.trial(sweep, command).state == "queued"

    assert lab.log(command, *[9.0] * 4).stopped

    assert lab.trial(sweep, command).state == "leased"
    assert "the best of 4 values of loss is 9" in lab.run_of(command).stop_requested


def test_running_average_survives_a_rewind(lab, texts):
    sweep = lab.create(texts["random"] + _own("{rule: median, min_trials: 1}"))
    first, _ = _begin(lab, sweep, 9.0, 9.0, 9.0)
    lab.stream(first, rows=[{"_step": 1, "loss": 1.0}], offset=3)  # 9, then 1: on average 5

    assert not _begin(lab, sweep, 6.0, 4.9)[1]
    assert _begin(lab, sweep, 6.0, 5.3)[1]  # the median of 5 and 5.45 is less


def test_threshold_rule_is_in_the_metrics_own_direction(lab, texts):
    text = texts["random"].replace("minimize", "maximize")
    sweep = lab.create(text + _own("{rule: threshold, after: 2, min: 0.5}"))

    assert not _begin(lab, sweep, 0.1, 0.5, 0.1)[1]
    command, stopped = _begin(lab, sweep, 0.1, 0.2)

    assert stopped
    why = lab.run_of(command).stop_requested
    assert why == "early termination: the best of 2 values of loss is 0.2, and the bound is 0.5"


def test_asha_judges_at_rungs_and_notes_them(lab, texts):
    sweep = lab.create(texts["random"] + _own("{rule: asha, min_iter: 2, eta: 2}"))
    best, stopped = _begin(lab, sweep, 9.0, 2.0)
    assert not stopped
    assert not lab.log(best, 99.0, offset=2).stopped  # between two rungs

    command, stopped = _begin(lab, sweep, 1.0, 3.0)

    assert stopped
    assert [trial.rung for trial in lab.trials(sweep)] == [2, 2]
    assert "better than 2 is needed" in lab.run_of(command).stop_requested


def test_both_kinds_of_rules_apply_and_the_first_to_say_stop_is_named(lab, texts):
    rules = "[{rule: threshold, after: 3, max: 5}]"
    sweep = lab.create(texts["random"] + HYPERBAND + _own(rules))

    _, stopped = _begin(lab, sweep, 9.0, 8.0, 7.0)  # hyperband alone never stops the first

    assert stopped
    assert _begin(lab, sweep, 1.0, 1.0, 1.0)[1] is False
    command, stopped = _begin(lab, sweep, 9.0, 8.0, 8.0)
    assert stopped
    assert "is needed to go on" in lab.run_of(command).stop_requested


#: What a run may log at a step: a finite value of the metric, or something that is no iteration.
_NOISE = ({"loss": "NaN"}, {"loss": "Infinity"}, {"loss": "3"}, {"loss": True}, {"other": 1})


@pytest.mark.parametrize("goal", ["minimize", "maximize"])
@pytest.mark.parametrize("strict", [True, False])
def test_each_value_is_judged_as_wandbs_engine_would_at_that_moment(lab, texts, goal, strict):
    """Six runs log in turns; some end in between. Its engine knows only the lenient rule: it is
    shown a run with no better values than the one at its band where the rule is strict.
    """
    oracle, rng = pytest.importorskip("sweeps"), random.Random(f"{goal} {strict}")
    block = {"type": "hyperband", "min_iter": 2, "eta": 1.5}
    text = texts["random"].replace("minimize", goal) + _own("{rule: none}")
    sweep = lab.create(f"{text}early_terminate: {json.dumps({**block, 'strict': strict})}\n")
    commands = []
    for _ in range(6):
        commands.append(lab.ask(lab.register(sweep)))
        lab.start(commands[-1])
    rows, states = [[] for _ in commands], ["running"] * 6
    definition = {"method": "random", "metric": {"name": "loss", "goal": goal}}
    definition |= {"early_terminate": block, "parameters": {"a": {"values": [1, 2]}}}
    bands, n_stopped = [2, 3, 4, 6, 10], 0

    for _ in range(70):
        running = [i for i, state in enumerate(states) if state == "running"]
        if not running:
            break
        i = rng.choice(running)
        row = rng.choice(_NOISE) if rng.random() < 0.15 else {"loss": round(rng.gauss(3 * i, 1), 1)}
        stopped = lab.stream(commands[i], rows=[row], offset=len(rows[i])).stopped
        rows[i].append(row)
        if type(row.get("loss")) is not float and row.get("loss") not in ("NaN", "Infinity"):
            continue  # no value of a metric: nothing is asked

        shown = [[one for one in run if type(one.get("loss")) is float] for run in rows]
        passed = [band for band in bands if band < len(shown[i])]
        if strict and passed:
            at_band = shown[i][passed[-1]]
            shown[i] = [at_band] * len(shown[i])
        runs = [
            oracle.SweepRun(name=str(n), state=states[n], sampledHistory=of_run)
            for n, of_run in enumerate(shown)
        ]
        expected = str(i) in {run.name for run in oracle.stop_runs(definition, runs)}
        assert stopped == expected, (i, rows)
        if stopped or rng.random() < 0.01:
            lab.end(commands[i], int(stopped))
            states[i] = "killed" if stopped else "finished"
            n_stopped += stopped

    assert n_stopped >= 1


@pytest.mark.parametrize(
    ("own", "whole"),
    [
        pytest.param("", [(1, 4), (3, 4), (5, 1)], id="best"),
        pytest.param("sweepd: {objective: last}\n", [(1, 4), (3, 5), (5, 3)], id="last"),
    ],
)
def test_search_sees_the_rungs_of_curves_once_a_run_was_stopped(lab, texts, own, whole):
    rule = "early_terminate: {type: hyperband, min_iter: 1, eta: 3}\n"
    sweep = lab.create(texts["random"] + rule + own)
    lab.run(lab.register(sweep), 4.0, 1.0, 5.0, 2.0, 3.0)
    assert [trial.curve for trial in _seen(lab, sweep)] == [()]

    lab.run(lab.register(sweep), 9.0, 8.0)

    seen = _seen(lab, sweep)
    assert [trial.is_stopped for trial in seen] == [False, True]
    assert [list(trial.curve) for trial in seen] == [whole, [(1, 9), (2, 8)]]


def _seen(lab, sweep):
    definition = sweeps.definition_of(lab.sweep(sweep))
    return lab.store.read_sync(observe, sweep_id=sweep.id, definition=definition).trials
