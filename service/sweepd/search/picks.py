"""Configs picked one after the other, each by its own random numbers, none of them twice.

So n configs asked for at once are those that n calls for one would give, whichever agents ask.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import chain, islice

import numpy as np

from sweepd.search.protocols import Trial
from sweepd.search.random import draws
from sweepd.search.streams import pick_rng
from sweepd.search.unique import Taken, fresh
from sweepd.spec import Config, Space

__all__ = ["Ideas", "picks"]

#: Returns configs to try, best first: given how many were handed out before, those that run, and a
#: generator of this pick's own.
Ideas = Callable[[int, Sequence[Config], np.random.Generator], Iterable[Config]]

#: Ideas of one pick that may turn out to be taken before it is drawn at random.
_MOST_IDEAS = 20


def picks(
    space: Space,
    trials: Sequence[Trial],
    pending: Sequence[Config],
    n: int,
    rng: np.random.Generator,
    *,
    ideas: Ideas,
) -> list[Config]:
    """Return up to n configs, for each the first of its ideas that is not out yet.

    Args:
        space: where to search.
        trials: ended ones.
        pending: configs that run.
        n: how many are wanted; fewer come if the space is exhausted.
        rng: of the call.
        ideas: where configs come from.
    """
    taken = Taken(space, [*(trial.config for trial in trials), *pending])
    running, configs = list(pending), list[Config]()
    first = len(trials) + len(pending)
    for out in range(first, first + n):
        own = pick_rng(rng, out)
        start = int(own.integers(2**62))
        found = filter(space.satisfies, islice(ideas(out, running, own), _MOST_IDEAS))
        config = fresh(chain(found, draws(space, own)), taken, start=start)
        if config is None:
            break
        for of in (configs, running):
            of.append(config)
        taken.add(config)
    return configs
