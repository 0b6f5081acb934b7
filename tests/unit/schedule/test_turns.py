import pytest

from sweepd.errors import Reason
from sweepd.schedule import Held, Turn, TurnKind, is_lapsed, missing, next_turn
from sweepd.states import SweepState

S = SweepState


def held(run="r", *, started=False, seen=False, age=5.0, sent=1, stop=False):
    return Held(
        run=run, has_started=started, was_seen=seen, age_s=age, n_sent=sent, is_to_stop=stop
    )


@pytest.mark.parametrize(
    ("one", "running", "sweep", "reason"),
    [
        pytest.param(held(), {"r"}, S.RUNNING, None, id="it has it"),
        pytest.param(
            held(started=True), set(), S.RUNNING, None, id="it started: its end will tell"
        ),
        pytest.param(held(), set(), S.RUNNING, None, id="the answer may be lost"),
        pytest.param(held(age=31.0), set(), S.RUNNING, Reason.NEVER_STARTED, id="it is lost"),
        pytest.param(held(seen=True), set(), S.RUNNING, Reason.NEVER_INIT, id="it was there"),
        pytest.param(
            held(age=36.0, sent=3), set(), S.RUNNING, Reason.NEVER_INIT, id="it dies, seldom asked"
        ),
        pytest.param(held(sent=3), set(), S.RUNNING, Reason.NEVER_INIT, id="it dies each time"),
        pytest.param(held(), set(), S.PAUSED, None, id="a pause takes nothing back"),
        pytest.param(held(), set(), S.FINISHED, Reason.KILLED, id="the sweep has ended"),
        pytest.param(held(stop=True), set(), S.RUNNING, Reason.KILLED, id="it was to stop"),
        pytest.param(
            held(started=True, stop=True), set(), S.CANCELED, Reason.KILLED, id="it has stopped"
        ),
        pytest.param(held(seen=True), {"r"}, S.CANCELED, None, id="it is told to stop first"),
    ],
)
def test_missing_of_an_agent_that_is_not_ours(one, running, sweep, reason):
    found = missing([one], running, sweep=sweep, resend_s=30.0, max_sends=3)

    assert found == ([(one, reason)] if reason else [])


def test_our_agent_is_asked_again_for_as_long_as_an_answer_may_be_lost():
    def found(one):
        return missing([one], set(), sweep=S.RUNNING, resend_s=30.0, max_sends=None)

    late = held(age=31.0, sent=9)

    assert found(held(age=29.0, sent=9)) == []
    assert found(late) == [(late, Reason.NEVER_STARTED)]


@pytest.mark.parametrize(
    ("hold", "running", "sweep", "fenced_out", "turn"),
    [
        pytest.param([], set(), S.RUNNING, set(), Turn(TurnKind.NEXT), id="idle"),
        pytest.param([], set(), S.PAUSED, set(), Turn(TurnKind.WAIT), id="idle in a pause"),
        pytest.param([], set(), S.FINISHED, set(), Turn(TurnKind.EXIT), id="idle after the end"),
        pytest.param([], set(), S.FAILED, set(), Turn(TurnKind.EXIT), id="idle after a failure"),
        pytest.param([held()], {"r"}, S.RUNNING, set(), Turn(TurnKind.WAIT), id="busy"),
        pytest.param([held()], {"r"}, S.CANCELED, set(), Turn(TurnKind.WAIT), id="never exit busy"),
        pytest.param(
            [held(stop=True)], {"r"}, S.CANCELED, set(), Turn(TurnKind.STOP, ("r",)), id="stop"
        ),
        pytest.param(
            [], {"z", "y"}, S.RUNNING, {"z"}, Turn(TurnKind.STOP, ("z",)), id="fenced out"
        ),
        pytest.param([held()], set(), S.RUNNING, set(), Turn(TurnKind.AGAIN, ("r",)), id="again"),
        pytest.param(
            [held()], set(), S.PAUSED, set(), Turn(TurnKind.AGAIN, ("r",)), id="again, paused"
        ),
        pytest.param(
            [held(started=True)], set(), S.RUNNING, set(), Turn(TurnKind.NEXT), id="last one dying"
        ),
        pytest.param(
            [held("a", started=True, stop=True)],
            {"a", "b"},
            S.CANCELED,
            {"b"},
            Turn(TurnKind.STOP, ("b", "a")),
            id="what is another's comes first",
        ),
        pytest.param(
            [held("a", stop=True), held("b"), held("c", stop=True)],
            {"a", "b", "c"},
            S.RUNNING,
            set(),
            Turn(TurnKind.STOP, ("a", "c")),
            id="all of a pack that are to stop, at once",
        ),
    ],
)
def test_next_turn(hold, running, sweep, fenced_out, turn):
    assert next_turn(hold, running, sweep=sweep, fenced_out=fenced_out) == turn


@pytest.mark.parametrize(
    ("silent_s", "started", "fenced", "lapsed"),
    [
        pytest.param(61.0, False, False, True, id="not begun"),
        pytest.param(61.0, True, True, True, id="ours"),
        pytest.param(61.0, True, False, False, id="wandb's agent may be gone, its run not"),
        pytest.param(301.0, True, False, True, id="wandb's run is gone too"),
        pytest.param(59.0, False, True, False, id="in time"),
    ],
)
def test_is_lapsed(silent_s, started, fenced, lapsed):
    assert (
        is_lapsed(
            silent_s=silent_s,
            has_started=started,
            is_fenced=fenced,
            lease_s=60.0,
            run_silence_s=300.0,
        )
        is lapsed
    )


@pytest.mark.parametrize(
    ("hold", "running", "sweep", "turn"),
    [
        pytest.param([held()], {"r"}, S.RUNNING, Turn(TurnKind.NEXT), id="one more"),
        pytest.param(
            [held(started=True), held("s")],
            {"r"},
            S.RUNNING,
            Turn(TurnKind.AGAIN, ("s",)),
            id="again",
        ),
        pytest.param([held()], {"r"}, S.PAUSED, Turn(TurnKind.WAIT), id="none in a pause"),
        pytest.param([held()], {"r"}, S.FINISHED, Turn(TurnKind.WAIT), id="none after the end"),
        pytest.param(
            [held(stop=True)], {"r"}, S.RUNNING, Turn(TurnKind.STOP, ("r",)), id="stop comes first"
        ),
    ],
)
def test_next_turn_of_an_agent_that_fetches_ahead(hold, running, sweep, turn):
    assert next_turn(hold, running, sweep=sweep, fenced_out=set(), wants_ahead=True) == turn
