import json

import pytest

from sweepd.engine import agents, runs, watchdog
from sweepd.engine.access import Need
from sweepd.engine.row_reads import read_rows
from sweepd.errors import Conflict, NotFound
from sweepd.states import AgentState, RunState, SweepState

PLAIN = "\nmethod: random\nparameters: {lr: {min: 0.0, max: 1.0}}\n"  # no metric


def test_first_agent_sets_a_pending_sweep_running(lab):
    sweep = lab.create()
    assert sweep.state == SweepState.PENDING

    lab.register(sweep)

    assert lab.sweep(sweep).state == SweepState.RUNNING


def test_command_carries_the_config_in_wandbs_shape_and_the_run_waits_pending(lab):
    sweep = lab.create(
        "method: random\nprogram: train.py\nparameters:\n  opt: {parameters: {lr: {value: 0.5}}}\n"
        "  n: {values: [4]}\n"
    )

    command = lab.ask(lab.register(sweep))

    assert command.config == {"n": 4, "opt": {"lr": 0.5}}
    assert command.program == "train.py"
    run = lab.run_of(command)
    assert run.state == RunState.PENDING
    assert json.loads(run.config) == {"n": {"value": 4}, "opt": {"value": {"lr": 0.5}}}


def test_many_agents_at_once_get_different_trials(lab, texts):
    for method in ("random", "bayes"):
        sweep = lab.create(texts[method])
        crowd = [lab.register(sweep) for _ in range(16)]

        commands = [lab.ask(agent) for agent in crowd]

        assert len({command.run for command in commands}) == 16
        assert len({json.dumps(command.config, sort_keys=True) for command in commands}) == 16


def test_an_agent_with_a_run_gets_no_second_one(lab):
    agent = lab.register(lab.create())
    command = lab.ask(agent)

    assert lab.beat(agent, command.run) is None
    lab.start(command)
    assert lab.beat(agent, command.run) is None


def test_next_trial_follows_the_end_of_the_last(lab):
    agent = lab.register(lab.create())
    first = lab.run(agent, 1.0)

    second = lab.ask(agent)

    assert second.run != first.run


def test_run_cap_is_exact_whatever_is_in_flight(lab):
    sweep = lab.create("run_cap: 5" + PLAIN)
    crowd = [lab.register(sweep) for _ in range(8)]

    commands = [lab.beat(agent) for agent in crowd]

    given = [command for command in commands if command is not None]
    assert len(given) == 5
    for agent, command in zip(crowd, commands, strict=True):
        if command is not None:
            lab.start(command)
            lab.end(command)
        assert lab.beat(agent) is None or lab.sweep(sweep).state == SweepState.FINISHED
    assert len(lab.trials(sweep)) == 5


def test_sweep_ends_with_its_last_trial_and_agents_are_told_to_exit(lab):
    sweep = lab.create("run_cap: 2" + PLAIN)
    one, two = lab.register(sweep), lab.register(sweep)
    last = lab.ask(one)
    lab.run(two)
    assert lab.beat(two) is None
    assert lab.sweep(sweep).state == SweepState.RUNNING

    lab.start(last)
    lab.end(last)

    after = lab.sweep(sweep)
    assert after.state == SweepState.FINISHED
    assert after.stop_reason == "run_cap reached: all 2 trials have ended"
    assert lab.beat(two).type == "exit"
    assert lab.beat(one, last.run) is None  # exit would kill what it still runs
    assert lab.beat(one).type == "exit"


def test_grid_is_handed_out_once_and_its_end_is_known_with_its_last_point(lab, texts):
    sweep = lab.create(texts["grid"])
    agent = lab.register(sweep)

    configs = [lab.run(agent, 1.0).config for _ in range(6)]

    assert len({json.dumps(config) for config in configs}) == 6
    after = lab.sweep(sweep)
    assert after.state == SweepState.FINISHED
    assert after.stop_reason == "every point of the grid has been tried: 6 trials"
    assert after.expected == 6
    assert lab.beat(agent).type == "exit"


def test_a_program_that_rewrites_its_config_does_not_repeat_grid_points(lab, texts, upsert):
    sweep = lab.create(texts["grid"])
    agent = lab.register(sweep)
    for _ in range(6):
        command = lab.ask(agent)
        upsert(command.run, config=json.dumps({"a": {"value": "rewritten"}, "_wandb": {}}))
        lab.log(command, 1.0, lease=False)
        lab.end(command, lease=False)

    assert len(lab.trials(sweep)) == 6
    assert lab.sweep(sweep).state == SweepState.FINISHED


