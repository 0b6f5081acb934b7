"""Tails of very bad values, beside which all others would look alike."""

import numpy as np

from sweepd.spec import Array

__all__ = ["winsorise"]


def winsorise(y: Array) -> Array:
    """Return y with its bad tail cut at median + 4 × (median - 5 % quantile)."""
    median, low = np.quantile(y, [0.5, 0.05])
    return np.minimum(y, median + 4.0 * (median - low)) if median > low else y
