"""Many at once, on the real store: every trial goes to one agent, every end comes once."""

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from sqlalchemy import select

from sweepd.engine import runs, sweeps
from sweepd.states import RunState, SweepState
from sweepd.store import tables as t

CELLS = "method: {method}\nmetric: {{name: loss}}\nparameters: {{a: {{values: {values}}}}}\n"


def at_once(jobs):
    """Run the jobs in threads that begin together; return what they return, in their order."""
    barrier = Barrier(len(jobs))

    def begin(job):
        barrier.wait()
        return job()

    with ThreadPoolExecutor(len(jobs)) as pool:
        return list(pool.map(begin, jobs))


def kinds(lab, sweep):
    query = select(t.event.c.kind).where(t.event.c.sweep_id == sweep.id)
    return Counter(lab.store.read_sync(lambda tx: list(tx.conn.scalars(query))))


@pytest.mark.parametrize("n", [1, 8, 64])
@pytest.mark.parametrize("method", ["random", "grid", "bayes"])
def test_agents_that_ask_in_one_instant_get_different_trials(lab, n, method):
    sweep = lab.create(CELLS.format(method=method, values=list(range(64))))
    crowd = [lab.register(sweep) for _ in range(n)]

    commands = at_once([lambda agent=agent: lab.ask(agent) for agent in crowd])

    assert len({command.run for command in commands}) == n
    assert len({json.dumps(command.config) for command in commands}) == n
    assert lab.sweep(sweep).n_issued == n


def test_cap_holds_with_sixteen_leases_out_and_the_target_reached_by_two_runs_at_once(lab):
    text = CELLS.format(method="random", values=list(range(99)))
    text = text.replace("{name: loss}", "{name: loss, target: 0.1}") + "run_cap: 16\n"
    sweep = lab.create(text)
    crowd = [lab.register(sweep) for _ in range(24)]
    given = [one for one in at_once([lambda a=a: lab.beat(a) for a in crowd]) if one is not None]
    assert len(given) == 16
    for command in given:
        lab.start(command)

    at_once([lambda c=c: lab.log(c, 0.05) for c in given[:2]])

    assert kinds(lab, sweep)["sweep.draining"] == 1
    at_once([lambda c=c: lab.end(c) for c in given[:2]])
    assert [lab.beat(agent) for agent in crowd[-2:]] == [None, None]
    for command in given[2:]:
        lab.log(command, 1.0)
    at_once([lambda c=c: lab.end(c) for c in given[2:]])
    after = lab.sweep(sweep)
    assert (after.state, after.n_issued) == (SweepState.FINISHED, 16)
    assert after.stop_reason.startswith("target reached: run ")
    assert kinds(lab, sweep)["sweep.finished"] == 1
    assert {lab.beat(agent).type for agent in crowd} == {"exit"}


@pytest.mark.parametrize("method", ["random", "grid", "bayes"])
def test_an_exhausted_space_ends_its_sweep_once(lab, method):
    sweep = lab.create(CELLS.format(method=method, values=list(range(10))))
    crowd = [lab.register(sweep) for _ in range(8)]

    def work(agent):
        while True:
            command = lab.beat(agent)
            if command is None:
                continue  # another one holds the last trials
            if command.type == "exit":
                return
            lab.start(command)
            lab.log(command, 1.0)
            lab.end(command)

    at_once([lambda a=a: work(a) for a in crowd])

    trials = lab.trials(sweep)
    assert sorted(json.loads(trial.config)["a"] for trial in trials) == list(range(10))
    assert {trial.reason for trial in trials} == {"finished"}
    assert kinds(lab, sweep)["sweep.finished"] == 1
    assert "has been tried: 10 trials" in lab.sweep(sweep).stop_reason


def test_of_two_agents_one_gets_the_preempted_run(lab, texts):
    sweep = lab.create(texts["random"])
    first = lab.register(sweep)
    command = lab.ask(first)
    lab.start(command)
    lab.report(command, "preempted")
    crowd = [lab.register(sweep) for _ in range(8)]

    given = at_once([lambda a=a: lab.ask(a) for a in crowd])

    assert Counter(one.type for one in given) == {"resume": 1, "run": 7}
    assert len({one.run for one in given}) == 8


