"""Grid search: every combination once, in W&B's order."""

import copy
import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import islice
from typing import Any

import numpy as np

from sweepd.search.protocols import Memo, Trial
from sweepd.spec import Config, Distribution, Space, canonical

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
        self._laws = {item.name: item.distribution for item in space.parameters}
        self.count = math.prod(len(_values(law)) for law in self._laws.values())

    def config(self, number: int) -> Config:
        """Return the point with this number."""
        rest, found = number, {}
        for name, law in reversed(self._laws.items()):
            values = _values(law)
            rest, place = divmod(rest, len(values))
            found[name] = copy.deepcopy(values[place])
        return {name: found[name] for name in self._laws}

    def number(self, config: Mapping[str, Any]) -> int | None:
        """Return the number of the point with this config, None if it is not on the grid."""
        number = 0
        for name, law in self._laws.items():
            place = _place(law, config[name]) if name in config else None
            if place is None:
                return None
            number = number * len(_values(law)) + place
        return number


@lru_cache(maxsize=256)
def _values(law: Distribution) -> Sequence[Any]:
    """Return the values of one parameter in W&B's order."""
    return law.grid()


@lru_cache(maxsize=256)
def _places(law: Distribution) -> dict[str, int]:
    return {canonical(value): place for place, value in enumerate(_values(law))}


def _place(law: Distribution, value: Any) -> int | None:
    """Return which of the law's values this is, None if it is none of them."""
    values = _values(law)
    if isinstance(values, range):  # may be millions: no table
        is_whole = isinstance(value, int | float) and not isinstance(value, bool)
        return values.index(int(value)) if is_whole and value in values else None
    return _places(law).get(canonical(value))
