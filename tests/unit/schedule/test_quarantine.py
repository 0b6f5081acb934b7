import pytest

from sweepd.errors import Reason
from sweepd.schedule.quarantine import (
    Elsewhere,
    Past,
    canary_pause_s,
    is_bad,
    streak_of,
    verdict_of,
)

R = Reason


def row(*reasons):
    """A slot's attempts, the newest first, each of a trial of its own."""
    return [Past(i, reason, 100.0 - i, 100.5 - i) for i, reason in enumerate(reasons)]


@pytest.mark.parametrize(
    ("latest", "length"),
    [
        pytest.param([R.ERROR, R.CRASHED, R.OUT_OF_MEMORY], 3, id="failures of every kind"),
        pytest.param([R.ERROR, R.FINISHED, R.ERROR], 1, id="a success ends it"),
        pytest.param([R.ERROR, R.NO_METRIC, R.ERROR], 1, id="a program that ended well, too"),
        pytest.param([R.ERROR, R.STOPPED_EARLY, R.ERROR], 1, id="and one that was stopped"),
        pytest.param([R.KILLED, R.ERROR, R.PREEMPTED, R.ERROR], 2, id="what says nothing"),
        pytest.param([R.FINISHED, R.ERROR, R.ERROR], 0, id="it works again"),
    ],
)
def test_a_streak_is_the_failures_since_the_last_success(latest, length):
    assert len(streak_of(row(*latest))) == length


def test_one_trial_that_fails_again_and_again_is_one_failure_of_its_slot():
    again = [Past(7, R.CRASHED, at, at + 1) for at in (30.0, 20.0, 10.0)]

    assert len(streak_of(again)) == 1


@pytest.mark.parametrize(
    ("n", "failed", "passed", "bad"),
    [
        pytest.param(3, 0, 7, True, id="seven others go on"),
        pytest.param(2, 0, 7, False, id="too few"),
        pytest.param(9, 0, 0, False, id="nothing is known of others"),
        pytest.param(3, 21, 0, False, id="everything fails everywhere"),
        pytest.param(4, 12, 12, False, id="every other trial fails anyway"),
        pytest.param(5, 0, 1, True, id="one other slot goes on"),
    ],
)
def test_errors_are_the_slots_fault_only_if_the_others_do_better(n, failed, passed, bad):
    assert is_bad(row(*[R.ERROR] * n), Elsewhere(failed, passed), k=3) is bad


def test_crashes_are_the_machines_fault_whatever_the_others_do():
    assert is_bad(row(R.CRASHED, R.NEVER_STARTED, R.CRASHED), Elsewhere(9, 0), k=3)
    assert not is_bad(row(R.CRASHED, R.CRASHED), Elsewhere(0, 9), k=3)


def test_zero_turns_it_off():
    assert not is_bad(row(*[R.CRASHED] * 9), Elsewhere(0, 9), k=0)


def test_every_reason_has_a_verdict():
    assert all(verdict_of(reason) for reason in Reason)


def test_pauses_double_up_to_the_longest():
    pauses = [canary_pause_s(n, first_s=30.0, most_s=100.0) for n in (0, 1, 2, 10**9)]

    assert pauses == [30.0, 60.0, 100.0, 100.0]
