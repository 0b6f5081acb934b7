"""Random search: independent draws, none of them twice."""

from collections.abc import Iterator, Sequence
from contextlib import suppress

import numpy as np

from sweepd.errors import InvalidInput
from sweepd.search.protocols import Memo, Trial
from sweepd.search.streams import pick_rng
from sweepd.search.unique import Out, Taken, fresh
from sweepd.spec import Config, Space

__all__ = ["Random", "draws"]


class Random:
    """Draws every parameter from its distribution, whatever came out so far."""

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
        """Return n configs drawn at random; see `Method.suggest`."""
        taken = Taken(space, [*(trial.config for trial in trials), *pending])
        configs: list[Config] = []
        for out in range(len(trials) + len(pending), len(trials) + len(pending) + n):
            own = pick_rng(rng, out)
            config = fresh(draws(space, own), taken, start=int(own.integers(2**62)))
            if config is None:
                break
            taken.add(config)
            configs.append(config)
        return configs, memo

    def pick(self, space: Space, taken: Out, *, index: int, seed: int) -> tuple[Config, int] | None:
        """Return a config drawn with a generator of this number's own; see `Instant.pick`."""
        rng = np.random.default_rng((seed, index))
        config = fresh(draws(space, rng), taken, start=int(rng.integers(2**62)))
        return None if config is None else (config, index)


def draws(space: Space, rng: np.random.Generator) -> Iterator[Config]:
    """Yield configs drawn from the space, without end; it ends where none is found any more."""
    with suppress(InvalidInput):
        while True:
            yield space.sample(rng)
