"""The methods that come from Optuna and its kin."""

import numpy as np
import pytest
from optuna.samplers._tpe import sampler

from sweepd.errors import InvalidInput
from sweepd.search import Trial
from sweepd.search.cmaes import CmaEs
from sweepd.search.nsga2 import Nsga2
from sweepd.search.pareto import hypervolume
from sweepd.search.qmc import Qmc
from sweepd.search.random import Random
from sweepd.search.tpe import Tpe, n_good_of

NUMBERS = {f"x{i}": {"min": -5.0, "max": 5.0} for i in range(4)}
MIXED = NUMBERS | {"layers": {"min": 1, "max": 6}, "kind": {"values": ["a", None, [1]]}}


def _bowl(config):
    return sum((config[f"x{i}"] - 1.5) ** 2 for i in range(4)) + 3.0 * (config.get("kind") is None)


def _two(config):
    """Return two objectives that disagree about x0; the other parameters cost both."""
    waste = sum(abs(config[f"x{i}"]) for i in range(1, 4))
    return (abs(config["x0"] + 2.0) + waste, abs(config["x0"] - 2.0) + waste)


def _search(method, space, n, objective, *, seed=0):
    trials, memo = [], {}
    for i in range(n):
        (config,), memo = method.suggest(
            space, trials, [], 1, np.random.default_rng([seed, i]), memo
        )
        told = objective(config)
        several = isinstance(told, tuple)
        trials.append(Trial(config, None if several else told, objectives=told if several else ()))
    return trials


def _ask(method, space, trials, pending, n, *, seed=0):
    rng = np.random.default_rng([seed, len(trials)])
    return method.suggest(space, trials, pending, n, rng, {})[0]


@pytest.mark.parametrize(
    ("method", "seeds"), [(Tpe(), [1]), (CmaEs(), [1, 2])], ids=["tpe", "cmaes"]
)
def test_better_than_random(method, seeds, space_of):
    space = space_of(MIXED | {"kind": {"values": ["a", "b"]}})

    def regret(of):
        return sum(
            min(trial.objective for trial in _search(of, space, 70, _bowl, seed=seed))
            for seed in seeds
        )

    assert regret(method) < 0.5 * regret(Random())


@pytest.mark.parametrize("method", [Nsga2(), Tpe()], ids=["nsga2", "tpe"])
def test_front_of_two_objectives_beats_that_of_random(method, space_of):
    space, reference = space_of(NUMBERS), np.array([12.0, 12.0])

    def volume(of):
        trials = _search(of, space, 100, _two, seed=3)
        return hypervolume(np.array([trial.objectives for trial in trials]), reference)

    assert volume(method) > volume(Random()) + 5.0


@pytest.mark.parametrize("method", [Tpe(), CmaEs(), Nsga2(), Qmc()], ids=lambda m: type(m).__name__)
def test_several_at_once_are_those_of_one_at_a_time(method, space_of, tried):
    space = space_of(MIXED)
    trials, pending = tried(space, 40, _bowl), [{**MIXED_CONFIG, "layers": n} for n in (1, 2)]

    together = _ask(method, space, trials, pending, 3)
    alone = []
    for _ in range(3):
        alone += _ask(method, space, trials, [*pending, *alone], 1)

    assert together == alone


MIXED_CONFIG = {**{f"x{i}": 0.5 for i in range(4)}, "layers": 1, "kind": None}


@pytest.mark.parametrize("method", [Tpe(), CmaEs(), Nsga2()], ids=lambda m: type(m).__name__)
@pytest.mark.parametrize(
    "objective",
    [lambda c: 1.0, lambda c: float("nan"), lambda c: 1e300 * c["x0"]],
    ids=["all alike", "never a number", "huge"],
)
def test_odd_objectives_do_no_harm(method, objective, space_of, tried):
    space = space_of(MIXED)

    configs = _ask(method, space, tried(space, 45, objective), [], 4)

    assert len({space.key(config) for config in configs}) == 4
    assert all(space.contains(config) for config in configs)


