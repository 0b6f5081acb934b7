"""Points spread evenly over a space: a search starts with them, and gives them while it thinks."""

from collections.abc import Iterator
from functools import lru_cache
from itertools import count, islice

import numpy as np
import numpy.typing as npt

from sweepd.errors import InvalidInput
from sweepd.search import sobol
from sweepd.search.unique import MOST_DRAWS, Out, left_over
from sweepd.spec import Config, Space

__all__ = ["filler", "spread"]

#: Points worked out together; a power of two, as Sobol's sequence wants it.
_BLOCK = 64
#: Points in a row that may all break the constraints.
_MOST_MISSED = 256


def filler(space: Space, taken: Out, *, index: int, seed: int) -> tuple[Config, int] | None:
    """Return one space-filling config at once, and its number; None if the space is exhausted.

    Args:
        space: where to search.
        taken: what is out.
        index: the number that is tried first; those of earlier fillers lie below.
        seed: of the sequence, at least 0; the same seed and number are the same config.
    """
    for number, config in islice(_numbered(space, index, seed), MOST_DRAWS):
        if config not in taken:
            return config, number
    left = left_over(taken, start=index)
    return None if left is None else (left, index)


def spread(space: Space, *, start: int, seed: int) -> Iterator[Config]:
    """Yield the configs of a scrambled Sobol sequence from number `start` on; 0 is the centre.

    Points that break the constraints are passed over; where these are nearly all, configs drawn at
    random stand in for them, and it ends where none of these is found either.

    Args:
        space: where to search.
        start: number of the first config.
        seed: of the scrambling, at least 0.
    """
    return (config for _, config in _numbered(space, start, seed))


def _numbered(space: Space, start: int, seed: int) -> Iterator[tuple[int, Config]]:
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
            try:
                config = space.sample(np.random.default_rng([seed, index]))
            except InvalidInput:
                return
        missed = 0
        yield index, config


@lru_cache(maxsize=64)
def _sobol(d: int, block: int, seed: int) -> npt.NDArray[np.float64]:
    """Return points number block × 64 and on of a scrambled sequence in d dimensions: (64, d)."""
    if 0 < d <= sobol.MOST_D:
        return sobol.scrambled(d, start=block * _BLOCK, n=_BLOCK, seed=seed)
    from scipy.stats import qmc  # takes a second to import: only where the space is that large

    if not 0 < d <= qmc.Sobol.MAXDIM:
        return np.random.default_rng([seed, block]).random((_BLOCK, d))
    sequence = qmc.Sobol(d, scramble=True, rng=np.random.default_rng(seed))
    if block:
        sequence.fast_forward(block * _BLOCK)
    return np.asarray(sequence.random(_BLOCK))
