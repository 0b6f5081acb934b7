import pytest

from sweepd.engine import projects, replay, runs, sweeps
from sweepd.engine.access import Need
from sweepd.errors import DefinitionError, IllegalMove, InvalidInput, NotFound
from sweepd.states import RunState, SweepState

PLAIN = "method: random\nparameters: {a: {values: [1, 2]}}\n"


@pytest.mark.parametrize(
    ("states", "end"),
    [
        (["PAUSED", "PAUSED"], SweepState.PAUSED),
        (["PAUSED", "RUNNING", "running"], SweepState.RUNNING),
        (["FINISHED", "FINISHED"], SweepState.FINISHED),
        (["PAUSED", "CANCELED", "CANCELED"], SweepState.CANCELED),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else str(value),
)
def test_repeating_a_state_is_harmless(lab, states, end):
    sweep = lab.create()
    lab.register(sweep)

    for state in states:
        lab.set_state(sweep, state)

    assert lab.sweep(sweep).state == end


def test_paused_sweep_hands_nothing_out_and_lets_runs_go_on(lab):
    sweep = lab.create()
    agent = lab.register(sweep)
    command = lab.ask(agent)
    lab.start(command)

    lab.set_state(sweep, "PAUSED")

    assert lab.beat(agent, command.run) is None
    lab.log(command, 1.0)
    lab.end(command)
    assert lab.beat(agent) is None
    lab.set_state(sweep, "RUNNING")
    assert lab.ask(agent).run != command.run


def test_stopped_sweep_lets_runs_finish_and_sends_agents_away(lab):
    sweep = lab.create()
    agent = lab.register(sweep)
    command = lab.ask(agent)
    lab.start(command)

    lab.set_state(sweep, "FINISHED")

    assert lab.beat(agent, command.run) is None
    assert not lab.log(command, 1.0).stopped
    lab.end(command)
    assert lab.trial(sweep, command).reason == "finished"
    assert lab.beat(agent).type == "exit"


def test_cancelled_sweep_stops_runs_through_both_channels(lab):
    sweep = lab.create()
    agent = lab.register(sweep)
    command = lab.ask(agent)
    lab.start(command)

    lab.set_state(sweep, "CANCELED")

    told = lab.beat(agent, command.run)
    assert (told.type, told.run) == ("stop", command.run)
    assert lab.beat(agent, command.run).type == "stop"  # W&B's agent kills at the repetition
    assert lab.stream(command).stopped
    lab.end(command, 1)
    assert lab.trial(sweep, command).reason == "killed"
    assert lab.beat(agent).type == "exit"


@pytest.fixture
def cut_off(lab):
    """A sweep, an agent and its trial, which runs and was given up because nothing was heard."""
    sweep = lab.create()
    agent = lab.register(sweep)
    command = lab.ask(agent)
    lab.start(command)
    lab.tick(70)
    assert lab.trial(sweep, command).state == "queued"
    return sweep, agent, command


def test_cancelled_sweep_stops_a_run_that_was_out_of_reach(lab, cut_off):
    sweep, agent, command = cut_off

    lab.set_state(sweep, "CANCELED")

    told = lab.beat(agent, command.run)
    assert (told.type, told.run) == ("stop", command.run)
    assert lab.stream(command).stopped
    lab.end(command, 1)
    trial = lab.trial(sweep, command)
    assert (trial.reason, trial.message) == ("killed", "canceled by alice")
    assert lab.run_of(command).state == RunState.KILLED
    assert lab.beat(agent).type == "exit"


def test_cancelled_sweep_stops_a_run_out_of_reach_that_was_not_to_be_tried_again(lab):
    sweep = lab.create()
    agent, other = lab.register(sweep), lab.register(sweep)
    lost, command = lab.ask(agent), lab.ask(other)
    lab.start(lost)
    lab.start(command)
    lab.set_state(sweep, "FINISHED")
    lab.idle(70, [other, command.run])
    assert lab.trial(sweep, lost).reason == "crashed"

    lab.set_state(sweep, "CANCELED")

    assert lab.beat(agent, lost.run).type == "stop"


def test_stopped_run_that_was_out_of_reach_is_told_so_through_both_channels(lab, cut_off):
    sweep, agent, command = cut_off

    lab.write(runs.request_stop, actor=lab.actor, run_id=lab.run_of(command).id)

    trial = lab.trial(sweep, command)
    assert (trial.state, trial.reason, trial.message) == ("ended", "killed", "stopped by a user")
    told = lab.beat(agent, command.run)
    assert (told.type, told.run) == ("stop", command.run)
    assert lab.stream(command).stopped
    lab.end(command, 1)
    assert lab.trial(sweep, command).reason == "killed"
    assert lab.ask(agent).run != command.run


def test_stopped_sweep_can_be_cancelled_while_a_trial_runs_and_not_after(lab):
    sweep = lab.create()
    agent = lab.register(sweep)
    command = lab.ask(agent)
    lab.start(command)
    lab.set_state(sweep, "FINISHED")

    lab.set_state(sweep, "CANCELED")

    assert lab.beat(agent, command.run).type == "stop"
    other = lab.create()
    lab.set_state(other, "FINISHED")
    with pytest.raises(IllegalMove, match=r"has ended \(finished\) and nothing of it runs"):
        lab.set_state(other, "CANCELED")


def test_cancelled_run_that_its_agent_has_no_more_was_killed_without_a_last_word(lab):
    sweep = lab.create()
    agent = lab.register(sweep)
    command = lab.ask(agent)
    lab.start(command, lease=False)
    lab.set_state(sweep, "CANCELED")
    assert lab.beat(agent, command.run).type == "stop"

    assert lab.beat(agent).type == "exit"

    trial = lab.trial(sweep, command)
    assert (trial.reason, trial.message) == ("killed", "canceled by alice")
    assert lab.run_of(command).state == RunState.KILLED


def test_nothing_starts_after_stop_or_cancel(lab):
    for state in ("FINISHED", "CANCELED"):
        sweep = lab.create()
        one, two = lab.register(sweep), lab.register(sweep)
        lost = lab.ask(one)
        begun = lab.ask(two)
        lab.start(begun)
        lab.report(begun, "preempted")

        lab.set_state(sweep, state)

        assert lab.beat(one).type == "exit"
        assert lab.beat(two).type == "exit"
        assert [trial.state for trial in lab.trials(sweep)] == ["ended", "ended"]
        assert lab.trial(sweep, lost).reason == "killed"
        assert lab.trial(sweep, begun).reason == "preempted"


def test_ended_sweep_cannot_go_on(lab):
    sweep = lab.create()
    lab.set_state(sweep, "CANCELED")

    with pytest.raises(IllegalMove, match=r"has ended \(canceled by alice\); create another one"):
        lab.set_state(sweep, "RUNNING")
    with pytest.raises(InvalidInput, match="must be one of PAUSED, RUNNING, FINISHED, CANCELED"):
        lab.set_state(sweep, "TIRED")


def test_sweep_that_was_done_while_paused_ends_when_it_is_resumed(lab, texts):
    sweep = lab.create(texts["random"] + "run_cap: 1\n")
    agent = lab.register(sweep)
    command = lab.ask(agent)
    lab.start(command)
    lab.set_state(sweep, "PAUSED")
    lab.log(command, 1.0)
    lab.end(command)
    assert lab.sweep(sweep).state == SweepState.PAUSED

    assert lab.set_state(sweep, "RUNNING").state == SweepState.FINISHED


def test_failed_sweep_that_has_nothing_left_is_not_resumed_but_retried(lab):
    definition = "method: grid\nmetric: {name: loss}\nparameters: {a: {values: [1, 2]}}\n"
    sweep = lab.create(definition)
    agent = lab.register(sweep)
    for _ in range(2):
        lab.run(agent, exit_code=1)
    lab.tick(10)
    assert lab.sweep(sweep).state == SweepState.FAILED

    with pytest.raises(IllegalMove, match=r"has nothing left to hand out; `sweep retry` takes"):
        lab.set_state(sweep, "RUNNING")

    assert lab.sweep(sweep).state == SweepState.FAILED
    lab.retry(sweep)
    assert lab.ask(lab.register(sweep)).attempt == 2


def test_failures_alike_during_a_pause_do_not_disturb_it(lab):
    sweep = lab.create()
    commands = [lab.ask(lab.register(sweep)) for _ in range(5)]
    lab.set_state(sweep, "PAUSED")

    for command in commands:
        lab.report(command, "error", exit_code=1)

    assert lab.sweep(sweep).state == SweepState.PAUSED


def test_method_may_change_too_and_old_suggestions_go(lab, texts):
    sweep = lab.create(texts["bayes"] + "sweepd: {initial: [{lr: 0.5}]}\n")
    lab.think()

    lab.write(sweeps.update_sweep, actor=lab.actor, sweep_id=sweep.id, definition=texts["grid"])

    assert lab.sweep(sweep).method == "grid"
    assert set(lab.ask(lab.register(sweep)).config) == {"a", "b"}


def test_wrong_definition_creates_nothing(lab):
    with pytest.raises(DefinitionError, match="method"):
        lab.create("method: guess\nparameters: {a: {value: 1}}\n")

    page = lab.store.read_sync(projects.list_projects, actor=lab.actor, need=Need.READ, entity=None)
    assert page.items == ()


def test_warnings_reach_the_client(lab):
    _, warnings = lab.write(
        sweeps.create_sweep,
        actor=lab.actor,
        definition="method: random\nearli_terminate: 1\nparameters: {a: {values: [1, 2]}}\n",
    )

    assert any("earli_terminate" in warning for warning in warnings)


def test_addresses_names_and_pages(lab, bob):
    made = [lab.create(display_name=f"s{i}") for i in range(3)]

    read = lab.store.read_sync
    page = read(sweeps.list_sweeps, actor=lab.actor, need=Need.READ, project="toy", first=2)
    rest = read(
        sweeps.list_sweeps, actor=lab.actor, need=Need.READ, project="toy", first=2, after=page.end
    )
    assert [view.display_name for view in (*page.items, *rest.items)] == ["s2", "s1", "s0"]
    assert (page.has_next, rest.has_next, page.total) == (True, False, 3)
    found = read(sweeps.find_sweep, actor=lab.actor, need=Need.READ, name=made[0].name)
    by_address = read(
        sweeps.get_sweep,
        actor=lab.actor,
        need=Need.READ,
        entity="alice",
        project="toy",
        name=made[0].name,
    )
    assert found == by_address == made[0]
    with pytest.raises(NotFound, match="no sweep 'nosuch'"):
        read(sweeps.find_sweep, actor=lab.actor, need=Need.READ, name="nosuch")
    with pytest.raises(NotFound, match=f"no sweep '{made[0].name}'"):
        read(sweeps.find_sweep, actor=bob, need=Need.READ, name=made[0].name)


def test_listing_without_a_project_takes_all_of_the_entity(lab):
    lab.create()
    lab.write(sweeps.create_sweep, actor=lab.actor, project="other", definition=PLAIN)

    page = lab.store.read_sync(sweeps.list_sweeps, actor=lab.actor, need=Need.READ)

    assert [view.project for view in page.items] == ["other", "toy"]


def test_names_and_state_change_in_one_update(lab):
    sweep = lab.create()

    view, warnings = lab.write(
        sweeps.update_sweep,
        actor=lab.actor,
        sweep_id=sweep.id,
        display_name="better",
        description="why",
        state="PAUSED",
    )

    assert (view.display_name, view.description, view.state) == ("better", "why", "PAUSED")
    assert warnings == []


def test_deleted_sweep_takes_its_runs_and_sends_its_agents_away(lab):
    sweep = lab.create()
    agent = lab.register(sweep)
    command = lab.run(agent, 1.0)

    assert lab.write(sweeps.delete_sweep, actor=lab.actor, sweep_id=sweep.id) == []

    with pytest.raises(NotFound):
        lab.run_of(command)
    with pytest.raises(NotFound):
        lab.beat(agent)
    assert lab.write(sweeps.delete_sweep, actor=lab.actor, sweep_id=sweep.id) == []


def test_a_new_sweep_reads_no_event_of_a_deleted_one(lab):
    old = lab.create()
    lab.run(lab.register(old), 1.0)
    lab.write(sweeps.delete_sweep, actor=lab.actor, sweep_id=old.id)

    new = lab.create()

    log = lab.store.read_sync(replay.log_of, actor=lab.actor, sweep_id=new.id, need=Need.READ)
    assert new.id != old.id
    assert [kind for _, kind, _, _ in log.events if kind.startswith("trial.")] == []


def test_an_ended_sweep_says_what_can_be_done_with_it(lab):
    stopped = lab.create()
    lab.set_state(stopped, "FINISHED")
    capped = lab.create(PLAIN + "metric: {name: loss}\nrun_cap: 1\n")
    lab.run(lab.register(capped), 1.0)

    for state in ("RUNNING", "PAUSED"):
        with pytest.raises(IllegalMove, match=r"has ended \(stopped by alice\); create another"):
            lab.set_state(stopped, state)
    with pytest.raises(IllegalMove, match="`sweep retry` takes failed trials up"):
        lab.set_state(capped, "RUNNING")
