"""Configs as points that a kernel can compare, and back.

A point is `Space.to_unit` of a config: each searched parameter on its distribution's own scale,
log where it is log, and only at positions of values that can really run. Categories without an
order are positions too, which are only ever compared by equality.

m   points;  d   searched parameters
"""

from collections.abc import Sequence

import numpy as np

from sweepd.errors import InvalidInput
from sweepd.search.gp import Array, Mask
from sweepd.spec import Config, Space

__all__ = ["Encoder"]

#: With more values than this a number is as good as continuous.
_MOST_LEVELS = 1000
#: Rounds of draws for points that satisfy the constraints, and draws of a round at least.
_MOST_ROUNDS, _FEWEST_DRAWN = 32, 1024


class Encoder:
    """The points of a space, shape (m, d)."""

    def __init__(self, space: Space) -> None:
        self.space = space
        laws = [parameter.distribution for parameter in space.searched]
        self.is_category: Mask = np.array([law.is_categorical for law in laws], dtype=bool)
        sizes = [law.size or 0 for law in laws]
        # the least step that leaves a value of few
        self._gaps: Array = np.array([1.0 / k if 0 < k <= _MOST_LEVELS else 0.0 for k in sizes])

    def encode(self, configs: Sequence[Config]) -> Array:
        """Return the configs' points, shape (m, d); all NaN for a config that is not of the space.

        An edited space, or a run from elsewhere, leaves configs with values that are not there.
        """
        points = np.full((len(configs), len(self._gaps)), np.nan)
        for i, config in enumerate(configs):
            try:
                points[i] = self.space.to_unit(config)
            except (InvalidInput, KeyError):
                continue
        return points

    def decode(self, point: Array) -> Config:
        """Return the config at a point of shape (d,), constants included."""
        return self.space.from_unit(point)

    def sample(self, m: int, rng: np.random.Generator) -> Array:
        """Return m points drawn from the space, shape (m, d); all satisfy its constraints."""
        points = rng.random((m, len(self._gaps)))
        if self.space.constraints:
            points = self._allowed(points, rng)
        return self.space.snap(points)

    def _allowed(self, points: Array, rng: np.random.Generator) -> Array:
        """Return as many points that satisfy the constraints: those that do not are drawn anew."""
        is_allowed = self.space.are_allowed(points)
        for _ in range(_MOST_ROUNDS):
            missing = np.flatnonzero(~is_allowed)
            if not len(missing):
                return points
            drawn = rng.random((max(_FEWEST_DRAWN, 2 * len(missing)), points.shape[1]))
            drawn = drawn[self.space.are_allowed(drawn)][: len(missing)]
            points[missing[: len(drawn)]] = drawn
            is_allowed[missing[: len(drawn)]] = True
        missing = np.flatnonzero(~is_allowed)
        found = points[is_allowed]
        if not len(found):
            found = self.space.to_unit(self.space.sample(rng))[None]
        points[missing] = found[np.arange(len(missing)) % len(found)]
        return points

    def step(self, points: Array, size: float, rng: np.random.Generator) -> Array:
        """Return a neighbour of each point: some coordinates a step away, categories drawn anew.

        Args:
            points: shape (m, d).
            size: standard deviation of a step; few values are at least one of them apart.
            rng: source of the steps.
        """
        m, d = points.shape
        if self.space.is_conditional:  # a parameter that comes to exist may have any value
            points = np.where(self._exists(points), points, rng.random((m, d)))
        is_moved = rng.random((m, d)) < rng.choice([1.0 / d, 0.3, 1.0], size=(m, 1))
        is_moved[np.arange(m), rng.integers(d, size=m)] = True
        steps = size * rng.standard_normal((m, d))
        steps = np.copysign(np.maximum(np.abs(steps), self._gaps), steps)
        moved = np.clip(points + steps, 0.0, 1.0)
        moved[:, self.is_category] = rng.random((m, int(self.is_category.sum())))
        moved = np.where(is_moved, moved, points)
        if self.space.constraints:
            moved = self._pulled_back(points, moved, rng)
        return self.space.snap(moved)

    def _exists(self, points: Array) -> Mask:
        """Return which coordinates of points, shape (m, d), are of a parameter that exists."""
        exists = self.space.existing_at(points)
        return np.stack([exists[p.name] for p in self.space.searched], axis=1)

    def _pulled_back(self, points: Array, moved: Array, rng: np.random.Generator) -> Array:
        """Return the moved points, shorter steps where the whole ones break the constraints.

        In the end a point stays where it is; if it was not allowed there, it is drawn anew.
        """
        for share in (0.5, 0.25, 0.0):
            is_allowed = self.space.are_allowed(self.space.snap(moved))
            if is_allowed.all():
                return moved
            moved = np.where(is_allowed[:, None], moved, points + share * (moved - points))
        return self._allowed(moved, rng)
