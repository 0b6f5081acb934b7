"""The laws that parameters are drawn from, with W&B's meaning of each.

Here is what all of them share and those of single values; `numeric` has those of real numbers.
Every law is an axis from 0 to 1, on its own scale: `ppf` gives the value that will run at a
position, `unit` the position of a value.
"""

import copy
import json
import math
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeGuard

import numpy as np
import numpy.typing as npt

from sweepd.errors import InvalidInput

__all__ = [
    "EXACT",
    "Array",
    "Categorical",
    "Constant",
    "Distribution",
    "IntUniform",
    "as_number",
    "canonical",
    "is_number",
]

Array = npt.NDArray[np.float64]
#: Up to this size every whole number is a float.
EXACT = 2**53


def canonical(value: Any) -> str:
    """Return the text by which two values are the same: True is not 1, 1 is 1.0."""
    return json.dumps(_plain(value), sort_keys=True, separators=(",", ":"))


def _is_small(value: Any) -> bool:
    """Return whether Python takes just those numbers for this one that `canonical` does."""
    return type(value) in (int, float) and abs(value) < EXACT


def _plain(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer() and abs(value) < EXACT:
        return int(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def is_number(value: Any) -> TypeGuard[int | float]:
    """Return whether this is a finite number, which True and False are not."""
    is_numeric = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_numeric and abs(value) <= sys.float_info.max


def as_number(value: Any) -> float:
    """Return a finite number as a float, NaN for anything else."""
    return float(value) if is_number(value) else math.nan


class Distribution(ABC):
    """The law of one parameter."""

    #: Categories without an order: compare them by equality.
    is_categorical: bool = False
    #: Categories that are all numbers: sorted, they are one axis.
    is_ordinal: bool = False

    # Compared as written, so that [1, 2], [1.0, 2.0] and [True, 2] are three laws.
    @cached_property
    def _identity(self) -> str:
        return repr(self)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Distribution):
            return NotImplemented
        return self._identity == other._identity

    def __hash__(self) -> int:
        return hash(self._identity)

    @property
    @abstractmethod
    def size(self) -> int | None:
        """Number of distinct values; None where there are infinitely many."""

    @property
    @abstractmethod
    def allowed(self) -> str:
        """Say in words which values there are."""

    @abstractmethod
    def ppf(self, u: float) -> Any:
        """Return the value at position `u` in [0, 1] as a JSON-able Python object."""

    @abstractmethod
    def cdf(self, value: Any) -> float:
        """Return the probability of a value not above this one, in [0, 1].

        Raises:
            InvalidInput: if the law has no such value.
        """

    @abstractmethod
    def unit(self, value: Any) -> float:
        """Return the position in [0, 1] that `ppf` maps to `value`: the middle of its cell.

        Raises:
            InvalidInput: if the law has no such value.
        """

    @abstractmethod
    def snap(self, u: Array) -> Array:
        """Return, elementwise, `unit(ppf(u))`: positions of the values that will really run."""

    @abstractmethod
    def numbers(self, u: Array) -> Array:
        """Return, elementwise, `ppf(u)` as a float: NaN where the value is no number."""

    @abstractmethod
    def contains(self, value: Any) -> bool:
        """Return whether the law can give this value."""

    @abstractmethod
    def normalise(self, value: Any) -> Any:
        """Return `value` as the law itself would write it: 3 for 3.0 where whole numbers run."""

    def number(self, value: Any) -> int | float:
        """Return `value` if it is a number.

        Raises:
            InvalidInput: if it is none.
        """
        if not is_number(value):
            raise InvalidInput(f"{value!r} is not {self.allowed}")
        return value

    @property
    def grid_size(self) -> int | None:
        """Number of points of W&B's grid over the law; None where W&B has none."""
        return None

    def grid(self) -> Sequence[Any]:
        """Return all values in the order of W&B's grid.

        Raises:
            InvalidInput: if W&B has no grid over this law.
        """
        raise InvalidInput(f"there is no grid over {self.allowed}")


@dataclass(frozen=True, eq=False)
class Constant(Distribution):
    """One fixed value; any JSON-able one."""

    value: Any

    @property
    def size(self) -> int:
        """Return 1."""
        return 1

    @property
    def allowed(self) -> str:
        """Say which value it is."""
        return f"only {canonical(self.value)}"

    def ppf(self, u: float) -> Any:
        """Return the value, whatever the position."""
        return copy.deepcopy(self.value)

    def cdf(self, value: Any) -> float:
        """Return 0, as W&B does."""
        return 0.0

    def unit(self, value: Any) -> float:
        """Return the middle of the axis."""
        return 0.5

    def snap(self, u: Array) -> Array:
        """Return the middle of the axis for every position."""
        return np.full_like(u, 0.5)

    def numbers(self, u: Array) -> Array:
        """Return the value for every position if it is a number."""
        return np.full_like(u, as_number(self.value))

    def contains(self, value: Any) -> bool:
        """Return whether this is the value."""
        return canonical(value) == canonical(self.value)

    def normalise(self, value: Any) -> Any:
        """Return the value as the definition has it."""
        return copy.deepcopy(self.value)

    @property
    def grid_size(self) -> int:
        """Return 1."""
        return 1

    def grid(self) -> Sequence[Any]:
        """Return the one value."""
        return [self.ppf(0.5)]


@dataclass(frozen=True, eq=False)
class Categorical(Distribution):
    """One of several distinct JSON-able values, in the definition's order; falsy ones count too.

    On the axis each value's cell is as wide as its probability. Values that are all numbers lie on
    it in ascending order.
    """

    values: tuple[Any, ...]
    probabilities: tuple[float, ...] | None = None

    @cached_property
    def is_ordinal(self) -> bool:  # type: ignore[override]
        """Whether the values are all numbers."""
        return all(is_number(value) for value in self.values)

    @property
    def is_categorical(self) -> bool:  # type: ignore[override]
        """Whether the values have no order."""
        return not self.is_ordinal

    @cached_property
    def _axis(self) -> list[int]:
        order = list(range(len(self.values)))
        return sorted(order, key=lambda i: self.values[i]) if self.is_ordinal else order

    @cached_property
    def _edges(self) -> Array:
        """Return the upper edge of each cell along the axis, shape (size,); the last is 1."""
        n = len(self.values)
        if self.probabilities is None:
            return np.arange(1, n + 1) / n
        edges = np.cumsum([self.probabilities[i] for i in self._axis])
        return np.asarray(edges / edges[-1], dtype=np.float64)

    @cached_property
    def _middles(self) -> Array:
        edges = self._edges
        return (np.concatenate(([0.0], edges[:-1])) + edges) / 2

    @cached_property
    def _ranks(self) -> dict[str, int]:
        return {canonical(self.values[i]): rank for rank, i in enumerate(self._axis)}

    @cached_property
    def _texts(self) -> dict[str, int]:
        return {
            self.values[i]: rank for rank, i in enumerate(self._axis) if type(self.values[i]) is str
        }

    @cached_property
    def _numbers(self) -> dict[float, int]:
        return {v: self._ranks[canonical(v)] for v in self.values if _is_small(v)}

    def _rank(self, value: Any) -> int:
        rank = self._find(value)
        if rank is None:
            raise InvalidInput(f"{canonical(value)} is not {self.allowed}")
        return rank

    def _find(self, value: Any) -> int | None:
        """Return the place of a value on the axis; texts and numbers need no JSON for that.

        Python takes 1 for 1.0, as `canonical` does, and for True, which it does not.
        """
        if type(value) is str:
            return self._texts.get(value)
        if _is_small(value):
            return self._numbers.get(value)
        return self._ranks.get(canonical(value))

    @property
    def size(self) -> int:
        """Return the number of values."""
        return len(self.values)

    @property
    def allowed(self) -> str:
        """Name the values, the first dozen of them."""
        shown = ", ".join(canonical(value)[:40] for value in self.values[:12])
        more = f", … ({len(self.values)} values)" if len(self.values) > 12 else ""
        return f"one of {shown}{more}"

    def ppf(self, u: float) -> Any:
        """Return the value whose cell holds position `u`."""
        rank = min(int(np.searchsorted(self._edges, u)), len(self.values) - 1)
        return copy.deepcopy(self.values[self._axis[rank]])

    def cdf(self, value: Any) -> float:
        """Return the upper edge of the value's cell."""
        return float(self._edges[self._rank(value)])

    def unit(self, value: Any) -> float:
        """Return the middle of the value's cell."""
        return float(self._middles[self._rank(value)])

    def along_axis(self) -> list[Any]:
        """Return the values in the order of their cells."""
        return [self.values[i] for i in self._axis]

    def ranks(self, u: Array) -> npt.NDArray[np.intp]:
        """Return the number of each position's cell along the axis."""
        return np.minimum(np.searchsorted(self._edges, u), len(self.values) - 1)

    def snap(self, u: Array) -> Array:
        """Return the middle of the cell of each position."""
        return np.asarray(self._middles[self.ranks(u)], dtype=np.float64)

    @cached_property
    def _as_numbers(self) -> Array:
        return np.array([as_number(value) for value in self.along_axis()], dtype=np.float64)

    def numbers(self, u: Array) -> Array:
        """Return the value at each position, NaN for those that are no numbers."""
        return np.asarray(self._as_numbers[self.ranks(u)], dtype=np.float64)

    def contains(self, value: Any) -> bool:
        """Return whether this is one of the values."""
        return self._find(value) is not None

    def normalise(self, value: Any) -> Any:
        """Return the value as the definition has it."""
        return copy.deepcopy(self.values[self._axis[self._rank(value)]])

    @property
    def grid_size(self) -> int:
        """Return the number of values."""
        return self.size

    def grid(self) -> Sequence[Any]:
        """Return the values in the definition's order."""
        return [copy.deepcopy(value) for value in self.values]


@dataclass(frozen=True, eq=False)
class IntUniform(Distribution):
    """Whole numbers from `low` to `high`, both included, each as likely."""

    low: int
    high: int

    @property
    def size(self) -> int:
        """Return how many whole numbers there are."""
        return self.high - self.low + 1

    @property
    def allowed(self) -> str:
        """Say which numbers."""
        return f"a whole number from {self.low} to {self.high}"

    def _steps(self, u: Array) -> Array:
        steps = np.ceil(u * self.size) - 1
        steps = steps - (steps / self.size >= u)  # u·size may round upwards
        return np.asarray(np.clip(steps, 0, self.size - 1), dtype=np.float64)

    def ppf(self, u: float) -> int:
        """Return the whole number at position `u`."""
        return self.low + int(self._steps(np.asarray(u, dtype=np.float64)))

    def cdf(self, value: Any) -> float:
        """Return the share of numbers not above `value`."""
        below = math.floor(self.number(value)) - self.low + 1
        return min(1.0, max(0.0, below / self.size))

    def unit(self, value: Any) -> float:
        """Return the middle of the number's cell."""
        return min(1.0, max(0.0, (self.number(value) - self.low + 0.5) / self.size))

    def snap(self, u: Array) -> Array:
        """Return the middle of the cell of each position."""
        return np.asarray((self._steps(u) + 0.5) / self.size, dtype=np.float64)

    def numbers(self, u: Array) -> Array:
        """Return the whole number at each position."""
        return np.asarray(self.low + self._steps(u), dtype=np.float64)

    def contains(self, value: Any) -> bool:
        """Return whether this is a whole number within the bounds."""
        return is_number(value) and value == int(value) and self.low <= value <= self.high

    def normalise(self, value: Any) -> int:
        """Return the number as an int."""
        return int(self.number(value))

    @property
    def grid_size(self) -> int:
        """Return how many whole numbers there are."""
        return self.size

    def grid(self) -> Sequence[int]:
        """Return the numbers in ascending order."""
        return range(self.low, self.high + 1)
