"""Objectives as the model wants them: finite, without a wild tail, of mean 0 and variance 1.

n   trials
y   (n,) their objectives, lower is better
λ   power of the Yeo-Johnson transform: 1 leaves the shape as it is
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar

from sweepd.search.gp import Array, Mask
from sweepd.search.tails import winsorise

__all__ = [
    "Scale",
    "inverse_yeo_johnson",
    "normalise",
    "standardise",
    "yeo_johnson",
]

#: Below so many trials the shape of their distribution is anyone's guess.
_FEWEST_FOR_SHAPE = 8
#: A spread below this part of the largest objective is rounding: all are equal.
_FLAT = 1e-12
#: Range of λ.
_POWERS = (-1.0, 3.0)


@dataclass(frozen=True)
class Scale:
    """How objectives became what the model sees, and the way back.

    z = S₂(YJ_λ(S₁(y / size))), with S(u) = (u - shift) / spread.

    Attributes:
        size: the largest usable objective's; divided by first, so that no number is too large.
        shift: of S₁, then of S₂.
        spread: of S₁, then of S₂; 0 if all objectives were equal.
        power: λ, 1 for none.
    """

    size: float = 1.0
    shift: tuple[float, float] = (0.0, 0.0)
    spread: tuple[float, float] = (0.0, 1.0)
    power: float = 1.0

    def invert(self, z: Array) -> Array:
        """Return the objectives that became z; inf beyond what the power transform can give."""
        flat = inverse_yeo_johnson(z * self.spread[1] + self.shift[1], self.power)
        with np.errstate(over="ignore"):
            return np.asarray((flat * self.spread[0] + self.shift[0]) * self.size)


def normalise(y: Array, is_usable: Mask, *, has_power: bool = True) -> tuple[Array, Scale]:
    """Return objectives to fit a model to: winsorised, standardised, made symmetric, standardised.

    A trial that is not usable (infeasible, or its objective not finite) stands as the worst of the
    usable ones; the search turns away from there and can never take it for the best.

    Args:
        y: objectives as reported, shape (n,); of any size, not finite where not usable.
        is_usable: shape (n,).
        has_power: whether they are made symmetric.

    Returns:
        Shape (n,), finite; zeros if no trial is usable, or if all usable ones are equal. And the
        way back, of all but the cut tail.
    """
    if not is_usable.any():
        return np.zeros(len(y)), Scale()
    size = max(float(np.abs(y[is_usable]).max()), np.finfo(float).tiny)
    known = winsorise(y[is_usable] / size)
    filled = np.full(len(y), known.max())
    filled[is_usable] = known
    flat, first = _standardised(filled)
    if len(y) < _FEWEST_FOR_SHAPE or not flat.any() or not has_power:
        return flat, Scale(size, (first[0], 0.0), (first[1], 1.0))
    power = _best_power(flat)
    bent, second = _standardised(yeo_johnson(flat, power))
    return bent, Scale(size, (first[0], second[0]), (first[1], second[1]), power)


def standardise(y: Array) -> Array:
    """Return y shifted and scaled to mean 0 and variance 1; zeros if all are equal."""
    return _standardised(y)[0]


def _standardised(y: Array) -> tuple[Array, tuple[float, float]]:
    """Return y standardised, with its mean and its standard deviation, 0 if all are equal."""
    mean = float(y.mean())
    centred = y - mean
    spread = float(centred.std())
    if spread <= _FLAT * float(np.abs(y).max()):
        return np.zeros(len(y)), (mean, 0.0)
    return centred / spread, (mean, spread)


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


def inverse_yeo_johnson(bent: Array, power: float) -> Array:
    """Return the y that the transform bends into `bent`, shape (n,); ±inf where there is none."""
    exponent = np.where(bent >= 0.0, power, 2.0 - power)
    size, is_log = np.abs(bent), np.abs(exponent) < 1e-8
    safe = np.where(is_log, 1.0, exponent)
    with np.errstate(divide="ignore", over="ignore"):
        inner = np.log1p(np.maximum(safe * size, -1.0)) / safe
        return np.asarray(np.copysign(np.expm1(np.where(is_log, size, inner)), bent))


def _best_power(y: Array) -> float:
    """Return the λ under which the transformed y look most like a normal sample."""
    log_jacobian = float((np.sign(y) * np.log1p(np.abs(y))).sum())

    def surprise(power: float) -> float:
        spread = float(yeo_johnson(y, power).var())
        return 0.5 * len(y) * math.log(spread + 1e-300) - (power - 1.0) * log_jacobian

    found = minimize_scalar(surprise, bounds=_POWERS, method="bounded", options={"xatol": 1e-3})
    return float(found.x)
