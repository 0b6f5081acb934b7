import math

import pytest

from sweepd.engine import agents, retry, rewinds, runs
from sweepd.errors import InvalidInput, LeaseLost, NotFound
from sweepd.states import RunState, SweepState


def test_structured_console_lines_are_read_too(lab):
    sweep = lab.create()
    command = lab.ask(lab.register(sweep))
    lab.start(command, lease=False)
    console = ['{"level": "error", "ts": "x", "content": "a.b.MyError: no"}', "{half", "A" * 50_000]

    lab.end(command, 1, console=console, lease=False)

    assert lab.trial(sweep, command).message == "a.b.MyError: no"


def test_run_resumed_by_hand_that_finishes_counts(lab):
    sweep = lab.create()
    command = lab.run(lab.register(sweep), 2.0, exit_code=1)

    lab.take_up(command)
    lab.log(command, 1.0, offset=1, lease=False)
    lab.end(command, lease=False)

    trial = lab.trial(sweep, command)
    assert (trial.state, trial.reason, trial.objective) == ("ended", "finished", 1.0)


def test_without_a_metric_success_is_enough(lab):
    sweep = lab.create("method: random\nparameters: {a: {values: [1, 2, 3]}}\n")

    command = lab.run(lab.register(sweep), 1.0)

    trial = lab.trial(sweep, command)
    assert (trial.reason, trial.objective) == ("finished", None)


def test_nan_that_is_overcome_is_forgiven(lab, held):
    sweep, _, command = held

    lab.log(command, 1.0, float("inf"), 0.5)
    lab.end(command)

    trial = lab.trial(sweep, command)
    assert (trial.reason, trial.objective, trial.n_values) == ("finished", 0.5, 2)


def test_exit_code_of_wandbs_agents_runs_is_an_error_with_the_last_words(lab):
    sweep = lab.create()
    command = lab.ask(lab.register(sweep))
    lab.start(command, lease=False)
    console = ["Traceback (most recent call last):", "  ...", "ValueError: bad thing", "bye"]

    lab.end(command, 1, console=console, lease=False)

    trial = lab.trial(sweep, command)
    assert (trial.reason, trial.message) == ("error", "ValueError: bad thing")
    assert lab.run_of(command).state == RunState.FAILED


def test_a_crash_after_the_run_was_finished_costs_no_result(lab, held):
    sweep, _, command = held
    lab.log(command, 0.5)
    lab.end(command)

    lab.report(command, "error", signal=11, message="killed by SIGSEGV")

    trial = lab.trial(sweep, command)
    assert (trial.reason, trial.objective) == ("finished", 0.5)


@pytest.mark.parametrize("how", ["fell silent", "left"])
def test_exit_code_without_our_agents_word_is_a_machine_that_was_lost(lab, how):
    sweep = lab.create()
    agent = lab.register(sweep)
    command = lab.ask(agent)
    lab.start(command)

    lab.end(command, 1)
    if how == "left":
        lab.leave(agent)
    else:
        lab.tick(lab.limits.lease_s * 10)

    again = lab.ask(lab.register(sweep))
    assert (again.run, again.attempt) == (command.run, 2)


def test_out_of_memory_is_told_from_other_errors(lab):
    sweep = lab.create()
    command = lab.ask(lab.register(sweep))
    lab.start(command, lease=False)

    words = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB"
    lab.end(command, 1, console=[words], lease=False)

    assert lab.trial(sweep, command).reason == "oom"


def test_failure_of_our_agents_process_waits_for_the_agents_word(lab, held):
    sweep, agent, command = held

    lab.end(command, 1)
    assert lab.trial(sweep, command).state == "leased"
    lab.report(command, "oom", exit_code=1, message="CUDA out of memory", device="GPU 1")

    trial = lab.trial(sweep, command)
    assert (trial.state, trial.reason, trial.message) == ("ended", "oom", "CUDA out of memory")
    assert lab.ask(agent).run != command.run


