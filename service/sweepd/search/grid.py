"""Grid search: every combination once, in W&B's order."""

import copy
import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import islice
from typing import Any

import numpy as np

from sweepd.search.protocols import Memo, Trial
from sweepd.spec import Config, Space, canonical

__all__ = ["Grid"]


class Grid:
    """Hands out the grid's points by their number: the last parameter by path changes fastest.

    A point is done when it was handed out, whatever became of it.
    """

    is_instant = True

    def suggest(
        self,
        space: Space,
        trials: Sequence[Trial],
        pending: Sequence[Config],
        n: int,
        rng: np.random.Generator,
        memo: Memo,
    ) -> tuple[list[Config], Memo]:
        """Return the grid's first n points that are not out yet; see `Method.suggest`.

        Raises:
            InvalidInput: if a parameter has no grid; `sweepd.spec` refuses such a definition.
        """
        points = _Points(space)
        done = {points.number(trial.config) for trial in trials}
        done.update(points.number(config) for config in pending)
        left = (number for number in range(points.count) if number not in done)
        return [points.config(number) for number in islice(left, n)], memo


class _Points:
    """The points of a grid by their number."""

    def __init__(self, space: Space) -> None:
        self._axes = {item.name: _Axis(item.distribution.grid()) for item in space.parameters}
        self.count = math.prod(len(axis.values) for axis in self._axes.values())

    def config(self, number: int) -> Config:
        """Return the point with this number."""
        rest, found = number, {}
        for name, axis in reversed(self._axes.items()):
            rest, place = divmod(rest, len(axis.values))
            found[name] = copy.deepcopy(axis.values[place])
        return {name: found[name] for name in self._axes}

    def number(self, config: Mapping[str, Any]) -> int | None:
        """Return the number of the point with this config, None if it is not on the grid."""
        number = 0
        for name, axis in self._axes.items():
            place = axis.place(config[name]) if name in config else None
            if place is None:
                return None
            number = number * len(axis.values) + place
        return number


class _Axis:
    """The values of one parameter in W&B's order."""

    def __init__(self, values: Sequence[Any]) -> None:
        self.values = values

    def place(self, value: Any) -> int | None:
        """Return which of the values this is, None if it is none of them."""
        if isinstance(self.values, range):  # may be millions: no table
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            return self.values.index(int(value)) if is_number and value in self.values else None
        return self._places.get(canonical(value))

    @cached_property
    def _places(self) -> dict[str, int]:
        return {canonical(value): place for place, value in enumerate(self.values)}
