import json
from types import SimpleNamespace

import pytest
from sqlalchemy import select

from sweepd.engine import agents, enqueued, runs, watchdog
from sweepd.engine.access import Need
from sweepd.engine.beats import Beat
from sweepd.states import AgentState, RunState, SweepState
from sweepd.store import tables as t


def test_trial_of_an_agent_that_died_before_it_began_is_requeued_after_its_lease(lab):
    sweep = lab.create()
    command = lab.ask(lab.register(sweep))

    lab.tick(59)
    assert lab.trial(sweep, command).state == "leased"
    lab.tick(3)

    assert lab.trial(sweep, command).state == "queued"
    again = lab.ask(lab.register(sweep))
    assert (again.run, again.attempt, again.type) == (command.run, 2, "run")


def test_trial_whose_process_begins_after_its_lease_lapsed_runs_and_ends(lab):
    sweep = lab.create()
    agent = lab.register(sweep)
    command = lab.ask(agent)
    lab.tick(63)

    lab.start(command)
    assert (lab.trial(sweep, command).state, lab.run_of(command).state) == ("leased", "running")
    lab.log(command, 0.5)
    lab.end(command)

    trial = lab.trial(sweep, command)
    assert (trial.state, trial.attempt, trial.reason) == ("ended", 1, "finished")
    assert lab.run_of(command).state == RunState.FINISHED


def test_trial_that_begins_late_in_a_sweep_that_was_canceled_meanwhile_is_stopped(lab):
    sweep = lab.create()
    agent = lab.register(sweep)
    command = lab.ask(agent)
    lab.tick(63)
    lab.set_state(sweep, "CANCELED")

    lab.start(command)

    assert lab.log(command, 0.5).stopped
    told = lab.beat(agent, command.run)
    assert (told.type, told.run) == ("stop", command.run)


def test_second_attempt_that_resumes_late_in_a_canceled_sweep_is_stopped(lab):
    sweep = lab.create()
    agent = lab.register(sweep)
    first = lab.ask(agent)
    lab.start(first)
    lab.log(first, 0.5)
    lab.tick(63)
    second = lab.ask(agent)
    assert (second.run, second.attempt) == (first.run, 2)
    lab.tick(63)
    lab.set_state(sweep, "CANCELED")

    header = {"attempt": second.attempt, "token": second.token}
    run_id = lab.run_of(second).id  # the client has asked how far the run had come
    change = runs.RunChange(id=run_id, name=second.run, project="toy", host="box", **header)
    lab.write(runs.upsert_run, actor=lab.actor, change=change)

    assert lab.log(second, 0.5, offset=1).stopped


def test_enqueued_run_that_the_sweeps_end_dropped_may_be_begun_by_hand(lab, texts):
    sweep = lab.create(texts["random"] + "run_cap: 1\n")
    agent = lab.register(sweep)
    command = lab.ask(agent)
    _, name = lab.write(
        enqueued.add, sweep_id=sweep.id, values={"lr": 0.4, "layers": 3}, actor="alice"
    )
    lab.start(command)
    lab.log(command, 0.5)
    lab.end(command)
    lab.report(command, "finished", exit_code=0)
    assert lab.sweep(sweep).state == SweepState.FINISHED

    by_hand = SimpleNamespace(run=name)
    lab.start(by_hand, lease=False)

    assert not lab.log(by_hand, 0.5, lease=False).stopped


def test_trial_of_our_agent_lapses_with_its_lease(lab):
    sweep = lab.create()
    command = lab.ask(lab.register(sweep))
    lab.start(command)

    lab.tick(62)

    assert lab.trial(sweep, command).state == "queued"
    assert lab.run_of(command).state == RunState.CRASHED
    assert lab.sweep(sweep).n_queued == 1


def test_run_of_wandbs_agents_crashes_after_five_minutes_of_silence(lab):
    sweep = lab.create()
    command = lab.ask(lab.register(sweep))
    lab.start(command, lease=False)

    lab.tick(295)
    assert lab.trial(sweep, command).state == "leased"
    lab.tick(10)

    assert lab.trial(sweep, command).state == "queued"


@pytest.mark.parametrize("lease", [True, False], ids=["ours", "wandb's"])
def test_heartbeats_of_agent_or_run_keep_a_lease(lab, lease):
    sweep = lab.create()
    agent = lab.register(sweep)
    command = lab.ask(agent)
    lab.start(command, lease=lease)

    lab.idle(400, [agent, command.run])
    assert lab.trial(sweep, command).state == "leased"
    for _ in range(14):  # the agent is gone, the process lives and says so every 30 s
        lab.tick(30)
        lab.stream(command, lease=lease)

    assert lab.trial(sweep, command).state == "leased"


