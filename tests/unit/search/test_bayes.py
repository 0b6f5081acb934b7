"""Bayesian optimisation: what it finds, and what it does where there is nothing to find."""

import json
import math
from itertools import cycle, islice, pairwise

import numpy as np
import pytest

from sweepd.search import Trial, bayes
from sweepd.search.bayes import Bayes
from sweepd.search.feasibility import blame_together
from sweepd.search.gp import Design, Prior
from sweepd.search.model import Settings, fit_points

CUBE = {f"x{i}": {"min": 0.0, "max": 1.0} for i in range(3)}
MIXED = {
    "lr": {"distribution": "log_uniform_values", "min": 1e-5, "max": 1e-1},
    "layers": {"min": 1, "max": 6},
    "opt": {"values": ["sgd", "adam", None]},
}


def _ask(space, trials=(), pending=(), n=1, *, memo=None, seed=0):
    rng = np.random.default_rng([seed, len(trials)])
    return Bayes().suggest(space, list(trials), list(pending), n, rng, memo or {})


def _search(space, objective, n):
    trials, memo = [], {}
    for _ in range(n):
        (config,), memo = _ask(space, trials, memo=memo)
        memo = json.loads(json.dumps(memo))
        trials.append(Trial(config, objective(config)))
    return trials


def test_search_starts_at_the_centre_and_spreads(space_of):
    space = space_of(CUBE)

    configs, _ = _ask(space, n=5)

    assert configs[0] == dict.fromkeys(CUBE, 0.5)
    assert len({int(4 * config["x0"]) for config in configs}) >= 3


def test_search_finds_the_minimum_of_a_bowl(space_of):
    def bowl(config):
        return sum((config[name] - 0.3) ** 2 for name in CUBE)

    trials = _search(space_of(CUBE), bowl, 25)

    assert min(trial.objective for trial in trials) < 1e-3


@pytest.mark.parametrize(
    ("laws", "objective"),
    [
        pytest.param(
            {"a": {"min": 1, "max": 50}, "b": {"min": 1, "max": 40}},
            lambda config: (config["a"] - 17) ** 2 + (config["b"] - 9) ** 2,
            id="whole numbers",
        ),
        pytest.param(
            {"a": {"min": 0.0, "max": 1.0}, "b": {"min": 0.0, "max": 1.0}},
            lambda config: config["a"] + config["b"],
            id="the best in a corner",
        ),
    ],
)
def test_next_best_config_is_tried_where_the_best_was(space_of, laws, objective, monkeypatch):
    filled, fill = [], Bayes._fill

    def note(self, space, out, rng):
        filled.append(out)
        return fill(self, space, out, rng)

    monkeypatch.setattr(Bayes, "_fill", note)

    _search(space_of(laws), objective, 30)

    assert filled == list(range(Settings().n_initial))


def test_config_that_is_not_the_models_is_explained_as_such(space_of, tried, monkeypatch):
    space = space_of(CUBE)
    trials = tried(space, 12, lambda config: config["x0"])
    monkeypatch.setattr(bayes, "_best", lambda *_, **__: None)

    (config,), memo = _ask(space, trials)
    (reason,) = Bayes().explain(space, trials, [], [config], json.loads(json.dumps(memo)))

    assert reason["origin"] == "taken"
    assert _ask(space, trials[:3], memo=memo)[1].get("filled") is None


def test_search_finds_the_right_category_number_and_scale(space_of):
    def loss(config):
        offset = {"sgd": 1.0, "adam": 0.0, None: 2.0}[config["opt"]]
        return offset + (math.log10(config["lr"]) + 3) ** 2 + 0.2 * (config["layers"] - 4) ** 2

    trials = _search(space_of(MIXED), loss, 30)

    best = min(trials, key=lambda trial: trial.objective)
    assert best.config["opt"] == "adam"
    assert best.config["layers"] == 4
    assert 0.0007 < best.config["lr"] < 0.0015


