"""Learning curves as observations of lower fidelity: what trials that were stopped early teach.

The model gets one axis more, s, and a trial is a few points of its curve: at values 1, 3, 9, … and
at its last one. What is asked for is the objective at s = 1; a stopped trial has none there. How
much a short curve says about it is a length scale like the others, and is learnt.

Curves fall as powers of t, so s = (1 - t⁻ᵃ) / (1 - T⁻ᵃ): there they are nearly straight lines, and
what comes late is nearer to the end than what comes early. On log t the model is a worse guide.

t   iteration: number of values that a trial has logged
T   iterations of the longest trial: full fidelity
k   points of all curves that enter the model
d   searched parameters
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from sweepd.search.encode import Encoder
from sweepd.search.gp import Array, Design, Mask, Posterior
from sweepd.search.protocols import Trial

__all__ = ["AtFullFidelity", "CurvePoints", "curve_points", "has_curves"]

#: Points that a model is made of, at most: of the best trials, and of a sample of the others.
_MOST_POINTS = 300
#: a, the power of t by which curves fall.
_POWER = 0.75
#: A rung is left out if the trial's last value came before so many times its iteration.
_APART = 2.0


def has_curves(told: Sequence[Trial]) -> bool:
    """Return whether some trial was stopped early, so that objectives are not of like lengths."""
    return any(trial.is_stopped and trial.curve for trial in told)


@dataclass(frozen=True)
class CurvePoints:
    """What trials teach, curves and all.

    Args:
        x: their places, the last coordinate being s: shape (k, d + 1).
        y: values, shape (k,); NaN for a trial that failed.
        is_end: whether it is the last of its trial, shape (k,).
    """

    x: Array
    y: Array
    is_end: Mask


def curve_points(encoder: Encoder, told: Sequence[Trial]) -> CurvePoints:
    """Return at most 300 points of the trials' curves; trials of another space are left out.

    The objective of a trial that ran to its end stands at s = 1, however long that was. If there
    are too many points, those of the best trials enter, and of others by a chance that each keeps.
    Failed trials are the last.
    """
    y = np.array([np.nan if t.objective is None else t.objective for t in told], dtype=float)
    y[[not trial.is_feasible for trial in told]] = np.nan
    y[~np.isfinite(y)] = np.nan
    longest = max((trial.curve[-1][0] for trial in told if trial.curve), default=1.0)
    order = np.argsort(y, kind="stable").tolist()  # NaN is last
    chance = np.random.default_rng(0).random(len(told))
    found: dict[int, list[tuple[float, float]]] = {}
    n_points = 0
    for limit, queue in ((_MOST_POINTS // 2, order), (_MOST_POINTS, np.argsort(chance).tolist())):
        for index in queue:
            if n_points >= limit:
                break
            if index not in found:
                points = list(_points(told[index], y[index], longest))
                n_points += len(points)
                if points:
                    found[index] = points
    kept = sorted(found)
    places = encoder.encode([told[index].config for index in kept])
    is_known = np.isfinite(places).all(axis=1)
    is_failed = np.isnan(y[kept])
    at, values, is_end = [], [], []
    for place in sorted(np.flatnonzero(is_known), key=is_failed.__getitem__):
        points = found[kept[place]]
        at += [(*places[place], s) for s, _ in points]
        values += [value for _, value in points]
        is_end += [False] * (len(points) - 1) + [True]
    x = np.array(at, dtype=float).reshape(len(at), places.shape[1] + 1)
    return CurvePoints(x, np.array(values, dtype=float), np.array(is_end, dtype=bool))


def _points(trial: Trial, objective: float, longest: float) -> Iterator[tuple[float, float]]:
    """Yield s and the value of each point of a trial, the last one last."""
    if not np.isfinite(objective) or not trial.curve:
        if not trial.is_stopped:  # else nobody knows how long it was
            yield 1.0, objective
        return
    last = trial.curve[-1][0]
    for t, value in trial.curve[:-1]:
        if _APART * t <= last and np.isfinite(value):
            yield _fidelity(t, longest), value
    yield (_fidelity(last, longest) if trial.is_stopped else 1.0), objective


def _fidelity(t: float, longest: float) -> float:
    """Return s, from 0 for one value to 1 for the longest trial."""
    falls = (1.0 - max(t, 1.0) ** -_POWER) / (1.0 - longest**-_POWER) if longest > 1.0 else 1.0
    return float(falls)


class AtFullFidelity(Posterior):
    """A model of curves as a model of the objective: points are those of the space, at s = 1.

    Args:
        curves: posterior over d + 1 coordinates.
        is_end: which of its observed points are the last of their trial; their places are the
            trials of this one.
    """

    def __init__(self, curves: Posterior, is_end: Mask) -> None:
        self._curves, self._is_end = curves, is_end
        self.prior, self.theta, self.n_believed = curves.prior, curves.theta, curves.n_believed
        self.variance = curves.variance
        kept = np.append(is_end, np.ones(curves.n_believed, dtype=bool))
        self.design = Design(curves.design.x[kept, :-1], curves.design.is_category[:-1])
        self._scales = np.exp(curves.theta[:-2])
        self.y = self.at_trials()

    def at_trials(self) -> Array:
        """Return the mean at the trials' configs as if they had run to the end, shape (n,)."""
        return self.mean(self.design.x)

    def mean(self, points: Array) -> Array:
        """Return the mean at points of shape (m, d): shape (m,)."""
        return self._curves.mean(_at_full(points))

    def predict(self, points: Array) -> tuple[Array, Array]:
        """Return mean and standard deviation at points (m, d): each (m,)."""
        return self._curves.predict(_at_full(points))

    def believe(self, points: Array) -> "AtFullFidelity":
        """Return the posterior if `points`, (m, d), came out at their mean."""
        return AtFullFidelity(self._curves.believe(_at_full(points)), self._is_end)

    def rescale(self, factor: float) -> "AtFullFidelity":
        """Return the posterior with the ℓ of every parameter, not that of s, times `factor`."""
        known = self._curves.design.first(len(self._is_end))
        theta = self.theta.copy()
        theta[:-2] += np.log(factor)
        y = self._curves.y[: len(self._is_end)]
        rescaled = AtFullFidelity(Posterior(known, y, theta=theta, prior=self.prior), self._is_end)
        believed = self.design.x[len(self.design.x) - self.n_believed :]
        return rescaled.believe(believed) if self.n_believed else rescaled


def _at_full(points: Array) -> Array:
    """Return points of shape (m, d) with s = 1: shape (m, d + 1)."""
    return np.column_stack([points, np.ones(len(points))])
