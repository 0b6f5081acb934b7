"""Objectives made fit for a model."""

import numpy as np
import pytest
from scipy import stats

from sweepd.search.tails import winsorise
from sweepd.search.transform import (
    inverse_yeo_johnson,
    normalise,
    standardise,
    yeo_johnson,
)

ALL = np.ones(12, dtype=bool)


@pytest.mark.parametrize("power", [-1.0, 0.0, 0.5, 1.0, 2.0, 3.0])
def test_power_transform_is_that_of_scipy(power):
    y = np.linspace(-3.0, 3.0, 13)

    np.testing.assert_allclose(yeo_johnson(y, power), stats.yeojohnson(y, power))


@pytest.mark.parametrize("power", [-1.0, 0.0, 0.5, 1.0, 2.0, 3.0])
def test_power_transform_has_its_inverse(power):
    y = np.linspace(-3.0, 3.0, 13)

    np.testing.assert_allclose(inverse_yeo_johnson(yeo_johnson(y, power), power), y, atol=1e-9)


def test_beyond_what_the_power_transform_gives_its_inverse_is_infinite():
    assert inverse_yeo_johnson(np.array([2.0, -2.0]), -1.0)[0] == np.inf
    assert inverse_yeo_johnson(np.array([2.0, -2.0]), 3.0)[1] == -np.inf


@pytest.mark.parametrize("n", [5, 30])
def test_normalised_objectives_can_be_told_in_their_own_units_again(n):
    y = -1e6 + 1e3 * np.random.default_rng(0).lognormal(size=n)
    kept = y <= np.quantile(y, 0.8)  # the bad tail was cut

    normal, scale = normalise(y, np.ones(n, dtype=bool))

    np.testing.assert_allclose(scale.invert(normal)[kept], y[kept], rtol=1e-9)


def test_bad_tail_is_cut_and_good_one_kept():
    y = np.array([-100.0, *np.linspace(0.0, 1.0, 30), 1e6])

    cut = winsorise(y)

    assert cut[0] == -100.0
    assert 1.0 <= cut[-1] < 10.0
    np.testing.assert_array_equal(cut[:-1], y[:-1])


def test_normalised_objectives_keep_their_order_and_have_mean_0_and_variance_1():
    y = np.random.default_rng(0).lognormal(size=12)

    normal, _ = normalise(y, ALL)

    np.testing.assert_array_equal(np.argsort(normal[:9]), np.argsort(y[:9]))
    assert abs(normal.mean()) < 1e-9
    assert abs(normal.std() - 1.0) < 1e-9


def test_unusable_trials_stand_as_the_worst():
    y = np.array([3.0, np.inf, 1.0, np.nan, 2.0])

    normal, _ = normalise(y, np.isfinite(y))

    assert normal[1] == normal[3] == normal[0] == normal.max()
    assert normal[2] == normal.min()


@pytest.mark.parametrize(
    "y",
    [
        pytest.param(np.full(12, 7.0), id="all equal"),
        pytest.param(np.full(12, 0.0), id="all zero"),
        pytest.param(np.array([1e308] * 6 + [-1e308] * 6), id="huge"),
        pytest.param(np.array([5e-324] * 6 + [0.0] * 6), id="tiny"),
        pytest.param(np.array([1.0] * 11 + [-1e300]), id="one far below"),
        pytest.param(1e9 + np.arange(12) * 1e-9, id="equal but for rounding"),
    ],
)
def test_odd_objectives_become_finite(y):
    assert np.isfinite(normalise(y, ALL)[0]).all()


def test_no_usable_trial_gives_zeros():
    normal, _ = normalise(np.full(3, np.nan), np.zeros(3, bool))

    np.testing.assert_array_equal(normal, np.zeros(3))


def test_standardised_values_of_one_trial_are_zero():
    np.testing.assert_array_equal(standardise(np.array([5.0])), [0.0])
