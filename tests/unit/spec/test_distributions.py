"""Every law, held to W&B's own engine (PyPI `sweeps`) and to its own words."""

import itertools
import json
import math

import numpy as np
import pytest

from sweepd.errors import InvalidInput
from sweepd.spec import Categorical, Constant, IntUniform, Uniform, canonical

#: Inside (0, 1), off the edges of every cell below.
POSITIONS = np.linspace(0.0137, 0.9871, 41)

NUMERIC = [
    pytest.param({"min": 2, "max": 9}, id="int_uniform by its bounds"),
    pytest.param({"distribution": "int_uniform", "min": -3, "max": 3}, id="int_uniform"),
    pytest.param({"min": 0.5, "max": 2.5}, id="uniform by its bounds"),
    pytest.param({"distribution": "uniform", "min": -1, "max": 2}, id="uniform"),
    pytest.param({"distribution": "q_uniform", "min": 1, "max": 10, "q": 4}, id="q_uniform int"),
    pytest.param({"distribution": "q_uniform", "min": 0, "max": 1, "q": 0.1}, id="q_uniform float"),
    pytest.param({"distribution": "q_uniform", "min": 0, "max": 9}, id="q_uniform, q left out"),
    pytest.param({"distribution": "log_uniform", "min": -7, "max": -1.5}, id="log_uniform"),
    pytest.param({"distribution": "log_uniform_values", "min": 1e-4, "max": 2}, id="log values"),
    pytest.param({"distribution": "q_log_uniform", "min": 0, "max": 5, "q": 2}, id="q_log_uniform"),
    pytest.param(
        {"distribution": "q_log_uniform_values", "min": 1, "max": 256, "q": 8}, id="q_log values"
    ),
    pytest.param({"distribution": "inv_log_uniform", "min": 0.5, "max": 3}, id="inv_log_uniform"),
    pytest.param(
        {"distribution": "inv_log_uniform_values", "min": 0.8, "max": 0.99}, id="inv_log values"
    ),
    pytest.param({"distribution": "normal"}, id="normal, all left out"),
    pytest.param({"distribution": "normal", "mu": 100, "sigma": 10}, id="normal"),
    pytest.param({"distribution": "q_normal", "mu": 3, "sigma": 9, "q": 5}, id="q_normal"),
    pytest.param({"distribution": "log_normal", "mu": -2, "sigma": 0.5}, id="log_normal"),
    pytest.param({"distribution": "q_log_normal", "mu": 2, "sigma": 1, "q": 3}, id="q_log_normal"),
    pytest.param({"distribution": "beta", "a": 2, "b": 5}, id="beta"),
    pytest.param({"distribution": "q_beta", "a": 2, "b": 2, "q": 0.125}, id="q_beta"),
]


@pytest.fixture
def theirs(oracle):
    """W&B's engine's own view of one parameter."""
    return lambda spec: oracle("params").HyperParameter("x", spec)


@pytest.mark.parametrize("spec", NUMERIC)
def test_a_law_gives_the_values_that_wandb_gives(spec, law, theirs):
    ours, expected_law = law(**spec), theirs(spec)

    for u in POSITIONS:
        value, expected = ours.ppf(float(u)), np.asarray(expected_law.ppf(float(u))).item()
        assert value == pytest.approx(expected, rel=1e-9, abs=1e-12)
        assert type(value) is type(expected)


@pytest.mark.parametrize("spec", NUMERIC)
def test_a_law_gives_the_probabilities_that_wandb_gives(spec, law, theirs):
    ours, expected_law = law(**spec), theirs(spec)

    for u in POSITIONS:
        value = ours.ppf(float(u))
        with np.errstate(divide="ignore"):
            expected = float(expected_law.cdf(value))
        assert ours.cdf(value) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param({"values": ["a", None, False, 0.5]}, id="any values"),
        pytest.param({"values": [1, 2, 4, 8]}, id="numbers"),
        pytest.param({"values": [[16, 32], {"a": 1}, "b"]}, id="lists and mappings"),
        pytest.param({"values": ["a", "b", "c"], "probabilities": [0.5, 0.2, 0.3]}, id="weights"),
    ],
)
def test_choices_are_drawn_as_by_wandb(spec, law, theirs):
    ours, expected_law = law(**spec), theirs(spec)

    drawn = [ours.ppf(float(u)) for u in POSITIONS]

    assert drawn == [expected_law.ppf(float(u)) for u in POSITIONS]


@pytest.mark.parametrize(
    ("spec", "is_ordinal"),
    [
        ({"values": [64, 16, 32]}, True),
        ({"values": [0.1, 1]}, True),
        ({"values": [True, False]}, False),
        ({"values": ["1", 2]}, False),
        ({"values": [None, 0]}, False),
    ],
)
def test_only_choices_that_are_all_numbers_have_an_order(spec, is_ordinal, law):
    assert (law(**spec).is_ordinal, law(**spec).is_categorical) == (is_ordinal, not is_ordinal)


def test_numbers_to_choose_from_lie_on_the_axis_in_ascending_order(law):
    choice = law(values=[64, 16, 32])

    assert [choice.ppf(u) for u in (0.1, 0.5, 0.9)] == [16, 32, 64]
    assert choice.grid() == [64, 16, 32]


