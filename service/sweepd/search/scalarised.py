"""Several objectives for a method that knows one: each pick weighs them anew (ParEGO).

n   trials with every objective
k   objectives
w   (k,) weights of one pick, 0 or more, with sum 1
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from sweepd.search.pareto import Array
from sweepd.search.protocols import Memo, Method, Trial
from sweepd.search.streams import pick_rng
from sweepd.search.tails import winsorise
from sweepd.spec import Config, Space

__all__ = ["Scalarised", "chebyshev"]

#: How much the sum of the objectives counts beside the worst of them.
_SUM = 0.05


class Scalarised:
    """Gives a method one number for each trial: another one for each pick, so that they spread.

    Args:
        method: that learns from `Trial.objective`.

    Source: Knowles 2006, IEEE Trans. Evol. Comput. 10(1), 50-66; the weights are drawn evenly
    rather than from a grid.
    """

    def __init__(self, method: Method) -> None:
        self._method = method
        self.is_instant = method.is_instant

    def suggest(
        self,
        space: Space,
        trials: Sequence[Trial],
        pending: Sequence[Config],
        n: int,
        rng: np.random.Generator,
        memo: Memo,
    ) -> tuple[list[Config], Memo]:
        """Return n configs, each the method's answer to weights of its own; see `Method.suggest`.

        What the method learnt under other weights is of no use to it: the memo holds no more than
        the `weights` of each config, and which are not the method's own, for `explain`.
        """
        configs: list[Config] = []
        filled: list[Config] = []
        weights: list[list[float]] = []
        first = len(trials) + len(pending)
        for out in range(first, first + n):
            own = _weights(trials, pick_rng(rng, out))
            weighed = _weighed(trials, own)
            # the call's own generator: the method derives this pick's from it as well
            found, kept = self._method.suggest(space, weighed, [*pending, *configs], 1, rng, {})
            if not found:
                break
            configs += found
            filled += kept.get("filled", ())
            weights.append(own.tolist())
        return configs, {"weights": weights, "filled": filled}

    def explain(
        self,
        space: Space,
        trials: Sequence[Trial],
        pending: Sequence[Config],
        configs: Sequence[Config],
        memo: Memo,
    ) -> list[dict[str, Any]]:
        """Return why each config was suggested, as JSON: what the method says under its weights.

        `weights` has one number for each objective. Objectives that the method names are of their
        weighed distance from the best (`chebyshev`): 0 is the best of everything. The nearest
        trials have their `objectives` instead. A method that explains nothing leaves the weights.
        """
        explain = getattr(self._method, "explain", None)
        reasons = []
        for i, (config, weights) in enumerate(zip(configs, memo["weights"], strict=True)):
            reason: dict[str, Any] = {}
            if explain is not None:
                weighed = _weighed(trials, np.array(weights))
                kept = {"filled": memo.get("filled", [])}
                (reason,) = explain(space, weighed, [*pending, *configs[:i]], [config], kept)
            for near in reason.get("nearest", ()):
                near["objectives"] = list(trials[near["index"]].objectives) or None
                near["objective"] = None
            reasons.append({**reason, "weights": weights})
        return reasons


def chebyshev(values: Array, weights: Array) -> Array:
    """Return the augmented Chebyshev distance from the best of each objective, shape (n,).

    max_i w_i f_i + 0.05 Σ_i w_i f_i, with f_i objective i from 0, its best, to 1, its worst. The
    bad tail of each is cut first (`winsorise`): beside one huge value all others would be alike.

    Args:
        values: finite, shape (n, k).
        weights: w, shape (k,).
    """
    cut = np.apply_along_axis(winsorise, 0, values)
    low, high = cut.min(axis=0), cut.max(axis=0)
    share = (cut - low) / np.where(high > low, high - low, 1.0) * weights
    return np.asarray(share.max(axis=1) + _SUM * share.sum(axis=1))


def _weights(trials: Sequence[Trial], own: np.random.Generator) -> Array:
    """Return weights for as many objectives as the trials have."""
    k = max((len(trial.objectives) for trial in trials), default=0)
    return own.dirichlet(np.ones(k)) if k else np.empty(0)


def _weighed(trials: Sequence[Trial], weights: Array) -> list[Trial]:
    """Return the trials with one objective each; those without all of them have none."""
    k = len(weights)
    whole = [
        i
        for i, trial in enumerate(trials)
        if k and len(trial.objectives) == k and np.isfinite(trial.objectives).all()
    ]
    told = [replace(trial, objective=None, objectives=()) for trial in trials]
    if whole:
        values = chebyshev(np.array([trials[i].objectives for i in whole]), weights)
        for i, value in zip(whole, values.tolist(), strict=True):
            told[i] = replace(told[i], objective=value)
    return told
