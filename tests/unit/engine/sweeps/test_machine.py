"""Agents, leases and the clock against a small model: the invariants of RELIABILITY.md.

I1 one trial per suggestion, I2 at most one live lease per trial, I3 a grid is handed out once,
I4 run_cap, I6 moves along the graph, I9 nothing starts after stop or cancel.
"""

import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import func, select

from sweepd.engine import accounts
from sweepd.errors import IllegalMove, LeaseLost
from sweepd.schedule import TRIAL_MOVES
from sweepd.states import SWEEP_MOVES, SweepState, is_terminal
from sweepd.store import Store
from sweepd.store import tables as t

GRID = "method: grid\nrun_cap: 3\nparameters: {a: {values: [1, 2, 3, 4]}}\n"


@pytest.fixture
def machine(lab, clock, empty_folder):
    """The state machine's class, on the laboratory of these tests."""

    class Machine(RuleBasedStateMachine):
        agents = Bundle("agents")
        given = Bundle("given")  # an agent with the command that it received

        @initialize(target=agents)
        def begin(self):
            open_lab(self, lab, clock, empty_folder)
            self.sweep = self.lab.create(GRID)
            self.state, self.seen, self.n_at_end = SweepState.PENDING, {}, None
            return multiple(*(self.register() for _ in range(3)))

        def teardown(self):
            if hasattr(self, "lab"):
                self.lab.store.close()
                self.scratch.cleanup()

        def register(self):
            return SimpleNamespace(id=self.lab.register(self.sweep), runs=set())

        @precondition(lambda self: not is_terminal(self.state))
        @rule(target=agents)
        def join(self):
            return self.register()

        @rule(target=given, agent=agents, luck=st.sampled_from(["lost", "slow", "quick", "quick"]))
        def heartbeat(self, agent, luck):
            command = self.lab.beat(agent.id, *agent.runs)
            if command is None or luck == "lost":
                return multiple()
            if command.type in ("stop", "exit"):
                assert command.type == "stop" or is_terminal(self.lab.sweep(self.sweep).state)
                agent.runs.discard(command.run)
                return multiple()
            agent.runs.add(command.run)
            if luck == "quick":
                self.lab.start(command)
            return SimpleNamespace(agent=agent, command=command)

        @rule(one=given)
        def start(self, one):
            if one.command.run in one.agent.runs:
                self.lab.start(one.command)

        @rule(one=consumes(given), reason=st.sampled_from(["finished", "error", "preempted"]))
        def end(self, one, reason):
            one.agent.runs.discard(one.command.run)
            if reason == "finished" and self.lab.run_of(one.command).started_at is not None:
                self.lab.end(one.command)
            with suppress(LeaseLost):  # a later attempt may have it
                self.lab.report(one.command, reason, exit_code=0 if reason == "finished" else 1)

        @rule(one=consumes(given))
        def die(self, one):
            one.agent.runs.clear()

        @rule(seconds=st.sampled_from([1, 20, 70]))
        def wait(self, seconds):
            self.lab.tick(seconds)

        @rule(state=st.sampled_from(["PAUSED", "RUNNING"]))
        def pause_or_resume(self, state):
            command_twice(self, state)

        @precondition(lambda self: len(self.seen) > 1)
        @rule(state=st.sampled_from(["FINISHED", "CANCELED"]))
        def stop(self, state):
            command_twice(self, state)

        @rule()
        def restart(self):
            self.lab.restart()

        hold = invariant()(check_invariants)

    return Machine


def open_lab(self, lab, clock, empty_folder):
    """Give the machine a laboratory of its own, with a store that nobody has used."""
    self.clock = type(clock)()
    self.scratch = tempfile.TemporaryDirectory()
    folder = Path(self.scratch.name) / "data"
    shutil.copytree(empty_folder, folder)
    store = Store.open(folder, clock=self.clock)
    user, _ = store.write_sync(accounts.ensure_first_user, name="root")
    self.lab = type(lab)(store, folder, self.clock, user)


def command_twice(self, state):
    for _ in range(2):
        try:
            self.lab.set_state(self.sweep, state)
        except IllegalMove:
            assert state not in SWEEP_MOVES[self.lab.sweep(self.sweep).state]


def check_invariants(self):
    if not hasattr(self, "lab"):
        return
    view, trials = self.lab.sweep(self.sweep), self.lab.trials(self.sweep)
    assert len(trials) == view.n_issued <= 3  # I4
    assert len({trial.config for trial in trials}) == len(trials)  # I1, I3
    assert len({trial.run_id for trial in trials}) == len(trials)
    live = self.lab.store.read_sync(live_attempts)
    held = {trial.id for trial in trials if trial.state == "leased"}
    assert live == dict.fromkeys(held, 1)  # I2
    for trial in trials:  # I6
        old = self.seen.get(trial.id, trial.state)
        assert trial.state == old or reaches(TRIAL_MOVES, old, trial.state)
        self.seen[trial.id] = trial.state
    assert view.state == self.state or reaches(SWEEP_MOVES, self.state, view.state)
    self.state = view.state
    if view.state in (SweepState.FINISHED, SweepState.CANCELED):  # I9
        attempts = sum(trial.attempt for trial in trials)
        assert self.n_at_end in (None, attempts)
        self.n_at_end = attempts
        assert all(trial.state != "queued" for trial in trials)


def live_attempts(tx):
    live = t.attempt.c.ended_at.is_(None)
    query = select(t.attempt.c.trial_id, func.count()).where(live).group_by(t.attempt.c.trial_id)
    return {trial_id: count for trial_id, count in tx.conn.execute(query)}


def reaches(moves, old, new):
    """Return whether `new` follows `old` in one or more legal moves."""
    found, left = set(), [old]
    while left:
        nexts = {str(state) for state in moves.get(left.pop(), ())} - found
        found |= nexts
        left.extend(nexts)
    return str(new) in found


def test_invariants_hold_whatever_happens(machine):
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=8,
            stateful_step_count=25,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