def test_search_keeps_away_from_where_trials_fail(space_of):
    space, trials, memo = space_of(CUBE), [], {}
    for _ in range(30):
        (config,), memo = _ask(space, trials, memo=memo)
        if config["x0"] > 0.5:  # the lower the objective, the nearer to failing
            trials.append(Trial(config, None, is_feasible=False))
        else:
            trials.append(Trial(config, -config["x0"]))

    assert sum(not trial.is_feasible for trial in trials[15:]) <= 7
    assert min(trial.objective for trial in trials if trial.is_feasible) < -0.45


def test_64_suggestions_at_once_are_spread_and_not_64_copies_of_one(space_of, tried):
    space = space_of(CUBE)
    trials = tried(space, 20, lambda config: (config["x0"] - 0.3) ** 2 + 0.1 * config["x1"])

    configs, _ = _ask(space, trials, n=64)

    points = space_points(configs)
    gaps = np.linalg.norm(points[:, None] - points[None], axis=2) + 9 * np.eye(64)
    assert gaps.min() > 1e-4
    assert np.median(gaps.min(axis=1)) > 0.05


def space_points(configs):
    return np.array([list(config.values()) for config in configs])


def test_pending_configs_push_the_next_one_away(space_of, tried):
    space = space_of(CUBE)
    trials = tried(space, 12, lambda config: sum((config[name] - 0.3) ** 2 for name in CUBE))
    (first,), memo = _ask(space, trials)

    (second,), _ = _ask(space, trials, [first], memo=memo)

    assert np.abs(space_points([first]) - space_points([second])).max() > 0.01


def _failing(config):
    return None


@pytest.mark.parametrize("n", [1, 2, 7, 40])
@pytest.mark.parametrize(
    "objective",
    [
        pytest.param(lambda config: 1.0, id="all equal"),
        pytest.param(lambda config: None, id="no metric"),
        pytest.param(lambda config: math.nan, id="all nan"),
        pytest.param(lambda config: math.inf if config["layers"] == 1 else 1.0, id="some inf"),
        pytest.param(lambda config: -math.inf, id="all -inf"),
        pytest.param(lambda config: 1e308 * (config["layers"] - 3.5), id="huge"),
        pytest.param(lambda config: 1e-320 * config["layers"], id="tiny"),
    ],
)
def test_odd_objectives_get_a_sane_suggestion(space_of, tried, objective, n):
    space = space_of(MIXED)
    trials = tried(space, n, objective)

    configs, memo = _ask(space, trials, n=2)

    assert len(configs) == 2
    assert all(space.contains(config) for config in configs)
    assert json.loads(json.dumps(memo, allow_nan=False)) == memo


def test_all_failed_gets_new_places(space_of, tried):
    space = space_of(CUBE)
    trials = [Trial(t.config, None, is_feasible=False) for t in tried(space, 20, _failing)]

    configs, _ = _ask(space, trials, n=3)

    tried_points = space_points([trial.config for trial in trials])
    for config in configs:
        assert np.linalg.norm(tried_points - space_points([config]), axis=1).min() > 0.1


def test_infeasible_trial_is_never_the_best_whatever_it_logged(space_of, tried):
    space = space_of({"x": {"min": 0.0, "max": 1.0}})
    good = tried(space, 10, lambda config: (config["x"] - 0.2) ** 2)
    liar = Trial({"x": 0.95}, -1e6, is_feasible=False)

    (config,), _ = _ask(space, [*good, liar])

    assert abs(config["x"] - 0.2) < 0.15


def test_one_category_one_value_and_one_trial_are_enough(space_of):
    space = space_of({"a": {"values": ["only"]}, "b": {"min": 0.0, "max": 1.0}})

    (config,), _ = _ask(space, [Trial({"a": "only", "b": 0.5}, 1.0)])

    assert config["a"] == "only"
    assert config["b"] != 0.5


def test_space_of_constants_is_exhausted_after_one(space_of):
    space = space_of({"a": {"value": 3}})

    assert _ask(space, n=2)[0] == [{"a": 3}]
    assert _ask(space, [Trial({"a": 3}, 1.0)])[0] == []


