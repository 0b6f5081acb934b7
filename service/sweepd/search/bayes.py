"""Bayesian optimisation: a Gaussian process of the objective, and the point it expects most of.

n   trials that tell something
d   searched parameters
θ   (d + 1,) what was fitted: log length scales, log noise (see `sweepd.search.gp`)
"""

from collections.abc import Sequence

import numpy as np

from sweepd.errors import FitFailed
from sweepd.search.acquisition import log_ei, rank_candidates
from sweepd.search.encode import Encoder
from sweepd.search.gp import Array, Design, Posterior, Prior, fit
from sweepd.search.protocols import Memo, Trial
from sweepd.search.space_filling import spread
from sweepd.search.streams import pick_rng, sweep_seed
from sweepd.search.transform import normalise
from sweepd.search.unique import Taken, configs_from, fresh
from sweepd.spec import Config, Space

__all__ = ["Bayes", "fit_points"]

#: Space-filling configs before the model has a say.
_N_INITIAL = 5
#: Trials that the model is made of, at most: the best half of them, and a sample of the others.
_MOST_TRIALS = 250
#: Free configs of a finite space that are all looked at, rather than sampled.
_MOST_FREE = 1500
#: Best trials around which candidates are made, and candidates that may turn out to be taken.
_N_AROUND, _MOST_TRIED = 6, 300
#: Every so many suggestions are made with length scales times this: see `_doubting`.
_DOUBT_EVERY, _DOUBT = 3, 0.5
#: Beside so many unfinished trials, the next one keeps this far (in length scales) from all of
#: them: so a large batch spreads out, at no cost in regret.
_CROWD, _ELBOW_ROOM = 8, 0.1
#: A fresh start stands beside the last fit's as long as there are fewer trials than this.
_FRESH_BELOW = 60
#: Every so many fits forget those before: more are never made up for, if a memo is gone.
_CHAIN = 8


class Bayes:
    """Fits a Gaussian process to what came out and tries the config that it expects most of.

    Args:
        prior: what the model believes before any trial.
    """

    is_instant = False

    def __init__(self, prior: Prior | None = None) -> None:
        self.prior = prior or Prior()

    def suggest(
        self,
        space: Space,
        trials: Sequence[Trial],
        pending: Sequence[Config],
        n: int,
        rng: np.random.Generator,
        memo: Memo,
    ) -> tuple[list[Config], Memo]:
        """Return the n most promising configs, each chosen as if those before came out as expected.

        The memo holds the last fit with its number of trials, and saves time only. See
        `Method.suggest`.
        """
        taken = Taken(space, [*(trial.config for trial in trials), *pending])
        told = [trial for trial in trials if trial.objective is not None or not trial.is_feasible]
        encoder, posterior = Encoder(space), None
        if told and space.d:
            memo, theta = self._refit(encoder, told, memo)
            posterior = self._posterior(encoder, told, theta=theta)
        configs: list[Config] = []
        for out in range(len(trials) + len(pending), len(trials) + len(pending) + n):
            config = None
            if posterior is not None and out >= _N_INITIAL:
                judge = _doubting(posterior) if out % _DOUBT_EVERY == 0 else posterior
                judge = _believing(judge, encoder, [*pending, *configs])
                config = _best(judge, encoder=encoder, taken=taken, rng=pick_rng(rng, out))
            if config is None:
                config = fresh(spread(space, start=out, seed=sweep_seed(rng)), taken, start=out)
            if config is None:
                break
            configs.append(config)
            taken.add(config)
        return configs, memo

    def _refit(self, encoder: Encoder, told: Sequence[Trial], memo: Memo) -> tuple[Memo, Array]:
        """Return the memo with the fits that are due, and the latest θ.

        Every fit is made at a number of trials fixed beforehand, of just these trials and the fit
        before it, which every eighth one forgets. So it makes no difference when, how often or in
        which process it is asked for, nor whether the memo was lost.
        """
        d = len(encoder.is_category)
        theta, done = self.prior.theta(d), 0
        last = memo.get("fit")
        if last and last["n"] <= len(told) and len(last["theta"]) == d + 1:
            theta, done = np.array(last["theta"], dtype=float), int(last["n"])
        due = fit_points(0, len(told))
        first = (len(due) - 1) // _CHAIN * _CHAIN  # what came before it has no say
        for number, n in enumerate(due):
            if number < first or n <= done:
                continue
            points, y = _data(encoder, told[:n])
            starts = [theta] if number % _CHAIN else []
            if number % _CHAIN == 0 or n < _FRESH_BELOW:
                starts.append(self.prior.theta(d))
            try:
                theta = fit(Design(points, encoder.is_category), y, prior=self.prior, starts=starts)
            except FitFailed:
                theta = self.prior.theta(d)
            done = n
        if done:
            memo = {**memo, "fit": {"n": done, "theta": theta.tolist()}}
        return memo, theta

    def _posterior(
        self, encoder: Encoder, told: Sequence[Trial], *, theta: Array
    ) -> Posterior | None:
        """Return the model of what was told; None if there is none."""
        points, y = _data(encoder, told)
        if not len(y):
            return None
        design = Design(points, encoder.is_category)
        try:
            return Posterior(design, y, theta=theta, prior=self.prior)
        except FitFailed:
            return None


