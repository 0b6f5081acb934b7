"""The Gaussian process: its gradient, its posterior, its fit."""

import numpy as np
import pytest
from scipy.optimize import approx_fprime

from sweepd.errors import FitFailed
from sweepd.search.gp import Design, Posterior, Prior, fit, objective

PRIOR = Prior()
D = 3
IS_CATEGORY = np.array([False, False, True])


@pytest.fixture(params=["alike", "some noisier"])
def design(request):
    rng = np.random.default_rng(0)
    x = np.column_stack([rng.random((20, 2)), rng.integers(3, size=20)])
    return Design(x, IS_CATEGORY, 1.0 + 9.0 * rng.random(20) if request.param != "alike" else None)


@pytest.fixture
def y(design):
    x = design.x
    values = np.sin(6 * x[:, 0]) + x[:, 1] ** 2 + (x[:, 2] == 1)
    return (values - values.mean()) / values.std()


@pytest.mark.parametrize("seed", range(3))
def test_gradient_is_that_of_the_value(design, y, seed):
    theta = PRIOR.theta(D) + np.random.default_rng(seed).normal(0, 0.7, D + 1)
    pairs = design.pairs()

    _, gradient = objective(theta, pairs, y, PRIOR)

    numeric = approx_fprime(theta, lambda t: objective(t, pairs, y, PRIOR)[0], 1e-6)
    np.testing.assert_allclose(gradient, numeric, rtol=1e-3, atol=1e-4)


def test_posterior_is_the_textbook_formula(design, y):
    theta = PRIOR.theta(D)
    points = np.array([[0.2, 0.4, 1.0], [0.9, 0.1, 0.0]])
    posterior = Posterior(design, y, theta=theta, prior=PRIOR)

    mean, std = posterior.predict(points)

    scales, eta = np.exp(theta[:D]), np.exp(theta[D])

    def correlation(a, b):
        delta = np.where(IS_CATEGORY, a[:, None] != b[None], a[:, None] - b[None]) / scales
        r = np.sqrt(5 * (delta**2).sum(axis=2))
        return (1 + r + r**2 / 3) * np.exp(-r)

    noisy = correlation(design.x, design.x) + eta * np.diag(design.weights)
    cross = correlation(points, design.x)
    np.testing.assert_allclose(mean, cross @ np.linalg.solve(noisy, y))
    left = 1 - np.diag(cross @ np.linalg.solve(noisy, cross.T))
    np.testing.assert_allclose(std, np.sqrt(posterior.variance * left))
    np.testing.assert_allclose(posterior.at_trials(), posterior.mean(design.x))


def test_categories_are_compared_by_equality_only(design, y):
    renamed = design.x.copy()
    renamed[:, 2] = np.array([7.0, -1.0, 30.0])[design.x[:, 2].astype(int)]
    theta, point = PRIOR.theta(D), np.array([[0.3, 0.6, 2.0]])

    mean = Posterior(design, y, theta=theta, prior=PRIOR).mean(point)
    other = Posterior(Design(renamed, IS_CATEGORY, design.noise), y, theta=theta, prior=PRIOR).mean(
        np.array([[0.3, 0.6, 30.0]])
    )

    np.testing.assert_allclose(mean, other)


def test_believed_points_keep_the_mean_and_lose_the_doubt(design, y):
    posterior = Posterior(design, y, theta=PRIOR.theta(D), prior=PRIOR)
    points = np.array([[0.5, 0.5, 0.0], [0.9, 0.9, 2.0]])
    elsewhere = np.random.default_rng(3).random((5, D))

    believed = posterior.believe(points)

    np.testing.assert_allclose(believed.mean(elsewhere), posterior.mean(elsewhere), atol=1e-9)
    assert (believed.predict(points)[1] < 0.5 * posterior.predict(points)[1]).all()


def test_fit_finds_the_parameter_that_matters():
    rng = np.random.default_rng(4)
    x = rng.random((60, 2))
    y = np.sin(9 * x[:, 0])
    design = Design(x, np.array([False, False]))

    theta = fit(design, (y - y.mean()) / y.std(), prior=PRIOR, starts=[PRIOR.theta(2)])

    assert theta[1] > theta[0] + 1.0
    assert theta[2] < -8.0


def test_fit_finds_the_noise():
    rng = np.random.default_rng(5)
    x = rng.random((80, 1))
    y = np.sin(4 * x[:, 0]) + rng.normal(0, 0.5, 80)
    design = Design(x, np.array([False]))

    theta = fit(design, (y - y.mean()) / y.std(), prior=PRIOR, starts=[PRIOR.theta(1)])

    assert -3.0 < theta[1] < 1.0


def test_fit_is_no_worse_than_its_starts(design, y):
    starts = [PRIOR.theta(D), PRIOR.theta(D) + 1.0]
    pairs = design.pairs()

    theta = fit(design, y, prior=PRIOR, starts=starts)

    values = [objective(start, pairs, y, PRIOR)[0] for start in starts]
    assert objective(theta, pairs, y, PRIOR)[0] <= min(values)


def test_model_that_cannot_be_is_said_so(design, y):
    broken = np.full(D + 1, np.nan)

    with pytest.raises(FitFailed):
        Posterior(design, y, theta=broken, prior=PRIOR)
    with pytest.raises(FitFailed):
        fit(design, y * np.nan, prior=PRIOR, starts=[PRIOR.theta(D)])


def test_rescaled_posterior_is_that_of_other_length_scales(design, y):
    theta, points = PRIOR.theta(D), np.array([[0.5, 0.5, 0.0], [0.9, 0.9, 2.0]])
    shorter = np.append(theta[:D] - np.log(2.0), theta[D])

    rescaled = Posterior(design, y, theta=theta, prior=PRIOR).believe(points).rescale(0.5)

    expected = Posterior(design, y, theta=shorter, prior=PRIOR).believe(points)
    elsewhere = np.random.default_rng(3).random((5, D))
    np.testing.assert_allclose(rescaled.predict(elsewhere), expected.predict(elsewhere))


def test_tied_length_scales_are_all_the_same(design, y):
    prior = Prior(is_tied=True)

    theta = fit(design, y, prior=prior, starts=[prior.theta(D)])

    assert np.ptp(theta[:D]) < 1e-9
    assert (
        objective(theta, design.pairs(), y, prior)[0]
        < objective(prior.theta(D), design.pairs(), y, prior)[0]
    )
