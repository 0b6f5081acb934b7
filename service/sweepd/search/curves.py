"""The curves of other runs, held in memory: for simulations and for tests of stop rules."""

from collections.abc import Sequence
from itertools import islice
from statistics import fmean

__all__ = ["Curves"]


class Curves:
    """Some runs' curves as a stop rule reads them (`sweepd.search.Peers`).

    Args:
        curves: of each run the finite values that it has logged, in order, lower is better.
    """

    def __init__(self, curves: Sequence[Sequence[float]]) -> None:
        self._curves = curves

    def at(self, number: int) -> list[float]:
        """Return value `number` (0, 1, …) of each run that has logged so many."""
        return [curve[number] for curve in self._curves if len(curve) > number]

    def means(self, number: int) -> list[float]:
        """Return the mean of values 0 to `number` of each run that has logged so many."""
        return [fmean(islice(curve, number + 1)) for curve in self._curves if len(curve) > number]
