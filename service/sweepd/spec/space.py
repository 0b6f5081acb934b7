"""A search space: the parameters of a definition, flat, each with its law.

A config is flat: nested parameters are joined by "." ("opt.lr"). `nest` gives W&B's shape.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from sweepd.errors import InvalidInput
from sweepd.spec.distributions import Array, Distribution, canonical

__all__ = ["Config", "Parameter", "Space", "grid_size"]

Config = dict[str, Any]


@dataclass(frozen=True)
class Parameter:
    """One axis: its flat name, its path in the nested config, and its law."""

    name: str
    path: tuple[str, ...]
    distribution: Distribution


@dataclass(frozen=True)
class Space:
    """All parameters, ordered by path as in W&B's engine, whatever their order in the file."""

    parameters: tuple[Parameter, ...]

    @cached_property
    def searched(self) -> tuple[Parameter, ...]:
        """The parameters that have more than one value, in order: the axes of the unit cube."""
        return tuple(p for p in self.parameters if p.distribution.size != 1)

    @property
    def d(self) -> int:
        """Number of searched parameters."""
        return len(self.searched)

    @cached_property
    def size(self) -> int | None:
        """Number of distinct configs; None where there are infinitely many."""
        sizes = [p.distribution.size for p in self.parameters]
        return None if None in sizes else math.prod(size for size in sizes if size is not None)

    @cached_property
    def _by_name(self) -> dict[str, Parameter]:
        return {p.name: p for p in self.parameters}

    def __contains__(self, name: object) -> bool:
        return name in self._by_name

    def __getitem__(self, name: str) -> Parameter:
        try:
            return self._by_name[name]
        except KeyError:
            raise InvalidInput(f"there is no parameter {name!r}") from None

    def nest(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Return the config in W&B's shape: nested, values only; unknown names stay as they are."""
        nested = {name: value for name, value in config.items() if name not in self}
        for parameter in self.parameters:
            if parameter.name in config:
                inner = nested
                for step in parameter.path[:-1]:
                    inner = inner.setdefault(step, {})
                inner[parameter.path[-1]] = config[parameter.name]
        return nested

    def flatten(self, nested: Mapping[str, Any]) -> Config:
        """Return the flat config of a nested one; what the space does not know is left out."""
        config: Config = {}
        for parameter in self.parameters:
            inner: Any = nested
            for step in parameter.path:
                if not isinstance(inner, Mapping) or step not in inner:
                    break
                inner = inner[step]
            else:
                config[parameter.name] = inner
        return config

    def key(self, config: Mapping[str, Any]) -> str:
        """Return the text by which two configs are the same configuration."""
        known = {}
        for parameter in self.parameters:
            if parameter.name in config:
                value, law = config[parameter.name], parameter.distribution
                known[parameter.name] = law.normalise(value) if law.contains(value) else value
        return canonical(known)

    def contains(self, config: Mapping[str, Any]) -> bool:
        """Return whether the config has exactly this space's parameters, with values of theirs."""
        return config.keys() == self._by_name.keys() and all(
            p.distribution.contains(config[p.name]) for p in self.parameters
        )

    def sample(self, rng: np.random.Generator) -> Config:
        """Return a config of independent draws, one random number per searched parameter."""
        return self.from_unit(rng.random(self.d))

    def from_unit(self, u: Array) -> Config:
        """Return the config at a point of the unit cube, shape (d,); constants included."""
        positions = iter(np.asarray(u, dtype=np.float64).tolist())
        return {
            p.name: p.distribution.ppf(0.5 if p.distribution.size == 1 else next(positions))
            for p in self.parameters
        }

    def to_unit(self, config: Mapping[str, Any]) -> Array:
        """Return the point of the unit cube, shape (d,), that `from_unit` maps to the config.

        Raises:
            InvalidInput: if a category is not one of its parameter's.
        """
        return np.array([p.distribution.unit(config[p.name]) for p in self.searched])

    def snap(self, u: Array) -> Array:
        """Move points of the unit cube, shape (m, d), to those of the configs that will run."""
        columns = [p.distribution.snap(u[:, i]) for i, p in enumerate(self.searched)]
        return np.stack(columns, axis=1) if columns else np.empty_like(u)


def grid_size(space: Space) -> int | None:
    """Return the number of configs of W&B's grid over the space, None if it is not finite."""
    sizes = [parameter.distribution.grid_size for parameter in space.parameters]
    return None if None in sizes else math.prod(size for size in sizes if size is not None)