def test_agent_that_comes_back_keeps_its_run(lab):
    sweep = lab.create()
    agent = lab.register(sweep)
    command = lab.ask(agent)
    lab.start(command)
    lab.tick(70)
    assert lab.trial(sweep, command).state == "queued"

    assert lab.beat(agent, command.run) is None

    trial = lab.trial(sweep, command)
    assert (trial.state, trial.attempt) == ("leased", 1)
    assert lab.run_of(command).state == RunState.RUNNING


def test_run_that_writes_again_keeps_its_trial(lab):
    sweep = lab.create()
    command = lab.ask(lab.register(sweep))
    lab.start(command)
    lab.tick(70)

    assert not lab.log(command, 0.5).stopped

    assert lab.trial(sweep, command).state == "leased"


def test_completion_that_comes_after_the_lease_counts(lab):
    sweep = lab.create()
    command = lab.ask(lab.register(sweep))
    lab.start(command)
    lab.log(command, 0.5)
    lab.tick(70)

    lab.end(command)

    trial = lab.trial(sweep, command)
    assert (trial.state, trial.reason, trial.objective) == ("ended", "finished", 0.5)


def test_zombie_agent_is_told_to_stop_a_run_that_another_one_has(lab):
    sweep = lab.create()
    zombie, other = lab.register(sweep), lab.register(sweep)
    command = lab.ask(zombie)
    lab.start(command)
    lab.idle(70, [other])
    trial = lab.trial(sweep, command)
    assert (trial.state, trial.attempt) == ("leased", 2)

    told = lab.beat(zombie, command.run)

    assert (told.type, told.run) == ("stop", command.run)


def test_downtime_of_the_service_lapses_no_lease(lab):
    sweep = lab.create()
    agent = lab.register(sweep)
    command = lab.ask(agent)
    lab.start(command)
    lab.tick(5)

    lab.restart()
    lab.clock.advance(3600)
    lab.tick(30)

    assert lab.trial(sweep, command).state == "leased"
    view = lab.store.read_sync(agents.get_agent, actor=lab.actor, need=Need.READ, agent_id=agent)
    assert view.state == AgentState.RUNNING
    lab.tick(40)  # silent still, and the service listens
    assert lab.trial(sweep, command).state == "queued"


@pytest.mark.parametrize("jump_s", [3600.0, -3600.0], ids=["forward", "back"])
def test_clock_that_jumps_neither_ends_leases_nor_keeps_them_for_ever(lab, jump_s):
    sweep = lab.create()
    command = lab.ask(lab.register(sweep))
    lab.start(command)
    lab.tick(5)

    lab.clock.advance(jump_s)
    lab.tick(20)
    assert lab.trial(sweep, command).state == "leased"
    lab.tick(45)

    assert lab.trial(sweep, command).state == "queued"


@pytest.mark.parametrize("jump_s", [3600.0, -3600.0], ids=["forward", "back"])
def test_lease_handed_out_just_after_the_clock_jumped_is_one_of_a_minute(lab, jump_s):
    sweep = lab.create()
    agent = lab.register(sweep)
    lab.tick(5)
    lab.clock.advance(jump_s)

    command = lab.ask(agent)  # before the watchdog looks
    lab.start(command)
    lab.tick(50)
    assert lab.trial(sweep, command).state == "leased"
    lab.tick(15)

    assert lab.trial(sweep, command).state == "queued"


@pytest.mark.parametrize("jump_s", [3600.0, -3600.0], ids=["forward", "back"])
@pytest.mark.parametrize("is_before", [True, False], ids=["before", "after"])
def test_sign_of_life_noted_about_when_the_clock_jumped_counts_for_a_minute(lab, jump_s, is_before):
    sweep = lab.create()
    agent = lab.register(sweep)
    command = lab.ask(agent)
    lab.start(command)
    lab.tick(40)
    lab.clock.advance(0 if is_before else jump_s)
    trial = lab.trial(sweep, command)
    beats = {agent: Beat(at=lab.clock.now, attempts=((trial.id, 1),))}
    lab.clock.advance(jump_s if is_before else 0)

    lab.write(watchdog.tick, limits=lab.limits, beats=beats)
    lab.tick(50)
    assert lab.trial(sweep, command).state == "leased"
    lab.tick(15)

    assert lab.trial(sweep, command).state == "queued"


@pytest.mark.parametrize("away", ["jump", "stall"])
def test_agent_that_has_its_trial_is_not_given_it_again_though_the_watchdog_was_away(lab, away):
    sweep = lab.create()
    agent = lab.register(sweep)
    lab.tick(5)
    command = lab.ask(agent)
    lab.clock.advance(3600 if away == "jump" else 10)
    lab.beat(agent, command.run)
    lab.clock.advance(0.3 if away == "jump" else 30)

    lab.tick()
    lab.clock.advance(1)
    following = lab.beat(agent)  # the process has ended

    assert following is not None
    assert following.run != command.run
    assert lab.trial(sweep, command).reason == "never_init"