@pytest.mark.parametrize("retries", [0, 2])
def test_out_of_memory_beside_others_is_tried_again_once_whatever_the_retries(lab, texts, retries):
    sweep = lab.create(texts["random"] + f"sweepd: {{retries: {retries}}}\n")
    command = lab.ask(lab.register(sweep))
    lab.start(command)
    lab.end(command, 1)
    lab.report(command, "oom", exit_code=1, message="CUDA out of memory", is_crowded=True)
    assert lab.trial(sweep, command).state == "queued"

    again = lab.ask(lab.register(sweep))
    assert (again.run, again.attempt) == (command.run, 2)
    lab.start(again)
    lab.report(again, "oom", exit_code=1, message="CUDA out of memory", is_crowded=True)

    trial = lab.trial(sweep, command)
    assert (trial.state, trial.reason) == ("ended", "oom")


def test_out_of_memory_beside_others_is_the_last_word_once_the_sweep_is_stopped(lab):
    sweep = lab.create()
    command = lab.ask(lab.register(sweep))
    lab.start(command)
    lab.set_state(sweep, "FINISHED")

    lab.report(command, "oom", exit_code=1, message="CUDA out of memory", is_crowded=True)

    assert lab.trial(sweep, command).reason == "oom"


def test_error_beside_others_is_an_error(lab, held):
    sweep, _, command = held

    lab.report(command, "error", exit_code=1, message="ValueError: x", is_crowded=True)

    assert lab.trial(sweep, command).reason == "error"


def test_word_that_comes_first_is_not_undone_by_complete(lab, held):
    sweep, _, command = held

    lab.report(command, "timed_out", signal=9, message="no row for 600 s")
    lab.end(command, 1)

    assert lab.trial(sweep, command).reason == "timed_out"


def test_word_is_harmless_when_repeated(lab, held):
    sweep, _, command = held
    for _ in range(2):
        lab.report(command, "error", exit_code=1, message="ValueError: x")

    ended = [kind for kind in kinds(lab, sweep) if kind == "trial.ended"]
    assert len(ended) == 1


def test_success_before_wandb_init_is_no_success(lab):
    sweep = lab.create()
    command = lab.ask(lab.register(sweep))

    lab.report(command, "finished", exit_code=0)

    trial = lab.trial(sweep, command)
    assert trial.reason == "never_init"
    assert trial.message == "the program ended before it called wandb.init with exit code 0"


def test_process_that_begins_after_its_trial_was_given_up_and_the_sweep_stopped_counts(lab):
    sweep = lab.create()
    command = lab.ask(lab.register(sweep))
    lab.tick(70)
    lab.set_state(sweep, SweepState.FINISHED)
    assert lab.trial(sweep, command).reason == "never_started"

    lab.start(command)
    assert lab.trial(sweep, command).state == "ended"
    lab.log(command, 0.5)
    lab.end(command)
    lab.report(command, "finished", exit_code=0)

    trial = lab.trial(sweep, command)
    assert (trial.reason, trial.message, trial.objective) == ("finished", None, 0.5)
    assert lab.run_of(command).state == RunState.FINISHED
    assert lab.sweep(sweep).best_value == 0.5


@pytest.mark.parametrize("lease", [True, False], ids=["ours", "wandb's"])
def test_run_that_its_agent_lost_before_init_and_that_comes_from_a_folder_counts(lab, lease):
    sweep = lab.create()
    agent = lab.register(sweep)
    command = lab.ask(agent)
    lab.clock.advance(5.0)
    lab.beat(agent, command.run)
    lab.clock.advance(5.0)
    lab.ask(agent)
    assert lab.trial(sweep, command).reason == "never_init"

    lab.start(command, lease=lease)
    lab.log(command, 0.5, lease=lease)
    lab.end(command, lease=lease)

    trial = lab.trial(sweep, command)
    assert (trial.reason, trial.message, trial.objective) == ("finished", None, 0.5)
    assert lab.sweep(sweep).best_value == 0.5


def test_run_that_begins_after_its_trial_was_given_up_and_fails_says_how(lab):
    sweep = lab.create()
    agent = lab.register(sweep)
    command = lab.ask(agent)
    lab.clock.advance(5.0)
    lab.beat(agent, command.run)
    lab.clock.advance(5.0)
    lab.ask(agent)

    lab.start(command)
    lab.end(command, 1)

    trial = lab.trial(sweep, command)
    assert (trial.state, trial.reason) == ("ended", "error")


def test_preempted_trial_goes_to_the_next_agent_under_its_run_id(lab, held):
    sweep, _, command = held
    other = lab.register(sweep)

    lab.report(command, "preempted", signal=15)

    again = lab.ask(other)
    assert (again.run, again.attempt, again.type) == (command.run, 2, "resume")
    assert lab.run_of(command).state == RunState.PENDING
    lab.start(again)
    assert lab.run_of(command).state == RunState.RUNNING


