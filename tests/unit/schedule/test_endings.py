import pytest

from sweepd.errors import IllegalMove, Reason
from sweepd.schedule import (
    FAILURES,
    RETRIED,
    RUN_STATES,
    TRIAL_MOVES,
    Evidence,
    TrialState,
    ended_as,
    failing_alike,
    goes_again,
    move_trial,
    silence_means,
)

R = Reason


def known(exit_code=0, *, started=True, n=3, **rest):
    return Evidence(has_started=started, exit_code=exit_code, n_values=n, **rest)


@pytest.mark.parametrize(
    ("evidence", "reason"),
    [
        pytest.param(known(), R.FINISHED, id="success"),
        pytest.param(known(n=0), R.NO_METRIC, id="success without the metric"),
        pytest.param(known(n=0, wants_metric=False), R.FINISHED, id="no metric is asked for"),
        pytest.param(known(ends_badly=True), R.DIVERGED, id="ends in NaN"),
        pytest.param(known(1), R.ERROR, id="exit code"),
        pytest.param(known(1, ends_badly=True), R.DIVERGED, id="NaN, then an exception"),
        pytest.param(known(0, started=False), R.NEVER_INIT, id="never called init"),
        pytest.param(known(2, started=False), R.NEVER_INIT, id="died before init"),
        pytest.param(known(143, was_preempting=True), R.PREEMPTED, id="marked preempting"),
        pytest.param(known(0, was_preempting=True), R.FINISHED, id="made it in time"),
        pytest.param(known(1, stop="rule"), R.STOPPED_EARLY, id="stop rule"),
        pytest.param(known(0, stop="rule"), R.STOPPED_EARLY, id="stop rule, gentle program"),
        pytest.param(known(1, stop="person"), R.KILLED, id="stopped by a person"),
        pytest.param(known(0, stop="person"), R.FINISHED, id="finished in spite of it"),
        pytest.param(known(143, stop="time"), R.TIMED_OUT, id="took too long"),
        pytest.param(known(143, n=0, stop="time", told=R.KILLED), R.TIMED_OUT, id="hung"),
        pytest.param(known(0, stop="time"), R.FINISHED, id="finished just in time"),
        pytest.param(known(None), R.CRASHED, id="gone without a word"),
        pytest.param(known(1, told=R.OUT_OF_MEMORY), R.OUT_OF_MEMORY, id="told: oom"),
        pytest.param(known(None, told=R.ERROR), R.ERROR, id="told: a signal ended it"),
        pytest.param(known(None, told=R.FINISHED), R.FINISHED, id="told: finished"),
        pytest.param(known(0, told=R.ERROR), R.ERROR, id="told: error at exit"),
        pytest.param(known(143, told=R.PREEMPTED), R.PREEMPTED, id="told: preempted"),
        pytest.param(
            known(1, started=False, told=R.ERROR), R.NEVER_INIT, id="told: error, no init"
        ),
        pytest.param(known(143, stop="person", told=R.PREEMPTED), R.KILLED, id="told late"),
    ],
)
def test_ended_as(evidence, reason):
    assert ended_as(evidence) == reason


@pytest.mark.parametrize(
    ("started", "preempting", "stop", "reason"),
    [
        (False, False, None, R.NEVER_STARTED),
        (True, False, None, R.CRASHED),
        (True, True, None, R.PREEMPTED),
        (True, False, "rule", R.STOPPED_EARLY),
        (False, False, "person", R.KILLED),
    ],
    ids=str,
)
def test_silence_means(started, preempting, stop, reason):
    assert silence_means(has_started=started, was_preempting=preempting, stop=stop) == reason


@pytest.mark.parametrize("reason", list(Reason), ids=str)
def test_only_infrastructure_is_tried_again_and_only_so_often(reason):
    again = [
        goes_again(reason, attempt=attempt, retries=2, sweep_goes_on=True) for attempt in (1, 2, 3)
    ]

    assert again == ([True, True, False] if reason in RETRIED else [False] * 3)
    assert not goes_again(reason, attempt=1, retries=2, sweep_goes_on=False)


def test_every_reason_has_a_run_state_and_none_is_both_failure_and_retried():
    assert set(RUN_STATES) == set(Reason)
    assert not FAILURES & RETRIED


@pytest.mark.parametrize(
    ("latest", "has_finished", "alike"),
    [
        pytest.param([R.ERROR] * 5, False, R.ERROR, id="all alike"),
        pytest.param([R.ERROR] * 4, False, None, id="not enough"),
        pytest.param([R.ERROR] * 5, True, None, id="one has finished"),
        pytest.param([R.ERROR] * 4 + [R.NEVER_INIT], False, None, id="not alike"),
        pytest.param([R.CRASHED] * 5, False, None, id="infrastructure"),
        pytest.param([R.KILLED] * 5, False, None, id="killed by hand"),
    ],
)
def test_failing_alike(latest, has_finished, alike):
    assert failing_alike(latest, n=5, has_finished=has_finished) == alike


@pytest.mark.parametrize("old", list(TrialState), ids=str)
@pytest.mark.parametrize("new", list(TrialState), ids=str)
def test_every_pair_of_trial_states(old, new):
    if old == new or new in TRIAL_MOVES[old]:
        assert move_trial(old, new) == new
    else:
        with pytest.raises(IllegalMove, match=f"{old} cannot become {new}"):
            move_trial(old, new)
