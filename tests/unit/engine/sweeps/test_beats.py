"""Heartbeats that change nothing, and how the watchdog writes them down."""

import pytest

from sweepd.engine import beats, runs, sweeps, watchdog
from sweepd.engine.access import Need


@pytest.fixture
def busy(lab):
    """An agent at work whose heartbeat has named its run before."""
    agent = lab.register(lab.create())
    command = lab.ask(agent)
    lab.start(command)
    lab.tick(5)
    lab.beat(agent, command.run)
    return agent, command


@pytest.fixture
def quiet(lab):
    def quiet(agent, *running, actor=None):
        return lab.store.read_sync(
            beats.quiet_beat, actor=actor or lab.actor, agent_id=agent, running=set(running)
        )

    return quiet


def test_agent_that_names_what_it_holds_is_only_alive(busy, quiet, clock):
    agent, command = busy

    assert quiet(agent, command.run).at == clock.now


def test_first_heartbeat_that_names_a_run_is_written_at_once(lab, quiet):
    agent = lab.register(lab.create())
    command = lab.ask(agent)

    assert quiet(agent, command.run) is None


def test_heartbeat_that_may_change_something_is_not_quiet(lab, busy, quiet):
    agent, command = busy

    assert quiet(agent) is None, "it may want a trial"
    assert quiet(agent, command.run, "another") is None, "another's run must be stopped"
    run = lab.run_of(command)
    lab.write(runs.request_stop, actor=lab.actor, run_id=run.id)
    assert quiet(agent, command.run) is None, "it is to be told to stop"


def test_heartbeat_of_somebody_elses_agent_is_not_quiet(busy, quiet, bob):
    agent, command = busy

    assert quiet(agent, command.run, actor=bob) is None


def test_heartbeat_of_an_agent_that_was_lost_is_not_quiet(lab, busy, quiet):
    agent, command = busy
    lab.tick(100)

    assert quiet(agent, command.run) is None


def test_quiet_heartbeats_keep_a_lease_as_long_as_they_come(lab, busy, quiet, clock):
    agent, command = busy
    sweep_id = lab.run_of(command).sweep_id

    for _ in range(40):
        clock.advance(10)
        taken = {agent: quiet(agent, command.run)}
        lab.write(watchdog.tick, limits=lab.limits, beats=taken)

    trial = lab.store.read_sync(
        sweeps.trials_of, actor=lab.actor, need=Need.READ, sweep_id=sweep_id
    )[0]
    assert (trial.state, trial.attempt) == ("leased", 1)
    assert quiet(agent, command.run) is not None
    lab.tick(62)
    assert quiet(agent, command.run) is None


def test_heartbeat_written_late_revives_nothing(lab, busy, quiet):
    agent, command = busy
    beat = quiet(agent, command.run)
    lab.end(command)
    before = lab.run_of(command)

    lab.write(watchdog.tick, limits=lab.limits, beats={agent: beat})

    assert lab.run_of(command) == before
    assert quiet(agent, command.run) is None


def test_heartbeats_that_could_not_be_written_are_kept_unless_newer_ones_came():
    kept = beats.Beats()
    kept.note("a", beats.Beat(1.0, ()))
    kept.note("b", beats.Beat(1.0, ()))
    taken = kept.take()
    kept.note("a", beats.Beat(2.0, ()))

    kept.put_back(taken)

    assert {name: beat.at for name, beat in kept.take().items()} == {"a": 2.0, "b": 1.0}
    assert not kept.take()
