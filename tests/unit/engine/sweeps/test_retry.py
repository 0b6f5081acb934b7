import json

import pytest

from sweepd.dash.queries import trial_rows
from sweepd.engine import retry, runs, sweeps
from sweepd.errors import Conflict, IllegalMove, NotFound
from sweepd.states import RunState, SweepState


def run_again(lab, agent):
    """Take a trial and go on where its client finds that its run had come to."""
    command = lab.ask(agent)
    lab.start(command, lease=False)
    lab.log(command, 2.0, offset=lab.run_of(command).history_lines, lease=False)
    lab.end(command, lease=False)
    return command


def retry_sweep(lab, sweep):
    return lab.write(retry.retry_sweep, actor=lab.actor, sweep_id=sweep.id)


def retry_run(lab, command):
    return lab.write(retry.retry_run, actor=lab.actor, run_id=lab.run_of(command).id)


@pytest.fixture
def ended(lab, texts):
    """A grid of six points that has ended: three have failed, in three ways."""
    sweep = lab.create(texts["grid"])
    agent = lab.register(sweep)
    good = [lab.run(agent, 1.0) for _ in range(3)]
    failed = [lab.run(agent, exit_code=1), lab.run(agent, float("nan")), lab.run(agent)]
    assert lab.sweep(sweep).state == SweepState.FINISHED
    assert lab.beat(agent).type == "exit"
    return sweep, good, failed


def test_failed_trials_of_an_ended_sweep_run_again_under_their_ids_and_configs(lab, ended):
    sweep, good, failed = ended

    retried = retry_sweep(lab, sweep)

    assert retried.runs == tuple(command.run for command in failed)
    assert retried.sweep.state == SweepState.RUNNING
    agent = lab.register(sweep)
    again = [run_again(lab, agent) for _ in failed]
    assert [(one.run, one.config, one.attempt, one.type) for one in again] == [
        (one.run, one.config, 2, "resume") for one in failed
    ]
    after = lab.sweep(sweep)
    assert (after.state, after.n_issued, after.n_finished) == (SweepState.FINISHED, 6, 6)
    assert after.stop_reason == "every point of the grid has been tried: 6 trials"
    assert len({json.dumps(one.config) for one in (*good, *again)}) == 6


def test_a_page_counts_the_attempts_and_not_the_wait_between_them(lab, texts):
    sweep = lab.create(texts["random"] + "run_cap: 1\n")
    failed = lab.ask(lab.register(sweep))
    lab.start(failed, lease=False)
    lab.clock.advance(5)
    lab.end(failed, 1, lease=False)
    lab.clock.advance(3600)

    retry_sweep(lab, sweep)
    (waiting,) = lab.write(trial_rows, sweep_id=sweep.id)
    again = lab.clock.now
    run_again(lab, lab.register(sweep))
    (ended,) = lab.write(trial_rows, sweep_id=sweep.id)

    assert (waiting.started_at, waiting.earlier_s) == (None, pytest.approx(5))
    assert (ended.started_at, ended.earlier_s) == (pytest.approx(again), pytest.approx(5))


def test_retry_of_a_capped_sweep_hands_out_nothing_new(lab, texts):
    sweep = lab.create(texts["random"] + "run_cap: 2\n")
    agent = lab.register(sweep)
    lab.run(agent, 1.0)
    failed = lab.run(agent, exit_code=1)

    retry_sweep(lab, sweep)

    agent = lab.register(sweep)
    assert lab.run(agent, 1.0).run == failed.run
    assert (lab.sweep(sweep).state, lab.sweep(sweep).n_issued) == (SweepState.FINISHED, 2)


def test_sweep_that_failed_alike_goes_on_with_another_five(lab, texts):
    sweep = lab.create(texts["random"])
    agent = lab.register(sweep)
    failed = [lab.run(agent, exit_code=1) for _ in range(5)]
    assert lab.sweep(sweep).state == SweepState.FAILED
    lab.clock.advance(60)

    retry_sweep(lab, sweep)

    agent = lab.register(sweep)
    assert lab.sweep(sweep).stop_reason is None
    assert [lab.run(agent, 1.0).run for _ in failed] == [one.run for one in failed]
    assert lab.ask(agent).attempt == 1


def test_retried_trial_has_all_its_retries_again(lab, texts):
    sweep = lab.create(texts["random"])
    agent = lab.register(sweep)
    for _ in range(3):
        command = lab.ask(agent)
        lab.start(command)
        lab.report(command, "preempted")
    assert lab.trial(sweep, command).state == "ended"

    retry_run(lab, command)

    for attempt in (4, 5, 6):
        again = lab.ask(agent)
        assert (again.run, again.attempt) == (command.run, attempt)
        lab.start(again)
        lab.report(again, "preempted")
    assert lab.trial(sweep, command).reason == "preempted"


