"""What a definition would try: for `sweep preview`, without a service."""

from collections.abc import Sequence
from dataclasses import dataclass

from sweepd.engine.computing import SuggestJob, compute_in, instant, is_instant
from sweepd.search import Taken
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
    taken, index = Taken(space, configs), 0
    while is_instant(definition.method) and len(configs) < n and not is_everything:
        found = instant(definition.method).pick(space, taken, index=index, seed=seed)
        is_everything = found is None
        if found is not None:
            config, index = found[0], found[1] + 1
            configs.append(config)
            taken.add(config)
    if len(configs) < n and not is_everything:
        asked = n - len(configs)
        more = compute_in(definition, _first_job(definition, configs, n=asked, seed=seed)).configs
        is_everything = len(more) < asked
        configs.extend(more)
    size = grid_size(space) if definition.method == "grid" else None
    is_learning = not is_instant(definition.method)
    return Preview(tuple(configs[:n]), n_initial, size, is_everything, is_learning)


def _first_job(
    definition: Definition, initial: Sequence[Config], *, n: int, seed: int
) -> SuggestJob:
    """Return what the search is asked before any trial has ended."""
    return SuggestJob(
        sweep_id=0,
        method=definition.method,
        definition="",
        trials=(),
        pending=tuple(initial),
        n=n,
        seed=seed,
        basis_event=0,
    )
