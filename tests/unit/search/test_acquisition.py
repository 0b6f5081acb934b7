"""Log expected improvement, and the search for its maximum."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from sweepd.search.acquisition import log_ei, rank_candidates
from sweepd.search.encode import Encoder
from sweepd.search.gp import Design, Posterior, Prior
from sweepd.search.model import Settings


@pytest.mark.parametrize("z", [-6.0, -1.5, -1.0, -0.5, 0.0, 2.0, 8.0])
def test_log_ei_is_the_logarithm_of_the_integral(z):
    mean, std = 1.5, 0.7

    value = log_ei(np.array([mean]), np.array([std]), mean + z * std)

    area, _ = quad(lambda t: (z - t) * std * norm.pdf(t), -np.inf, z, epsabs=0, epsrel=1e-10)
    assert value[0] == pytest.approx(np.log(area), rel=1e-6)


def test_log_ei_is_finite_and_falls_far_out():
    z = -np.logspace(-1, 6, 200)

    values = log_ei(-z, np.ones(200), 0.0)

    assert np.isfinite(values).all()
    assert (np.diff(values) < 0).all()
    assert values[-1] == pytest.approx(-0.5e12, rel=1e-6)


def test_best_candidate_is_near_the_best_of_a_fine_grid(space_of, rng):
    space = space_of({"a": {"min": 0.0, "max": 1.0}, "b": {"min": 0.0, "max": 1.0}})
    encoder, prior = Encoder(space), Prior()
    x = rng.random((15, 2))
    y = ((x - [0.3, 0.8]) ** 2).sum(axis=1)
    y = (y - y.mean()) / y.std()
    posterior = Posterior(Design(x, encoder.is_category), y, theta=prior.theta(2), prior=prior)
    best = float(posterior.at_trials().min())

    def score(points):
        return log_ei(*posterior.predict(points), best)

    ranked = rank_candidates(score, encoder=encoder, around=x[:3], n_rounds=12, rng=rng)

    ticks = np.linspace(0, 1, 101)
    grid = np.array(np.meshgrid(ticks, ticks)).reshape(2, -1).T
    on_grid, scores = score(grid).max(), score(ranked)
    assert scores[0] > on_grid - 0.01
    assert (np.diff(scores) <= 1e-12).all()


def test_best_candidate_of_twenty_parameters_comes_near_the_peak(space_of, rng):
    encoder = Encoder(space_of({f"x{i}": {"min": 0.0, "max": 1.0} for i in range(20)}))
    peak, around = rng.random(20), rng.random((6, 20))

    def score(points):
        return -((points - peak) ** 2).mean(axis=1)

    n_rounds = Settings().n_rounds
    ranked = rank_candidates(score, encoder=encoder, around=around, n_rounds=n_rounds, rng=rng)

    assert np.sqrt(-score(ranked[:1])[0]) < 0.13  # a random point is 0.4 away
