"""Objectives as the model wants them: finite, without a wild tail, of mean 0 and variance 1.

n   trials
y   (n,) their objectives, lower is better
λ   power of the Yeo-Johnson transform: 1 leaves the shape as it is
"""

import math

import numpy as np
from scipy.optimize import minimize_scalar

from sweepd.search.gp import Array, Mask

__all__ = ["normalise", "standardise", "winsorise", "yeo_johnson"]

#: Below so many trials the shape of their distribution is anyone's guess.
_FEWEST_FOR_SHAPE = 8
#: A spread below this part of the largest objective is rounding: all are equal.
_FLAT = 1e-12
#: Range of λ.
_POWERS = (-1.0, 3.0)


def normalise(y: Array, is_usable: Mask) -> Array:
    """Return objectives to fit a model to: winsorised, standardised, made symmetric, standardised.

    A trial that is not usable (infeasible, or its objective not finite) stands as the worst of the
    usable ones; the search turns away from there and can never take it for the best.

    Args:
        y: objectives as reported, shape (n,); of any size, not finite where not usable.
        is_usable: shape (n,).

    Returns:
        Shape (n,), finite; zeros if no trial is usable, or if all usable ones are equal.
    """
    if not is_usable.any():
        return np.zeros(len(y))
    known = y[is_usable]
    known = winsorise(known / max(float(np.abs(known).max()), np.finfo(float).tiny))
    filled = np.full(len(y), known.max())
    filled[is_usable] = known
    flat = standardise(filled)
    if len(y) < _FEWEST_FOR_SHAPE or not flat.any():
        return flat
    return standardise(yeo_johnson(flat, _best_power(flat)))


def winsorise(y: Array) -> Array:
    """Return y with its bad tail cut at median + 4 × (median - 5 % quantile)."""
    median, low = np.quantile(y, [0.5, 0.05])
    return np.minimum(y, median + 4.0 * (median - low)) if median > low else y


def standardise(y: Array) -> Array:
    """Return y shifted and scaled to mean 0 and variance 1; zeros if all are equal."""
    centred = y - y.mean()
    spread = float(centred.std())
    return centred / spread if spread > _FLAT * float(np.abs(y).max()) else np.zeros(len(y))


def yeo_johnson(y: Array, power: float) -> Array:
    """Return the power transform of y, shape (n,): it grows with y, and is y itself for λ = 1.

    y ≥ 0: ((1 + y)^λ - 1) / λ, or log(1 + y) for λ = 0.
    y < 0: -((1 - y)^(2 - λ) - 1) / (2 - λ), or -log(1 - y) for λ = 2.

    Source: Yeo and Johnson 2000, Biometrika 87(4), eq. 2.1.
    """
    size = np.log1p(np.abs(y))
    exponent = np.where(y >= 0.0, power, 2.0 - power)
    safe = np.where(np.abs(exponent) < 1e-8, 1.0, exponent)
    bent = np.where(np.abs(exponent) < 1e-8, size, np.expm1(safe * size) / safe)
    return np.where(y >= 0.0, bent, -bent)


def _best_power(y: Array) -> float:
    """Return the λ under which the transformed y look most like a normal sample."""
    log_jacobian = float((np.sign(y) * np.log1p(np.abs(y))).sum())

    def surprise(power: float) -> float:
        spread = float(yeo_johnson(y, power).var())
        return 0.5 * len(y) * math.log(spread + 1e-300) - (power - 1.0) * log_jacobian

    found = minimize_scalar(surprise, bounds=_POWERS, method="bounded", options={"xatol": 1e-3})
    return float(found.x)
