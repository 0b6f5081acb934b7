"""A search space: the parameters of a definition, flat, each with its law.

A config is flat: nested parameters are joined by "." ("opt.lr"). `nest` gives W&B's shape.

A parameter with conditions (`Parameter.when`) is absent from the configs in which it does not
exist. A method that draws one parameter at a time goes through `Space.ordered`, parents first:

    config = {}
    for parameter in space.ordered:
        if parameter.exists_in(config):
            config[parameter.name] = draw(parameter)
    if space.satisfies(config):  # its constraints
        ...

A method that works in the unit cube needs none of this: every point of it is a config's
(`from_unit`), and a parameter that does not exist has a fixed coordinate (`to_unit`, `snap`), so
that configs differ in no axis that neither of them has. `are_allowed` says which points satisfy the
constraints; `sample` gives only configs that do.

m   points;  d   searched parameters
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from sweepd.errors import InvalidInput
from sweepd.spec.conditions import Mask, Parameter, parents_first
from sweepd.spec.constraints import Constraint
from sweepd.spec.distributions import EXACT, Array, Distribution, canonical
from sweepd.spec.lattice import Lattice, values_of

__all__ = ["Config", "Parameter", "Space", "grid_size"]

Config = dict[str, Any]

#: Draws of `sample` that may all break the constraints: one at a time at first, then in blocks.
_FIRST_DRAWS, _BLOCK, _MOST_BLOCKS = 8, 1024, 1024


@dataclass(frozen=True)
class Space:
    """All parameters, ordered by path as in W&B's engine, whatever their order in the file.

    Args:
        parameters: the axes; their conditions name parameters of the space, none in a circle.
        constraints: what is true of every config; their names are parameters of the space.
    """

    parameters: tuple[Parameter, ...]
    constraints: tuple[Constraint, ...] = ()

    @cached_property
    def searched(self) -> tuple[Parameter, ...]:
        """The parameters that have more than one value, in order: the axes of the unit cube."""
        return tuple(p for p in self.parameters if p.distribution.size != 1)

    @cached_property
    def is_conditional(self) -> bool:
        """Whether there are parameters that do not always exist."""
        return any(p.when for p in self.parameters)

    @cached_property
    def ordered(self) -> tuple[Parameter, ...]:
        """The parameters, each after its parents."""
        return parents_first(self.parameters)[0] if self.is_conditional else self.parameters

    @property
    def d(self) -> int:
        """Number of searched parameters."""
        return len(self.searched)

    @cached_property
    def size(self) -> int | None:
        """Number of distinct configs; None where there are infinitely many, or too many to count.

        Too many are those of a finite space with conditions or constraints that tie a million
        combinations together.
        """
        sizes = [p.distribution.size for p in self.parameters]
        if not self.is_conditional and not self.constraints:
            return None if None in sizes else math.prod(size for size in sizes if size is not None)
        return None if self.lattice is None else self.lattice.n_configs

    @cached_property
    def lattice(self) -> Lattice | None:
        """The configs by number; None where there are infinitely many, or as good as that."""
        sizes = [p.distribution.size for p in self.parameters]
        if any(size is None or size > EXACT for size in sizes):
            return None
        axes = [(p, values_of(p.distribution)) for p in self.parameters]
        return Lattice(axes, ordered=self.ordered, constraints=self.constraints)

    @cached_property
    def grid(self) -> Lattice:
        """The configs of W&B's grid over the space, by number, in W&B's order.

        Raises:
            InvalidInput: if a parameter has no grid.
        """
        axes = [(p, p.distribution.grid()) for p in self.parameters]
        return Lattice(axes, ordered=self.ordered, constraints=self.constraints)

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
        """Return the config in W&B's shape: nested, values only; unknown names stay as they are.

        What an unknown name holds is joined by the parameters that belong into it.

        Raises:
            InvalidInput: if it is no mapping, so that it can hold none.
        """
        nested = {name: value for name, value in config.items() if name not in self}
        for parameter in self.parameters:
            if parameter.name in config:
                inner = nested
                for depth, step in enumerate(parameter.path[:-1], 1):
                    within = inner.get(step, {})
                    if not isinstance(within, Mapping):
                        group = ".".join(parameter.path[:depth])
                        value = json.dumps(within, ensure_ascii=False, default=str)[:60]
                        raise InvalidInput(
                            f"{group} is {value}, and {parameter.name} would be in it"
                        )
                    inner[step] = inner = dict(within)  # the caller keeps their own
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

    def existing(self, config: Mapping[str, Any]) -> Config:
        """Return a config without the parameters that do not exist in it, in the space's order.

        Two configs that differ only in such parameters are the same one. Names that the space does
        not know stay.
        """
        if not self.is_conditional:
            return dict(config)
        there: Config = {}
        for parameter in self.ordered:
            if parameter.name in config and parameter.exists_in(there):
                there[parameter.name] = config[parameter.name]
        known = {p.name: there[p.name] for p in self.parameters if p.name in there}
        return known | {name: value for name, value in config.items() if name not in self}

    def key(self, config: Mapping[str, Any]) -> str:
        """Return the text by which two configs are the same configuration."""
        known = {}
        there = self.existing(config) if self.is_conditional else config
        for parameter in self.parameters:
            if parameter.name in there:
                value, law = there[parameter.name], parameter.distribution
                known[parameter.name] = law.normalise(value) if law.contains(value) else value
        return canonical(known)

    def contains(self, config: Mapping[str, Any]) -> bool:
        """Return whether this is a config of the space.

        It then has exactly the parameters that exist, with values of theirs, and satisfies the
        constraints.
        """
        if not self.is_conditional:
            is_whole = config.keys() == self._by_name.keys()
        else:
            names = {p.name for p in self.parameters if p.exists_in(config)}
            is_whole = config.keys() == names
        return (
            is_whole
            and all(self._by_name[name].distribution.contains(config[name]) for name in config)
            and self.satisfies(config)
        )

    def satisfies(self, config: Mapping[str, Any]) -> bool:
        """Return whether a config satisfies every constraint.

        One that names a parameter which does not exist in the config is satisfied.
        """
        return all(constraint.is_satisfied(config) for constraint in self.constraints)

    def sample(self, rng: np.random.Generator) -> Config:
        """Return a config of independent draws, one random number per searched parameter.

        Under constraints draws are repeated until one satisfies them, a million times at most;
        after that a finite space gives any of its configs.

        Raises:
            InvalidInput: if none was found: hardly any config satisfies the constraints.
        """
        if not self.constraints:
            return self.from_unit(rng.random(self.d))
        for _ in range(_FIRST_DRAWS):
            config = self.from_unit(rng.random(self.d))
            if self.satisfies(config):
                return config
        for _ in range(_MOST_BLOCKS):
            points = rng.random((_BLOCK, self.d))
            for point in points[self.are_allowed(points)]:
                config = self.from_unit(point)
                if self.satisfies(config):
                    return config
        if self.lattice is not None and self.lattice.can_be_walked:
            number = next(self.lattice.walk(int(rng.integers(2**62))), None)
            if number is not None:
                return self.lattice.config(number)
        raise InvalidInput("no configuration that satisfies sweepd.constraints was found")

    def from_unit(self, u: Array) -> Config:
        """Return the config at a point of the unit cube, shape (d,); constants included.

        What does not exist there is left out. The constraints may be broken: see `are_allowed`.
        """
        positions = iter(np.asarray(u, dtype=np.float64).tolist())
        if not self.is_conditional:
            return {
                p.name: p.distribution.ppf(0.5 if p.distribution.size == 1 else next(positions))
                for p in self.parameters
            }
        at = {p.name: next(positions) for p in self.searched}
        there: Config = {}
        for p in self.ordered:
            if p.exists_in(there):
                there[p.name] = p.distribution.ppf(at.get(p.name, 0.5))
        return {p.name: there[p.name] for p in self.parameters if p.name in there}

    def to_unit(self, config: Mapping[str, Any]) -> Array:
        """Return the point of the unit cube, shape (d,), that `from_unit` maps to the config.

        A parameter that does not exist is in the middle of its axis; one of unordered categories
        at 0, which is the position of none.

        Raises:
            InvalidInput: if a category is not one of its parameter's.
            KeyError: if a parameter is missing.
        """
        if not self.is_conditional:
            return np.array([p.distribution.unit(config[p.name]) for p in self.searched])
        there = self.existing(config)
        return np.array(
            [
                p.distribution.unit(there[p.name]) if p.exists_in(there) else _nowhere(p)
                for p in self.searched
            ]
        )

    def snap(self, u: Array) -> Array:
        """Move points of the unit cube, shape (m, d), to those of the configs that will run."""
        columns = [p.distribution.snap(u[:, i]) for i, p in enumerate(self.searched)]
        if self.is_conditional:
            exists = self.existing_at(u)
            columns = [
                np.where(exists[p.name], column, _nowhere(p)) if p.when else column
                for p, column in zip(self.searched, columns, strict=True)
            ]
        return np.stack(columns, axis=1) if columns else np.empty_like(u)

    def are_allowed(self, u: Array) -> Mask:
        """Return at which points of the unit cube, shape (m, d), no constraint is broken: (m,)."""
        is_allowed = np.ones(len(u), dtype=bool)
        if not self.constraints:
            return is_allowed
        exists = self.existing_at(u)
        for constraint in self.constraints:
            columns = {
                name: self._law(name).numbers(self._at(name, u)) for name in constraint.names
            }
            is_there = np.all([exists[name] for name in constraint.names], axis=0)
            is_allowed &= ~is_there | constraint.are_satisfied(columns)
        return is_allowed

    def existing_at(self, u: Array) -> dict[str, Mask]:
        """Return at which of the points u, shape (m, d), each parameter exists: (m,) by name."""
        exists: dict[str, Mask] = {}
        for parameter in self.ordered:
            is_there = np.ones(len(u), dtype=bool)
            for condition in parameter.when:
                parent = condition.parent
                holds = condition.holds_at(self._law(parent), self._at(parent, u))
                is_there &= exists[parent] & holds
            exists[parameter.name] = is_there
        return exists

    def _law(self, name: str) -> Distribution:
        return self._by_name[name].distribution

    def _at(self, name: str, u: Array) -> Array:
        """Return the positions, shape (m,), of a parameter at m points; 0.5 if it is constant."""
        column = self._columns.get(name)
        return np.full(len(u), 0.5) if column is None else u[:, column]

    @cached_property
    def _columns(self) -> dict[str, int]:
        return {p.name: i for i, p in enumerate(self.searched)}


def _nowhere(parameter: Parameter) -> float:
    """Return the coordinate of a parameter that does not exist."""
    return 0.0 if parameter.distribution.is_categorical else 0.5


def grid_size(space: Space) -> int | None:
    """Return the number of configs of W&B's grid over the space, None if it is not finite.

    None too if conditions or constraints tie more than a million combinations together.
    """
    sizes = [parameter.distribution.grid_size for parameter in space.parameters]
    if None in sizes:
        return None
    if not space.is_conditional and not space.constraints:
        return math.prod(size for size in sizes if size is not None)
    return space.grid.n_configs
