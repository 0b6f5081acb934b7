"""Every pair of states: a move is legal if the table says so, and repeating one is a no-op."""

from itertools import product

import pytest

from sweepd.errors import IllegalMove
from sweepd.states import (
    RUN_MOVES,
    SWEEP_MOVES,
    RunState,
    SweepState,
    is_terminal,
    move_run,
    move_sweep,
)


@pytest.mark.parametrize(("old", "new"), list(product(RunState, RunState)))
def test_run_moves_follow_the_table(old: RunState, new: RunState) -> None:
    if old == new or new in RUN_MOVES[old]:
        assert move_run(old, new) is new
    else:
        with pytest.raises(IllegalMove, match=f"a run that is {old} cannot become {new}"):
            move_run(old, new)


@pytest.mark.parametrize(("old", "new"), list(product(SweepState, SweepState)))
def test_sweep_moves_follow_the_table(old: SweepState, new: SweepState) -> None:
    if old == new or new in SWEEP_MOVES[old]:
        assert move_sweep(old, new) is new
    else:
        with pytest.raises(IllegalMove, match=f"a sweep that is {old} cannot become {new}"):
            move_sweep(old, new)


def test_a_sweep_that_was_cancelled_never_runs_again() -> None:
    assert is_terminal(SweepState.CANCELED)
    with pytest.raises(IllegalMove, match="cannot become RUNNING"):
        move_sweep(SweepState.CANCELED, SweepState.RUNNING)


def test_every_run_that_is_not_going_on_has_ended() -> None:
    going_on = {RunState.PENDING, RunState.RUNNING, RunState.PREEMPTING}

    assert {state for state in RunState if not is_terminal(state)} == going_on
