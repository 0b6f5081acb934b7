"""Random numbers of a sweep's suggestions: a stream of its own for each.

What the n-th config depends on is the sweep's seed, the trials that have ended, and n: not how many
configs were asked for at once, nor by whom.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ["pick_rng", "sweep_seed"]


def sweep_seed(rng: np.random.Generator) -> int:
    """Return the seed of the sweep: the first number that a call's generator was seeded with."""
    material: Any = rng.bit_generator.seed_seq
    entropy = material.entropy
    return int(entropy[0] if isinstance(entropy, Sequence | np.ndarray) else entropy)


def pick_rng(rng: np.random.Generator, out: int) -> np.random.Generator:
    """Return the generator of the config that is chosen when `out` others are out already.

    Args:
        rng: of the call, as it was given: nothing was drawn from it.
        out: trials, pending configs, and what the call has chosen before.
    """
    material: Any = rng.bit_generator.seed_seq
    entropy = np.atleast_1d(material.entropy).tolist()
    return np.random.default_rng([*entropy, out])
