"""Grid search: every combination once, in W&B's order."""

from collections.abc import Sequence
from itertools import islice

import numpy as np

from sweepd.search.protocols import Memo, Trial
from sweepd.search.unique import Out
from sweepd.spec import Config, Space

__all__ = ["Grid"]


class Grid:
    """Hands out the grid's points by their number: the last parameter by path changes fastest.

    A parameter that does not exist counts as its first value, so that each config comes once. A
    point is done when it was handed out, whatever became of it.
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
        grid = space.grid
        done = {grid.number(trial.config) for trial in trials}
        done.update(grid.number(config) for config in pending)
        left = (number for number in grid.walk() if number not in done)
        return [grid.config(number) for number in islice(left, n)], memo

    def pick(self, space: Space, taken: Out, *, index: int, seed: int) -> tuple[Config, int] | None:
        """Return the point with this number, or the next that is free; see `Instant.pick`."""
        for number, behind in space.grid.ahead(index):
            config = space.grid.config(number)
            if config not in taken:
                return config, behind - 1
        return None
