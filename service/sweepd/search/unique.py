"""No config twice: what was handed out, and what is left of a finite space."""

from collections.abc import Collection, Iterable, Iterator
from itertools import islice
from typing import Protocol

from sweepd.spec import Config, Space

__all__ = ["MOST_DRAWS", "Out", "Taken", "configs_from", "fresh", "left_over"]

#: Draws that may all be taken before a finite space is counted through, and one without end counts
#: as exhausted.
MOST_DRAWS = 200


class Out(Protocol):
    """What is not to be suggested again, wherever that is kept."""

    @property
    def space(self) -> Space:
        """Return the space."""

    def __contains__(self, config: Config) -> bool:
        """Return whether a config of the space is out."""

    def __len__(self) -> int:
        """Return how many configs are out, at most."""


class Taken:
    """The configs that are not to be suggested again, by the space's own idea of the same config.

    Args:
        space: the space.
        configs: those that were tried or are pending; also ones that are not of the space.
        keys: the same, where only their `space.key` is known.
    """

    def __init__(
        self, space: Space, configs: Iterable[Config] = (), *, keys: Collection[str] = ()
    ) -> None:
        self.space = space
        self._keys = set(keys)
        self._configs: list[Config] = []
        for config in configs:
            self.add(config)

    def __contains__(self, config: Config) -> bool:
        # in a space without end hardly two configs are the same: compare before working out keys
        same = [other for other in self._configs if other == config]
        if not same and not self._keys:
            return False
        key = self.space.key(config)
        return key in self._keys or key in map(self.space.key, same)

    def __len__(self) -> int:
        return len(self._configs) + len(self._keys)

    def add(self, config: Config) -> None:
        """Count a config as handed out."""
        if self.space.size is None:
            self._configs.append(config)
        else:
            self._keys.add(self.space.key(config))


def fresh(draws: Iterable[Config], taken: Out, *, start: int) -> Config | None:
    """Return the first of the drawn configs that is not taken, else any that is left.

    Args:
        draws: where configs come from; they may end.
        taken: those that are out.
        start: where counting through a finite space begins.

    Returns:
        None if the space is exhausted: every config of a finite one is taken, or one without end
        (or of more combinations than can be gone through) has given nothing new in 200 draws.
    """
    for config in islice(draws, MOST_DRAWS):
        if config not in taken:
            return config
    return left_over(taken, start=start)


def left_over(taken: Out, *, start: int) -> Config | None:
    """Return the first free config of a finite space, counting from `start`; None if none is."""
    lattice = taken.space.lattice
    if lattice is None or not lattice.can_be_walked:
        return None
    left = configs_from(taken.space, start=start, count=len(taken) + 1)
    return next((config for config in left if config not in taken), None)


def configs_from(space: Space, *, start: int, count: int) -> Iterator[Config]:
    """Yield up to `count` different configs of a finite space, from number `start` on and round."""
    assert space.lattice is not None
    for number in islice(space.lattice.walk(start), count):
        yield space.lattice.config(number)