def fit_points(done: int, n: int) -> list[int]:
    """Return the numbers of trials in (done, n] at which θ is fitted: 5, 6, ... then × 1.05."""
    points, at = [], _N_INITIAL
    while at <= n:
        if at > done:
            points.append(at)
        at = max(at + 1, round(1.05 * at))
    return points


def _believing(posterior: Posterior, encoder: Encoder, configs: Sequence[Config]) -> Posterior:
    """Return the posterior if configs came out as expected; the same one if that has no answer.

    They are taken in one order, whichever they are given in, so that not even rounding depends on
    who asked first.
    """
    points = encoder.encode(configs)
    points = points[np.isfinite(points).all(axis=1)]
    points = points[np.lexsort(points.T[::-1])] if len(points) else points
    try:
        return posterior.believe(points) if len(points) else posterior
    except FitFailed:
        return posterior


def _doubting(posterior: Posterior) -> Posterior:
    """Return a posterior that trusts the fit less, or the same one if there is none.

    A fit to trials around one place can be sure, and wrong, about parameters that hardly moved
    there; it then asks for ever smaller steps, or for far corners. With shorter length scales the
    neighbourhood in between is worth a look.
    """
    try:
        return posterior.rescale(_DOUBT)
    except FitFailed:
        return posterior


def _data(encoder: Encoder, told: Sequence[Trial]) -> tuple[Array, Array]:
    """Return the points and normalised objectives of at most 250 trials: shapes (n, d) and (n,)."""
    y = np.array([np.nan if t.objective is None else t.objective for t in told], dtype=float)
    y[[not trial.is_feasible for trial in told]] = np.nan
    y[~np.isfinite(y)] = np.nan
    if len(y) > _MOST_TRIALS:
        order = np.argsort(y, kind="stable")  # NaN is last
        best, others = order[: _MOST_TRIALS // 2], order[_MOST_TRIALS // 2 :]
        # a trial keeps its chance for good, so that the sample changes little as trials come in
        chance = np.random.default_rng(0).random(len(y))
        drawn = others[np.argsort(chance[others], kind="stable")[: _MOST_TRIALS - len(best)]]
        kept = np.sort(np.concatenate([best, drawn]))
    else:
        kept = np.arange(len(y))
    points = encoder.encode([told[i].config for i in kept])
    is_known = np.isfinite(points).all(axis=1)
    points, y = points[is_known], y[kept[is_known]]
    return points, normalise(y, np.isfinite(y))


def _best(
    posterior: Posterior, *, encoder: Encoder, taken: Taken, rng: np.random.Generator
) -> Config | None:
    """Return the free config with the most expected improvement, None if none was found.

    The incumbent is the lowest *mean* at a trial, pending ones included: what was observed there
    may have been luck.
    """
    at_trials = posterior.at_trials()
    best = float(at_trials.min())
    size = encoder.space.size
    if size is not None and size <= _MOST_FREE:
        free = [c for c in configs_from(encoder.space, start=0, count=size) if c not in taken]
        if not free:
            return None
        scores = log_ei(*posterior.predict(encoder.encode(free)), best)
        return free[int(scores.argmax())]
    around = posterior.design.x[np.argsort(at_trials, kind="stable")[:_N_AROUND]]
    ranked = rank_candidates(posterior, encoder=encoder, around=around, best=best, rng=rng)
    if posterior.n_believed >= _CROWD:
        has_room = posterior.distance_to_believed(ranked) > _ELBOW_ROOM
        ranked = ranked[np.argsort(~has_room, kind="stable")]
    configs = (encoder.decode(point) for point in ranked[:_MOST_TRIED])
    return next((c for c in configs if c not in taken and encoder.space.satisfies(c)), None)