def test_marked_preemption_of_wandbs_agents_runs_is_requeued(lab):
    sweep = lab.create()
    agent = lab.register(sweep)
    command = lab.ask(agent)
    lab.start(command, lease=False)

    lab.stream(command, preempting=True, lease=False)
    lab.end(command, 143, lease=False)

    again = lab.ask(agent)
    assert (again.run, again.attempt) == (command.run, 2)


def test_agent_that_still_sees_a_process_which_said_its_end_does_not_get_the_trial_back(lab):
    sweep = lab.create()
    agent, other = lab.register(sweep), lab.register(sweep)
    command = lab.ask(agent)
    lab.start(command, lease=False)
    lab.stream(command, preempting=True, lease=False)
    lab.end(command, 143, lease=False)

    assert lab.beat(agent, command.run) is None

    assert lab.trial(sweep, command).state == "queued"
    again = lab.ask(other)
    assert (again.run, again.attempt) == (command.run, 2)


def test_process_that_takes_up_a_preempted_trial_by_itself_is_its_next_attempt(lab):
    sweep = lab.create()
    agent = lab.register(sweep)
    command = lab.ask(agent)
    lab.start(command, lease=False)
    lab.stream(command, preempting=True, lease=False)
    lab.end(command, 143, lease=False)

    change = runs.RunChange(id=lab.run_of(command).id, name=command.run, project="toy", host="box")
    lab.write(runs.upsert_run, actor=lab.actor, change=change)

    trial = lab.trial(sweep, command)
    assert (trial.state, trial.attempt) == ("leased", 2)
    assert lab.run_of(command).state == RunState.RUNNING
    assert lab.ask(agent).run != command.run
    lab.log(command, 1.0, lease=False)
    lab.end(command, lease=False)
    assert lab.trial(sweep, command).reason == "finished"


def test_definition_says_how_often_a_trial_is_tried_again(lab, texts):
    sweep = lab.create(texts["random"] + "sweepd: {retries: 0}\n")
    agent = lab.register(sweep)
    command = lab.ask(agent)
    lab.start(command)

    lab.report(command, "crashed")

    trial = lab.trial(sweep, command)
    assert (trial.state, trial.reason, trial.attempt) == ("ended", "crashed", 1)


def test_retries_end(lab):
    sweep = lab.create()
    agent = lab.register(sweep)
    for attempt in range(1, 4):
        command = lab.ask(agent)
        assert command.attempt == attempt
        lab.start(command)
        lab.report(command, "crashed", message="the node is gone")

    trial = lab.trials(sweep)[0]
    assert (trial.state, trial.reason, trial.attempt) == ("ended", "crashed", 3)
    assert lab.ask(agent).run != command.run


def test_late_writes_of_an_older_attempt_do_not_change_the_trial(lab, held):
    sweep, agent, command = held
    lab.log(command, 5.0)
    lab.report(command, "preempted")
    again = lab.ask(agent)
    lab.start(again)

    reply = lab.log(command, 0.001, offset=1)

    assert reply.stopped
    assert lab.trial(sweep, command).best == 5.0
    lab.end(command)
    assert lab.trial(sweep, command).state == "leased"
    with pytest.raises(LeaseLost, match="attempt 1 has been followed by 2"):
        lab.report(command, "finished", exit_code=0)


def test_report_on_what_is_no_trial_or_no_reason_is_refused(lab, held, upsert):
    _, _, command = held
    upsert("plain")

    with pytest.raises(InvalidInput, match="must be one of finished"):
        lab.report(command, "tired")
    with pytest.raises(NotFound, match="is not a trial"):
        lab.report(type(command)("run", run="plain", attempt=1, token="x"), "error")


def test_every_trial_failing_alike_ends_the_sweep_with_the_reason(lab):
    sweep = lab.create()
    agent = lab.register(sweep)
    for _ in range(5):
        command = lab.ask(agent)
        lab.report(command, "error", exit_code=1, message="ModuleNotFoundError: no torch")

    after = lab.sweep(sweep)
    assert after.state == SweepState.FAILED
    assert after.stop_reason == "every trial failed the same way: ModuleNotFoundError: no torch"
    assert lab.beat(agent).type == "exit"


