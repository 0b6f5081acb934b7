"""Bayesian optimisation: a Gaussian process of the objective, and the point it expects most of.

m   candidates
d   searched parameters
"""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
from scipy.stats import norm

from sweepd.errors import FitFailed
from sweepd.search.acquisition import log_ei, rank_candidates
from sweepd.search.encode import Encoder
from sweepd.search.gp import Array, Mask
from sweepd.search.model import Model, Settings, learn, tells
from sweepd.search.picks import was_filled, with_filled
from sweepd.search.protocols import Memo, Trial
from sweepd.search.random import draws
from sweepd.search.space_filling import spread
from sweepd.search.streams import pick_rng, sweep_seed
from sweepd.search.unique import Taken, configs_from, fresh
from sweepd.spec import Config, Space

__all__ = ["Bayes"]

#: Free configs of a finite space that are all looked at, rather than sampled.
_MOST_FREE = 1500
#: Best trials around which candidates are made, and candidates that may turn out to be taken.
_N_AROUND, _MOST_TRIED = 6, 300
#: Beside so many unfinished trials, the next one keeps this far (in length scales) from all of
#: them: so a large batch spreads out, at no cost in regret.
_CROWD, _ELBOW_ROOM = 8, 0.1
#: A probability of working below this is held against a candidate this much more.
_LIKELY, _RISK = 0.7, 9.0
#: Trials that an explanation names, and the part of the probability that its interval holds.
_N_NEAREST, _INTERVAL = 3, 0.9


