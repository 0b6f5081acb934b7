"""What the pages say."""

from dataclasses import replace

import pytest

from sweepd.dash.words import Pace, direction_of, ends_in, run_badge, sweep_badge, sweep_sentence
from sweepd.engine.views import SweepView, TrialView
from sweepd.errors import Reason
from sweepd.states import RunState, SweepState

TRIAL = TrialView(
    id=1,
    sweep_id=1,
    number=1,
    run_id=1,
    config="{}",
    origin="search",
    state="ended",
    attempt=1,
    reason=None,
    message=None,
    objective=None,
    best=None,
    last=None,
    n_values=0,
    n_bad=0,
    created_at=0.0,
    ended_at=1.0,
)

SWEEP = SweepView(
    id=1,
    name="abcd1234",
    project_id=1,
    project="mnist",
    entity="ada",
    user_name="ada",
    state=SweepState.RUNNING,
    display_name=None,
    description=None,
    definition="",
    method="bayes",
    run_cap=60,
    expected=60,
    controller=None,
    scheduler=None,
    n_issued=17,
    n_running=3,
    n_finished=12,
    n_failed=2,
    n_queued=0,
    n_agents=4,
    metric="val_accuracy",
    goal="maximize",
    best_value=None,
    best_run=None,
    stop_reason=None,
    notice=None,
    created_at=0.0,
    updated_at=0.0,
    heartbeat_at=None,
    ended_at=None,
)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        pytest.param({}, "14 of 60 trials done, 3 running on 4 agents, 2 failed.", id="running"),
        pytest.param(
            {"n_queued": 1, "n_failed": 0, "n_finished": 14, "n_agents": 1},
            "14 of 60 trials done, 3 running on 1 agent, 1 waiting to be tried again.",
            id="retried",
        ),
        pytest.param(
            {"n_bundled": 20, "n_failed": 0, "n_finished": 14},
            "14 of 60 trials done, 3 running on 4 agents, 20 in bundles.",
            id="bundled",
        ),
        pytest.param(
            {"n_agents": 0, "n_running": 0},
            "No agent is connected: 14 of 60 trials done, 2 failed. Start one and it goes on.",
            id="no agent",
        ),
        pytest.param(
            {"state": SweepState.PAUSED},
            "14 of 60 trials done, 2 failed; 3 still at work. "
            "Nothing is handed out until you resume.",
            id="paused",
        ),
        pytest.param(
            {"state": SweepState.FINISHED, "n_running": 0, "n_finished": 58},
            "60 of 60 trials done, 2 failed.",
            id="finished",
        ),
        pytest.param(
            {"expected": None, "n_failed": 0, "n_finished": 1},
            "1 trial done, 3 running on 4 agents.",
            id="without an end",
        ),
        pytest.param({"state": SweepState.PENDING}, "Waiting for its first agent.", id="pending"),
    ],
)
def test_sweep_is_told_in_a_sentence(changes: dict, sentence: str) -> None:
    assert sweep_sentence(replace(SWEEP, **changes)) == sentence


def test_end_is_the_work_that_is_left_spread_over_what_runs() -> None:
    pace = Pace(ended_s=[100.0] * 14, running_s=[50.0, 50.0, 200.0])

    # 43 trials to begin at 100 s each, two half-way, one overdue, on three at a time.
    assert ends_in(SWEEP, pace) == pytest.approx((43 * 100 + 100) / 3)


@pytest.mark.parametrize(
    ("changes", "pace"),
    [
        pytest.param({"state": SweepState.PAUSED}, Pace([1.0], [1.0]), id="paused"),
        pytest.param({"expected": None}, Pace([1.0], [1.0]), id="no end"),
        pytest.param({}, Pace([], [1.0]), id="nothing ended yet"),
        pytest.param({}, Pace([1.0], []), id="nothing runs"),
    ],
)
def test_end_is_not_guessed_without_evidence(changes: dict, pace: Pace) -> None:
    assert ends_in(replace(SWEEP, **changes), pace) is None


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_has_a_word_an_icon_and_a_tone(reason: Reason) -> None:
    badge = run_badge(RunState.FAILED, replace(TRIAL, reason=reason))

    assert badge.word
    assert badge.icon in {"finished", "failed", "crashed", "killed", "early"}
    assert badge.tone in {"good", "bad", "warn", "quiet"}


@pytest.mark.parametrize("state", list(RunState))
def test_every_run_state_is_shown(state: RunState) -> None:
    assert run_badge(state).word


@pytest.mark.parametrize("state", list(SweepState))
def test_every_sweep_state_is_shown(state: SweepState) -> None:
    assert sweep_badge(state).word


def test_message_of_a_trial_says_why() -> None:
    trial = replace(TRIAL, reason=Reason.OUT_OF_MEMORY, message="CUDA out of memory")

    badge = run_badge(RunState.FAILED, trial)

    assert (badge.word, badge.why) == ("Out of memory", "CUDA out of memory")


def test_queued_trial_waits_again_whatever_its_run_says() -> None:
    badge = run_badge(RunState.CRASHED, replace(TRIAL, state="queued", attempt=2))

    assert badge.word == "Waiting again"
    assert "attempt 2" in (badge.why or "")


def test_second_attempt_is_said() -> None:
    badge = run_badge(RunState.RUNNING, replace(TRIAL, state="leased", attempt=2))

    assert (badge.word, badge.why) == ("Running", "attempt 2")


@pytest.mark.parametrize(
    ("key", "direction"),
    [
        ("val_accuracy", 1),
        ("train/loss", -1),
        ("eval.rmse", -1),
        ("best_f1", 1),
        ("accelerator", 0),
        ("blossom", 0),
        ("epoch", 0),
    ],
)
def test_direction_follows_common_words(key: str, direction: int) -> None:
    assert direction_of(key, metric=None, goal="minimize") == direction


def test_direction_of_the_sweeps_metric_is_its_goal() -> None:
    assert direction_of("loss", metric="loss", goal="maximize") == 1
