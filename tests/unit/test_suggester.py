"""Who computes suggestions: what its workers are asked for, and when."""

import asyncio
from dataclasses import replace
from types import SimpleNamespace

import pytest

from sweepd.engine.computing import Answer, SuggestJob
from sweepd.search import Trial
from sweepd.suggester import Suggester

JOB = SuggestJob(
    sweep_id=1,
    method="bayes",
    definition="{}",
    trials=(),
    pending=(),
    n=1,
    seed=0,
    basis_event=1,
)


@pytest.fixture
def asked(monkeypatch):
    """What the workers were asked for, by name; they answer at once."""
    asked = []

    class Answering:
        is_running = False

        def __init__(self, **options):
            pass

        async def call(self, function, argument, *, timeout_s):
            asked.append(function.__name__)
            self.is_running = True
            return Answer()

    monkeypatch.setattr("sweepd.suggester.Worker", Answering)
    return asked


@pytest.fixture
def compute():
    """Lets a new suggester compute jobs one after the other."""

    async def write(use_case, **arguments):
        return None

    def compute(*jobs):
        services = SimpleNamespace(store=SimpleNamespace(write=write))
        suggester = Suggester(services, timeout_s=1.0, limit_mib=64)

        async def all_of_them():
            for job in jobs:
                await suggester._compute(job, suggester._main)

        asyncio.run(all_of_them())

    return compute


def test_a_worker_starts_in_its_own_time_and_rehearses_a_fit_once(asked, compute):
    compute(JOB, replace(JOB, sweep_id=2))

    assert asked == ["prepare", "compute", "rehearse", "compute"]


def test_nothing_is_rehearsed_where_trials_wait_or_the_method_is_not_ours(asked, compute):
    compute(replace(JOB, trials=(Trial({}, 1.0),)), replace(JOB, method="theirs"))
    assert asked.pop(0) == "prepare"

    assert asked == ["compute", "compute"]


@pytest.mark.parametrize("turn", [Suggester.work, Suggester.help])
@pytest.mark.parametrize("n_steps", range(6))
def test_work_that_is_ended_in_the_instant_of_news_ends(turn, n_steps):
    async def end():
        news = asyncio.Event()

        async def read(use_case, **arguments):
            return None

        async def wait_change(seen):
            await news.wait()
            news.clear()

        async def wait_calm(within_s):
            await asyncio.sleep(0)

        store = SimpleNamespace(
            newest_event=0, read=read, wait_change=wait_change, wait_calm=wait_calm
        )
        suggester = Suggester(SimpleNamespace(store=store, limits=None), timeout_s=60, limit_mib=64)
        suggester._computing.add(1)  # so that it looks again by itself

        async def turn_after_turn():
            while True:
                await turn(suggester)

        task = asyncio.create_task(turn_after_turn())
        await asyncio.sleep(0.01)
        news.set()
        for _ in range(n_steps):  # of the event loop, until the news is known
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task}, timeout=0.1)
        has_ended = task.done()
        task.cancel()
        return has_ended

    assert asyncio.run(end())


@pytest.mark.parametrize("turn", [Suggester.work, Suggester.help])
def test_no_computation_begins_in_the_midst_of_a_crowd(turn):
    done = []

    async def read(use_case, **arguments):
        done.append(use_case.__name__)

    async def wait_change(seen):
        done.append("wait")

    async def wait_calm(within_s):
        done.append("calm")

    store = SimpleNamespace(newest_event=0, read=read, wait_change=wait_change, wait_calm=wait_calm)
    suggester = Suggester(SimpleNamespace(store=store, limits=None), timeout_s=60, limit_mib=64)

    asyncio.run(turn(suggester))

    assert done[:2] == ["calm", "next_job"]
