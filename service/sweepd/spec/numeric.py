"""The laws on the real numbers.

Quantised laws (`q`) round to a multiple of q, which may leave [low, high] by less than q, as in
W&B's engine. `log_uniform` and its kin are all `LogUniform`, whose bounds here are values, never
exponents.
"""

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import numpy as np

from sweepd.spec.distributions import EXACT, Array, Distribution, is_number

__all__ = ["Beta", "LogNormal", "LogUniform", "Normal", "Numeric", "Uniform"]

Number = int | float

#: Positions nearer to 0 or 1 than this count as it: no unbounded law ever gives infinity.
_EDGE = 1e-12


@dataclass(frozen=True, eq=False)
class Numeric(Distribution):
    """A law on the real numbers. With `q` its values are rounded to multiples of it.

    A whole `q` gives whole numbers, any other gives floats, as in W&B's engine.
    """

    q: Number | None = field(default=None, kw_only=True)

    @property
    @abstractmethod
    def bounds(self) -> tuple[float, float]:
        """Lowest and highest value before rounding; infinite where there is none."""

    @abstractmethod
    def _inverse(self, u: Array) -> Array: ...

    @abstractmethod
    def _forward(self, x: Array) -> Array: ...

    @property
    def size(self) -> int | None:
        """Return the number of multiples of `q` within reach, None for a continuous law."""
        low, high = self.bounds
        if self.q is None or not (math.isfinite(low) and math.isfinite(high)):
            return None
        return round(high / self.q) - round(low / self.q) + 1

    @property
    def allowed(self) -> str:
        """Say which numbers."""
        low, high = self.bounds
        within = "" if math.isinf(low) and math.isinf(high) else f" from {low:g} to {high:g}"
        if math.isinf(high) and math.isfinite(low):
            within = f" above {low:g}"
        return f"a number{within}" if self.q is None else f"a multiple of {self.q}{within}"

    def ppf(self, u: float) -> Number:
        """Return the number at position `u`, rounded to `q`."""
        x = float(self._inverse(np.asarray(u, dtype=np.float64)))
        return x if self.q is None else _multiple(x, self.q)

    def cdf(self, value: Any) -> float:
        """Return the unrounded law's probability of a number not above `value`, as W&B does."""
        return float(self._forward(np.asarray(self.number(value), dtype=np.float64)))

    def unit(self, value: Any) -> float:
        """Return the position of the number."""
        x = np.asarray(self.number(value), dtype=np.float64)
        return float(self._forward(x if self.q is None else _rounded(x, self.q)))

    def snap(self, u: Array) -> Array:
        """Return each position unchanged, or that of the multiple of `q` it is rounded to."""
        if self.q is None:
            return np.clip(u, 0.0, 1.0)
        return self._forward(_rounded(self._inverse(u), self.q))

    def numbers(self, u: Array) -> Array:
        """Return the number at each position, rounded to `q`."""
        x = self._inverse(u)
        if self.q is None:
            return x
        digits = -int(Decimal(repr(self.q)).as_tuple().exponent)  # 0.3, not 0.30000000000000004
        return np.asarray(np.round(_rounded(x, self.q), max(digits, 0)), dtype=np.float64)

    def contains(self, value: Any) -> bool:
        """Return whether the number is within reach, to one part in 10⁹."""
        if not is_number(value):
            return False
        low, high = self.bounds
        if self.q is None:
            return low <= value <= high
        slack = 1e-9 * max(abs(value), self.q)
        if abs(_multiple(float(value), self.q) - value) > slack:
            return False
        below = low if math.isinf(low) else min(low, _multiple(low, self.q))
        above = high if math.isinf(high) else max(high, _multiple(high, self.q))
        return below - slack <= value <= above + slack

    def normalise(self, value: Any) -> Number:
        """Return the number rounded to `q`, or as a float."""
        x = float(self.number(value))
        return x if self.q is None else _multiple(x, self.q)


def _multiple(x: float, q: Number) -> Number:
    """Return the multiple of `q` nearest to `x`; 0.3 and not 0.30000000000000004 for q 0.1."""
    steps = x / q
    if not abs(steps) < EXACT:  # floats are further apart than q here
        return int(x) if isinstance(q, int) else x
    return round(steps) * q if isinstance(q, int) else float(round(steps) * Decimal(repr(q)))


def _rounded(x: Array, q: Number) -> Array:
    return np.asarray(np.round(x / q) * q, dtype=np.float64)