def test_ten_thousand_trials_are_no_trouble(space_of, tried):
    space = space_of(CUBE)
    trials = tried(space, 10_000, lambda config: (config["x0"] - 0.3) ** 2)

    (config,), memo = _ask(space, trials)

    assert abs(config["x0"] - 0.3) < 0.1
    assert memo["fit"]["n"] > 9_500


def test_sixty_parameters_are_no_trouble(space_of, tried):
    space = space_of({f"x{i}": {"min": 0.0, "max": 1.0} for i in range(60)})
    trials = tried(space, 30, lambda config: config["x7"])

    (config,), _ = _ask(space, trials)

    assert space.contains(config)


def test_configs_of_another_space_are_passed_over(space_of, tried):
    space = space_of(MIXED)
    trials = tried(space, 8, lambda config: config["layers"])
    strange = [
        Trial({"lr": 0.1}, -5.0),
        Trial({"lr": 0.01, "layers": "many", "opt": "sgd"}, -5.0),
        Trial({"lr": 0.01, "layers": 2, "opt": "lion"}, -5.0),
    ]

    configs, _ = _ask(space, [*strange, *trials], [{"lr": 1}], n=2)

    assert all(space.contains(config) for config in configs)


def test_memo_of_another_space_is_left_alone(space_of, tried):
    space = space_of(CUBE)
    trials = tried(space, 8, lambda config: config["x0"])

    _, memo = _ask(space, trials, memo={"fit": {"n": 6, "theta": [0.0] * 9, "failures": None}})

    assert memo["fit"]["n"] == 8
    assert len(memo["fit"]["theta"]) == 4


def test_it_makes_no_difference_how_often_the_search_was_asked(space_of, tried):
    space = space_of(CUBE)
    trials = tried(space, 14, lambda config: math.sin(7 * config["x0"]) + config["x1"])
    memo = _ask(space, [])[1]
    stepwise = memo
    for n in range(5, 15):
        _, stepwise = _ask(space, trials[:n], memo=stepwise)
    _, halfway = _ask(space, trials[:9], memo=memo)

    _, memo = _ask(space, trials, memo=halfway)

    assert memo == stepwise == _ask(space, trials)[1]


def test_lost_memo_makes_no_difference_to_what_is_suggested(space_of, tried):
    space = space_of(CUBE)
    trials = tried(space, 40, lambda config: math.sin(7 * config["x0"]) + config["x1"])
    memo = {}
    for n in range(0, 40, 3):
        _, memo = _ask(space, trials[:n], memo=memo)

    assert _ask(space, trials, n=2, memo=memo) == _ask(space, trials, n=2)


def test_order_of_pending_configs_makes_no_difference(space_of, tried):
    space = space_of(CUBE)
    trials = tried(space, 12, lambda config: config["x0"] + config["x1"] ** 2)
    pending, _ = _ask(space, trials, n=5)

    assert _ask(space, trials, pending)[0] == _ask(space, trials, pending[::-1])[0]


def test_fits_are_due_at_fixed_numbers_of_trials():
    points = fit_points(0, 1000)

    assert points[:6] == [5, 6, 7, 8, 9, 10]
    assert all(1.04 < b / a < 1.06 for a, b in pairwise(points[60:]))
    assert fit_points(7, 9) == [8, 9]
    assert fit_points(points[-1], 1000) == []


def test_model_that_fails_leaves_space_filling_points(space_of, tried):
    space = space_of(CUBE)
    trials = tried(space, 6, lambda config: config["x0"])
    exact = Bayes(
        Settings(Prior(noise=-90.0, noise_bounds=(-99.0, -80.0)))
    )  # one config twice is too much

    for told, pending in (([*trials, trials[0]], []), (trials, [trials[0].config])):
        configs, _ = exact.suggest(space, told, pending, 2, np.random.default_rng(0), {})

        assert len(configs) == 2
        assert all(space.contains(config) for config in configs)