@pytest.mark.parametrize("method", [Tpe(), CmaEs(), Nsga2()], ids=lambda m: type(m).__name__)
def test_only_failed_trials_still_lead_somewhere(method, space_of, rng):
    space = space_of(MIXED)
    trials = [Trial(space.sample(rng), None, is_feasible=False) for _ in range(30)]

    assert all(space.contains(config) for config in _ask(method, space, trials, [], 2))


def test_cmaes_draws_what_has_no_order_and_takes_one_metric(space_of, tried):
    space = space_of({"kind": {"values": [f"v{i}" for i in range(9)]}})
    assert len(_ask(CmaEs(), space, tried(space, 3, lambda c: 1.0), [], 4)) == 4

    with pytest.raises(InvalidInput, match="one metric"):
        _ask(CmaEs(), space, [Trial({"kind": "v1"}, None, objectives=(1.0, 2.0))], [], 1)


def test_cmaes_draws_closer_together_as_it_learns(space_of):
    space = space_of(NUMBERS)
    trials = _search(CmaEs(), space, 160, _bowl)

    late = np.array([[t.config[f"x{i}"] for i in range(4)] for t in trials[-20:]])

    assert np.abs(late - 1.5).mean() < 0.5
    assert late.std(axis=0).max() < 0.6


def test_qmc_gives_the_nth_point_to_the_nth_trial_whoever_asks(space_of):
    space = space_of(MIXED)

    at_once = _ask(Qmc(), space, [], [], 12)
    trials = [Trial(config, float(i), is_feasible=i != 2) for i, config in enumerate(at_once[:5])]
    later = _ask(Qmc(), space, trials, at_once[5:8], 4)

    assert later == at_once[8:]
    assert _ask(Qmc(), space, [], [], 12, seed=1)[1:] != at_once[1:]


@pytest.mark.parametrize("n_objectives", [1, 2])
@pytest.mark.parametrize("n", [1, 9, 10, 11, 249, 250, 300])
def test_as_many_trials_count_as_good_as_optuna_says(n, n_objectives):
    theirs = [sampler.default_gamma, sampler.default_gamma_multiobjective][n_objectives - 1]

    assert n_good_of(n, n_objectives=n_objectives) == theirs(n)


def test_methods_without_a_model_say_what_they_went_by(space_of):
    space = space_of(MIXED)
    configs = _ask(Random(), space, [], [], 30)
    trials = [Trial(config, _bowl(config)) for config in configs[:25]]

    def why(method, n_trials, n_pending=0):
        pending = configs[25 : 25 + n_pending]
        given = (space, trials[:n_trials], pending)
        return method.explain(*given, _ask(method, *given, 1), {})[0]

    assert why(Tpe(), 9) == {"origin": "startup", "n_first": 10}
    assert why(Tpe(), 25, n_pending=5) == {"origin": "densities", "n_good": 3, "n_bad": 27}
    assert why(CmaEs(), 0) == {"origin": "startup", "n_first": 1}
    assert why(CmaEs(), 25) == {"origin": "normal law", "n_told": 24, "n_moves": 3}
    assert why(Nsga2(), 19) == {"origin": "startup", "n_first": 20}
    assert why(Nsga2(), 20) == {"origin": "children", "n_parents": 20}


@pytest.mark.parametrize("method", [Tpe(), CmaEs(), Nsga2()], ids=["tpe", "cmaes", "nsga2"])
def test_what_is_drawn_as_all_its_own_are_taken_says_so(method, space_of, monkeypatch):
    monkeypatch.setattr(f"{type(method).__module__}._MOST_IDEAS", 2)
    space = space_of({"a": {"values": list(range(1, 8))}, "b": {"values": list(range(1, 6))}})
    trials, origins = [], []
    for _ in range(35):
        rng = np.random.default_rng([0, len(trials)])
        configs, memo = method.suggest(space, trials, [], 1, rng, {})
        origins += [one["origin"] for one in method.explain(space, trials, [], configs, memo)]
        trials.append(Trial(configs[0], float(configs[0]["a"] + configs[0]["b"])))

    assert _ask(method, space, trials, [], 1) == []
    assert origins[-1] == "taken"
    assert set(origins) > {"startup", "taken"}
