"""The importance of a sweep's parameters: from its finished runs, for any metric they logged."""

import asyncio
import json

import pytest

from sweepd.engine import streams
from sweepd.engine.access import Need
from sweepd.engine.importance import Importances, compute, read_job
from sweepd.errors import InvalidInput, NotFound, ProcessDied

TWO = """
method: random
metric: {name: acc, goal: maximize}
parameters:
  lr: {min: 0.0, max: 1.0}
  noise: {min: 0.0, max: 1.0}
sweepd: {seed: 3}
"""


@pytest.fixture
def finished(lab):
    """A sweep with so many finished runs, whose `acc` grows with lr and whose `cost` falls."""

    def finished(n):
        sweep = lab.create(TWO)
        finish(lab, sweep, n)
        return sweep

    return finished


def finish(lab, sweep, n):
    agent = lab.register(sweep)
    for _ in range(n):
        command = lab.ask(agent)
        lab.start(command)
        lr = command.config["lr"]
        values = {"acc": lr, "cost": -lr, "word": "x", "bad": "NaN", "_step": 0}
        lab.stream(command, rows=[values])
        write_summary(lab, command, values)
        lab.end(command)


def write_summary(lab, command, values):
    files = {"wandb-summary.json": {"offset": 0, "content": [json.dumps(values)]}}
    body = streams.parse_body(json.dumps({"files": files}))
    place = {"entity": lab.actor.entity, "project": "toy", "run": command.run}
    lab.write(streams.append, actor=lab.actor, body=body, **place)


@pytest.fixture
def job(lab):
    def job(sweep, metric=None, goal=None, actor=None):
        return lab.store.read_sync(
            read_job,
            actor=actor or lab.actor,
            sweep_id=sweep.id,
            need=Need.READ,
            metric=metric,
            goal=goal,
        )

    return job


class Inline:
    """A worker that counts its calls and computes in place."""

    def __init__(self, fails=False):
        self.n_calls, self.fails = 0, fails

    async def call(self, function, argument, *, timeout_s):
        self.n_calls += 1
        await asyncio.sleep(0)
        if self.fails:
            raise ProcessDied("it died")
        return function(argument)

    def stop(self):
        pass


def ask(lab, desk, sweep, **fields):
    return desk.of(lab.store.read, actor=lab.actor, sweep_id=sweep.id, need=Need.READ, **fields)


def test_finished_runs_are_measured_and_other_metrics_named(finished, job):
    sweep = finished(24)

    work, view = job(sweep)
    other, cost = job(sweep, "cost", "minimize")

    assert (view.metric, view.goal, view.n) == ("acc", "maximize", 24)
    assert view.metrics == ("acc", "cost")
    assert (cost.goal, cost.n) == ("minimize", 24)
    assert compute(work)[0].trend == pytest.approx(-1)  # of the signed objective
    assert other.objectives == work.objectives


def test_first_of_several_metrics_is_looked_at_with_its_own_goal(lab, job):
    sweep = lab.create(
        """
method: random
metrics: [{name: loss, goal: minimize}, {name: acc, goal: maximize}]
parameters: {lr: {min: 0.0, max: 1.0}}
"""
    )
    agent = lab.register(sweep)
    for _ in range(3):
        command = lab.ask(agent)
        lab.start(command)
        values = {"loss": command.config["lr"], "acc": 1.0, "_step": 0}
        lab.stream(command, rows=[values])
        write_summary(lab, command, values)
        lab.end(command)

    first, view = job(sweep)
    _, other = job(sweep, "acc", "minimize")

    assert (view.metric, view.goal, view.has_goal, view.n) == ("loss", "minimize", True, 3)
    assert view.metrics == ("loss", "acc")
    assert first.objectives == tuple(config["lr"] for config in first.configs)
    assert (other.goal, other.has_goal) == ("maximize", True)


def test_answer_is_shared_kept_and_made_anew_when_a_run_ends(lab, finished, job):
    sweep, worker = finished(21), Inline()
    desk = Importances([worker])

    async def twice():
        return await asyncio.gather(ask(lab, desk, sweep), ask(lab, desk, sweep))

    first, second = asyncio.run(twice())
    lab.run(lab.register(sweep), 0.5)
    asyncio.run(ask(lab, desk, sweep))
    assert worker.n_calls == 1
    agent = lab.register(sweep)
    command = lab.ask(agent)
    lab.start(command)
    lab.stream(command, rows=[{"acc": 0.5}])
    lab.end(command)
    asyncio.run(ask(lab, desk, sweep))

    assert first == second
    assert first.parameters[0].trend == pytest.approx(1)
    assert first.parameters[0].trend_low <= 1
    assert worker.n_calls == 2


