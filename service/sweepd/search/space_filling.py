"""Points spread evenly over a space: a search starts with them, and gives them while it thinks."""

from collections.abc import Collection, Iterator
from functools import lru_cache
from itertools import count

import numpy as np
import numpy.typing as npt

from sweepd.search.unique import Taken, fresh
from sweepd.spec import Config, Space

__all__ = ["filler", "spread"]

#: Points worked out together; a power of two, as Sobol's sequence wants it.
_BLOCK = 64
#: Points in a row that may all break the constraints.
_MOST_MISSED = 256


def filler(space: Space, taken_keys: Collection[str], index: int, seed: int) -> Config | None:
    """Return one space-filling config at once, or None if the space is exhausted.

    Args:
        space: where to search.
        taken_keys: `space.key` of every config that was handed out.
        index: how many were handed out before; another index is another config.
        seed: of the sequence, at least 0; the same seed and index are the same config.
    """
    taken = Taken(space, keys=taken_keys)
    return fresh(spread(space, start=index, seed=seed), taken, start=index)


def spread(space: Space, *, start: int, seed: int) -> Iterator[Config]:
    """Yield the configs of a scrambled Sobol sequence from number `start` on; 0 is the centre.

    Points that break the constraints are passed over; where these are nearly all, configs drawn at
    random stand in for them.

    Args:
        space: where to search.
        start: number of the first config.
        seed: of the scrambling, at least 0.
    """
    missed = 0
    for index in count(start):
        if index == 0:
            config = space.from_unit(np.full(space.d, 0.5))
        else:
            block, place = divmod(index, _BLOCK)
            config = space.from_unit(_sobol(space.d, block, seed)[place])
        if not space.satisfies(config):
            missed += 1
            if missed < _MOST_MISSED:
                continue
            config = space.sample(np.random.default_rng([seed, index]))
        missed = 0
        yield config


@lru_cache(maxsize=64)
def _sobol(d: int, block: int, seed: int) -> npt.NDArray[np.float64]:
    """Return points number block × 64 and on of a scrambled sequence in d dimensions: (64, d)."""
    from scipy.stats import qmc  # takes a second to import: not where nothing is spread

    if not 0 < d <= qmc.Sobol.MAXDIM:
        return np.random.default_rng([seed, block]).random((_BLOCK, d))
    sequence = qmc.Sobol(d, scramble=True, rng=np.random.default_rng(seed))
    if block:
        sequence.fast_forward(block * _BLOCK)
    return np.asarray(sequence.random(_BLOCK))