def test_initial_configs_come_first_and_count(lab, texts):
    own = "sweepd: {initial: [{lr: 0.125}, {lr: 0.25}]}\nrun_cap: 3\n"
    sweep = lab.create(texts["bayes"] + own)
    agent = lab.register(sweep)
    lab.think()

    given = [lab.run(agent, 1.0).config["lr"] for _ in range(3)]

    assert given[:2] == [0.125, 0.25]
    assert lab.sweep(sweep).state == SweepState.FINISHED
    assert [trial.origin for trial in lab.trials(sweep)][:2] == ["initial", "initial"]


def test_same_seed_gives_the_same_configs_whichever_agents_ask(lab, texts):
    text = texts["random"] + "sweepd: {seed: 7}\n"
    alone = lab.create(text)
    agent = lab.register(alone)
    one_by_one = [lab.run(agent, 1.0).config for _ in range(12)]

    together = lab.create(text)
    at_once = [lab.ask(lab.register(together)).config for _ in range(12)]

    assert at_once == one_by_one


def test_lost_answer_gives_the_same_run_again(lab):
    sweep = lab.create()
    agent = lab.register(sweep)
    first = lab.ask(agent)
    lab.clock.advance(3.0)

    again = lab.ask(agent)

    assert again == first
    assert len(lab.trials(sweep)) == 1


def test_lost_answer_is_given_again_after_a_restart(lab):
    sweep = lab.create()
    agent = lab.register(sweep)
    first = lab.ask(agent)

    lab.restart()

    assert lab.ask(agent) == first


def test_trial_that_started_and_ended_between_two_heartbeats_is_not_given_again(lab):
    sweep = lab.create()
    agent = lab.register(sweep)
    first = lab.run(agent, 1.0)

    assert lab.ask(agent).run != first.run
    assert lab.trials(sweep)[0].reason == "finished"


def test_answer_that_stays_lost_is_requeued_under_the_same_run_id(lab):
    sweep = lab.create()
    agent = lab.register(sweep)
    first = lab.ask(agent)
    lab.clock.advance(31.0)

    again = lab.ask(agent)

    assert again.run == first.run
    assert again.attempt == 2
    assert again.token != first.token
    assert len(lab.trials(sweep)) == 1


def test_run_that_was_seen_and_vanished_before_init_failed(lab):
    sweep = lab.create()
    agent = lab.register(sweep)
    first = lab.ask(agent)
    lab.clock.advance(5.0)
    lab.beat(agent, first.run)
    lab.clock.advance(5.0)

    second = lab.ask(agent)

    trial = lab.trial(sweep, first)
    assert second.run != first.run
    assert trial.reason == "never_init"
    assert "before it called wandb.init" in trial.message
    assert lab.run_of(first).state == RunState.FAILED


def test_run_that_dies_before_init_each_time_it_is_sent_failed(lab):
    sweep = lab.create()
    agent = lab.register(sweep)
    first = lab.ask(agent)
    for _ in range(lab.limits.max_sends - 1):
        lab.clock.advance(5.0)
        assert lab.ask(agent).run == first.run
    lab.clock.advance(5.0)

    assert lab.ask(agent).run != first.run
    assert lab.trial(sweep, first).reason == "never_init"


@pytest.mark.parametrize(
    ("device", "gaps_s"),
    [
        pytest.param(None, [2.0, 4.5, 9.0], id="W&B's client repeats its request"),
        pytest.param("gpus 0", [1.0, 2.0, 4.0, 1.0, 1.0, 5.0, 5.0, 5.0], id="ours asks again"),
    ],
)
def test_answers_that_are_lost_in_a_row_are_no_fault_of_the_program(lab, device, gaps_s):
    sweep = lab.create()
    agent = lab.register(sweep, device=device)
    first = lab.ask(agent)

    for gap_s in gaps_s:
        lab.clock.advance(gap_s)
        assert lab.ask(agent) == first
    assert lab.trial(sweep, first).state == "leased"


def test_answers_that_may_be_lost_with_a_service_that_died_are_no_fault_of_the_program(lab):
    sweep = lab.create()
    agent = lab.register(sweep)
    first = lab.ask(agent)

    for _ in range(2 * lab.limits.max_sends):
        lab.clock.advance(4.6)
        lab.write(watchdog.begin)
        assert lab.ask(agent) == first


def test_run_that_was_seen_is_not_handed_out_anew_after_a_start(lab):
    sweep = lab.create()
    agent = lab.register(sweep)
    first = lab.ask(agent)
    lab.clock.advance(5.0)
    lab.beat(agent, first.run)

    lab.write(watchdog.begin)
    lab.clock.advance(5.0)

    assert lab.ask(agent).run != first.run


def test_answer_to_our_agent_that_stays_lost_however_often_is_requeued(lab):
    sweep = lab.create()
    agent = lab.register(sweep, device="gpus 0")
    first = lab.ask(agent)

    for _ in range(5):
        lab.clock.advance(6.0)
        assert lab.ask(agent) == first
    lab.clock.advance(6.0)

    again = lab.ask(agent)
    assert (again.run, again.attempt) == (first.run, 2)


