"""Learning curves as observations: what stopped trials teach, and what they must not."""

import json
import math

import numpy as np
import pytest
from effort import at_most_mib

from sweepd.search import Trial, rungs
from sweepd.search.bayes import Bayes
from sweepd.search.encode import Encoder
from sweepd.search.fidelity import curve_points, has_curves

SQUARE = {"x": {"min": 0.0, "max": 1.0}, "y": {"min": 0.0, "max": 1.0}}


def _ask(space, trials=(), pending=(), n=1, *, memo=None, seed=0):
    rng = np.random.default_rng([seed, len(trials)])
    return Bayes().suggest(space, list(trials), list(pending), n, rng, memo or {})


def _curve(loss, length):
    """Return the points of a curve whose loss falls towards `loss`: 1 above it at first."""
    return tuple((float(t), loss + 1.0 / t) for t in sorted({*rungs(length), length}))


def _trial(config, loss, length, *, full=27):
    points = _curve(loss, length)
    return Trial(config, points[-1][1], curve=points, is_stopped=length < full)


@pytest.fixture
def halved(space_of):
    """Trials of a bowl around (0.3, 0.6): the better half ran to the end, the others stopped."""

    def halved(n, *, seed=0):
        space, rng = space_of(SQUARE), np.random.default_rng(seed)
        configs = [space.sample(rng) for _ in range(n)]
        noise = 0.02 * rng.standard_normal(n)
        bowl = np.array([(c["x"] - 0.3) ** 2 + (c["y"] - 0.6) ** 2 for c in configs])
        losses = (bowl + noise).tolist()
        middle = sorted(losses)[n // 4]
        lengths = [27 if loss <= middle else 3 for loss in losses]
        return [_trial(*both) for both in zip(configs, losses, lengths, strict=True)]

    return halved


def test_rungs_are_the_powers_of_three_up_to_the_longest():
    assert rungs(1) == (1,)
    assert rungs(2) == (1,)
    assert rungs(27) == (1, 3, 9, 27)
    assert rungs(80) == (1, 3, 9, 27)


def test_curves_count_once_some_trial_was_stopped():
    whole, stopped = _trial({}, 0.1, 27), _trial({}, 0.1, 3)

    assert not has_curves([whole, whole])
    assert not has_curves([whole, Trial({}, 0.1, is_stopped=True)])
    assert has_curves([whole, stopped])


def _s(t, longest=27):
    return (1 - t**-0.75) / (1 - longest**-0.75)


def test_points_of_a_curve_lie_where_a_falling_power_is_a_line(space_of):
    space = space_of(SQUARE)
    trials = [_trial({"x": 0.1, "y": 0.2}, 0.0, 27), _trial({"x": 0.5, "y": 0.2}, 0.0, 3)]

    found = curve_points(Encoder(space), trials)

    assert found.x[:, 2] == pytest.approx([0.0, _s(3), _s(9), 1.0, 0.0, _s(3)])
    assert found.x[:, 0] == pytest.approx([0.1] * 4 + [0.5] * 2)
    assert found.y == pytest.approx([1.0, 1 / 3, 1 / 9, 1 / 27, 1.0, 1 / 3])
    assert found.is_end.tolist() == [False, False, False, True, False, True]


def test_rung_right_before_the_last_value_is_left_out(space_of):
    trials = [_trial({"x": 0.1, "y": 0.2}, 0.0, 27), _trial({"x": 0.5, "y": 0.2}, 0.0, 4)]

    found = curve_points(Encoder(space_of(SQUARE)), trials)

    assert found.x[4:, 2] == pytest.approx([0.0, _s(4)])


def test_trial_that_ended_by_itself_is_an_objective_however_short_it_was(space_of):
    short = Trial({"x": 0.1, "y": 0.2}, 0.5, curve=_curve(0.4, 10))
    trials = [_trial({"x": 0.5, "y": 0.2}, 0.0, 27), _trial({"x": 0.6, "y": 0.2}, 0.0, 3), short]

    found = curve_points(Encoder(space_of(SQUARE)), trials)

    assert (found.x[-1, 2], found.y[-1]) == (1.0, 0.5)


def test_failed_trial_is_one_point_and_a_stopped_one_without_curve_none(space_of):
    failed = Trial({"x": 0.1, "y": 0.2}, 0.5, is_feasible=False, curve=_curve(0.4, 10))
    trials = [failed, Trial({"x": 0.7, "y": 0.2}, 0.1, is_stopped=True)]
    trials += [_trial({"x": 0.5, "y": 0.2}, 0.0, 27), _trial({"x": 0.6, "y": 0.2}, 0.0, 3)]

    found = curve_points(Encoder(space_of(SQUARE)), trials)

    assert found.x[:, 0] == pytest.approx([0.5] * 4 + [0.6] * 2 + [0.1])
    assert np.isnan(found.y[-1])
    assert found.x[-1, 2] == 1.0


def test_many_curves_leave_the_best_trials_and_a_sample(space_of, halved):
    trials = halved(1000)
    best = min(trials, key=lambda trial: trial.objective)

    found = curve_points(Encoder(space_of(SQUARE)), trials)

    assert 300 <= len(found.y) <= 303
    assert found.y.min() == best.objective
    assert (found.x[found.is_end, 2] < 1.0).sum() > 20


def test_search_learns_where_to_go_from_stopped_trials_alone(space_of, halved):
    """With one whole trial the objective is known nowhere else; short curves tell the way."""
    space = space_of(SQUARE)
    trials = [_trial(t.config, t.curve[0][1] - 1.0, 3) for t in halved(25)]
    whole = _trial({"x": 0.9, "y": 0.1}, 0.61, 27)

    (config,), _ = _ask(space, [whole, *trials])

    assert (config["x"] - 0.3) ** 2 + (config["y"] - 0.6) ** 2 < 0.08


def test_value_of_a_stopped_trial_is_no_objective(space_of, halved):
    """Where short runs look good, and longer ones show that they are not, is not the place."""
    space, trials = space_of({"x": {"min": 0.0, "max": 1.0}}), []
    for i, x in enumerate(np.linspace(0.0, 0.9, 12)):
        first, last = 1.0 + x, 1.0 - x  # the best at first is at 0, at the end at 1
        n = 4 if i in (0, 3, 6) else 2
        points = [(t, first + (last - first) * math.log(t, 27)) for t in (1.0, 3.0, 9.0, 27.0)]
        objective = points[n - 1][1]
        trials.append(Trial({"x": x}, objective, curve=tuple(points[:n]), is_stopped=n < 4))

    (config,), _ = _ask(space, trials)

    assert config["x"] > 0.8


def test_without_stopped_trials_curves_change_nothing(space_of, halved):
    space = space_of(SQUARE)
    whole = [_trial(t.config, t.objective, 27) for t in halved(12)]
    bare = [Trial(t.config, t.objective) for t in whole]

    assert _ask(space, whole, n=3) == _ask(space, bare, n=3)


def test_it_makes_no_difference_how_often_the_search_was_asked(space_of, halved):
    space, trials = space_of(SQUARE), halved(40)
    memo = {}
    for n in range(3, 41):
        configs, memo = _ask(space, trials[:n], memo=json.loads(json.dumps(memo)))

    assert (configs, memo) == _ask(space, trials)


def test_suggestions_of_a_batch_are_spread(space_of, halved):
    configs, _ = _ask(space_of(SQUARE), halved(30), n=12)

    points = np.array([list(config.values()) for config in configs])
    gaps = np.linalg.norm(points[:, None] - points[None], axis=2) + 9 * np.eye(12)
    assert np.median(gaps.min(axis=1)) > 0.02


ONE = {"x": 0.5, "y": 0.5}


@pytest.mark.parametrize(
    "trials",
    [
        pytest.param([_trial(ONE, 0.1, 3)], id="one stopped trial"),
        pytest.param([_trial({"x": i / 9, "y": 0.1}, 0.0, 3) for i in range(9)], id="all alike"),
        pytest.param(
            [_trial({"x": i / 9, "y": 0.1}, i, 1) for i in range(9)], id="all of one value"
        ),
        pytest.param(
            [Trial({"x": i / 9, "y": 0.1}, None, False, curve=((1.0, math.nan),)) for i in range(8)]
            + [_trial(ONE, 0.1, 3)],
            id="nan curves",
        ),
        pytest.param(
            [
                Trial({"x": i / 9, "y": 0.1}, 1.0, curve=((1.0, math.inf), (3.0, 1.0)))
                for i in range(8)
            ]
            + [_trial(ONE, 0.1, 3)],
            id="infinite values",
        ),
        pytest.param([_trial(ONE, 0.1, 3), _trial({"x": 9}, 0.1, 3)], id="of another space"),
        pytest.param([_trial(ONE, 0.1, 3), _trial(ONE, 0.1, 27)] * 5, id="one config many times"),
    ],
)
def test_odd_curves_get_a_sane_suggestion(space_of, trials):
    space = space_of(SQUARE)

    configs, memo = _ask(space, trials, n=6)

    assert len(configs) == 6
    assert all(space.contains(config) for config in configs)
    assert json.loads(json.dumps(memo, allow_nan=False)) == memo


def test_thousand_curves_cost_no_more_than_300_points(space_of, halved):
    space, trials = space_of(SQUARE), halved(1001)
    _, memo = _ask(space, trials[:1000])

    with at_most_mib(40):  # 18; with every point it would be 240
        _ask(space, trials, memo=memo)
