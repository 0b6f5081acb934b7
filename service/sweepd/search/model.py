"""The model of a search: what the trials teach, fitted at fixed numbers of them.

n   trials that tell something
k   those of them that enter the model
d   searched parameters
θ   (d + 1,) what was fitted: log length scales, log noise (see `sweepd.search.gp`)
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from sweepd.errors import FitFailed
from sweepd.search.encode import Encoder
from sweepd.search.feasibility import PRIOR as FAILURES
from sweepd.search.feasibility import Feasibility, blame_together, doubt_of, fit_feasibility
from sweepd.search.fidelity import AtFullFidelity, CurvePoints, curve_points, has_curves
from sweepd.search.gp import Array, Design, Mask, Posterior, Prior, fit
from sweepd.search.protocols import Memo, Trial
from sweepd.search.transform import Scale, normalise
from sweepd.spec import Config

__all__ = ["Model", "Settings", "Told", "fit_points", "learn", "tells"]

#: Trials that tell something before the model has a say, and the number of the first fit.
FEWEST = 5
#: Trials that the model is made of, at most: the best half of them, and a sample of the others.
_MOST_TRIALS = 250
#: A fresh start stands beside the last fit's as long as there are fewer trials than this.
_FRESH_BELOW = 60
#: Every so many fits forget those before: more are never made up for, if a memo is gone.
_CHAIN = 8


@dataclass(frozen=True)
class Settings:
    """What the search is made of, so that each part can be left out and its worth seen.

    Args:
        prior: what the model believes before any trial.
        n_initial: space-filling configs before the model has a say.
        has_sobol: they are of a Sobol sequence, not random.
        fewest_told: trials that tell something before it has.
        doubt_every: every so many suggestions are made with length scales times `doubt`.
        doubt: see there.
        n_rounds: of ever smaller steps towards the most promising config.
        believes: running trials count as if they had come out as expected.
        has_power: objectives are made symmetric.
        learns_failures: trials that fail teach where others will.
        failed_as: what failed trials are to the model of the objective: "expected", as it has them
            without, so that they only end the curiosity there; or the "worst" of the others.
    """

    prior: Prior = field(default_factory=Prior)
    n_initial: int = 5
    has_sobol: bool = True
    fewest_told: int = 1
    doubt_every: int = 3
    doubt: float = 0.5
    n_rounds: int = 12
    believes: bool = True
    has_power: bool = True
    learns_failures: bool = True
    failed_as: str = "expected"


@dataclass(frozen=True)
class Told:
    """What the model is made of.

    Args:
        points: of k trials, shape (k, d).
        y: their objectives as reported, shape (k,); NaN for one that failed.
        blame: how sure it is that the config made it fail, shape (k,); 1 where it did not.
        is_category: shape (d,).
        places: which of the n trials they are, shape (k,).
        curves: what the objective is learnt from instead, once a trial was stopped early.
    """

    points: Array
    y: Array
    blame: Array
    is_category: Mask
    places: npt.NDArray[np.intp]
    curves: CurvePoints | None = None

    @property
    def is_ok(self) -> Mask:
        """Return which trials came to something, shape (k,)."""
        return np.isfinite(self.y)

    def has_both(self) -> bool:
        """Return whether some trials failed and some did not."""
        return bool(self.is_ok.any() and not self.is_ok.all())

    def of_objective(self, settings: Settings) -> tuple[Design, Array, Scale]:
        """Return the points and normalised objectives that the model is fitted to."""
        y, points, is_category = self.y, self.points, self.is_category
        if self.curves is not None:
            y, points, is_category = self.curves.y, self.curves.x, np.append(is_category, False)
        is_ok = np.isfinite(y)
        if settings.failed_as == "expected" and is_ok.any():
            y, points, is_ok = y[is_ok], points[is_ok], is_ok[is_ok]
        values, scale = normalise(y, is_ok, has_power=settings.has_power)
        return Design(points, is_category), values, scale

    def of_failures(self) -> Design:
        """Return the points of all trials, those that perhaps failed of themselves as noisier."""
        sure = blame_together(Design(self.points, self.is_category), self.is_ok, self.blame)
        noise = np.where(self.is_ok, 1.0, doubt_of(sure))
        return Design(self.points, self.is_category, noise)


@dataclass(frozen=True)
class Model:
    """What is known at a number of trials.

    Args:
        settings: of the search.
        encoder: of the space.
        told: what it was made of.
        posterior: of the normalised objective, nothing believed.
        scale: what normalised it.
        feasibility: where trials do not fail; None if none has, or all have.
    """

    settings: Settings
    encoder: Encoder
    told: Told
    posterior: Posterior
    scale: Scale
    feasibility: Feasibility | None

    def doubting(self) -> "Model":
        """Return a model that trusts the fit less, or the same one if there is none.

        A fit to trials around one place can be sure, and wrong, about parameters that hardly moved
        there; it then asks for ever smaller steps, or for far corners. With shorter length scales
        the neighbourhood in between is worth a look.
        """
        try:
            return replace(self, posterior=self.posterior.rescale(self.settings.doubt))
        except FitFailed:
            return self

    def believing(self, configs: Sequence[Config]) -> Posterior:
        """Return the posterior if configs came out as expected; without them if that fails.

        They are taken in one order, whichever they are given in, so that not even rounding depends
        on who asked first. The last of the posterior's points are theirs.
        """
        points = self.encoder.encode(configs if self.settings.believes else [])
        points = points[np.isfinite(points).all(axis=1)]
        points = points[np.lexsort(points.T[::-1])] if len(points) else points
        try:
            return self.posterior.believe(points) if len(points) else self.posterior
        except FitFailed:
            return self.posterior

    def failed(self) -> Array:
        """Return the points of the failed trials that the posterior knows nothing of."""
        is_out = self.settings.failed_as == "expected" and self.told.is_ok.any()
        return self.told.points[~self.told.is_ok] if is_out else self.told.points[:0]


def tells(trial: Trial) -> bool:
    """Return whether a trial tells the search something."""
    return trial.objective is not None or not trial.is_feasible


def learn(
    encoder: Encoder, told: Sequence[Trial], memo: Memo, *, settings: Settings
) -> tuple[Model | None, Memo]:
    """Return the model of trials, None if there can be none, and the memo with the latest fit.

    There is none either as long as several results are all alike. Every fit is made at a number of
    trials fixed beforehand, of just these trials and the fit before it, which every eighth one
    forgets. So it makes no difference when, how often or in which process it is asked for, nor
    whether the memo was lost.
    """
    d, prior = len(encoder.is_category), settings.prior
    theta, failures, done = prior.theta(d), None, 0
    last = memo.get("fit")
    n_axes = d + has_curves(told[: last["n"]]) if last else d
    if last and last["n"] <= len(told) and len(last["theta"]) == n_axes + 1:
        theta, done = np.array(last["theta"], dtype=float), int(last["n"])
        failures = None if last["failures"] is None else np.array(last["failures"], dtype=float)
    due = fit_points(0, len(told))
    first = (len(due) - 1) // _CHAIN * _CHAIN  # what came before it has no say
    for number, n in enumerate(due):
        if number < first or n <= done:
            continue
        data, is_first = _select(encoder, told[:n]), number % _CHAIN == 0
        design, y, _ = data.of_objective(settings)
        mode = prior.theta(design.x.shape[1])  # one axis more once a trial was stopped early
        starts = [] if is_first or len(theta) != len(mode) else [theta]
        if not starts or n < _FRESH_BELOW:
            starts.append(mode)
        try:
            theta = fit(design, y, prior=prior, starts=starts)
        except FitFailed:
            theta = mode
        failures = None if is_first else failures
        if settings.learns_failures and data.has_both():
            failures = fit_feasibility(data.of_failures(), data.is_ok, start=failures)
        done = n
    if done:
        fitted = {"n": done, "theta": theta.tolist()}
        fitted["failures"] = None if failures is None else failures.tolist()
        memo = {**memo, "fit": fitted}
    data = _select(encoder, told)
    if not len(data.y):
        return None, memo
    design, y, scale = data.of_objective(settings)
    if not y.any() and len(data.y) > 1 and data.is_ok.sum() != 1:  # it would walk the corners
        return None, memo
    if len(theta) != design.x.shape[1] + 1:
        theta = prior.theta(design.x.shape[1])
    try:
        posterior = Posterior(design, y, theta=theta, prior=prior)
        if data.curves is not None:
            posterior = AtFullFidelity(posterior, data.curves.is_end[: len(y)])
    except FitFailed:
        return None, memo
    feasibility = _feasibility(data, failures) if settings.learns_failures else None
    return Model(settings, encoder, data, posterior, scale, feasibility), memo


def _feasibility(data: Told, theta: Array | None) -> Feasibility | None:
    """Return where trials do not fail; None if none has, all have, or there is no such model."""
    if not data.has_both():
        return None
    theta = FAILURES.theta(data.points.shape[1]) if theta is None else theta
    try:
        return Feasibility(data.of_failures(), data.is_ok, theta=theta)
    except FitFailed:
        return None


def fit_points(done: int, n: int) -> list[int]:
    """Return the numbers of trials in (done, n] at which θ is fitted: 5, 6, ... then × 1.05."""
    points, at = [], FEWEST
    while at <= n:
        if at > done:
            points.append(at)
        at = max(at + 1, round(1.05 * at))
    return points


def _select(encoder: Encoder, told: Sequence[Trial]) -> Told:
    """Return what at most 250 of the trials tell; those of another space are left out."""
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
    blame = np.array([told[i].blame for i in kept], dtype=float)
    kept = kept[is_known]
    curves = curve_points(encoder, told) if has_curves(told) else None
    return Told(points[is_known], y[kept], blame[is_known], encoder.is_category, kept, curves)