@pytest.mark.parametrize("jump_s", [60, -3600])
def test_resumed_after_failing_alike_a_sweep_gets_another_five(lab, jump_s):
    sweep = lab.create()
    agent = lab.register(sweep)
    for _ in range(5):
        lab.report(lab.ask(agent), "never_init")
    lab.set_state(sweep, "RUNNING")
    lab.tick()
    lab.clock.advance(jump_s)
    lab.tick()

    assert lab.sweep(sweep).stop_reason is None
    for _ in range(4):
        lab.clock.advance(1)
        lab.report(lab.ask(agent), "never_init")
    assert lab.sweep(sweep).state == SweepState.RUNNING
    lab.clock.advance(1)
    lab.report(lab.ask(agent), "never_init")
    assert lab.sweep(sweep).state == SweepState.FAILED


def test_one_success_keeps_a_sweep_going_through_failures(lab):
    sweep = lab.create()
    agent = lab.register(sweep)
    lab.run(agent, 1.0)
    for _ in range(6):
        lab.run(agent, exit_code=1)

    assert lab.sweep(sweep).state == SweepState.RUNNING


def test_one_success_before_a_pause_keeps_a_sweep_going_through_failures(lab):
    sweep = lab.create()
    agent = lab.register(sweep)
    lab.run(agent, 1.0)
    lab.set_state(sweep, "PAUSED")
    lab.set_state(sweep, "RUNNING")

    for _ in range(6):
        lab.run(agent, exit_code=1)

    assert lab.sweep(sweep).state == SweepState.RUNNING


def test_failed_trials_of_a_sweep_in_which_others_finished_are_all_retried(lab, texts):
    sweep = lab.create(texts["random"] + "run_cap: 7\n")
    agent = lab.register(sweep)
    lab.run(agent, 1.0)
    for _ in range(6):
        lab.run(agent, exit_code=1)
    assert lab.sweep(sweep).state == SweepState.FINISHED

    lab.clock.advance(60.0)
    lab.write(retry.retry_sweep, actor=lab.actor, sweep_id=sweep.id)
    again = lab.register(sweep)
    for _ in range(6):
        lab.run(again, exit_code=1)

    assert [trial.attempt for trial in lab.trials(sweep)] == [1] + 6 * [2]
    assert lab.sweep(sweep).state == SweepState.FINISHED


def test_short_sweep_in_which_everything_failed_alike_has_failed(lab, texts):
    sweep = lab.create(texts["random"] + "run_cap: 2\n")
    agent = lab.register(sweep)
    for _ in range(2):
        lab.run(agent, exit_code=1)

    after = lab.sweep(sweep)
    assert after.state == SweepState.FAILED
    assert after.stop_reason.startswith("every trial failed the same way: the program ended with")


def test_target_reached_starts_nothing_more_and_lets_the_others_finish(lab, texts):
    text = texts["random"].replace("goal: minimize", "goal: minimize, target: 0.1")
    sweep = lab.create(text)
    one, two = lab.register(sweep), lab.register(sweep)
    other = lab.ask(two)
    lab.start(other)

    command = lab.run(one, 0.5, 0.05)

    assert lab.beat(one) is None
    assert lab.sweep(sweep).state == SweepState.RUNNING
    lab.log(other, 0.7)
    lab.end(other)
    after = lab.sweep(sweep)
    assert after.state == SweepState.FINISHED
    assert after.stop_reason == f"target reached: run {command.run} logged loss = 0.05 (target 0.1)"
    assert lab.beat(one).type == "exit"


def test_target_that_the_summary_alone_tells_of_is_reached_too(lab, texts):
    sweep = lab.create(texts["random"].replace("goal: minimize", "goal: minimize, target: 0.1"))
    agent = lab.register(sweep)
    command = lab.ask(agent)
    lab.start(command)
    summary = {"wandb-summary.json": {"offset": 0, "content": ['{"loss": 0.05}']}}

    lab.stream(command, files=summary)
    lab.end(command)

    after = lab.sweep(sweep)
    assert after.state == SweepState.FINISHED
    assert after.stop_reason == f"target reached: run {command.run} logged loss = 0.05 (target 0.1)"


