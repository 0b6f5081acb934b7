"""Who computes suggestions: what its workers are asked for, and when."""

import asyncio
from dataclasses import replace
from types import SimpleNamespace

import pytest

from sweepd.engine import computing
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
        def __init__(self, **options):
            pass

        async def call(self, function, argument, *, timeout_s):
            asked.append(function.__name__)
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


def test_a_fit_is_rehearsed_once_after_the_first_suggestion(asked, compute):
    compute(JOB, replace(JOB, sweep_id=2))

    assert asked == [computing.compute.__name__, computing.rehearse.__name__, "compute"]


def test_nothing_is_rehearsed_where_trials_wait_or_the_method_is_not_ours(asked, compute):
    compute(replace(JOB, trials=(Trial({}, 1.0),)), replace(JOB, method="theirs"))

    assert asked == ["compute", "compute"]
