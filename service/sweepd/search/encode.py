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
        """Return m points drawn from the space, shape (m, d)."""
        return self.space.snap(rng.random((m, len(self._gaps))))

    def step(self, points: Array, size: float, rng: np.random.Generator) -> Array:
        """Return a neighbour of each point: some coordinates a step away, categories drawn anew.

        Args:
            points: shape (m, d).
            size: standard deviation of a step; few values are at least one of them apart.
            rng: source of the steps.
        """
        m, d = points.shape
        is_moved = rng.random((m, d)) < rng.choice([1.0 / d, 0.3, 1.0], size=(m, 1))
        is_moved[np.arange(m), rng.integers(d, size=m)] = True
        steps = size * rng.standard_normal((m, d))
        steps = np.copysign(np.maximum(np.abs(steps), self._gaps), steps)
        moved = np.clip(points + steps, 0.0, 1.0)
        moved[:, self.is_category] = rng.random((m, int(self.is_category.sum())))
        return self.space.snap(np.where(is_moved, moved, points))