def test_run_that_was_killed_is_retried_only_by_name(lab, texts):
    sweep = lab.create(texts["random"])
    agent = lab.register(sweep)
    command = lab.ask(agent)
    lab.start(command)
    lab.write(runs.request_stop, actor=lab.actor, run_id=lab.run_of(command).id)
    lab.end(command, 143)
    lab.report(command, "killed", exit_code=143)
    assert lab.trial(sweep, command).reason == "killed"
    with pytest.raises(Conflict, match="nothing to retry"):
        retry_sweep(lab, sweep)

    retry_run(lab, command)
    assert retry_run(lab, command).runs == (command.run,)  # twice is harmless

    again = lab.ask(agent)
    lab.start(again)
    assert again.run == command.run
    assert lab.beat(agent, again.run) is None  # nobody wants it stopped any more
    assert lab.run_of(again).state == RunState.RUNNING


def test_what_somebody_ended_is_not_taken_up_again(lab, texts):
    target = texts["random"].replace("goal: minimize", "goal: minimize, target: 0.5")
    for text, state in ((texts["random"], "FINISHED"), (texts["random"], "CANCELED"), (target, "")):
        sweep = lab.create(text)
        agent = lab.register(sweep)
        failed = lab.run(agent, exit_code=1)
        if state:
            lab.set_state(sweep, state)
        else:
            lab.run(agent, 0.1)
        ended = lab.sweep(sweep)

        for again in (lambda: retry_sweep(lab, sweep), lambda: retry_run(lab, failed)):  # noqa: B023
            with pytest.raises(Conflict, match="is not taken up again"):
                again()
        assert lab.sweep(sweep) == ended


def test_retry_waits_in_a_paused_sweep(lab, texts):
    sweep = lab.create(texts["random"])
    agent = lab.register(sweep)
    failed = lab.run(agent, exit_code=1)
    lab.set_state(sweep, "PAUSED")

    retry_sweep(lab, sweep)

    assert lab.beat(agent) is None
    lab.set_state(sweep, "RUNNING")
    assert lab.ask(agent).run == failed.run


def test_what_runs_or_has_succeeded_or_is_no_trial_is_refused_in_words(lab, texts, upsert):
    sweep = lab.create(texts["random"])
    agent = lab.register(sweep)
    done = lab.run(agent, 1.0)
    live = lab.ask(agent)
    plain = upsert("plain")

    for command, words in ((done, "has not failed"), (live, "is held by an agent")):
        with pytest.raises(Conflict, match=words):
            retry_run(lab, command)
    with pytest.raises(Conflict, match="is not a trial"):
        lab.write(retry.retry_run, actor=lab.actor, run_id=plain.id)
    with pytest.raises(NotFound):
        lab.write(retry.retry_sweep, actor=lab.actor, sweep_id=10**6)


def test_ended_sweep_is_not_simply_resumed(lab, ended):
    sweep, *_ = ended

    with pytest.raises(IllegalMove, match="`sweep retry` takes failed trials up"):
        lab.set_state(sweep, "RUNNING")


def test_sweep_that_was_paused_after_its_target_was_reached_is_not_taken_up_again(lab, texts):
    sweep = lab.create(texts["random"].replace("goal: minimize", "goal: minimize, target: 0.1"))
    one, two = lab.register(sweep), lab.register(sweep)
    last = lab.ask(two)
    lab.start(last, lease=False)
    lab.run(one, 0.5, exit_code=1)
    lab.run(one, 0.05)
    for state in ("PAUSED", "RUNNING"):
        lab.write(sweeps.set_state, actor=lab.actor, sweep_id=sweep.id, state=state)
    lab.end(last, exit_code=1, lease=False)
    assert lab.sweep(sweep).state == SweepState.FINISHED

    with pytest.raises(Conflict, match="target reached"):
        retry_sweep(lab, sweep)


@pytest.mark.parametrize("way", [retry_sweep, lambda lab, sweep: lab.set_state(sweep, "RUNNING")])
def test_sweep_that_failed_goes_on_with_the_configs_that_were_to_be_tried_first(lab, texts, way):
    rates = [round(0.1 + 0.05 * n, 2) for n in range(8)]
    initial = ", ".join(f"{{lr: {rate}}}" for rate in rates)
    sweep = lab.create(texts["random"] + f"sweepd: {{initial: [{initial}]}}\n")
    agent = lab.register(sweep)
    for _ in range(5):
        lab.run(agent, exit_code=1)
    assert lab.sweep(sweep).state == SweepState.FAILED

    way(lab, sweep)

    agent = lab.register(sweep)
    given = [lab.run(agent, 1.0) for _ in range(8)]
    new = [command for command in given if command.attempt == 1]
    assert [command.config["lr"] for command in new][:3] == rates[5:]