def test_run_that_no_agent_was_given_is_left_alone(lab, upsert):
    sweep = lab.create()
    run = upsert("stray", sweep=sweep.name)

    lab.write(agents.register, actor=lab.actor, project="toy", sweep=sweep.name, host="box")

    assert run.sweep == sweep.name
    assert lab.trials(sweep) == []


def kinds(lab, sweep):
    from sqlalchemy import select

    from sweepd.store import tables as t

    def read(tx):
        query = select(t.event.c.kind).where(t.event.c.sweep_id == sweep.id).order_by(t.event.c.id)
        return list(tx.conn.scalars(query))

    return lab.store.read_sync(read)


def test_every_change_is_in_the_event_table(lab):
    sweep = lab.create()
    agent = lab.register(sweep)
    command = lab.run(agent, 1.0)
    lab.set_state(sweep, "PAUSED")
    lab.set_state(sweep, "RUNNING")
    lab.set_state(sweep, "CANCELED")

    assert command is not None
    assert kinds(lab, sweep) == [
        "sweep.created",
        "agent.registered",
        "sweep.started",
        "trial.issued",
        "run.state",
        "trial.started",
        "run.state",
        "trial.ended",
        "sweep.paused",
        "sweep.resumed",
        "sweep.canceled",
    ]


def test_trial_that_is_finished_by_hand_counts_as_one_that_ended_well(lab):
    sweep = lab.create()
    command = lab.ask(lab.register(sweep))
    run = lab.start(command, lease=False)
    lab.stream(command, rows=[{"loss": 2.0}], lease=False)

    lab.write(runs.finish_run, actor=lab.actor, run_id=run.id)

    trial = lab.trial(sweep, command)
    assert (trial.state, trial.reason, trial.objective) == ("ended", "finished", 2.0)


def test_trial_that_is_rewound_has_the_objective_of_then(lab):
    sweep = lab.create()
    command = lab.ask(lab.register(sweep))
    lab.start(command, lease=False)
    lab.log(command, 3.0, 2.0, 1.0, lease=False)

    lab.write(
        rewinds.rewind,
        actor=lab.actor,
        entity=None,
        project="toy",
        name=command.run,
        metric="_step",
        value=1,
    )
    rewound = lab.trial(sweep, command)
    lab.log(command, 5.0, offset=2, lease=False)

    assert (rewound.n_values, rewound.best, rewound.objective) == (2, 2.0, 2.0)
    after = lab.trial(sweep, command)
    assert (after.n_values, after.best, after.last) == (3, 2.0, 5.0)


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        pytest.param(1, "finished", id="to the last good step"),
        pytest.param(2, "diverged", id="among the bad ones"),
    ],
)
def test_trial_that_is_rewound_ends_badly_if_the_step_of_then_did(lab, step, reason):
    sweep = lab.create()
    command = lab.ask(lab.register(sweep))
    lab.start(command, lease=False)
    lab.log(command, 3.0, 2.0, math.nan, math.nan, lease=False)

    where = {"entity": None, "project": "toy", "name": command.run, "metric": "_step"}
    lab.write(rewinds.rewind, actor=lab.actor, **where, value=step)
    lab.end(command, lease=False)

    assert lab.trial(sweep, command).reason == reason


def test_best_of_a_sweep_is_a_trial_that_finished_or_runs_and_none_that_failed(lab, texts):
    sweep = lab.create(texts["random"])
    agent = lab.register(sweep)
    lab.run(agent, 0.01, exit_code=1)
    assert lab.sweep(sweep).best_run is None

    finished = lab.run(agent, 0.5)
    running = lab.ask(agent)
    lab.start(running, lease=False)
    lab.log(running, 0.2, lease=False)

    assert lab.sweep(sweep).best_run == running.run
    lab.end(running, 1, lease=False)
    view = lab.sweep(sweep)
    assert (view.best_run, view.best_value) == (finished.run, 0.5)


def test_sweep_whose_target_a_failing_run_has_reached_is_finished_by_that(lab, texts):
    sweep = lab.create(texts["random"].replace("goal: minimize", "goal: minimize, target: 0.05"))

    command = lab.run(lab.register(sweep), 0.01, exit_code=1)

    view = lab.sweep(sweep)
    assert view.state == SweepState.FINISHED
    assert view.stop_reason == f"target reached: run {command.run} logged loss = 0.01 (target 0.05)"
