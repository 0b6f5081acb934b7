"""Configs picked one after the other, each by its own random numbers, none of them twice.

So n configs asked for at once are those that n calls for one would give, whichever agents ask. The
memo holds, for `explain`, those of the latest configs that were no idea of the method's.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import islice

import numpy as np

from sweepd.search.protocols import Memo, Trial
from sweepd.search.random import draws
from sweepd.search.streams import pick_rng
from sweepd.search.unique import Taken, fresh
from sweepd.spec import Config, Space, canonical

__all__ = ["Ideas", "picks", "was_filled", "with_filled"]

#: Returns configs to try, best first: given how many were handed out before, those that run, and a
#: generator of this pick's own.
Ideas = Callable[[int, Sequence[Config], np.random.Generator], Iterable[Config]]


def picks(
    space: Space,
    trials: Sequence[Trial],
    pending: Sequence[Config],
    n: int,
    rng: np.random.Generator,
    *,
    ideas: Ideas,
    most: int,
) -> tuple[list[Config], list[Config]]:
    """Return up to n configs, for each the first of its ideas that is not out yet; and the others.

    The others are those of them that are drawn at random, since all ideas were out or break a
    constraint.

    Args:
        space: where to search.
        trials: ended ones.
        pending: configs that run.
        n: how many are wanted; fewer come if the space is exhausted.
        rng: of the call.
        ideas: where configs come from.
        most: ideas of one pick that are looked at.
    """
    taken = Taken(space, [*(trial.config for trial in trials), *pending])
    running, configs, filled = list(pending), list[Config](), list[Config]()
    first = len(trials) + len(pending)
    for out in range(first, first + n):
        own = pick_rng(rng, out)
        start = int(own.integers(2**62))
        found = filter(space.satisfies, islice(ideas(out, running, own), most))
        config = next((idea for idea in found if idea not in taken), None)
        if config is None:
            config = fresh(draws(space, own), taken, start=start)
            filled += [config] if config is not None else []
        if config is None:
            break
        for of in (configs, running):
            of.append(config)
        taken.add(config)
    return configs, filled


def with_filled(memo: Memo, filled: Sequence[Config]) -> Memo:
    """Return a memo with the latest configs that were no idea of the method's."""
    memo = {name: kept for name, kept in memo.items() if name != "filled"}
    return {**memo, "filled": list(filled)} if filled else memo


def was_filled(memo: Memo, config: Config) -> bool:
    """Return whether one of the latest configs was no idea of the method's."""
    return canonical(config) in map(canonical, memo.get("filled", ()))
