"""TPE: a density of the good trials over one of the others, by Optuna."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from sweepd.search.picks import picks, was_filled, with_filled
from sweepd.search.protocols import Memo, Trial
from sweepd.search.space_filling import spread
from sweepd.search.streams import sweep_seed
from sweepd.search.studies import Study, is_of, optuna, told_of
from sweepd.spec import Config, Space

__all__ = ["Tpe", "n_good_of"]

#: Space-filling configs before the densities have a say.
_N_INITIAL = 10
#: Trials that the densities are made of, at most.
_MOST_TRIALS = 250
#: Ideas of one pick, each of which may be taken or break a constraint, before one is drawn.
_MOST_IDEAS = 20
#: Trials that Optuna counts as good: this share of them, of one objective at most so many.
_GOOD_SHARE, _MOST_GOOD = 0.1, 25


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
        """Return how many trials each config's densities were made of, as JSON.

        `origin` is "startup" for the first configs, "taken" for one drawn at random as TPE's own
        were taken or break a constraint, else "densities": of `n_good` trials, and of
        `n_bad` others with those that run. No value is predicted. See `Bayes.explain`.
        """
        told = told_of(space, trials, most=_MOST_TRIALS)
        first = len(trials) + len(pending)
        reasons: list[dict[str, Any]] = []
        for out, config in enumerate(configs, start=first):
            if was_filled(memo, config):
                reasons.append({"origin": "taken"})
                continue
            if min(len(told), out) < _N_INITIAL or not space.d:
                reasons.append({"origin": "startup", "n_first": _N_INITIAL})
                continue
            n = len(told) + sum(is_of(space, one) for one in [*pending, *configs[: out - first]])
            n_good = min(n_good_of(n, n_objectives=len(told[0].values)), len(told))
            reasons.append({"origin": "densities", "n_good": n_good, "n_bad": n - n_good})
        return reasons


def n_good_of(n: int, *, n_objectives: int) -> int:
    """Return how many of n trials, running ones included, count as good, as Optuna has it."""
    share = math.ceil(_GOOD_SHARE * n)
    return share if n_objectives > 1 else min(share, _MOST_GOOD)
