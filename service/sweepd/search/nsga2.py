"""NSGA-II: children of the trials that nobody beats, by Optuna."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from sweepd.search.pareto import best_first
from sweepd.search.picks import picks, was_filled, with_filled
from sweepd.search.protocols import Memo, Trial
from sweepd.search.space_filling import spread
from sweepd.search.streams import sweep_seed
from sweepd.search.studies import Study, optuna, told_of
from sweepd.spec import Config, Space

__all__ = ["Nsga2"]

#: Trials that have children: the best front by front, then those with the most room around them.
_POPULATION = 20
#: Ideas of one pick, each of which may be taken or break a constraint, before one is drawn.
_MOST_IDEAS = 50


class Nsga2:
    """Crosses two of the best 20 trials so far and draws a parameter anew now and then.

    The population moves with every trial that ends, not by generations: an agent that asks never
    waits for the others, and a child knows all results there are.

    Source: Deb et al. 2002, IEEE Trans. Evol. Comput. 6(2), 182-197; its steady state: Durillo et
    al. 2009, EMO, 183-197.
    """

    is_instant = False
    ranks_fronts = True

    def suggest(
        self,
        space: Space,
        trials: Sequence[Trial],
        pending: Sequence[Config],
        n: int,
        rng: np.random.Generator,
        memo: Memo,
    ) -> tuple[list[Config], Memo]:
        """Return n children of the present population; see `Method.suggest`."""
        tool, seed = optuna().samplers.NSGAIISampler, sweep_seed(rng)
        told = told_of(space, trials)
        if told:
            values = np.array([one.values for one in told])
            told = [told[i] for i in best_first(values, least=_POPULATION)]
        # one whole generation ended, so that all of them are the parents of the next
        study = Study(space, told, notes={tool._get_generation_key(): 0})

        def ideas(
            out: int, running: Sequence[Config], own: np.random.Generator
        ) -> Iterable[Config]:
            if len(told) < _POPULATION or not space.d:
                return spread(space, start=out, seed=seed)
            return study.ask(tool(population_size=len(told), seed=int(own.integers(2**31))))

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
        """Return whose child each config is, as JSON.

        `origin` is "startup" while there are too few trials, "taken" for one drawn at random as all
        children were taken or break a constraint, else "children": of two of the best
        `n_parents`. No value is predicted. See `Bayes.explain`.
        """
        is_startup = len(told_of(space, trials)) < _POPULATION or not space.d
        reason = {"origin": "startup", "n_first": _POPULATION}
        if not is_startup:
            reason = {"origin": "children", "n_parents": _POPULATION}
        return [{"origin": "taken"} if was_filled(memo, one) else reason for one in configs]
