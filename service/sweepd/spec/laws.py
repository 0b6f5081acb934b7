"""The forms in which a definition writes a parameter's law: one model per `distribution`.

Each form knows which keys it takes and turns itself into a `Distribution`. W&B's facts: q defaults
to 1.0, mu to 0, sigma to 1, a and b to 1; `log_uniform`, `q_log_uniform` and `inv_log_uniform` take
exponents of e, their `_values` forms the values themselves; `inv_log_uniform` is exp(-U(min, max)),
so that `inv_log_uniform_values` draws as `log_uniform_values` does.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, model_validator

from sweepd.spec.distributions import (
    Categorical,
    Constant,
    Distribution,
    IntUniform,
    canonical,
)
from sweepd.spec.fields import Real, Whole, at_least, refuse
from sweepd.spec.numeric import Beta, LogNormal, LogUniform, Normal, Numeric, Uniform
from sweepd.spec.words import show

__all__ = ["LAWS", "Form"]

_Positive = Annotated[Real, at_least(0, exclusive=True)]
#: e to a larger power is more than a float can hold.
_MAX_EXPONENT = 700


class Form(BaseModel):
    """A parameter as written. `distribution` itself is not among the keys."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    @model_validator(mode="after")
    def _checked(self) -> Self:
        self.check()
        return self

    def check(self) -> None:
        """Refuse a combination of keys that has no meaning."""

    def law(self) -> Distribution:
        """Return the distribution that the form means."""
        raise NotImplementedError

    def remarks(self) -> Iterator[str]:
        """Yield what is odd about a form that is valid."""
        yield from ()


class _Constant(Form):
    value: Any

    def law(self) -> Distribution:
        return Constant(self.value)


class _Categorical(Form):
    values: list[Any]

    def check(self) -> None:
        super().check()
        if not self.values:
            raise refuse("values must not be empty")

    def _weights(self) -> list[float] | None:
        return None

    def _distinct(self) -> dict[str, tuple[Any, float]]:
        """Return each distinct value with its weight; duplicates add up, as in W&B's draws."""
        weights = self._weights() or [1 / len(self.values)] * len(self.values)
        distinct: dict[str, tuple[Any, float]] = {}
        for value, weight in zip(self.values, weights, strict=True):
            first, so_far = distinct.get(canonical(value), (value, 0.0))
            distinct[canonical(value)] = first, so_far + weight
        return distinct

    def law(self) -> Distribution:
        kept = [(value, weight) for value, weight in self._distinct().values() if weight > 0]
        values = tuple(value for value, _ in kept)
        if len(kept) == len(self.values) and self._weights() is None:
            return Categorical(values)
        if self._weights() is None and len({weight for _, weight in kept}) == 1:
            return Categorical(values)
        return Categorical(values, tuple(weight for _, weight in kept))

    def remarks(self) -> Iterator[str]:
        seen: set[str] = set()
        for value in self.values:
            key = canonical(value)
            if key in seen:
                yield f"{show(value)} is listed more than once: random draws it more often"
            seen.add(key)


class _Weighted(_Categorical):
    probabilities: list[Annotated[Real, at_least(0)]]

    def check(self) -> None:
        super().check()
        n, m = len(self.values), len(self.probabilities)
        if n != m:
            raise refuse(f"{n} values but {m} probabilities: give one for each value")
        total = math.fsum(self.probabilities)
        if not math.isclose(total, 1.0, rel_tol=1e-5, abs_tol=1e-8):
            raise refuse(f"probabilities must sum to 1, not {total:g}")

    def _weights(self) -> list[float]:
        return [float(p) for p in self.probabilities]

    def remarks(self) -> Iterator[str]:
        yield from super().remarks()
        for value, weight in self._distinct().values():
            if weight == 0:
                yield f"{show(value)} has probability 0: it is never tried"


class _Int(Form):
    min: Whole
    max: Whole

    def check(self) -> None:
        super().check()
        _check_order(self.min, self.max)

    def law(self) -> Distribution:
        return IntUniform(self.min, self.max)


class _Numeric(Form):
    """Any law on the real numbers; checks that what it gives is finite."""

    def law(self) -> Numeric:
        raise NotImplementedError

    def check(self) -> None:
        super().check()
        law = self.law()
        if not _is_computable(law):
            raise refuse("its numbers are too large, too small or too close to compute with")
        low, high = law.bounds
        if law.q is not None and math.isfinite(high - low) and (high - low) / law.q > 2**53:
            raise refuse(f"q {show(law.q)} is too small: it gives more than 2^53 values")

    def remarks(self) -> Iterator[str]:
        law = self.law()
        low, high = law.bounds
        if law.q is None and law.ppf(0.05) == law.ppf(0.95):
            yield f"nearly all of its draws are one value, {law.ppf(0.5):g}"
        if law.q is None or not (math.isfinite(low) and math.isfinite(high)):
            return
        first, last = law.ppf(0.0), law.ppf(1.0)
        if law.size == 1:
            yield f"q {show(law.q)} leaves one value, {first:g}"
        elif first < low * (1 - 1e-9) - 1e-300 or last > high * (1 + 1e-9):
            yield (
                f"rounding to q {show(law.q)} gives {first:g} to {last:g}, "
                f"which is not within {low:g} to {high:g}"
            )


