"""Quasi-random search: the points of one scrambled Sobol sequence, in order."""

from collections.abc import Sequence

import numpy as np

from sweepd.search.picks import picks
from sweepd.search.protocols import Memo, Trial
from sweepd.search.space_filling import filler, spread
from sweepd.search.streams import sweep_seed
from sweepd.search.unique import Out
from sweepd.spec import Config, Space

__all__ = ["Qmc"]
#: Points of one pick, each of which may be taken, before one is drawn.
_MOST_POINTS = 20


class Qmc:
    """Gives the n-th point of the sequence to the n-th trial, whatever came out so far.

    The sequence is scipy's, as that of Optuna's sampler of this name; here categories are axes of
    it too.
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
        """Return the next n points that are not out yet; see `Method.suggest`."""
        seed = sweep_seed(rng)
        found, _ = picks(
            space,
            trials,
            pending,
            n,
            rng,
            ideas=lambda out, running, own: spread(space, start=out, seed=seed),
            most=_MOST_POINTS,
        )
        return found, memo

    def pick(self, space: Space, taken: Out, *, index: int, seed: int) -> tuple[Config, int] | None:
        """Return the point with this number, or the next that is free; see `Instant.pick`."""
        return filler(space, taken, index=index, seed=seed)
