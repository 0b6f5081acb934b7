"""An exact Gaussian process: Matérn-5/2 kernel, one length scale a parameter, fitted by MAP.

    n   trials the model has seen
    m   points to predict
    d   searched parameters, one coordinate each
    X   (n, d) coordinates in [0, 1]; those of a category are only compared by equality
    y   (n,) standardised objectives, lower is better
    ℓ   (d,) length scales                       θ  (d + 1,) fitted: log ℓ, then log η
    v   variance of the function                 η  variance of the noise, in units of v
    w   (n,) how many times noisier each trial is than that; 1 unless said
    R   (n, n) correlation of the noisy trials   K = v R
    r   distance of two points: r² = Σ_i (Δ_i / ℓ_i)², Δ_i their difference; 0 or 1 for a category

The variance v needs no search: for given ℓ and η its best value is known in closed form.
"""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.linalg import LinAlgError, cho_solve, cholesky, solve_triangular
from scipy.linalg.lapack import dpotrf, dpotri
from scipy.optimize import minimize
from scipy.spatial.distance import cdist

from sweepd.errors import FitFailed

__all__ = ["Array", "Design", "Posterior", "Prior", "fit", "objective"]

Array: TypeAlias = npt.NDArray[np.float64]
Mask: TypeAlias = npt.NDArray[np.bool_]

_SQRT5 = 5.0**0.5


@dataclass(frozen=True)
class Prior:
    """What is believed of the length scales and of the noise before any trial.

    log ℓ ~ N(log(scale √d), scale_spread²) after Hvarfner et al. 2024 (arXiv:2402.02229): points
    of a cube are √d further apart, so must the scales be. `scale` is the *mode* of their prior; its
    median is twenty times as large, and a model centred there is far too smooth.
    log η ~ N(noise, noise_spread²), kept within `noise_bounds`.
    v is pulled towards 1 as if by `variance_weight` more trials. If `is_tied`, all parameters have
    one length scale.
    """

    scale: float = 0.2
    scale_spread: float = 0.8
    noise: float = -4.0
    noise_spread: float = 1.5
    variance_weight: float = 2.0
    noise_bounds: tuple[float, float] = (-14.0, 1.0)
    is_tied: bool = False

    def theta(self, d: int) -> Array:
        """Return the prior's mode as θ, shape (d + 1,)."""
        return np.append(np.full(d, np.log(self.scale * np.sqrt(d))), self.noise)


@dataclass(frozen=True)
class Design:
    """The coordinates of n trials, and which of them are categories.

    Args:
        x: shape (n, d).
        is_category: shape (d,); such a coordinate is only compared by equality.
        noise: w, shape (n,); None if all are 1.
    """

    x: Array
    is_category: Mask
    noise: Array | None = None

    @property
    def weights(self) -> Array:
        """Return w, shape (n,)."""
        return np.ones(len(self.x)) if self.noise is None else self.noise

    def with_points(self, points: Array) -> "Design":
        """Return the design with more points, shape (m, d), of ordinary noise."""
        noise = None if self.noise is None else np.append(self.noise, np.ones(len(points)))
        return Design(np.vstack([self.x, points]), self.is_category, noise)

    def first(self, n: int) -> "Design":
        """Return the design of the first n trials."""
        noise = None if self.noise is None else self.noise[:n]
        return Design(self.x[:n], self.is_category, noise)

    def distance2(self, others: Array, scales: Array) -> Array:
        """Return r² between `others`, shape (m, d), and the trials: shape (m, n)."""
        smooth = ~self.is_category
        r2 = cdist(
            others[:, smooth] / scales[smooth], self.x[:, smooth] / scales[smooth], "sqeuclidean"
        )
        for axis in np.flatnonzero(self.is_category):
            r2 += (others[:, axis, None] != self.x[None, :, axis]) / scales[axis] ** 2
        return np.asarray(r2)

    def pairs(self) -> "Pairs":
        """Return Δ² of every pair of trials."""
        upper = np.triu_indices(len(self.x), 1)
        left, right = self.x[upper[0]], self.x[upper[1]]
        delta2 = np.where(self.is_category, left != right, (left - right) ** 2)
        return Pairs(upper, delta2, self.weights)


