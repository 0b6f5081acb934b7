"""CMA-ES: a normal law that moves to where the better half of the trials are.

It is that of the package `cmaes`, which Optuna's sampler of this name is made of too. Its state is
worked out anew from the trials each time, so nothing depends on who asked for what, and when.

d   searched parameters that are numbers
λ   4 + 3 log d, how many trials move the law once
"""

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from sweepd.errors import InvalidInput
from sweepd.search.picks import picks, was_filled, with_filled
from sweepd.search.protocols import Memo, Trial
from sweepd.search.space_filling import spread
from sweepd.search.streams import sweep_seed
from sweepd.search.studies import load, told_of
from sweepd.spec import Config, Space

__all__ = ["CmaEs"]

#: Standard deviation that it starts with, on each parameter's own scale from 0 to 1.
_SIGMA = 1.0 / 6.0
#: Trials that it is made of, the latest: with more it would only start earlier.
_MOST_TRIALS = 5000
#: Ideas of one pick, each of which may be taken or break a constraint, before one is drawn.
_MOST_IDEAS = 1000


class CmaEs:
    """Draws numbers from a normal law that every λ ended trials move and stretch.

    Categories without an order have no place in it: they are drawn at random.

    Source: Hansen 2016, arXiv:1604.00772.
    """

    is_instant = False

    def suggest(
        self,
        space: Space,
        trials: Sequence[Trial],
        pending: Sequence[Config],
        n: int,
        rng: np.random.Generator,
        memo: Memo,
    ) -> tuple[list[Config], Memo]:
        """Return n configs drawn from the law as it stands; see `Method.suggest`.

        Raises:
            InvalidInput: if there are several objectives; `sweepd.spec` refuses such a definition.
        """
        if any(len(trial.objectives) > 1 for trial in trials):
            raise InvalidInput("cmaes searches by one metric")
        load("cmaes")
        seed = sweep_seed(rng)
        is_number = np.array([not p.distribution.is_categorical for p in space.searched], bool)
        law = _law(space, trials, is_number) if is_number.any() else None

        def ideas(
            out: int, running: Sequence[Config], own: np.random.Generator
        ) -> Iterator[Config]:
            if law is None or out == 0:
                return spread(space, start=out, seed=seed)
            return _drawn(space, law, is_number, own)

        found, filled = picks(space, trials, pending, n, rng, ideas=ideas, most=_MOST_IDEAS)
        return found, with_filled(memo, filled)

    def explain(
        self,
        space: Space,
        trials: Sequence[Trial],
        pending: Sequence[Config],
        configs: Sequence[Config],
        memo: Memo,
    ) -> list[dict[str, Any]]:
        """Return how far the law had come that each config was drawn from, as JSON.

        `origin` is "startup" for the first config, "taken" for one drawn at random as all that the
        law gave was taken or breaks a constraint, else "normal law": that `n_told` trials have
        moved `n_moves` times. No value is predicted. See `Bayes.explain`.
        """
        is_number = np.array([not p.distribution.is_categorical for p in space.searched], bool)
        first = len(trials) + len(pending)
        n_moves, n_told = 0, 0
        if is_number.any():
            law = _law(space, trials, is_number)
            n_moves, n_told = law.generation, law.generation * law.population_size
        reasons: list[dict[str, Any]] = []
        for out, config in enumerate(configs, start=first):
            if was_filled(memo, config):
                reasons.append({"origin": "taken"})
            elif is_number.any() and out:
                reasons.append({"origin": "normal law", "n_told": n_told, "n_moves": n_moves})
            else:
                reasons.append({"origin": "startup", "n_first": 1})
        return reasons


def _law(space: Space, trials: Sequence[Trial], is_number: np.ndarray) -> Any:
    """Return the law after these trials, each λ of them in their order."""
    d = int(is_number.sum())
    law = load("cmaes").CMA(
        mean=np.full(d, 0.5), sigma=_SIGMA, bounds=np.tile([0.0, 1.0], (d, 1)), seed=0
    )
    told, size = told_of(space, trials), law.population_size
    n_left_out = max(0, len(told) - _MOST_TRIALS) // size * size
    for first in range(n_left_out, len(told) - size + 1, size):
        batch = told[first : first + size]
        points = [space.to_unit(one.config)[is_number] for one in batch]
        law.tell([(x, one.values[0]) for x, one in zip(points, batch, strict=True)])
    return law


def _drawn(
    space: Space, law: Any, is_number: np.ndarray, own: np.random.Generator
) -> Iterator[Config]:
    law = copy.deepcopy(law)
    law.reseed_rng(int(own.integers(2**31)))
    while True:
        point = own.random(len(is_number))
        point[is_number] = law.ask()
        yield space.from_unit(point)