def test_falsy_choices_are_choices_of_their_own(law):
    choice = law(values=[False, 0, "", None, [], {}])

    assert choice.size == 6
    assert len({choice.unit(value) for value in choice.grid()}) == 6


def test_a_value_listed_twice_is_drawn_twice_as_often_and_stands_once_in_a_grid(law):
    choice = law(values=["a", "b", "a", "c"])

    assert choice.grid() == ["a", "b", "c"]
    assert choice.probabilities == (0.5, 0.25, 0.25)


def test_a_choice_of_probability_zero_is_never_tried(law):
    choice = law(values=["a", "b", "c"], probabilities=[0.5, 0, 0.5])

    assert choice.values == ("a", "c")


def test_weights_widen_the_cells_of_the_axis(law):
    choice = law(values=["a", "b"], probabilities=[0.9, 0.1])

    assert choice.unit("a") == pytest.approx(0.45)
    assert choice.unit("b") == pytest.approx(0.95)


@pytest.mark.parametrize("edge", [0.0, 1.0])
@pytest.mark.parametrize("spec", NUMERIC)
def test_the_ends_of_every_axis_are_finite_and_json(spec, edge, law):
    value = law(**spec).ppf(edge)

    assert json.loads(json.dumps(value)) == value
    assert math.isfinite(value)


def test_quantised_values_are_short_decimals(law):
    tenths = law(distribution="q_uniform", min=0, max=1, q=0.1)

    assert [tenths.ppf(u) for u in (0.3, 0.6, 0.7)] == [0.3, 0.6, 0.7]


def test_a_grid_leaves_out_the_upper_bound_as_in_wandb(law):
    assert list(law(distribution="q_uniform", min=0, max=10, q=5).grid()) == [0, 5]
    assert law(distribution="q_uniform", min=0.0, max=0.3, q=0.1).grid() == [0.0, 0.1, 0.2]


def test_a_grid_point_that_is_no_multiple_of_q_still_belongs_to_its_law(law):
    odd = law(distribution="q_uniform", min=1, max=10, q=4)

    assert all(odd.contains(point) for point in odd.grid())
    assert odd.normalise(5) == 5
    assert not odd.contains(6)


@pytest.mark.parametrize(
    "spec",
    [
        {"distribution": "normal"},
        {"min": 0.0, "max": 1.0},
        {"distribution": "q_normal"},
        {"distribution": "log_uniform_values", "min": 1, "max": 2},
    ],
)
def test_there_is_no_grid_over_a_continuous_law(spec, law):
    assert law(**spec).grid_size is None
    with pytest.raises(InvalidInput, match="no grid"):
        law(**spec).grid()


@pytest.mark.parametrize(
    ("spec", "size"),
    [
        ({"value": [1, 2]}, 1),
        ({"values": ["a", "b", "b", False]}, 3),
        ({"min": -2, "max": 2}, 5),
        ({"distribution": "q_uniform", "min": 0, "max": 1, "q": 0.25}, 5),
        ({"distribution": "q_log_uniform_values", "min": 1, "max": 100, "q": 25}, 5),
        ({"distribution": "q_beta", "q": 0.5}, 3),
    ],
)
def test_a_finite_law_counts_the_values_that_it_gives(spec, size, law):
    finite = law(**spec)

    values = [finite.ppf(float(u)) for u in np.linspace(0, 1, 501)]

    assert finite.size == size
    assert len({json.dumps(value) for value in values}) == size


def test_a_foreign_value_is_refused_in_words(law):
    with pytest.raises(InvalidInput, match='"d" is not one of "a", "b"'):
        law(values=["a", "b"]).unit("d")
    with pytest.raises(InvalidInput, match="a whole number from 1 to 3"):
        law(min=1, max=3).unit("two")
    with pytest.raises(InvalidInput, match="a number from 0 to 1"):
        law(min=0.0, max=1.0).cdf(None)


@pytest.mark.parametrize("value", [0, 1, "", None, False, 10**400, math.nan])
def test_values_outside_a_range_do_not_belong_to_it(value, law):
    assert not law(min=2, max=9).contains(value)
    assert not law(min=2.0, max=9.0).contains(value)


def test_laws_that_differ_in_kind_of_number_are_not_equal():
    assert Categorical((1, 2)) != Categorical((1.0, 2.0))
    assert Constant(1) != Constant(True)
    assert Uniform(0, 10, q=5) != Uniform(0.0, 10.0, q=5.0)
    assert len({IntUniform(1, 2), IntUniform(1, 2), IntUniform(1, 3)}) == 2


def test_a_drawn_list_can_be_changed_without_changing_the_law(law):
    choice = law(values=[[16, 32], [8]])

    choice.ppf(0.1).append(99)

    assert choice.ppf(0.1) == [16, 32]


def test_a_million_whole_numbers_cost_no_memory(law):
    wide = law(min=0, max=2**52)

    assert len(wide.grid()) == wide.size == 2**52 + 1
    assert wide.ppf(0.5) == 2**51


def test_categories_are_the_same_where_their_canonical_texts_are():
    values = [1, 1.0, True, "1", 0, -0.0, False, None, "", [1], {"a": 1.0}, 2**53, 2.0**53, 0.5]
    for one, other in itertools.product(values, repeat=2):
        is_same = canonical(one) == canonical(other)

        assert Categorical((one, "rest")).contains(other) == is_same, (one, other)