@dataclass(frozen=True)
class Pairs:
    """Δ² of the pairs i < j of n trials: what a fit needs of them, computed once.

    Args:
        upper: indices of the pairs in an (n, n) matrix.
        delta2: shape (n (n - 1) / 2, d).
        weights: w, shape (n,).
    """

    upper: tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]
    delta2: Array
    weights: Array


def matern(r2: Array) -> Array:
    """Return the Matérn-5/2 correlation at squared distances r², of the same shape."""
    r = np.sqrt(5.0 * r2)
    return (1.0 + r + r * r / 3.0) * np.exp(-r)


def objective(theta: Array, pairs: Pairs, y: Array, prior: Prior) -> tuple[float, Array]:
    """Return the negative log posterior of θ and its gradient, up to a constant.

    With R = LLᵀ, β = R⁻¹y, n' = n + w: v = (yᵀβ + w) / n', and the likelihood's part is
    n'/2 log v + Σ log L_ii, whose derivative is ½ tr((R⁻¹ - ββᵀ/v) ∂R).

    Args:
        theta: shape (d + 1,).
        pairs: Δ² of the n trials' pairs.
        y: shape (n,).
        prior: of θ and v.

    Returns:
        The value, inf if R is not positive definite, and the gradient of shape (d + 1,).
    """
    n, d = len(y), len(theta) - 1
    inverse2, eta = np.exp(-2.0 * theta[:d]), float(np.exp(theta[d]))
    r = np.sqrt(5.0 * (pairs.delta2 @ inverse2))  # √5 r
    decay = np.exp(-r)
    gram = np.zeros((n, n), order="F")
    gram[pairs.upper] = (1.0 + r + r * r / 3.0) * decay
    np.fill_diagonal(gram, 1.0 + eta * pairs.weights)
    factor, failed = dpotrf(gram, lower=0, overwrite_a=1)
    beta = cho_solve((factor, False), y, check_finite=False)
    if failed or not np.isfinite(beta).all():
        return np.inf, np.zeros(d + 1)
    log_det = np.log(factor.diagonal()).sum()
    inverse, _ = dpotri(factor, lower=0)  # its upper triangle
    weight = n + prior.variance_weight
    variance = float(y @ beta + prior.variance_weight) / weight
    pull = np.append(
        (theta[:d] - prior.theta(d)[:d]) / prior.scale_spread,
        (theta[d] - prior.noise) / prior.noise_spread,
    )
    value = 0.5 * weight * np.log(variance) + log_det + 0.5 * pull @ pull
    rows, columns = pairs.upper
    slope = inverse[pairs.upper] - beta[rows] * beta[columns] / variance
    slope *= (5.0 / 3.0) * (1.0 + r) * decay  # of R by log ℓ_i: this × Δ_i² / ℓ_i²
    trace = pairs.weights @ (inverse.diagonal() - beta * beta / variance)
    gradient = np.append((slope @ pairs.delta2) * inverse2, 0.5 * eta * trace)
    gradient[:d] += pull[:d] / prior.scale_spread
    gradient[d] += pull[d] / prior.noise_spread
    return float(value), gradient


def fit(
    design: Design, y: Array, *, prior: Prior, starts: list[Array], max_steps: int = 60
) -> Array:
    """Return the most probable θ that L-BFGS finds from the given starts, shape (d + 1,).

    Args:
        design: coordinates of n trials.
        y: their standardised objectives, shape (n,).
        prior: of θ and v.
        starts: one or more first guesses, each of shape (d + 1,).
        max_steps: iterations for each start.

    Raises:
        FitFailed: if no start leads to a finite probability.
    """
    pairs, d = design.pairs(), design.x.shape[1]
    centre = prior.theta(d)[0]
    bounds = [(centre - 4.0, centre + 4.0)] * d + [prior.noise_bounds]
    lower, upper = np.array(bounds).T
    found: list[tuple[float, Array]] = []

    def descend(theta: Array) -> tuple[float, Array]:
        value, gradient = objective(theta, pairs, y, prior)
        if prior.is_tied:  # along the diagonal, from where all are equal
            gradient[:d] = gradient[:d].mean()
        return value, gradient

    for start in starts:
        result = minimize(
            descend,
            np.clip(start, lower, upper),
            method="L-BFGS-B",
            jac=True,
            bounds=bounds,
            options={"maxiter": max_steps, "ftol": 1e-7, "gtol": 1e-4},
        )
        if np.isfinite(result.fun):
            found.append((float(result.fun), np.asarray(result.x)))
    if not found:
        raise FitFailed(f"the model of {len(y)} trials has no finite probability")
    return min(found, key=lambda pair: pair[0])[1]


