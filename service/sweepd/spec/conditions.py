"""When a parameter exists: conditions on the values of other parameters.

A parameter exists in a config if each of its conditions holds: the parent that the condition names
exists, and has one of the condition's values. So a parameter whose parent does not exist does not
exist either. One that does not exist is absent from the config, flat and nested.
"""

import math
from bisect import bisect
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from heapq import heappop, heappush
from typing import Any

import numpy as np
import numpy.typing as npt

from sweepd.spec.distributions import Array, Categorical, Distribution, canonical, is_number

__all__ = ["Condition", "Mask", "Parameter", "parents_first"]

Mask = npt.NDArray[np.bool_]
#: Numbers that differ by less than this part of themselves are the same: 0.3 and 0.1 × 3.
_SAME = 1e-9


@dataclass(frozen=True, eq=False)
class Condition:
    """What one other parameter must be: one of some values, or a number within bounds.

    Args:
        parent: full name of the other parameter.
        values: those that it may have; empty if it is a number between `low` and `high`.
        low: least number, itself included.
        high: greatest number, itself included.
    """

    parent: str
    values: tuple[Any, ...] = ()
    low: float = -math.inf
    high: float = math.inf

    # Compared as written, like laws: [1] and [True] are two conditions.
    @cached_property
    def _identity(self) -> str:
        return repr(self)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Condition) and self._identity == other._identity

    def __hash__(self) -> int:
        return hash(self._identity)

    @cached_property
    def _keys(self) -> frozenset[str]:
        return frozenset(map(canonical, self.values))

    @cached_property
    def _numbers(self) -> Array:
        numbers = [value for value in self.values if is_number(value)]
        return np.unique(np.array(numbers, dtype=np.float64))

    @cached_property
    def _sorted(self) -> list[float]:
        return list(map(float, self._numbers))

    def holds(self, value: Any) -> bool:
        """Return whether the parent may have this value."""
        if not self.values:
            return is_number(value) and self.low <= value <= self.high
        if canonical(value) in self._keys:
            return True
        if not is_number(value) or not self._sorted:
            return False
        above = bisect(self._sorted, value)
        near = self._sorted[max(above - 1, 0) : above + 1]
        return any(math.isclose(value, x, rel_tol=_SAME) for x in near)

    def holds_at(self, law: Distribution, u: Array) -> Mask:
        """Return whether it holds of the values at positions `u`, shape (m,), of the parent's law.

        Returns:
            Shape (m,).
        """
        if isinstance(law, Categorical):
            holds = np.array([self.holds(value) for value in law.along_axis()])
            return np.asarray(holds[law.ranks(u)], dtype=bool)
        return self.holds_of(law.numbers(u))

    def holds_of(self, numbers: Array) -> Mask:
        """Return whether it holds of each of m numbers, shape (m,); not of NaN."""
        if self.values:
            return self._are_near(numbers)
        return np.asarray((self.low <= numbers) & (numbers <= self.high), dtype=bool)

    def _are_near(self, numbers: Array) -> Mask:
        """Return which of the numbers, shape (m,), are one of the values, up to rounding: (m,)."""
        known = self._numbers
        if not len(known):
            return np.zeros(len(numbers), dtype=bool)
        above = np.minimum(np.searchsorted(known, numbers), len(known) - 1)
        below = np.maximum(above - 1, 0)
        is_near = [np.isclose(numbers, known[at], rtol=_SAME, atol=0.0) for at in (below, above)]
        return np.asarray(is_near[0] | is_near[1], dtype=bool)


@dataclass(frozen=True)
class Parameter:
    """One axis: its flat name, its path in the nested config, its law, and when it exists.

    Args:
        name: path joined by ".".
        path: steps of the nested config.
        distribution: the law of its values.
        when: conditions that must all hold; none means that it always exists.
    """

    name: str
    path: tuple[str, ...]
    distribution: Distribution
    when: tuple[Condition, ...] = ()

    def exists_in(self, config: Mapping[str, Any]) -> bool:
        """Return whether the parameter exists beside the others of a config.

        Args:
            config: flat; of the parents, those that exist and no others.
        """
        return all(
            condition.parent in config and condition.holds(config[condition.parent])
            for condition in self.when
        )


def parents_first(
    parameters: Sequence[Parameter],
) -> tuple[tuple[Parameter, ...], tuple[str, ...]]:
    """Return the parameters with each one after its parents, and the names that go in a circle.

    Otherwise the order is as given. Parameters of a circle, and those that hang on one, are left
    out of the order.
    """
    place = {parameter.name: i for i, parameter in enumerate(parameters)}
    missing = [_parents(parameter) & place.keys() for parameter in parameters]
    children: dict[str, list[int]] = defaultdict(list)
    for i, parents in enumerate(missing):
        for parent in parents:
            children[parent].append(i)
    ready = [i for i, parents in enumerate(missing) if not parents]
    ordered: list[Parameter] = []
    while ready:
        done = parameters[heappop(ready)]
        ordered.append(done)
        for i in children[done.name]:
            missing[i].discard(done.name)
            if not missing[i]:
                heappush(ready, i)
    waiting = {p.name: p for p, parents in zip(parameters, missing, strict=True) if parents}
    return tuple(ordered), _circle(waiting) if waiting else ()


def _parents(parameter: Parameter) -> set[str]:
    return {condition.parent for condition in parameter.when}


def _circle(waiting: Mapping[str, Parameter]) -> tuple[str, ...]:
    """Return the names along one circle: each hangs on the next, the last on the first."""
    trail: list[str] = []
    name = min(waiting)
    while name not in trail:
        trail.append(name)
        name = min(_first_of(waiting, _parents(waiting[name])))
    return tuple(trail[trail.index(name) :])


def _first_of(waiting: Mapping[str, Parameter], names: Iterable[str]) -> list[str]:
    return [name for name in names if name in waiting]