class Held(Inline):
    """A worker that computes only when it is let go."""

    def __init__(self):
        super().__init__()
        self.is_free = asyncio.Event()

    async def call(self, function, argument, *, timeout_s):
        await self.is_free.wait()
        return await super().call(function, argument, timeout_s=timeout_s)


def test_who_would_wait_too_long_is_told_so_and_finds_it_later(lab, finished):
    sweep, worker = finished(21), Held()
    desk = Importances([worker])

    async def work():
        short = await asyncio.gather(*(ask(lab, desk, sweep, wait_s=0.01) for _ in range(3)))
        worker.is_free.set()
        return [*short, await ask(lab, desk, sweep)]

    *early, late = asyncio.run(work())

    assert {(view.is_computing, view.n, view.parameters) for view in early} == {(True, 21, ())}
    assert (late.is_computing, len(late.parameters)) == (False, 2)
    assert worker.n_calls == 1


def test_where_runs_end_all_the_time_there_is_an_answer_nevertheless(lab, finished):
    sweep, worker = finished(21), Held()
    desk = Importances([worker])

    def finish_one():
        command = lab.ask(lab.register(sweep))
        lab.start(command)
        lab.stream(command, rows=[{"acc": 0.5}])
        lab.end(command)

    async def work():
        first = asyncio.create_task(ask(lab, desk, sweep))
        computing = await ask(lab, desk, sweep, wait_s=0.01)
        await asyncio.to_thread(finish_one)
        second = asyncio.create_task(ask(lab, desk, sweep))
        worker.is_free.set()
        await first
        found = [computing, await first, await second]
        worker.is_free.clear()
        await asyncio.to_thread(finish_one)
        found.append(await ask(lab, desk, sweep, wait_s=0.01))
        worker.is_free.set()
        return [*found, await ask(lab, desk, sweep)]

    views = asyncio.run(work())

    assert [(view.n, view.is_computing) for view in views] == [
        (21, True),
        (21, False),
        (22, False),  # it came while the one before was computed, and waited for its own
        (22, False),  # the one before, rather than none
        (23, False),
    ]


def test_a_long_computation_keeps_no_other_sweep_waiting(lab, finished):
    slow, quick = finished(20), finished(21)
    held = Held()
    desk = Importances([Inline(), held])  # the last one is taken first

    async def work():
        waits = asyncio.create_task(ask(lab, desk, slow))
        while not desk._running:
            await asyncio.sleep(0)
        await ask(lab, desk, slow, wait_s=0.01)
        found = await ask(lab, desk, quick)
        is_waiting = not waits.done()
        held.is_free.set()
        return found, is_waiting, await waits

    found, is_waiting, late = asyncio.run(work())

    assert (found.n, is_waiting, late.n) == (21, True, 20)


def test_failure_is_told_in_words_and_not_tried_again_until_something_is_new(lab, finished):
    sweep, worker = finished(20), Inline(fails=True)
    desk = Importances([worker])

    views = [asyncio.run(ask(lab, desk, sweep)) for _ in range(2)]

    assert {view.note for view in views} == {"The importance could not be computed: it died."}
    assert views[0].parameters == ()
    assert worker.n_calls == 1


def test_an_answer_of_too_few_runs_is_none_once_there_are_enough(lab, finished):
    sweep, worker = finished(1), Held()
    desk = Importances([worker])

    async def work():
        await ask(lab, desk, sweep)
        await asyncio.to_thread(finish, lab, sweep, 20)
        early = await ask(lab, desk, sweep, wait_s=0.01)
        worker.is_free.set()
        return early, await ask(lab, desk, sweep)

    early, late = asyncio.run(work())

    assert (early.is_computing, early.n) == (True, 21)
    assert (late.n, len(late.parameters)) == (21, 2)


def test_runs_that_all_came_to_the_same_make_no_parameter_important(lab):
    sweep, worker = lab.create(TWO), Inline()
    agent = lab.register(sweep)
    for _ in range(20):
        command = lab.ask(agent)
        lab.start(command)
        lab.stream(command, rows=[{"acc": 0.5}])
        lab.end(command)

    view = asyncio.run(ask(lab, Importances([worker]), sweep))

    assert view.note == "All 20 runs came to the same acc: no parameter made a difference."
    assert (view.parameters, worker.n_calls) == ((), 0)


def test_too_few_runs_need_no_computation(lab, finished):
    sweep, worker = finished(3), Inline()
    desk = Importances([worker])

    view = asyncio.run(ask(lab, desk, sweep))

    assert (view.n, view.n_needed, view.parameters, worker.n_calls) == (3, 20, (), 0)


def test_wrong_goal_and_strangers_are_refused(lab, finished, job, bob):
    sweep = finished(1)

    with pytest.raises(InvalidInput, match="not 'up'"):
        job(sweep, "acc", "up")
    with pytest.raises(NotFound):
        job(sweep, actor=bob)