@dataclass(frozen=True, eq=False)
class Uniform(Numeric):
    """Equally likely anywhere from `low` to `high`."""

    low: Number
    high: Number

    @property
    def bounds(self) -> tuple[float, float]:
        """Return `low` and `high`."""
        return float(self.low), float(self.high)

    def _inverse(self, u: Array) -> Array:
        low, high = self.bounds
        return np.clip(low * (1 - u) + high * u, low, high)

    def _forward(self, x: Array) -> Array:
        low, high = self.bounds
        return np.clip((x - low) / (high - low), 0.0, 1.0)

    def contains(self, value: Any) -> bool:
        """Return whether the number is within reach or a point of the grid."""
        return super().contains(value) or (self.q is not None and self._is_grid_point(value))

    def _is_grid_point(self, value: Any) -> bool:
        if self.q is None or not is_number(value) or not self.low <= value < self.high:
            return False
        steps = (value - self.low) / self.q
        return abs(steps - round(steps)) < 1e-9

    def normalise(self, value: Any) -> Number:
        """Return the number rounded to `q` unless it is a point of the grid."""
        if not super().contains(value) and self._is_grid_point(value):
            return value if isinstance(self.q, int) else float(value)
        return super().normalise(value)

    @property
    def grid_size(self) -> int | None:
        """Number of points of the grid; None without `q`."""
        return None if self.q is None else math.ceil((self.high - self.low) / self.q)

    def grid(self) -> Sequence[Number]:
        """Return low, low + q, … below `high`: W&B leaves `high` itself out."""
        if self.q is None or self.grid_size is None:
            return super().grid()
        if all(isinstance(x, int) for x in (self.low, self.high, self.q)):
            return range(int(self.low), int(self.high), int(self.q))
        first, step = Decimal(repr(self.low)), Decimal(repr(self.q))
        return [float(first + i * step) for i in range(self.grid_size)]


@dataclass(frozen=True, eq=False)
class LogUniform(Numeric):
    """Uniform on a log scale from `low` to `high`, both values, low > 0."""

    low: float
    high: float

    @property
    def bounds(self) -> tuple[float, float]:
        """Return `low` and `high`."""
        return self.low, self.high

    def _inverse(self, u: Array) -> Array:
        low, high = math.log(self.low), math.log(self.high)
        return np.clip(np.exp(low * (1 - u) + high * u), self.low, self.high)

    def _forward(self, x: Array) -> Array:
        low, high = math.log(self.low), math.log(self.high)
        return np.clip((np.log(np.maximum(x, self.low)) - low) / (high - low), 0.0, 1.0)


@dataclass(frozen=True, eq=False)
class Normal(Numeric):
    """The normal law with mean `mu` and standard deviation `sigma`."""

    mu: float = 0.0
    sigma: float = 1.0

    @property
    def bounds(self) -> tuple[float, float]:
        """Return infinities."""
        return -math.inf, math.inf

    def _inverse(self, u: Array) -> Array:
        return self.mu + self.sigma * _quantile(u)

    def _forward(self, x: Array) -> Array:
        return np.asarray(_special().ndtr((x - self.mu) / self.sigma), dtype=np.float64)


@dataclass(frozen=True, eq=False)
class LogNormal(Numeric):
    """The law of exp(X) with X normal, of mean `mu` and standard deviation `sigma`."""

    mu: float = 0.0
    sigma: float = 1.0

    @property
    def bounds(self) -> tuple[float, float]:
        """Return zero and infinity."""
        return 0.0, math.inf

    def _inverse(self, u: Array) -> Array:
        return np.exp(np.clip(self.mu + self.sigma * _quantile(u), -690.0, 690.0))

    def _forward(self, x: Array) -> Array:
        z = (np.log(np.maximum(x, np.finfo(np.float64).tiny)) - self.mu) / self.sigma
        return np.asarray(_special().ndtr(z), dtype=np.float64)


@dataclass(frozen=True, eq=False)
class Beta(Numeric):
    """The beta law on [0, 1]."""

    a: float = 1.0
    b: float = 1.0

    @property
    def bounds(self) -> tuple[float, float]:
        """Return 0 and 1."""
        return 0.0, 1.0

    def _inverse(self, u: Array) -> Array:
        return np.asarray(_special().betaincinv(self.a, self.b, np.clip(u, 0.0, 1.0)), np.float64)

    def _forward(self, x: Array) -> Array:
        return np.asarray(_special().betainc(self.a, self.b, np.clip(x, 0.0, 1.0)), np.float64)


def _special() -> Any:
    """Return scipy's special functions: only unbounded laws pay for importing them."""
    from scipy import special

    return special


def _quantile(u: Array) -> Array:
    return np.asarray(_special().ndtri(np.clip(u, _EDGE, 1 - _EDGE)), dtype=np.float64)
