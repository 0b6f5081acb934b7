"""What a definition would try: for `sweep preview`, without a service."""

from dataclasses import dataclass

import numpy as np

from sweepd.engine.suggest import instant_batch, load_method
from sweepd.spec import Config, Definition, grid_size

__all__ = ["Preview", "preview"]


@dataclass(frozen=True)
class Preview:
    """The first configs of a sweep.

    Attributes:
        configs: flat, in the order in which they would be handed out.
        n_initial: how many of them the definition's `initial` block names.
        grid_size: points of the whole grid; None unless the method is grid.
        is_everything: whether the space has no more configs than these.
        is_learning: whether later configs depend on results.
    """

    configs: tuple[Config, ...]
    n_initial: int
    grid_size: int | None
    is_everything: bool
    is_learning: bool


def preview(definition: Definition, *, n: int) -> Preview:
    """Return the first `n` configs that a sweep of this definition would try.

    They are the sweep's own if it has a seed and its method does not learn from results; without a
    seed, those of seed 0.
    """
    space, seed = definition.space, definition.own.seed or 0
    unique = {space.key(config): config for config in definition.own.initial}
    configs = list(unique.values())[:n]
    n_initial = len(configs)
    is_everything = False
    method = load_method(definition.method)
    while len(configs) < n and not is_everything:
        if method.is_instant:
            found, asked = instant_batch(
                definition, trials=(), pending=configs, n_known=len(configs), seed=seed
            )
        else:
            asked = n - len(configs)
            rng = np.random.default_rng((seed, len(configs), 0))
            found, _ = method.suggest(space, (), configs, asked, rng, {})
        is_everything = len(found) < asked and len(configs) + len(found) <= n
        configs.extend(found)
    size = grid_size(space) if definition.method == "grid" else None
    is_learning = not method.is_instant
    return Preview(tuple(configs[:n]), n_initial, size, is_everything, is_learning)