def test_search_learns_where_trials_fail_though_the_objective_gets_better_there(space_of):
    def until(fits, settings):
        space, trials, memo = space_of(CUBE), [], {}
        for n in range(30):
            rng = np.random.default_rng([0, n])
            (config,), memo = Bayes(settings).suggest(space, trials, [], 1, rng, memo)
            value = -config["x0"] - config["x1"]
            trials.append(Trial(config, value if fits(config) else None, fits(config)))
        lowest = min(trial.objective for trial in trials if trial.is_feasible)
        return lowest, sum(not trial.is_feasible for trial in trials)

    def fits(config):
        return config["x0"] + config["x1"] < 0.9

    lowest, n_failed = until(fits, Settings())
    _, n_more = until(fits, Settings(learns_failures=False))

    assert lowest < -0.89
    assert n_failed < n_more


@pytest.mark.parametrize("blame", [1.0, 0.3])
def test_what_fails_for_sure_is_avoided_more_than_what_perhaps_fails(space_of, tried, blame):
    space = space_of({"x": {"min": 0.0, "max": 1.0}})
    good = tried(space, 10, lambda config: (config["x"] - 0.2) ** 2)
    bad = Trial({"x": 0.71}, None, is_feasible=False, blame=blame)

    (why,) = Bayes().explain(space, [*good, bad], [], [{"x": 0.71}], {})

    assert (why["p_feasible"] < 0.5) == (blame == 1.0)


@pytest.mark.parametrize("d", [2, 4])
def test_four_errors_in_one_place_count_however_many_trials_work_elsewhere(space_of, tried, d):
    space = space_of({f"x{i}": {"min": 0.0, "max": 1.0} for i in range(d)})
    names = [parameter.name for parameter in space.parameters]
    is_far = lambda t: max(abs(x - 0.5) for x in t.config.values()) > 0.25  # noqa: E731
    good = list(filter(is_far, tried(space, 60, lambda config: config["x0"])))
    chances = []
    for n in (1, 4):
        bad = [
            Trial(
                {**dict.fromkeys(names, 0.5), "x0": 0.49 + 0.01 * i},
                None,
                is_feasible=False,
                blame=0.3,
            )
            for i in range(n)
        ]
        (why,) = Bayes().explain(space, [*good, *bad], [], [dict.fromkeys(names, 0.5)], {})
        chances.append(why["p_feasible"])

    assert chances[0] > 0.5
    assert chances[1] < 0.05


def test_errors_are_the_surer_the_more_there_are_and_not_beyond_a_trial_that_worked():
    points = np.array([[0.1], [0.11], [0.12], [0.2], [0.25], [0.9]])
    is_feasible = np.array([False, False, False, True, False, False])

    sure = blame_together(
        Design(points, np.array([False])), is_feasible, np.array([0.3, 0.3, 0.3, 1.0, 0.3, 1.0])
    )

    assert sure == pytest.approx([1 - 0.7**3] * 3 + [1.0, 0.3, 1.0])


def test_failures_that_are_perhaps_not_the_configs_add_up(space_of, tried):
    space = space_of({"x": {"min": 0.0, "max": 1.0}})
    good = tried(space, 10, lambda config: config["x"])
    chances = []
    for n in (0, 1, 2, 4):
        bad = [Trial({"x": 0.7 + 0.001 * i}, None, is_feasible=False, blame=0.3) for i in range(n)]
        (why,) = Bayes().explain(space, [*good, *bad], [], [{"x": 0.705}], {})
        chances.append(why["p_feasible"])

    assert chances[0] is None
    assert chances[1:] == sorted(chances[1:], reverse=True)
    assert chances[1] > 0.5
    assert chances[-1] < 0.05


