"""The configs of a finite space by their number, counted and walked without building them all.

Every parameter is an axis of values; a point has one digit an axis, and its number is that of its
digits, the last axis fastest: W&B's order of a grid. The digit of a parameter that does not exist
at a point is 0. So each config has one number, and where there are conditions or constraints some
numbers are no config's.

m   points;  k   axes
"""

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from sweepd.spec.conditions import Condition, Mask, Parameter
from sweepd.spec.constraints import Constraint
from sweepd.spec.distributions import Array, Categorical, Distribution, as_number, canonical
from sweepd.spec.numeric import Numeric

__all__ = ["MOST_TIED", "Lattice", "values_of"]

Digits = npt.NDArray[np.int64]

#: Combinations that are worked out, at most. With more of them a walk could pass over numbers
#: without end that are no config's, while an agent waits.
MOST_TIED = 2**20
_ABSENT = -1  # in place of the digit of a parameter that does not exist


class Lattice:
    """The points of a space.

    Args:
        axes: the parameters in the order of the digits, each with its values.
        ordered: the same parameters, each after its parents.
        constraints: those of the space.
    """

    def __init__(
        self,
        axes: Sequence[tuple[Parameter, Sequence[Any]]],
        *,
        ordered: Sequence[Parameter],
        constraints: Sequence[Constraint] = (),
    ) -> None:
        self._axes = {parameter.name: _Axis(values) for parameter, values in axes}
        self._ordered = ordered
        self._constraints = constraints
        self._is_plain = not constraints and not any(p.when for p in ordered)
        #: Points, configs or not.
        self.n_points = math.prod(len(axis.values) for axis in self._axes.values())

    @cached_property
    def n_configs(self) -> int | None:
        """Number of configs; None if there are conditions and too many combinations to count."""
        if self._is_plain:
            return self.n_points
        # what decides which others exist or are allowed is worked out, the rest multiplied
        deciding = {c.parent for p in self._ordered for c in p.when}
        deciding.update(name for constraint in self._constraints for name in constraint.names)
        table = self._table(deciding)
        if table is None:
            return None
        sizes: npt.NDArray[Any] = np.ones(len(table), dtype=self._kind)
        for parameter in self._ordered:
            if parameter.name not in table.digits:
                n = len(self._axes[parameter.name].values)
                exists = self._exists(parameter, table.digits, len(table))
                sizes = np.where(exists, sizes * n, sizes)
        return int(sizes.sum())

    @property
    def _kind(self) -> type:
        """What holds any number of the lattice: 64 bits, or Python's own where they are few."""
        return np.int64 if self.n_points < 2**62 else object

    def share_existing(self, parameter: Parameter) -> float | None:
        """Return in which share of the lattice's configs a further parameter exists.

        Its parents are axes of the lattice. None if there are too many combinations of them.
        """
        table = self._table({condition.parent for condition in parameter.when})
        if table is None or not len(table):
            return None
        return float(self._exists(parameter, table.digits, len(table)).mean())

    def config(self, number: int) -> dict[str, Any]:
        """Return the config with this number: one that `walk` yields."""
        rest, found = number, {}
        for name, axis in reversed(self._axes.items()):
            rest, place = divmod(rest, len(axis.values))
            found[name] = axis.values[place]
        there: dict[str, Any] = {}
        for parameter in self._ordered:
            if parameter.exists_in(there):
                there[parameter.name] = copy.deepcopy(found[parameter.name])
        return {name: there[name] for name in self._axes if name in there}

    def number(self, config: Mapping[str, Any]) -> int | None:
        """Return the number of a config, None if it is not on the lattice."""
        places: dict[str, int] = {}
        there: dict[str, Any] = {}
        for parameter in self._ordered:
            name = parameter.name
            if not parameter.exists_in(there):
                continue
            place = self._axes[name].place(config[name]) if name in config else None
            if place is None:
                return None
            places[name], there[name] = place, config[name]
        number = 0
        for name, axis in self._axes.items():
            number = number * len(axis.values) + places.get(name, 0)
        return number

    @property
    def can_be_walked(self) -> bool:
        """Return whether the configs can be gone through: in no order that has long gaps."""
        return self._is_plain or self._numbers is not None

    def walk(self, start: int = 0) -> Iterator[int]:
        """Yield the number of every config once: those from `start` on, then those before it.

        None at all if `can_be_walked` is false.
        """
        if self._is_plain:
            start %= max(self.n_points, 1)
            yield from chain(range(start, self.n_points), range(start))
        elif self._numbers is not None and len(self._numbers):
            start %= len(self._numbers)
            yield from map(int, np.roll(self._numbers, -start))

    def ahead(self, cursor: int) -> Iterator[tuple[int, int]]:
        """Yield the configs' numbers from a cursor on, each with the cursor behind it; 0 is first.

        The order is that of `walk`, and it does not go round.
        """
        if self._is_plain:
            yield from ((number, number + 1) for number in range(cursor, self.n_points))
        elif self._numbers is not None:
            for place in range(cursor, len(self._numbers)):
                yield int(self._numbers[place]), place + 1

    @cached_property
    def _numbers(self) -> npt.NDArray[Any] | None:
        """The numbers of all configs in rising order; None if there are too many combinations."""
        table = self._table(set(self._axes))
        if table is None:
            return None
        numbers: npt.NDArray[Any] = np.zeros(len(table), dtype=self._kind)
        for name, axis in self._axes.items():
            digits: npt.NDArray[Any] = np.maximum(table.digits[name], 0).astype(self._kind)
            numbers = numbers * len(axis.values) + digits
        return np.sort(numbers)

    def _exists(self, parameter: Parameter, digits: Mapping[str, Digits], m: int) -> Mask:
        """Return at which of m points a parameter exists, given its parents' digits there."""
        exists = np.ones(m, dtype=bool)
        for condition in parameter.when:
            parent = digits[condition.parent]
            exists &= self._axes[condition.parent].holds(condition, parent)
        return exists

    def _is_satisfied(self, constraint: Constraint, digits: Mapping[str, Digits]) -> Mask:
        own = [digits[name] for name in constraint.names]
        is_absent = np.any([places == _ABSENT for places in own], axis=0)
        columns = {name: self._axes[name].numbers(digits[name]) for name in constraint.names}
        return np.asarray(is_absent | constraint.are_satisfied(columns), dtype=bool)

    def _table(self, names: set[str]) -> "_Table | None":
        """Return every combination of some parameters' digits that is allowed, parents included.

        None if there are too many on the way.
        """
        for parameter in reversed(self._ordered):
            if parameter.name in names:
                names = names | {condition.parent for condition in parameter.when}
        table = _Table({}, 1)
        waiting = list(self._constraints)
        for parameter in self._ordered:
            if parameter.name not in names:
                continue
            exists = self._exists(parameter, table.digits, len(table))
            grown = table.grown(parameter.name, exists, len(self._axes[parameter.name].values))
            if grown is None:
                return None
            table = grown
            for constraint in [c for c in waiting if table.digits.keys() >= set(c.names)]:
                waiting.remove(constraint)
                table = table.kept(self._is_satisfied(constraint, table.digits))
        return table


