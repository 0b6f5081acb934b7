"""Hyperband, held to W&B's own engine."""

import math
import random
import warnings

import pytest

from sweepd.search import Curves, Decision, Progress
from sweepd.search.hyperband import Hyperband

HUGE = 1.7e308


@pytest.mark.parametrize(
    ("keys", "bands"),
    [
        pytest.param({"min_iter": 3}, (3, 9, 27, 81), id="from min_iter, eta 3"),
        pytest.param({"min_iter": 2, "eta": 1.5}, (2, 3, 4, 6), id="eta with a fraction"),
        pytest.param({"max_iter": 27, "s": 2}, (3, 9), id="down from max_iter, which is not one"),
        pytest.param({"max_iter": 27, "s": 9}, (1, 3, 9), id="none below 1"),
        pytest.param(
            {"max_iter": 10, "s": 2, "min_iter": 1}, (1, 3), id="max_iter before min_iter"
        ),
        pytest.param({"max_iter": 2, "s": 2}, (), id="no band"),
        pytest.param({}, (), id="nothing given"),
    ],
)
def test_bands_are_those_of_the_definition(keys, bands):
    assert Hyperband(**keys).bands[: max(len(bands), 1) if bands else None][:4] == bands


def _decide(rule, curve, others):
    return rule.should_stop(Progress(curve=curve), Curves(others))


def test_bands_of_a_large_eta_end():
    assert len(Hyperband(min_iter=1, eta=1e9).bands) == 2


def test_run_in_the_worse_part_is_stopped_with_the_numbers_it_was_stopped_for():
    rule = Hyperband(min_iter=1, eta=2)

    decision = _decide(rule, [9.0, 5.0], [[9.0, 1.0], [9.0, 2.0], [9.0, 3.0]])

    assert decision == Decision(band=1, threshold=3.0, value=5.0)
    assert _decide(rule, [9.0, 2.0], [[9.0, 1.0], [9.0, 2.0], [9.0, 3.0]]) is None


def test_run_that_has_passed_no_band_goes_on():
    assert _decide(Hyperband(min_iter=3), [9.0, 9.0, 9.0], [[1.0] * 10] * 5) is None


def test_first_run_is_never_stopped():
    assert _decide(Hyperband(min_iter=1), [1.0, 2.0, 9.0, 10.0, 11.0], []) is None


def test_strict_looks_at_the_band_and_lenient_at_the_best_so_far():
    curve, others = [0.0, 9.0, 9.0], [[5.0, 1.0], [5.0, 2.0]]

    assert _decide(Hyperband(min_iter=1, strict=True), curve, others) is not None
    assert _decide(Hyperband(min_iter=1, strict=False), curve, others) is None


STATES = (
    "running",
    "pending",
    "finished",
    "killed",
    "crashed",
    "failed",
    "preempted",
    "preempting",
)
#: What a run may log beside finite values of the metric: none of it is an iteration.
NOISE = ({}, {"other": 1.0}, {"loss": math.nan}, {"loss": math.inf}, {"loss": -math.inf})
NOISE += ({"loss": "3"}, {"loss": None}, {"loss": True}, {"loss": [1.0]})


def _history(rng):
    """Return the keys of a stop rule, and curves of some runs, the running ones first."""
    eta = rng.choice([2, 3, 4, 1.5, 2.7, 1.01, 40])
    if rng.random() < 0.5:
        keys = {"min_iter": rng.randint(1, 5), "eta": eta}
    else:
        keys = {"max_iter": rng.choice([rng.randint(5, 40), 10**9]), "s": rng.randint(1, 4)}
        keys["eta"] = eta
    n_running, n_ended = rng.randint(1, 4), rng.randint(0, 8)
    scale = rng.choice([1.0, 1e300, 1e-300])
    digits = rng.choice([0, 1, 6])  # with few of them there are ties
    curves = []
    for _ in range(n_running + n_ended):
        level = rng.gauss(0, 2)
        length = rng.choice([0, 1, 2, 3, 4, 10, 30])
        curves.append([scale * round(rng.gauss(level, 1), digits) for _ in range(length)])
    return keys, curves, n_running


@pytest.fixture
def stopped(oracle):
    """Return the numbers of the runs that W&B's engine stops."""
    rng = random.Random("noise")

    def rows(curve, sign):
        for value in curve:
            while rng.random() < 0.1:
                yield rng.choice(NOISE)
            yield {"loss": sign * value}

    def ask(keys, curves, n_running, goal="minimize"):
        sign = -1 if goal == "maximize" else 1
        runs = [
            oracle.SweepRun(
                name=str(i),
                state=STATES[0] if i < n_running else rng.choice(STATES[1:]),
                sampledHistory=list(rows(curve, sign)),
            )
            for i, curve in enumerate(curves)
        ]
        definition = {
            "method": "random",
            "metric": {"name": "loss", "goal": goal},
            "early_terminate": {"type": "hyperband", **keys},
            "parameters": {"a": {"values": [1, 2]}},
        }
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return {
                int(run.name) for run in oracle.stop_runs(definition, rng.sample(runs, len(runs)))
            }

    return ask


def _ours(rule, curves, n_running):
    others = [[*curves[:i], *curves[i + 1 :]] for i in range(n_running)]
    return {i for i in range(n_running) if _decide(rule, curves[i], others[i])}


@pytest.mark.parametrize("goal", ["minimize", "maximize"])
def test_decisions_are_those_of_wandbs_engine(stopped, goal):
    rng = random.Random(goal)
    n_stopped = 0

    for _ in range(2000):
        keys, curves, n_running = _history(rng)
        rule = Hyperband(**keys, strict=False)
        if not rule.bands:
            continue
        expected = stopped(keys, curves, n_running, goal)
        assert _ours(rule, curves, n_running) == expected, (keys, curves, n_running)
        n_stopped += len(expected)

    assert n_stopped > 300


def test_strict_decisions_are_those_of_wandbs_engine_shown_the_band_alone(stopped):
    """W&B's published engine knows only the lenient rule, which takes the best value so far.

    Shown a run whose other values are all enormous it decides by the value at the band.
    """
    rng = random.Random("strict")
    n_stopped = 0

    for _ in range(2000):
        keys, curves, n_running = _history(rng)
        rule = Hyperband(**keys, strict=True)
        if not rule.bands:
            continue
        running = next((i for i in range(n_running) if len(curves[i]) > rule.bands[0]), None)
        if running is None:
            continue
        band = [band for band in rule.bands if band < len(curves[running])][-1]
        shown = [value if i == band else HUGE for i, value in enumerate(curves[running])]
        others = [*curves[:running], *curves[running + 1 :]]
        expected = 0 in stopped(keys, [shown, *others], 1)
        assert bool(_decide(rule, curves[running], others)) == expected
        n_stopped += expected

    assert n_stopped > 200