@pytest.mark.parametrize("gap_s", [5.0, 12.0])
def test_program_that_dies_before_init_is_not_tried_again_however_seldom_its_agent_asks(lab, gap_s):
    sweep = lab.create()
    agent = lab.register(sweep)
    first = lab.ask(agent)

    while lab.trial(sweep, first).state == "leased":
        lab.clock.advance(gap_s)
        lab.ask(agent)

    trial = lab.trial(sweep, first)
    assert (trial.reason, trial.attempt) == ("never_init", 1)


def test_process_of_a_deleted_run_is_told_to_stop(lab):
    sweep = lab.create()
    agent = lab.register(sweep)
    command = lab.ask(agent)
    lab.start(command)
    lab.write(runs.delete_run, actor=lab.actor, run_id=lab.run_of(command).id)

    told = lab.beat(agent, command.run)

    assert (told.type, told.run) == ("stop", command.run)
    assert lab.ask(agent).run != command.run


def test_deleted_run_that_was_made_again_is_let_go_on(lab):
    sweep = lab.create()
    agent = lab.register(sweep)
    command = lab.ask(agent)
    lab.start(command)
    lab.write(runs.delete_run, actor=lab.actor, run_id=lab.run_of(command).id)
    lab.start(command, lease=False)

    assert lab.beat(agent, command.run) is None


def test_runs_that_the_sweep_never_had_are_nothing_to_it(lab):
    sweep, other = lab.create(), lab.create()
    agent = lab.register(sweep)
    foreign = lab.ask(lab.register(other))
    deleted = lab.ask(lab.register(other))
    lab.write(runs.delete_run, actor=lab.actor, run_id=lab.run_of(deleted).id)

    assert lab.beat(agent, foreign.run, deleted.run, "unheard-of") is None


def test_agents_survive_a_restart(lab):
    sweep = lab.create()
    agent = lab.register(sweep)
    command = lab.ask(agent)
    lab.start(command)

    lab.restart()

    assert lab.beat(agent, command.run) is None
    lab.log(command, 0.5)
    lab.end(command)
    assert lab.ask(agent).run != command.run
    assert lab.trial(sweep, command).objective == 0.5


def test_unknown_agent_means_that_its_sweep_is_gone(lab):
    with pytest.raises(NotFound, match="sweep of this agent"):
        lab.beat("nosuchagent")


def test_agent_cannot_join_a_sweep_that_has_ended_or_is_not_there(lab):
    sweep = lab.create()
    lab.set_state(sweep, "FINISHED")

    with pytest.raises(Conflict, match=r"has ended \(finished: stopped by alice\)"):
        lab.register(sweep)
    with pytest.raises(NotFound, match="no sweep 'nosuch'"):
        lab.write(agents.register, actor=lab.actor, project="toy", sweep="nosuch", host="box")


def test_short_id_alone_will_do_but_an_address_must_be_right(lab, upsert):
    sweep = lab.create()
    upsert(project="other")

    view = lab.write(agents.register, actor=lab.actor, sweep=sweep.name, host="box")

    assert view.host == "box"
    with pytest.raises(NotFound, match="in other"):
        lab.write(agents.register, actor=lab.actor, project="other", sweep=sweep.name, host="box")


def test_goodbye_hands_what_is_held_to_others_at_once(lab):
    sweep = lab.create()
    one = lab.register(sweep)
    lab.clock.advance(1)
    two = lab.register(sweep)
    command = lab.ask(one)
    lab.start(command)

    lab.write(agents.leave, actor=lab.actor, agent_id=one)

    again = lab.ask(two)
    assert (again.run, again.attempt, again.type) == (command.run, 2, "resume")
    views = lab.store.read_sync(
        agents.list_agents, actor=lab.actor, need=Need.READ, sweep_id=sweep.id
    )
    assert [view.state for view in views] == [AgentState.EXITED, AgentState.RUNNING]
    assert [view.current_run for view in views] == [None, command.run]


def test_agents_of_others_are_refused(lab, bob):
    sweep = lab.create()
    agent = lab.register(sweep)
    lab.actor = bob

    with pytest.raises(NotFound, match="does not exist any more"):
        lab.beat(agent)


def test_trial_after_a_deleted_run_has_none_of_its_rows(lab):
    sweep = lab.create()
    agent = lab.register(sweep)
    deleted = lab.run(agent, 1.0, 2.0)
    lab.write(runs.delete_run, actor=lab.actor, run_id=lab.run_of(deleted).id)

    command = lab.ask(agent)

    lines = lab.store.read_sync(
        lambda tx, *, run_id: list(read_rows(tx, run_id=run_id)),
        run_id=lab.run_of(command).id,
    )
    assert lines == []