class _Table:
    """Combinations of digits: a column for each parameter, `_ABSENT` where it does not exist."""

    def __init__(self, digits: dict[str, Digits], n_rows: int) -> None:
        self.digits = digits
        self._n_rows = n_rows

    def __len__(self) -> int:
        return self._n_rows

    def grown(self, name: str, exists: Mask, n: int) -> "_Table | None":
        """Return each row once for each of n digits, if the parameter exists in it."""
        if int(exists.sum()) * n + self._n_rows > MOST_TIED:
            return None
        counts = np.where(exists, n, 1)
        origin = np.repeat(np.arange(self._n_rows), counts)
        digit = np.arange(len(origin)) - np.repeat(np.cumsum(counts) - counts, counts)
        digits = {other: column[origin] for other, column in self.digits.items()}
        digits[name] = np.where(exists[origin], digit, _ABSENT)
        return _Table(digits, len(origin))

    def kept(self, is_kept: Mask) -> "_Table":
        """Return the rows that are kept."""
        digits = {name: column[is_kept] for name, column in self.digits.items()}
        return _Table(digits, int(is_kept.sum()))


class _Axis:
    """The values of one parameter, by their digits."""

    def __init__(self, values: Sequence[Any]) -> None:
        self.values = values
        self._tables: dict[Condition | None, npt.NDArray[Any]] = {}

    def place(self, value: Any) -> int | None:
        """Return which of the values this is, None if it is none of them."""
        if isinstance(self.values, range):  # may be millions: no table
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            return self.values.index(int(value)) if is_number and value in self.values else None
        return self._places.get(canonical(value))

    @cached_property
    def _places(self) -> dict[str, int]:
        return {canonical(value): place for place, value in enumerate(self.values)}

    def numbers(self, digits: Digits) -> Array:
        """Return the values at digits as floats: NaN where one is no number, or there is none."""
        return np.asarray(self._looked_up(digits, None, math.nan), dtype=np.float64)

    def holds(self, condition: Condition, digits: Digits) -> Mask:
        """Return where a condition on this parameter holds: nowhere where it does not exist."""
        return np.asarray(self._looked_up(digits, condition, False), dtype=bool)

    def _looked_up(self, digits: Digits, condition: Condition | None, absent: Any) -> Any:
        """Return what `condition` says of the value at each digit, or that value as a number."""
        if isinstance(self.values, range):  # may be millions: worked out in one go
            first, step = self.values.start, self.values.step
            numbers = np.where(digits < 0, math.nan, first + step * digits.astype(np.float64))
            return numbers if condition is None else condition.holds_of(numbers)
        work_out: Any = as_number if condition is None else condition.holds
        if len(self.values) > MOST_TIED:
            places, back = np.unique(digits, return_inverse=True)
            table = np.array(
                [absent if place < 0 else work_out(self.values[int(place)]) for place in places]
            )
            return table[back]
        if condition not in self._tables:
            # the last one is that of `_ABSENT`
            self._tables[condition] = np.array([*map(work_out, self.values), absent])
        return self._tables[condition][digits]


def values_of(law: Distribution) -> Sequence[Any]:
    """Return the values that a finite law can give, in a fixed order; none of probability 0."""
    if isinstance(law, Numeric):
        return _Multiples(law)
    if isinstance(law, Categorical) and law.probabilities is not None:
        chances = zip(law.grid(), law.probabilities, strict=True)
        return [value for value, chance in chances if chance > 0.0]
    return law.grid()


class _Multiples(Sequence[Any]):
    """The values of a quantised law, worked out one at a time: there may be millions."""

    def __init__(self, law: Numeric) -> None:
        assert law.q is not None
        assert law.size is not None
        self._law, self._step, self._count = law, law.q, law.size

    def __getitem__(self, index: Any) -> Any:
        if not 0 <= index < self._count:
            raise IndexError(index)
        lowest = self._law.ppf(0.0)
        return self._law.normalise(lowest + index * self._step)

    def __len__(self) -> int:
        return self._count
