"""Where to look next: log expected improvement, and the search for its maximum.

m   candidates
d   searched parameters
z   (m,) standard deviations that a candidate's mean lies below the incumbent
"""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from scipy.special import erfcx, log_ndtr

from sweepd.search.encode import Encoder
from sweepd.search.gp import Array

__all__ = ["Score", "log_ei", "rank_candidates"]

#: What candidates are ranked by: of points (m, d), shape (m,).
Score: TypeAlias = Callable[[Array], Array]

_LOG_SQRT_2PI = 0.5 * float(np.log(2.0 * np.pi))
#: Below this z, 1 - √(π/2) |z| erfcx(|z|/√2) is lost in rounding and its series takes over.
_FAR = -1e3

#: Candidates of the first look: so many anywhere, so many around the best trials.
_N_ANYWHERE, _N_AROUND = 700, 800
#: Next rounds: candidates in each, those that they are made from, and the size of their steps in
#: the first and in the last one.
_N_ROUND, _N_ELITE = 300, 6
_FIRST_STEP, _LAST_STEP = 0.2, 0.002


def log_ei(mean: Array, std: Array, best: float) -> Array:
    """Return the log expected improvement of each candidate below `best`.

    log E[max(best - f, 0)] with f ~ N(mean, std²), stable where improvement is all but impossible.

    Args:
        mean: posterior mean at m candidates, shape (m,).
        std: its standard deviation, shape (m,), above 0.
        best: the incumbent, in the same units.

    Returns:
        Shape (m,), finite for z down to -1e6 and beyond.

    Source: Ament et al. 2023, arXiv:2310.20708, eq. 9.
    """
    z = (best - mean) / std
    near = np.maximum(z, -1.0)
    plain = np.log(np.exp(-0.5 * near * near - _LOG_SQRT_2PI) + near * np.exp(log_ndtr(near)))
    far = np.clip(z, _FAR, -1.0)
    tail = np.log1p(np.sqrt(np.pi / 2.0) * far * erfcx(-far / np.sqrt(2.0)))
    series = -2.0 * np.log(-np.minimum(z, _FAR)) + np.log1p(-3.0 / np.minimum(z, _FAR) ** 2)
    tail = np.where(z < _FAR, series, tail) - 0.5 * np.minimum(z, -1.0) ** 2 - _LOG_SQRT_2PI
    return np.where(z > -1.0, plain, tail) + np.log(std)


def rank_candidates(
    score: Score,
    *,
    encoder: Encoder,
    around: Array,
    n_rounds: int,
    rng: np.random.Generator,
) -> Array:
    """Return candidates in falling order of their score, shape (m, d).

    A first look is anywhere and around the best trials; each of the rounds that follow takes
    smaller steps from the best candidates so far.

    Args:
        score: of points of shape (m, d), shape (m,); the larger the better.
        encoder: of the space.
        around: points of the best trials, shape (·, d); may be none.
        n_rounds: that follow the first look.
        rng: source of the candidates.
    """
    points = encoder.sample(_N_ANYWHERE, rng)
    if len(around):
        bases = around[np.arange(_N_AROUND) % len(around)]
        half = _N_AROUND // 2
        points = np.vstack(
            [points, encoder.step(bases[:half], 0.2, rng), encoder.step(bases[half:], 0.05, rng)]
        )
    scores = score(points)
    for size in np.geomspace(_FIRST_STEP, _LAST_STEP, n_rounds):
        elite = points[np.argsort(-scores, kind="stable")[:_N_ELITE]]
        steps = encoder.step(elite[np.arange(_N_ROUND) % len(elite)], size, rng)
        points = np.vstack([points, steps])
        scores = np.append(scores, score(steps))
    return points[np.argsort(-scores, kind="stable")]