def test_trials_of_a_cluster_that_went_away_are_requeued_a_hundred_at_a_time(lab):
    sweep = lab.create()
    lab.at_once(lambda: [lab.ask(lab.register(sweep)) for _ in range(130)])
    lab.tick(60)
    n_queued = [lab.sweep(sweep).n_queued]

    for _ in range(2):
        lab.tick(5)
        n_queued.append(lab.sweep(sweep).n_queued)

    assert n_queued == [0, 100, 130]


def test_silent_agent_is_lost_until_it_speaks(lab):
    sweep = lab.create()
    agent = lab.register(sweep)

    def state():
        return lab.store.read_sync(
            agents.get_agent, actor=lab.actor, need=Need.READ, agent_id=agent
        ).state

    lab.tick(62)
    assert state() == AgentState.LOST
    assert lab.sweep(sweep).n_agents == 0
    lab.beat(agent)
    assert state() == AgentState.RUNNING


def test_plain_run_crashes_after_five_minutes_of_silence(lab, upsert, reread):
    run = upsert("plain")

    lab.tick(290)
    assert reread(run).state == RunState.RUNNING
    lab.tick(15)

    assert reread(run).state == RunState.CRASHED


@pytest.mark.parametrize(
    ("exit_code", "is_preempting", "state"),
    [(0, False, "finished"), (1, False, "failed"), (1, True, "preempted")],
)
def test_run_that_counts_as_crashed_says_how_it_ended(
    lab, upsert, stream, reread, exit_code, is_preempting, state
):
    run = upsert("plain")
    lab.tick(305)

    stream(
        run,
        history=[{"_step": 0, "loss": 0.5}],
        summary={"loss": 0.5},
        complete=True,
        exitcode=exit_code,
        preempting=is_preempting,
    )

    ended = reread(run)
    assert (ended.state, ended.exit_code) == (state, exit_code)
    assert (ended.history_lines, json.loads(ended.summary)) == (1, {"loss": 0.5})


def test_failure_whose_agent_never_comes_back_is_tried_again(lab):
    sweep = lab.create()
    command = lab.ask(lab.register(sweep))
    lab.start(command)
    lab.end(command, 143)

    lab.tick(62)

    assert lab.trial(sweep, command).state == "queued"


def test_lapse_after_the_sweep_has_ended_is_not_tried_again(lab):
    sweep = lab.create()
    command = lab.ask(lab.register(sweep))
    lab.start(command)
    lab.set_state(sweep, "FINISHED")

    lab.tick(62)

    trial = lab.trial(sweep, command)
    assert (trial.state, trial.reason) == ("ended", "crashed")
    assert lab.sweep(sweep).state == SweepState.FINISHED


def test_rows_of_a_zombie_and_its_successor_at_one_line_are_both_kept(lab):
    sweep = lab.create()
    zombie, other = lab.register(sweep), lab.register(sweep, host="other")
    first = lab.ask(zombie)
    lab.start(first, lease=False)
    lab.stream(first, rows=[{"loss": 1.0, "n": 1}], lease=False)
    lab.tick(400)
    second = lab.ask(other)
    assert second.run == first.run
    begins_at = lab.start(second, lease=False).history_lines

    for number, command in ((2, first), (3, second), (4, first)):
        lab.stream(command, rows=[{"loss": 0.5, "n": number}], offset=begins_at, lease=False)

    bodies = lab.store.read_sync(lambda tx: tx.conn.scalars(select(t.stream_line.c.body)).all())
    assert {json.loads(body)["n"] for body in bodies} == {1, 2, 3, 4}


def test_config_that_a_zombie_sends_does_not_begin_the_next_attempt(lab):
    sweep = lab.create()
    zombie, other = lab.register(sweep), lab.register(sweep, host="other")
    first = lab.ask(zombie)
    lab.start(first, lease=False)
    lab.log(first, 5.0, lease=False)
    lab.tick(400)
    second = lab.ask(other)
    assert (second.run, second.attempt) == (first.run, 2)

    config = json.dumps({"lr": {"value": 0.5}, "_wandb": {"value": {}}})
    change = runs.RunChange(name=first.run, project="toy", config=config)
    lab.write(runs.upsert_run, actor=lab.actor, change=change)

    assert lab.run_of(first).state == RunState.PENDING
    assert lab.log(first, 0.001, offset=1, lease=False).stopped
    assert lab.trial(sweep, first).best == 5.0
    assert lab.start(second, lease=False).state == RunState.RUNNING
    lab.log(second, 2.0, offset=2, lease=False)
    assert lab.trial(sweep, first).best == 2.0