class _Quantised(BaseModel):
    q: _Positive = 1.0


class _Range(_Numeric):
    min: Real
    max: Real

    def check(self) -> None:
        _check_order(self.min, self.max)
        if not 1e-290 < float(self.max) - float(self.min) < math.inf:
            words = f"min {show(self.min)} and max {show(self.max)} are too close or too far apart"
            raise refuse(words)
        super().check()


class _Uniform(_Range):
    def law(self) -> Numeric:
        return Uniform(self.min, self.max)


class _QUniform(_Range, _Quantised):
    def law(self) -> Numeric:
        return Uniform(self.min, self.max, q=self.q)


class _LogValues(_Range):
    min: _Positive

    def check(self) -> None:
        _check_order(self.min, self.max)
        _check_apart(self.min, self.max)
        super().check()

    def law(self) -> Numeric:
        return LogUniform(float(self.min), float(self.max))


class _QLogValues(_LogValues, _Quantised):
    def law(self) -> Numeric:
        return LogUniform(float(self.min), float(self.max), q=self.q)


class _LogExponents(_Range):
    def _values(self) -> tuple[float, float]:
        return math.exp(self.min), math.exp(self.max)

    def check(self) -> None:
        for key, exponent in (("min", self.min), ("max", self.max)):
            if abs(exponent) > _MAX_EXPONENT:
                raise refuse(
                    f"{key} {show(exponent)} is an exponent of e here, at most ±{_MAX_EXPONENT}; "
                    "log_uniform_values takes the values themselves"
                )
        _check_order(self.min, self.max)
        _check_apart(*self._values())
        super().check()

    def law(self) -> Numeric:
        return LogUniform(*self._values())

    def remarks(self) -> Iterator[str]:
        yield from super().remarks()
        low, high = self._values()
        meant = ", which are hardly meant" if self.min > 0 else ""
        yield (
            f"min {show(self.min)} and max {show(self.max)} are exponents of e: they give values "
            f"from {low:.6g} to {high:.6g}{meant}; the _values form of the distribution takes the "
            "values themselves"
        )


class _QLogExponents(_LogExponents, _Quantised):
    def law(self) -> Numeric:
        return LogUniform(*self._values(), q=self.q)


class _InvLogExponents(_LogExponents):
    def _values(self) -> tuple[float, float]:
        return math.exp(-self.max), math.exp(-self.min)


class _Normal(_Numeric):
    mu: Real = 0.0
    sigma: _Positive = 1.0

    def law(self) -> Numeric:
        return Normal(float(self.mu), float(self.sigma))


class _QNormal(_Normal, _Quantised):
    def law(self) -> Numeric:
        return Normal(float(self.mu), float(self.sigma), q=self.q)


class _LogNormal(_Normal):
    def law(self) -> Numeric:
        return LogNormal(float(self.mu), float(self.sigma))


class _QLogNormal(_Normal, _Quantised):
    def law(self) -> Numeric:
        return LogNormal(float(self.mu), float(self.sigma), q=self.q)


class _Beta(_Numeric):
    a: _Positive = 1.0
    b: _Positive = 1.0

    def law(self) -> Numeric:
        return Beta(float(self.a), float(self.b))


class _QBeta(_Beta, _Quantised):
    def law(self) -> Numeric:
        return Beta(float(self.a), float(self.b), q=self.q)


def _is_computable(law: Numeric) -> bool:
    """Return whether values, ends included, are finite and have a position."""
    try:
        with np.errstate(over="raise", invalid="raise", divide="raise"):
            values = [law.ppf(u) for u in (0.0, 0.25, 0.5, 0.75, 1.0)]
            return all(
                math.isfinite(value) and law.contains(value) and 0.0 <= law.unit(value) <= 1.0
                for value in values
            )
    except ArithmeticError:
        return False


def _check_order(low: float, high: float) -> None:
    if low >= high:
        raise refuse(f"min {show(low)} is not below max {show(high)}")


def _check_apart(low: float, high: float) -> None:
    if math.log(low) >= math.log(high):
        raise refuse("min and max are too close to tell apart")


#: Every `distribution` of the language and the form it is written in.
LAWS: Mapping[str, type[Form]] = {
    "constant": _Constant,
    "categorical": _Categorical,
    "categorical_w_probabilities": _Weighted,
    "int_uniform": _Int,
    "uniform": _Uniform,
    "q_uniform": _QUniform,
    "log_uniform": _LogExponents,
    "log_uniform_values": _LogValues,
    "q_log_uniform": _QLogExponents,
    "q_log_uniform_values": _QLogValues,
    "inv_log_uniform": _InvLogExponents,
    "inv_log_uniform_values": _LogValues,
    "normal": _Normal,
    "q_normal": _QNormal,
    "log_normal": _LogNormal,
    "q_log_normal": _QLogNormal,
    "beta": _Beta,
    "q_beta": _QBeta,
}
