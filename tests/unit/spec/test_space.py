"""The space: any valid one, drawn by hypothesis; grids held to W&B's engine."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweepd.errors import InvalidInput
from sweepd.spec import Numeric, grid_size, read_definition

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text("abc", max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text("xy"), inner, max_size=2),
    max_leaves=4,
)
_Q = st.sampled_from([1, 2, 5, 0.1, 0.25, 3.5])
_NUMBER = st.integers(-1000, 1000) | st.floats(-1e3, 1e3).map(lambda x: round(x, 3))


@st.composite
def _bounds(draw, numbers):
    low, high = sorted((draw(numbers), draw(numbers)))
    return {"min": low, "max": high if high > low else low + 1}


_POSITIVE = st.floats(1e-6, 1e4).map(lambda x: float(f"{x:.4g}"))
_EXPONENT = st.floats(-10, 10).map(lambda x: round(x, 2))
_SIGMA = st.sampled_from([0.1, 0.5, 1, 2.0])
_SHAPE = st.sampled_from([0.5, 1, 2.0])


def _kind(name, *parts):
    return st.tuples(*parts).map(
        lambda found: {"distribution": name} | {k: v for part in found for k, v in part.items()}
    )


def _key(name, values):
    return values.map(lambda value: {name: value})


_SPEC = st.one_of(
    _JSON.map(lambda value: {"value": value}),
    st.lists(_JSON, min_size=1, max_size=5).map(lambda values: {"values": values}),
    _bounds(st.integers(-1000, 1000)),
    _kind("uniform", _bounds(_NUMBER)),
    _kind("q_uniform", _bounds(_NUMBER), _key("q", _Q)),
    *(_kind(name, _bounds(_EXPONENT)) for name in ("log_uniform", "inv_log_uniform")),
    *(_kind(f"{name}_values", _bounds(_POSITIVE)) for name in ("log_uniform", "inv_log_uniform")),
    _kind("q_log_uniform", _bounds(_EXPONENT), _key("q", _Q)),
    _kind("q_log_uniform_values", _bounds(_POSITIVE), _key("q", _Q)),
    *(_kind(f"{log}normal", _key("mu", _EXPONENT), _key("sigma", _SIGMA)) for log in ("", "log_")),
    _kind("q_normal", _key("mu", _EXPONENT), _key("sigma", _SIGMA), _key("q", _Q)),
    _kind("q_log_normal", _key("sigma", _SIGMA), _key("q", _Q)),
    _kind("beta", _key("a", _SHAPE), _key("b", _SHAPE)),
    _kind("q_beta", _key("a", _SHAPE), _key("b", _SHAPE), _key("q", st.just(0.125))),
)
_NAME = st.text("abcdefgh", min_size=1, max_size=2)
_PARAMETERS = st.recursive(
    st.dictionaries(_NAME, _SPEC, min_size=1, max_size=4),
    lambda inner: st.dictionaries(
        _NAME, _SPEC | inner.map(lambda group: {"parameters": group}), min_size=1, max_size=3
    ),
    max_leaves=5,
)


def _space(parameters):
    text = json.dumps({"method": "random", "parameters": parameters})
    return read_definition(text).definition.space


@settings(deadline=None, max_examples=100)
@given(_PARAMETERS, st.integers(0, 2**32))
def test_any_config_belongs_to_its_space_and_comes_back_from_the_unit_cube(parameters, seed):
    space = _space(parameters)

    config = space.sample(np.random.default_rng(seed))

    assert space.contains(config)
    assert json.loads(json.dumps(config, allow_nan=False)) == config
    assert space.flatten(space.nest(config)) == config
    point = space.to_unit(config)
    assert point.shape == (space.d,)
    assert ((point >= 0) & (point <= 1)).all()
    again = space.from_unit(point)
    for parameter in space.parameters:
        if isinstance(parameter.distribution, Numeric):
            assert again[parameter.name] == pytest.approx(config[parameter.name], rel=1e-6)
        else:
            assert again[parameter.name] == config[parameter.name]


@settings(deadline=None, max_examples=40)
@given(_PARAMETERS, st.integers(0, 2**32))
def test_the_same_seed_draws_the_same_config(parameters, seed):
    first = _space(parameters).sample(np.random.default_rng(seed))
    second = _space(dict(reversed(parameters.items()))).sample(np.random.default_rng(seed))

    assert first == second


@settings(deadline=None, max_examples=40)
@given(_PARAMETERS, st.integers(0, 2**32))
def test_a_snapped_point_is_that_of_the_config_that_will_run(parameters, seed):
    space = _space(parameters)
    points = np.random.default_rng(seed).random((5, space.d))

    snapped = space.snap(points)

    expected = [space.to_unit(space.from_unit(point)) for point in points]
    np.testing.assert_allclose(snapped, np.array(expected).reshape(5, space.d), atol=1e-6)


@pytest.mark.parametrize(
    "parameters",
    [
        pytest.param({"b": {"values": [1, 2]}, "a": {"values": ["x", "y", "z"]}}, id="two choices"),
        pytest.param(
            {"a": {"min": 1, "max": 3}, "c": {"value": 7}}, id="whole numbers, a constant"
        ),
        pytest.param(
            {"q": {"distribution": "q_uniform", "min": 1, "max": 10, "q": 4}}, id="q_uniform"
        ),
        pytest.param(
            {"q": {"distribution": "q_uniform", "min": 0.1, "max": 1.0, "q": 0.3}}, id="decimals"
        ),
        pytest.param(
            {
                "z": {"values": [1, 2]},
                "m": {"parameters": {"k": {"values": [True, False]}, "b": {"min": 0, "max": 1}}},
                "m-x": {"values": [5, 6]},
            },
            id="nested",
        ),
        pytest.param({"a": {"values": [1, 1, 2]}}, id="a value twice"),
    ],
)
def test_a_grid_has_wandbs_points_in_wandbs_order(parameters, oracle):
    grid_search_next_runs = oracle("grid_search").grid_search_next_runs
    text = json.dumps({"method": "grid", "parameters": parameters})
    space = read_definition(text).definition.space
    size = grid_size(space)
    ours = _grid(space)
    theirs = grid_search_next_runs([], {"method": "grid", "parameters": parameters}, n=99)

    assert size == len(ours)
    assert theirs[-1] is None
    expected = [{k: v["value"] for k, v in run.config.items()} for run in theirs[:-1]]
    assert len(ours) == len(expected)
    for config, wanted in zip(ours, expected, strict=True):
        assert _rounded(space.nest(config)) == _rounded(wanted)


def _grid(space):
    configs = [{}]
    for parameter in space.parameters:
        values = parameter.distribution.grid()
        configs = [config | {parameter.name: value} for config in configs for value in values]
    return configs


def _rounded(value):
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return round(value, 9) if isinstance(value, float) else value


def test_nested_parameters_are_joined_by_dots_and_nested_again():
    space = _space(
        {"opt": {"parameters": {"lr": {"value": 1}, "sgd.m": {"value": 2}}}, "x.y": {"value": 3}}
    )

    config = space.from_unit(np.array([]))

    assert config == {"opt.lr": 1, "opt.sgd.m": 2, "x.y": 3}
    assert space.nest(config) == {"opt": {"lr": 1, "sgd.m": 2}, "x.y": 3}


def test_constants_and_single_choices_are_not_searched():
    space = _space({"a": {"value": 1}, "b": {"values": ["only"]}, "c": {"values": [1, 2]}})

    assert [parameter.name for parameter in space.searched] == ["c"]
    assert space.from_unit(np.array([0.9])) == {"a": 1, "b": "only", "c": 2}
    assert (space.d, space.size) == (1, 2)


def test_a_config_is_the_same_whatever_wrote_its_numbers():
    space = _space({"n": {"min": 1, "max": 9}, "x": {"min": 0.0, "max": 9.0}, "c": {"values": [1]}})

    assert space.key({"n": 3.0, "x": 2, "c": 1.0}) == space.key({"n": 3, "x": 2.0, "c": 1})
    assert space.key({"n": 3, "x": 2.0, "c": True}) != space.key({"n": 3, "x": 2.0, "c": 1})


def test_a_config_with_foreign_keys_or_values_is_not_of_the_space():
    space = _space({"n": {"min": 1, "max": 9}, "k": {"values": [None, [1, 2]]}})

    assert space.contains({"n": 1, "k": None})
    assert space.contains({"n": 9.0, "k": [1, 2]})
    assert not space.contains({"n": 1})
    assert not space.contains({"n": 1, "k": None, "more": 0})
    assert not space.contains({"n": 10, "k": None})
    assert not space.contains({"n": 1, "k": 0})


def test_flattening_leaves_out_what_the_space_does_not_know():
    space = _space({"o": {"parameters": {"lr": {"value": 1}}}, "n": {"value": 2}})

    assert space.flatten({"o": {"lr": 5, "other": 1}, "m": 3}) == {"o.lr": 5}
    assert space.flatten({"o": 7, "n": 2}) == {"n": 2}


def test_nesting_leaves_what_it_is_given_as_it_is():
    space = _space({"o": {"parameters": {"lr": {"value": 1}}}})
    config = {"o.lr": 5, "o": {"other": 1}}

    assert space.nest(config) == {"o": {"other": 1, "lr": 5}}
    assert config == {"o.lr": 5, "o": {"other": 1}}


def test_a_value_cannot_be_nested_in_another_value():
    space = _space({"o": {"parameters": {"lr": {"value": 1}}}})

    with pytest.raises(InvalidInput, match=r"^o is 7, and o\.lr would be in it$"):
        space.nest({"o.lr": 5, "o": 7})


def test_an_unknown_parameter_is_named():
    with pytest.raises(InvalidInput, match="there is no parameter 'x'"):
        _space({"n": {"value": 1}})["x"]


def test_a_huge_grid_is_counted_without_being_built():
    space = _space({name: {"min": 1, "max": 10**6} for name in "abcdef"})

    assert grid_size(space) == space.size == math.prod([10**6] * 6)