def test_requeued_comes_before_enqueued_before_initial_before_prepared(lab, texts):
    sweep = lab.create(texts["bayes"] + "sweepd: {initial: [{lr: 0.125}]}\n")
    agent = lab.register(sweep)
    preempted = lab.ask(agent)
    assert preempted.config["lr"] == 0.125
    lab.start(preempted)
    _, enqueued = lab.write(
        sweeps.enqueue_run, actor=lab.actor, sweep_id=sweep.id, config={"lr": 0.75, "layers": 3}
    )
    edited = texts["bayes"] + "sweepd: {initial: [{lr: 0.25}]}\n"
    lab.write(sweeps.update_sweep, actor=lab.actor, sweep_id=sweep.id, definition=edited)
    lab.think()
    lab.report(preempted, "preempted")

    given = [lab.ask(lab.register(sweep)) for _ in range(4)]

    assert [one.run for one in given[:2]] == [preempted.run, enqueued]
    assert given[2].config["lr"] == 0.25
    assert [trial.origin for trial in lab.trials(sweep)][-1] == "search"


def test_what_comes_without_a_token_before_the_next_attempt_began_is_an_earlier_ones(lab, texts):
    sweep = lab.create(texts["random"])
    agent, other = lab.register(sweep), lab.register(sweep)
    command = lab.ask(agent)
    lab.start(command, lease=False)
    lab.log(command, 5.0, lease=False)
    lab.tick(310)
    lab.beat(other)
    again = lab.beat(other) or lab.ask(other)
    assert (again.run, again.attempt) == (command.run, 2)

    assert lab.log(command, 0.001, offset=1, lease=False).stopped
    lab.end(command, lease=False)

    trial = lab.trial(sweep, command)
    assert (trial.state, trial.attempt, trial.best) == ("leased", 2, 5.0)
    lab.start(again, lease=False)
    lab.log(again, 2.0, offset=2, lease=False)
    lab.end(again, lease=False)
    assert lab.trial(sweep, command).best == 2.0


def test_stopping_a_trial_that_waits_for_another_attempt_ends_it(lab, texts):
    sweep = lab.create(texts["random"] + "run_cap: 1\n")
    agent = lab.register(sweep)
    command = lab.ask(agent)
    lab.start(command)
    lab.report(command, "crashed")
    assert lab.trial(sweep, command).state == "queued"

    for _ in range(2):
        lab.write(runs.request_stop, actor=lab.actor, run_id=lab.run_of(command).id)

    trial = lab.trial(sweep, command)
    assert (trial.state, trial.reason) == ("ended", "killed")
    assert lab.run_of(command).state == RunState.KILLED
    assert lab.sweep(sweep).state == SweepState.FINISHED
    assert lab.beat(agent).type == "exit"


def test_deleting_runs_that_agents_hold_leaves_the_rest_exact(lab):
    sweep = lab.create(CELLS.format(method="grid", values=list(range(6))) + "run_cap: 6\n")
    crowd = [lab.register(sweep) for _ in range(3)]
    held = [lab.ask(agent) for agent in crowd]
    for command in held:
        lab.start(command)

    jobs = [lambda: lab.write(runs.delete_run, actor=lab.actor, run_id=lab.run_of(held[0]).id)]
    jobs += [lambda: lab.log(held[1], 1.0), lambda: lab.beat(crowd[0], held[0].run)]
    at_once(jobs)

    assert lab.beat(crowd[0], held[0].run).type == "stop"  # what nobody wants any more
    for command in held[1:]:
        lab.end(command)
    for agent in crowd:
        while (command := lab.beat(agent)) is not None and command.type == "run":
            lab.start(command)
            lab.log(command, 1.0)
            lab.end(command)
    after = lab.sweep(sweep)
    assert (after.n_issued, after.state) == (6, SweepState.FINISHED)