def test_explanation_is_in_the_metrics_own_units(space_of, tried):
    space = space_of({"x": {"min": 0.0, "max": 1.0}})
    trials = tried(space, 20, lambda config: 1000.0 + 500.0 * (config["x"] - 0.4) ** 2)
    known = trials[7].config
    (config,), memo = _ask(space, trials)

    first, second = Bayes().explain(space, trials, [], [config, known], memo)

    assert first["origin"] == "model"
    assert first["low"] <= first["mean"] <= first["high"]
    assert first["mean"] == pytest.approx(1000.0, abs=5.0)
    assert second["mean"] == pytest.approx(trials[7].objective, abs=5.0)
    assert second["nearest"][0]["index"] == 7
    assert second["nearest"][0]["distance"] == pytest.approx(0.0, abs=1e-9)
    assert len(first["nearest"]) == 3
    assert json.loads(json.dumps([first, second], allow_nan=False)) == [first, second]


def test_explanation_tells_the_origin_of_each_config(space_of, tried):
    space = space_of(CUBE)
    few, trials = tried(space, 3, lambda c: c["x0"]), tried(space, 12, lambda c: c["x0"])
    configs, memo = _ask(space, trials, n=3)

    reasons = Bayes().explain(space, trials, [], configs, memo)

    assert [reason["origin"] for reason in reasons] == ["doubting model", "model", "model"]
    assert Bayes().explain(space, few, [], _ask(space, few)[0], {}) == [{"origin": "space-filling"}]


@pytest.mark.parametrize("objective", [None, math.inf, 1.0, 1e308])
def test_odd_trials_are_explained_as_well(space_of, tried, objective):
    space = space_of(MIXED)
    trials = tried(space, 8, lambda config: objective)
    trials.append(Trial({"lr": 0.1}, 1.0))
    configs, memo = _ask(space, trials, n=2)

    reasons = Bayes().explain(space, trials, [], configs, memo)

    assert json.loads(json.dumps(reasons, allow_nan=False)) == reasons


@pytest.mark.parametrize(
    "outcomes", [(0.5,), (None,), (0.5, 0.5, None)], ids=["equal", "failed", "both"]
)
def test_search_fills_the_space_while_nothing_differs(space_of, outcomes):
    space, trials, memo = space_of(CUBE), [], {}
    for value in islice(cycle(outcomes), 24):
        (config,), memo = _ask(space, trials, memo=memo)
        (reason,) = Bayes().explain(space, trials, [], [config], memo)
        assert reason == {"origin": "space-filling"}
        trials.append(Trial(config, value, is_feasible=value is not None))

    octants = {tuple(config[name] > 0.5 for name in CUBE) for config in (t.config for t in trials)}
    assert len(octants) == 8
    assert not any(value in (0.0, 1.0) for t in trials for value in t.config.values())


def test_interval_takes_in_the_noise_of_the_metric(space_of):
    space, noise = space_of({"x": {"min": 0.0, "max": 1.0}}), np.random.default_rng(3)
    value = lambda config: (config["x"] - 0.4) ** 2 + 0.3 * noise.standard_normal()  # noqa: E731
    places = [{"x": x} for x in np.linspace(0.0, 1.0, 60).tolist()]
    trials = [Trial(config, value(config)) for config in places]
    _, memo = _ask(space, trials)
    hits = 0
    for x in np.linspace(0.1, 0.9, 100).tolist():
        (why,) = Bayes().explain(space, trials, [], [{"x": x + 0.001}], memo)
        hits += why["low"] <= value({"x": x}) <= why["high"]

    assert 75 <= hits <= 98


def test_one_result_says_nothing_of_how_far_others_would_be(space_of):
    space, centre, corner = space_of(CUBE), dict.fromkeys(CUBE, 0.5), dict.fromkeys(CUBE, 0.9)
    trials = [Trial(centre, 0.5), *[Trial(corner, None, is_feasible=False)] * 4]

    (why,) = Bayes().explain(space, trials, [], [dict.fromkeys(CUBE, 0.25)], {})

    assert (why["mean"], why["low"], why["high"]) == (0.5, None, None)
    assert why["p_feasible"] < 1.0


def test_nothing_is_said_of_failures_before_there_are_any(space_of, tried):
    space = space_of(CUBE)
    trials = tried(space, 9, lambda config: config["x0"])

    (why,) = Bayes().explain(space, trials, [], [dict.fromkeys(CUBE, 0.25)], {})

    assert why["p_feasible"] is None
