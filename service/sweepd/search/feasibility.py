"""Where trials do not fail: a second Gaussian process, of whether they did.

n   trials of which it is known
z   (n,) labels: 1 for a trial that came to something, -1 for one that failed
w   (n,) noise of the labels: large where the config is only perhaps to blame
"""

import numpy as np
from scipy.special import log_ndtr

from sweepd.errors import FitFailed
from sweepd.search.gp import Array, Design, Mask, Posterior, Prior, fit

__all__ = ["Feasibility", "blame_together", "doubt_of", "fit_feasibility"]

#: What is believed of failures: length scales as of any function, and labels that are never quite
#: sure, so that neither the noise nor the function can explain them all away.
PRIOR = Prior(noise=-4.0, noise_spread=0.5, noise_bounds=(-6.0, -2.0))
#: No place is hopeless: log of the least probability.
_LEAST = -12.0


def doubt_of(blame: Array) -> Array:
    """Return w for trials that failed, shape (n,), from how sure it is that it was the config.

    One failure that is a third sure leaves the odds about even where little else is known, and
    counts for nothing where many trials work.
    """
    return np.asarray(np.clip(blame, 0.05, 1.0) ** -3.0)


def blame_together(design: Design, is_feasible: Mask, blame: Array) -> Array:
    """Return how sure it is of each failure that its place is bad, shape (n,); 1 for the others.

    That at least one of the k failures which are nearer to it than any trial that worked was the
    config's: 1 - Π (1 - blame). So errors that come by chance anywhere stay doubtful, and a region
    that makes every trial fail does not.

    Args:
        design: coordinates of the trials.
        is_feasible: whether each came to something, shape (n,).
        blame: how sure it is of each alone, shape (n,), 0 to 1.
    """
    failed = np.flatnonzero(~is_feasible)
    sure = np.ones(len(is_feasible))
    if not len(failed) or (blame[failed] >= 1.0).all():
        return sure
    r2 = design.distance2(design.x[failed], np.ones(design.x.shape[1]))  # (failed, n)
    nearest = r2[:, is_feasible].min(axis=1, initial=np.inf)
    is_near = r2[:, failed] < nearest[:, None]
    is_near |= np.eye(len(failed), dtype=bool)
    innocent = np.where(is_near, 1.0 - blame[failed], 1.0)
    sure[failed] = 1.0 - innocent.prod(axis=1)
    return sure


class Feasibility:
    """The probability that a config does not fail.

    Args:
        design: coordinates of the trials, with w as their noise.
        is_feasible: whether each came to something, shape (n,); both kinds are among them.
        theta: what was fitted.

    Raises:
        FitFailed: if there is no such model.
    """

    def __init__(self, design: Design, is_feasible: Mask, *, theta: Array) -> None:
        labels, self._mean, self._spread = _labels(is_feasible)
        self._posterior = Posterior(design, labels, theta=theta, prior=PRIOR)

    def log_probability(self, points: Array) -> Array:
        """Return log P(feasible) at points of shape (m, d): shape (m,).

        The label's chance to be above 0: Φ(mean / √(variance + noise)).
        """
        mean, std = self._posterior.predict(points)
        total = np.sqrt(std**2 + self._posterior.noise) * self._spread
        return np.maximum(log_ndtr((self._mean + self._spread * mean) / total), _LEAST)


def fit_feasibility(
    design: Design, is_feasible: Mask, *, start: Array | None = None
) -> Array | None:
    """Return the most probable θ, None if there is none.

    Args:
        design: coordinates of the trials, with w as their noise.
        is_feasible: whether each came to something, shape (n,); both kinds are among them.
        start: the last fit's θ; without it the search begins where the prior has its mode.
    """
    labels, _, _ = _labels(is_feasible)
    begin = PRIOR.theta(design.x.shape[1]) if start is None else start
    try:
        return fit(design, labels, prior=PRIOR, starts=[begin])
    except FitFailed:
        return None


def _labels(is_feasible: Mask) -> tuple[Array, float, float]:
    """Return standardised labels, their mean and their standard deviation."""
    z = np.where(is_feasible, 1.0, -1.0)
    mean, spread = float(z.mean()), float(z.std())
    return (z - mean) / spread, mean, spread