class Bayes:
    """Fits a Gaussian process to what came out and tries the config that it expects most of.

    Args:
        settings: what it is made of.
    """

    is_instant = False

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or Settings()

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

        The memo holds the last fit with its number of trials, which saves time only, and for
        `explain` those of these configs that are not the model's, as all that it named was taken.
        See `Method.suggest`.
        """
        taken = Taken(space, [*(trial.config for trial in trials), *pending])
        models, memo = self._models(space, trials, memo)
        configs: list[Config] = []
        filled: list[Config] = []
        for out in range(len(trials) + len(pending), len(trials) + len(pending) + n):
            config, model = None, models.at(out)
            if model is not None:
                judge = Judge(model, [*pending, *configs])
                config = _best(judge, taken=taken, rng=pick_rng(rng, out))
            if config is None:
                config = fresh(self._fill(space, out, rng), taken, start=out)
                filled += [config] if model is not None and config is not None else []
            if config is None:
                break
            configs.append(config)
            taken.add(config)
        return configs, with_filled(memo, filled)

    def explain(
        self,
        space: Space,
        trials: Sequence[Trial],
        pending: Sequence[Config],
        configs: Sequence[Config],
        memo: Memo,
    ) -> list[dict[str, Any]]:
        """Return why each config was suggested, as JSON; numbers that are not known are None.

        `origin` is "space-filling", "model", "doubting model" where the fit was trusted less, or
        "taken" where all that the model named was taken, and the config fills the space.
        `mean`, `low` and `high` are the expected objective and the 90 % interval of what the run
        will report, its noise included, signed and in the metric's own units; `log_ei` the
        logarithm of the expected improvement, in standard deviations of the objectives;
        `p_feasible` the probability that the run does not fail, None if none has so far or all
        have; `nearest` the trials of the model next to it by its length scales, with their place
        among `trials` and their number in the sweep.

        Args:
            space: that was searched.
            trials: that `suggest` was given.
            pending: likewise.
            configs: what it returned, in that order.
            memo: likewise.
        """
        models, _ = self._models(space, trials, memo)
        reasons = []
        for i, config in enumerate(configs):
            out = len(trials) + len(pending) + i
            model, reason = models.at(out), dict[str, Any](origin="space-filling")
            if model is not None:
                origin = "doubting model" if models.is_doubting(out) else "model"
                origin = "taken" if was_filled(memo, config) else origin
                judge = Judge(model, [*pending, *configs[:i]])
                reason = {"origin": origin, **judge.explain(config, trials)}
            reasons.append(reason)
        return reasons

    def _fill(self, space: Space, out: int, rng: np.random.Generator) -> Iterator[Config]:
        if self.settings.has_sobol:
            return spread(space, start=out, seed=sweep_seed(rng))
        return draws(space, pick_rng(rng, out))

    def _models(self, space: Space, trials: Sequence[Trial], memo: Memo) -> tuple["_Models", Memo]:
        told = [trial for trial in trials if tells(trial)]
        if len(told) < self.settings.fewest_told or not space.d:
            return _Models(self.settings, None), memo
        model, memo = learn(Encoder(space), told, memo, settings=self.settings)
        return _Models(self.settings, model), memo


class _Models:
    """The model that each pick is made with, by the number of configs that are out before it."""

    def __init__(self, settings: Settings, model: Model | None) -> None:
        self._settings, self._model = settings, model
        self._doubting: Model | None = None

    def is_doubting(self, out: int) -> bool:
        every = self._settings.doubt_every
        return every > 0 and out % every == 0

    def at(self, out: int) -> Model | None:
        """Return the model, None if a space-filling config is due."""
        if self._model is None or out < self._settings.n_initial:
            return None
        if not self.is_doubting(out):
            return self._model
        self._doubting = self._doubting or self._model.doubting()
        return self._doubting


class Judge:
    """What a model thinks of candidates while some configs run.

    The incumbent is the lowest *mean* at a trial, running ones included: what was observed there
    may have been luck.

    Args:
        model: of the trials that ended.
        running: configs that have not; they count as if they had come out as expected.
    """

    def __init__(self, model: Model, running: Sequence[Config]) -> None:
        self.model, self.encoder = model, model.encoder
        self.posterior = model.believing(running)
        at_trials, failed = self.posterior.at_trials(), model.failed()
        self.best = float(at_trials.min())
        self.around = self.posterior.design.x[np.argsort(at_trials, kind="stable")[:_N_AROUND]]
        try:  # what failed is no incumbent
            self._seen = self.posterior.believe(failed) if len(failed) else self.posterior
        except FitFailed:
            self._seen = self.posterior

    def score(self, points: Array) -> Array:
        """Return log E[improvement] + log P(feasible) at points of shape (m, d): shape (m,).

        Where a trial is not likely to work, P counts tenfold: else a search that has little left to
        gain, with the best at the edge of what fails, would go on failing there.
        """
        value = log_ei(*self._seen.predict(points), self.best)
        if self.model.feasibility is None:
            return value
        log_p = self.model.feasibility.log_probability(points)
        unlikely: Array = np.minimum(log_p - np.log(_LIKELY), 0.0)
        return value + log_p + _RISK * unlikely

    def has_room(self, points: Array) -> Mask:
        """Return which points, shape (m, d), are not too near to any of a crowd that runs."""
        if self.posterior.n_believed < _CROWD:
            return np.ones(len(points), dtype=bool)
        return np.asarray(self.posterior.distance_to_believed(points) > _ELBOW_ROOM)

    def explain(self, config: Config, trials: Sequence[Trial]) -> dict[str, Any]:
        """Return what is thought of one config; see `Bayes.explain`."""
        point = self.encoder.encode([config])
        if not np.isfinite(point).all():
            return {}
        mean, std = self._seen.predict(point)
        scale, feasibility = self.model.scale, self.model.feasibility
        reach = norm.ppf(0.5 + _INTERVAL / 2) * np.sqrt(std[0] ** 2 + self._seen.noise)
        z = np.array([mean[0], mean[0] - reach, mean[0] + reach])
        middle, low, high = map(_finite, scale.invert(z))
        if not scale.spread[0]:  # equal results say nothing of how far others would be
            low, high = None, None
        log_p = None if feasibility is None else feasibility.log_probability(point)[0]
        return {
            "mean": middle,
            "low": low,
            "high": high,
            "log_ei": _finite(log_ei(mean, std, self.best)[0]),
            "p_feasible": None if log_p is None else float(np.exp(log_p)),
            "nearest": list(self._nearest(point, trials)),
        }

    def _nearest(self, point: Array, trials: Sequence[Trial]) -> Iterator[dict[str, Any]]:
        told = self.model.told
        places = [place for place, trial in enumerate(trials) if tells(trial)]
        distance = self.posterior.distance(point, told.points)
        for near in np.argsort(distance, kind="stable")[:_N_NEAREST]:
            place = places[told.places[near]]
            yield {
                "index": place,
                "number": trials[place].number,
                "distance": float(distance[near]),
                "objective": _finite(trials[place].objective),
                "is_feasible": trials[place].is_feasible,
            }


def _best(judge: Judge, *, taken: Taken, rng: np.random.Generator) -> Config | None:
    """Return the free config with the highest score, None if none was found."""
    encoder = judge.encoder
    size = encoder.space.size
    if size is not None and size <= _MOST_FREE:
        free = [c for c in configs_from(encoder.space, start=0, count=size) if c not in taken]
        if not free:
            return None
        return free[int(judge.score(encoder.encode(free)).argmax())]
    ranked = rank_candidates(
        judge.score,
        encoder=encoder,
        around=judge.around,
        n_rounds=judge.model.settings.n_rounds,
        rng=rng,
    )
    ranked = ranked[np.argsort(~judge.has_room(ranked), kind="stable")]
    configs = (encoder.decode(point) for point in islice(_distinct(ranked), _MOST_TRIED))
    return next((c for c in configs if c not in taken and encoder.space.satisfies(c)), None)


def _distinct(points: Array) -> Iterator[Array]:
    """Yield each of points of shape (m, d) once: of whole numbers the best come again and again."""
    seen = set[bytes]()
    for point in points:
        if (key := point.tobytes()) not in seen:
            seen.add(key)
            yield point


def _finite(value: Any) -> float | None:
    """Return a number as JSON has it: None if there is none, or none that is finite."""
    return float(value) if value is not None and np.isfinite(value) else None
