"""A sweep as its page shows it."""

import json
from dataclasses import replace

import pytest

from sweepd.dash.queries import TrialRow
from sweepd.dash.sweepshape import (
    MAX_CURVES,
    bundle_row,
    curve_runs,
    progress,
    sweep_data,
    trial_value,
)
from sweepd.engine.bundles import BundledTrial, BundleView
from sweepd.engine.views import AgentView, SweepView, TrialView
from sweepd.spec import Definition, read_definition
from sweepd.states import AgentState, RunState, SweepState

DEFINITION = """\
name: tune
method: random
program: t.py
metric: {name: acc, goal: maximize}
parameters: {lr: {min: 0.0, max: 1.0}, epochs: {value: 3}}
"""


@pytest.fixture
def definition() -> Definition:
    return read_definition(DEFINITION).definition


def trial(number: int, value: float | None, *, ended_at: float | None = 100.0) -> TrialRow:
    """Return a trial whose metric is maximised: its objective is the metric's negative."""
    has_ended = ended_at is not None
    view = TrialView(
        id=number,
        sweep_id=1,
        number=number,
        run_id=number,
        config=json.dumps({"lr": number / 1000, "epochs": 3}),
        origin="search",
        state="ended" if has_ended else "leased",
        attempt=1,
        reason="finished" if has_ended else None,
        message=None,
        objective=-value if value is not None and has_ended else None,
        best=value,
        last=value,
        n_values=0 if value is None else 5,
        n_bad=0,
        created_at=float(number),
        ended_at=ended_at,
    )
    state = RunState.FINISHED if has_ended else RunState.RUNNING
    return TrialRow(view, f"run{number}", f"trial-{number}", state, float(number), ended_at)


SWEEP = SweepView(
    id=1,
    name="abcd1234",
    project_id=1,
    project="my project",
    entity="ada",
    user_name="ada",
    state=SweepState.RUNNING,
    display_name=None,
    description=None,
    definition=DEFINITION,
    method="random",
    run_cap=10,
    expected=10,
    controller=None,
    scheduler=None,
    n_issued=3,
    n_running=1,
    n_finished=2,
    n_failed=0,
    n_queued=0,
    n_agents=1,
    metric="acc",
    goal="maximize",
    best_value=0.9,
    best_run="run2",
    stop_reason=None,
    notice=None,
    created_at=0.0,
    updated_at=0.0,
    heartbeat_at=None,
    ended_at=None,
)


def data(definition: Definition, rows: list[TrialRow], **changes: object) -> dict:
    agent = AgentView("a1", "box-1", "box", AgentState.RUNNING, 2, 0.0, 5.0, "run3")
    return sweep_data(
        replace(SWEEP, **changes),
        definition,
        rows=rows,
        curves={2: ([1, 2], [0.5, 0.9])},
        agents=[agent],
        base_url="http://127.0.0.1:8080",
        now=200.0,
    )


def test_best_says_by_how_much_it_beats_the_one_before(definition: Definition) -> None:
    rows = [trial(1, 0.8, ended_at=50.0), trial(2, 0.9), trial(3, 0.2, ended_at=None)]

    best = data(definition, rows)["sweep"]["best"]

    assert (best["run"], best["value"]) == ("run2", 0.9)
    assert best["gain"] == pytest.approx(0.1)
    assert best["url"] == "/ada/my%20project/runs/run2"


def test_compute_time_is_that_of_every_attempt(definition: Definition) -> None:
    once, again = trial(1, 0.8, ended_at=50.0), trial(2, 0.9, ended_at=60.0)

    shown = data(definition, [once, replace(again, earlier_s=7.0)])

    assert shown["sweep"]["compute_s"] == 49.0 + 58.0 + 7.0


def test_first_value_beats_nothing(definition: Definition) -> None:
    rows = [trial(2, 0.9, ended_at=50.0), trial(1, 0.8)]

    assert data(definition, rows)["sweep"]["best"]["gain"] is None


def test_runs_carry_the_metric_as_logged_and_where_they_stand(definition: Definition) -> None:
    shown = data(definition, [trial(1, 0.8), trial(2, None), trial(3, 0.5, ended_at=None)])

    assert [run["value"] for run in shown["runs"]] == [0.8, None, 0.5]
    assert [run["counts"] for run in shown["runs"]] == [True, False, True]
    assert [axis["name"] for axis in shown["axes"]] == ["lr", "metric:acc"]
    assert shown["constants"] == {"epochs": 3}
    assert shown["curves"] == {"run2": {"x": [1, 2], "y": [0.5, 0.9]}}


def test_commands_can_be_pasted_into_a_shell(definition: Definition) -> None:
    texts = [one["text"] for one in data(definition, [])["commands"]]

    assert texts[0].endswith("sweep agent 'ada/my project/abcd1234'")
    assert all(text.startswith("WANDB_BASE_URL=http://127.0.0.1:8080 ") for text in texts)


def test_progress_adds_up_to_what_is_expected() -> None:
    parts = progress(replace(SWEEP, n_failed=1))

    assert [part["word"] for part in parts] == ["finished", "failed", "running", "to come"]
    assert sum(part["count"] for part in parts) == 10


def test_curves_are_those_that_run_then_the_best(definition: Definition) -> None:
    rows = [trial(i, i / 200) for i in range(1, 120)]
    rows += [trial(150, 0.001, ended_at=None), trial(151, None)]

    drawn = curve_runs(rows, definition)

    assert len(drawn) == MAX_CURVES
    assert [row.trial.number for row in drawn[:3]] == [150, 119, 118]


@pytest.mark.parametrize(("rule", "value"), [("best", 0.9), ("last", 0.4), ("mean:5", 0.4)])
def test_running_trial_shows_its_value_so_far_by_the_rule(rule: str, value: float) -> None:
    view = replace(trial(1, 0.9, ended_at=None).trial, last=0.4)

    assert trial_value(view, "maximize", rule) == value


@pytest.mark.parametrize(
    ("reasons", "ended_at", "word"),
    [
        pytest.param([None, "finished"], None, "Away", id="some out"),
        pytest.param(["error", "finished"], None, "Back", id="all back"),
        pytest.param(["never_started", "finished"], 9.0, "Over", id="lapsed"),
    ],
)
def test_bundle_is_told_in_a_word(reasons, ended_at, word):
    trials = tuple(
        BundledTrial(f"r{n}", attempt=1, is_present=True, reason=reason)
        for n, reason in enumerate(reasons)
    )
    bundle = BundleView(
        id="bundle-1",
        sweep_id=1,
        n_asked=2,
        n_given=2,
        created_at=1.0,
        until=8.0,
        ended_at=ended_at,
        user_name="ann",
        trials=trials,
    )

    row = bundle_row(bundle)

    assert row["state"]["word"] == word
    assert row["n_out"] == reasons.count(None)
