"""TPE: a density of the good trials over one of the others, by Optuna."""

from collections.abc import Iterable, Sequence

import numpy as np

from sweepd.search.picks import picks
from sweepd.search.protocols import Memo, Trial
from sweepd.search.space_filling import spread
from sweepd.search.streams import sweep_seed
from sweepd.search.studies import Study, optuna, told_of
from sweepd.spec import Config, Space

__all__ = ["Tpe"]

#: Space-filling configs before the densities have a say.
_N_INITIAL = 10
#: Trials that the densities are made of, at most.
_MOST_TRIALS = 250


class Tpe:
    """Tree-structured Parzen estimators over all parameters together; running trials count as bad.

    Several objectives are ranked by non-domination.

    Source: Watanabe 2023, arXiv:2304.11127.
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
        """Return n configs, each chosen as if those before it ran; see `Method.suggest`."""
        samplers, seed = optuna().samplers, sweep_seed(rng)
        told = told_of(space, trials, most=_MOST_TRIALS)
        study = Study(space, told, pending=pending)

        def ideas(
            out: int, running: Sequence[Config], own: np.random.Generator
        ) -> Iterable[Config]:
            if min(len(told), out) < _N_INITIAL or not space.d:
                return spread(space, start=out, seed=seed)
            sampler = samplers.TPESampler(
                n_startup_trials=0,
                multivariate=True,
                constant_liar=True,
                seed=int(own.integers(2**31)),
            )
            study.run(running)
            return study.ask(sampler)

        return picks(space, trials, pending, n, rng, ideas=ideas), memo
