"""What every search method of the registry promises."""

import json

import numpy as np

from sweepd.errors import InvalidInput
from sweepd.names import INSTANT, METHODS
from sweepd.search import Taken, Trial


def _ask(method, space, trials=(), pending=(), n=1, *, memo=None, seed=0):
    rng = np.random.default_rng([seed, len(trials)])
    return method.suggest(space, list(trials), list(pending), n, rng, memo or {})


def _search(method, space, n, *, seed=0):
    """Return the configs of a search that is told some objective, its memo kept as JSON."""
    trials, memo = [], "{}"
    for i in range(n):
        configs, kept = _ask(method, space, trials, memo=json.loads(memo), seed=seed)
        memo = json.dumps(kept, allow_nan=False)
        if not configs:
            break
        trials.append(Trial(configs[0], float((7 * i) % 5), is_feasible=i % 4 != 3))
    return [trial.config for trial in trials]


def test_suggestions_are_configs_of_the_space(method, finite):
    configs = _search(method, finite, 12)

    assert configs
    assert all(finite.contains(config) for config in configs)


def test_suggestions_survive_json_and_nesting(method, finite):
    for config in _search(method, finite, 12):
        assert json.loads(json.dumps(config, allow_nan=False)) == config
        assert finite.flatten(json.loads(json.dumps(finite.nest(config)))) == config


def test_same_seed_and_events_give_the_same_suggestions(method, finite):
    assert _search(method, finite, 12, seed=3) == _search(method, finite, 12, seed=3)


def test_finite_space_is_exhausted_exactly_once(method, finite):
    trials, pending, memo = [], [], {}
    while True:
        configs, memo = _ask(method, finite, trials, pending, n=3, memo=memo)
        for config in configs:
            known = [*(trial.config for trial in trials), *pending]
            assert finite.key(config) not in map(finite.key, known)
            pending.append(config)
        if len(configs) < 3:
            break
        trials += [Trial(config, 1.0) for config in pending[:2]]
        pending = pending[2:]

    assert len(trials) + len(pending) == finite.size
    assert _ask(method, finite, trials, pending, memo=memo)[0] == []


def test_suggestions_of_one_call_differ(method, finite):
    configs, _ = _ask(method, finite, n=4)

    assert len({finite.key(config) for config in configs}) == len(configs)
    assert len(configs) == min(4, finite.size)


def test_it_makes_no_difference_how_many_are_asked_for_at_once(method, endless):
    try:
        at_once, memo = _ask(method, endless, n=8)
    except InvalidInput:
        return  # a method that needs a grid
    trials = [Trial(config, float(i % 3)) for i, config in enumerate(at_once[:6])]
    pending = at_once[6:]

    together, _ = _ask(method, endless, trials, pending, n=4, memo=memo)
    pair, memo = _ask(method, endless, trials, pending, n=2, memo=memo)
    third, memo = _ask(method, endless, trials, pending + pair, memo=memo)
    fourth, _ = _ask(method, endless, trials, pending + pair + third, memo=memo)

    assert [*pair, *third, *fourth] == together


def test_a_finite_space_is_walked_alike_however_it_is_asked(method, finite):
    together, _ = _ask(method, finite, n=4)
    singly, memo = [], {}
    for _ in range(len(together)):
        configs, memo = _ask(method, finite, pending=singly, memo=memo)
        singly += configs

    assert singly == together


def test_what_is_given_is_left_as_it_was(method, finite):
    (config,), memo = _ask(method, finite)
    trials, before = [Trial(config, 1.0)], json.dumps([config, memo])

    _ask(method, finite, trials, memo=memo)

    assert json.dumps([trials[0].config, memo]) == before
    assert len(trials) == 1


def test_trials_of_another_space_do_no_harm(method, finite):
    strange = [Trial({}, 1.0), Trial({"other": 1}, None), Trial({"a": "?", "q": "?"}, -1.0)]

    configs, _ = _ask(method, finite, strange, [{"b": [1]}], n=1)

    assert [finite.contains(config) for config in configs] == [True]


def test_lost_memo_is_no_failure(method, finite):
    first = _search(method, finite, 3)

    configs, _ = _ask(method, finite, [Trial(config, 1.0) for config in first[:-1]])

    assert configs
    assert all(finite.contains(config) for config in configs)


def test_space_without_end_is_searched_or_refused_in_words(method, endless):
    try:
        configs = _search(method, endless, 25)
    except InvalidInput:
        return  # a method that needs a grid

    assert len({endless.key(config) for config in configs}) == 25
    assert all(endless.contains(config) for config in configs)
    assert all(json.loads(json.dumps(config, allow_nan=False)) == config for config in configs)
    assert configs == _search(method, endless, 25)
    assert configs != _search(method, endless, 25, seed=1)


def test_running_trials_are_not_suggested_again(method, finite):
    pending, memo = [], {}

    for _ in range(min(5, finite.size)):
        (config,), memo = _ask(method, finite, [], pending, memo=memo)
        pending.append(config)

    assert len({finite.key(config) for config in pending}) == min(5, finite.size)


def test_explanations_are_json_and_one_for_each_config(method, endless):
    try:
        configs, memo = _ask(method, endless, n=7)
    except InvalidInput:
        return  # a method that needs a grid
    trials = [Trial(config, float(i)) for i, config in enumerate(configs[:6])]
    trials[2] = Trial(configs[2], None, is_feasible=False)
    suggested, memo = _ask(method, endless, trials, configs[6:], n=3, memo=memo)
    if not hasattr(method, "explain"):
        return

    reasons = method.explain(endless, trials, configs[6:], suggested, memo)

    assert len(reasons) == 3
    assert all(json.loads(json.dumps(why, allow_nan=False)) == why for why in reasons)
    assert reasons == method.explain(endless, trials, configs[6:], suggested, {})


def test_method_says_whether_it_is_instant_and_so_does_the_table(method):
    name = next(name for name, place in METHODS.items() if place.endswith(type(method).__name__))
    assert method.is_instant is (name in INSTANT)


def test_numbered_configs_exhaust_a_finite_space_exactly_once(method, finite):
    if not method.is_instant:
        return
    taken, index = Taken(finite), 0
    while (found := method.pick(finite, taken, index=index, seed=3)) is not None:
        config, number = found
        assert number >= index
        assert finite.contains(config)
        assert config not in taken
        assert method.pick(finite, taken, index=index, seed=3) == found
        taken.add(config)
        index = number + 1

    assert len(taken) == finite.size
