"""`sweepd.timeout`: trials that hang or take too long end, whichever agent has them."""

import pytest

LIMITS = "sweepd: {timeout: {minutes: 4, silent_minutes: 1}}\n"
_WORK_S = 10


@pytest.fixture
def begun(lab, texts):
    """Return a sweep with limits, an agent of it and a trial that has begun."""
    sweep = lab.create(texts["random"] + LIMITS)
    agent = lab.register(sweep)
    command = lab.ask(agent)
    lab.start(command)
    return sweep, agent, command


def why(lab, command):
    return lab.run_of(command).stop_requested


def wait(lab, begun, seconds):
    """Let time pass while the agent and the program's own threads send signs of life."""
    _, agent, command = begun

    def work():
        for _ in range(seconds // _WORK_S):
            lab.idle(_WORK_S, [agent, command.run])
            lab.stream(command)

    lab.at_once(work)


@pytest.mark.parametrize("lease", [True, False], ids=["ours", "wandb's"])
def test_trial_that_logs_nothing_is_stopped_and_timed_out(lab, texts, lease):
    sweep = lab.create(texts["random"] + LIMITS)
    agent = lab.register(sweep)
    command = lab.ask(agent)
    lab.start(command, lease=lease)
    lab.log(command, 0.5, lease=lease)
    lab.at_once(lambda: lab.idle(50, [agent, command.run]))
    assert why(lab, command) is None

    lab.at_once(lambda: lab.idle(20, [agent, command.run]))

    assert why(lab, command) == "timed out: it logged nothing for 1 minute"
    assert lab.beat(agent, command.run).type == "stop"
    lab.end(command, 143, lease=lease)
    trial = lab.trial(sweep, command)
    assert (trial.state, trial.reason, trial.message) == ("ended", "timed_out", why(lab, command))
    assert lab.ask(agent).run != command.run


def test_trial_that_hangs_before_it_begins_is_timed_out(lab, texts):
    sweep = lab.create(texts["random"] + LIMITS)
    agent = lab.register(sweep)
    command = lab.ask(agent)

    lab.at_once(lambda: lab.idle(70, [agent, command.run]))
    assert lab.beat(agent, command.run).type == "stop"
    lab.beat(agent)

    assert lab.trial(sweep, command).reason == "timed_out"


def test_rows_console_lines_and_progress_bars_are_signs(lab, begun):
    _, _, command = begun
    signs = [{"rows": [{"loss": 1.0}]}, {"console": ["epoch 1"]}, {"console": ["epoch 1: 50 %"]}]
    for sign in signs:
        wait(lab, begun, 50)
        lab.stream(command, **sign)
    wait(lab, begun, 50)
    assert why(lab, command) is None

    wait(lab, begun, 20)

    assert why(lab, command) == "timed out: it logged nothing for 1 minute"


def test_trial_that_takes_too_long_is_timed_out_whatever_it_logs(lab, begun):
    sweep, _, command = begun
    for number in range(6):
        wait(lab, begun, 30)
        lab.log(command, 1.0, offset=number)
        assert why(lab, command) is None

    wait(lab, begun, 40)
    lab.log(command, 1.0, offset=6)
    wait(lab, begun, 40)

    assert why(lab, command) == "timed out: it ran for longer than 4 minutes"
    lab.report(command, "killed", exit_code=143)
    assert lab.trial(sweep, command).reason == "timed_out"


@pytest.mark.parametrize("jump_s", [7200.0, -7200.0], ids=["forward", "back"])
def test_clock_that_jumps_times_nobody_out(lab, begun, jump_s):
    _, _, command = begun
    wait(lab, begun, 50)

    lab.clock.advance(jump_s)
    wait(lab, begun, 50)
    assert why(lab, command) is None
    wait(lab, begun, 20)

    assert why(lab, command) is not None


def test_restart_of_the_service_counts_the_silence_anew(lab, begun):
    _, _, command = begun
    wait(lab, begun, 50)

    lab.restart()
    lab.clock.advance(3600)
    wait(lab, begun, 50)
    assert why(lab, command) is None
    wait(lab, begun, 20)

    assert why(lab, command) is not None


def test_search_takes_a_timed_out_trial_for_weakly_infeasible(lab, texts):
    from sweepd.engine.observed import observe
    from sweepd.spec import read_definition

    text = texts["bayes"] + LIMITS
    sweep = lab.create(text)
    agent = lab.register(sweep)
    command = lab.ask(agent)
    lab.at_once(lambda: lab.idle(70, [agent, command.run]))
    lab.report(command, "killed", exit_code=143)

    definition = read_definition(text).definition
    seen = lab.store.read_sync(observe, sweep_id=sweep.id, definition=definition)

    (trial,) = seen.trials
    assert (trial.is_feasible, trial.objective) == (False, None)
    assert trial.blame < 1