class Posterior:
    """What the model believes of the function, given trials and θ.

    Args:
        design: coordinates of n trials.
        y: their standardised objectives, shape (n,).
        theta: shape (d + 1,).
        prior: the one that θ was fitted with.
        variance: v; worked out from the trials if not given.
        n_believed: how many of the trials, at the end, were believed and not observed.

    Raises:
        FitFailed: if R is not positive definite.
    """

    def __init__(
        self,
        design: Design,
        y: Array,
        *,
        theta: Array,
        prior: Prior,
        variance: float | None = None,
        n_believed: int = 0,
    ) -> None:
        self.design, self.y, self.theta, self.prior = design, y, theta, prior
        self.n_believed = n_believed
        self._scales = np.exp(theta[:-1])
        gram = matern(design.distance2(design.x, self._scales))
        np.fill_diagonal(gram, 1.0 + np.exp(theta[-1]) * design.weights)
        try:
            self._factor = cholesky(gram, lower=True, check_finite=False)
        except LinAlgError as error:
            raise FitFailed(f"the correlation of {len(y)} trials is not definite") from error
        self._beta = cho_solve((self._factor, True), y, check_finite=False)
        if not np.isfinite(self._beta).all():
            raise FitFailed(f"the model of {len(y)} trials is not finite")
        if variance is None:
            weight = prior.variance_weight
            variance = float(y @ self._beta + weight) / (len(y) + weight)
        self.variance = variance

    @property
    def noise(self) -> float:
        """Return the variance with which an objective lies around the function."""
        return self.variance * float(np.exp(self.theta[-1]))

    def at_trials(self) -> Array:
        """Return the function's mean at the trials, shape (n,): their objectives less the noise."""
        return self.y - float(np.exp(self.theta[-1])) * self.design.weights * self._beta

    def mean(self, points: Array) -> Array:
        """Return the function's mean at points of shape (m, d): shape (m,)."""
        return np.asarray(matern(self.design.distance2(points, self._scales)) @ self._beta)

    def predict(self, points: Array) -> tuple[Array, Array]:
        """Return the function's mean and standard deviation at points (m, d): each (m,)."""
        cross = matern(self.design.distance2(points, self._scales))  # (m, n)
        white = solve_triangular(self._factor, cross.T, lower=True, check_finite=False)  # (n, m)
        left = np.maximum(1.0 - np.einsum("nm,nm->m", white, white), 1e-10)
        return cross @ self._beta, np.sqrt(self.variance * left)

    def believe(self, points: Array) -> "Posterior":
        """Return the posterior if `points`, (m, d), came out at their mean (kriging believer)."""
        design = self.design.with_points(points)
        y = np.append(self.y, self.mean(points))
        return Posterior(
            design,
            y,
            theta=self.theta,
            prior=self.prior,
            variance=self.variance,
            n_believed=self.n_believed + len(points),
        )

    def rescale(self, factor: float) -> "Posterior":
        """Return the posterior with every ℓ times `factor`; what was believed is believed anew."""
        n = len(self.y) - self.n_believed
        theta = self.theta.copy()
        theta[:-1] += np.log(factor)
        known = self.design.first(n)
        rescaled = Posterior(known, self.y[:n], theta=theta, prior=self.prior)
        return rescaled.believe(self.design.x[n:]) if self.n_believed else rescaled

    def distance(self, point: Array, others: Array) -> Array:
        """Return r from a point, (1, d), to each of the others, (m, d): shape (m,)."""
        design = Design(others, self.design.is_category)
        return np.asarray(np.sqrt(design.distance2(point, self._scales)[0]))

    def distance_to_believed(self, points: Array) -> Array:
        """Return r from each of the points (m, d) to the nearest believed one: shape (m,)."""
        believed = self.design.x[len(self.design.x) - self.n_believed :]
        r2 = Design(believed, self.design.is_category).distance2(points, self._scales)
        return np.asarray(np.sqrt(r2.min(axis=1, initial=np.inf)))
