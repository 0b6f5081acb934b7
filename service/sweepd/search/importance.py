"""Which parameters matter for a metric, and how sure that is.

Two measures, each with an interval from resampling the runs:

* the share: PED-ANOVA, how much more often the best runs have certain values of a parameter than
  all runs do. It is Optuna's (Watanabe et al. 2023, arXiv:2304.10255), so that it needs the extra
  `optuna`; without it the shares are None;
* the trend: Spearman's rank correlation of the parameter with the objective, -1 to 1.

n   runs;  d   searched parameters;  B   resamples
"""

import importlib.util
import json
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sweepd.spec import Array, Categorical, Config, Distribution, Parameter, Space

__all__ = ["ENOUGH", "Importance", "has_shares", "measure"]

#: Runs that are needed before anything is said.
ENOUGH = 20
#: Of more runs, so many are looked at, drawn without order.
_MOST = 1_000
_SHARE_RESAMPLES, _TREND_RESAMPLES = 20, 100
_INTERVAL = (5.0, 95.0)  # percentiles
#: The best so many, or the best tenth if that is more, are compared with all runs.
_LEAST_BEST, _BEST_PART = 5, 0.1


@dataclass(frozen=True)
class Importance:
    """What one parameter means for the objective. None where nothing can be said.

    Attributes:
        name: of the parameter, flat.
        n: runs that have it, with a value of the space; below `ENOUGH` all else is None.
        share: part of all parameters' importance, 0 to 1; `low` and `high` are its 90 % interval.
        trend: rank correlation with the objective, below 0 where more of the parameter is better;
            None for a parameter without an order.
        best: the value with the best median as JSON, of a parameter without an order; None if no
            one value has it alone.
    """

    name: str
    n: int
    share: float | None = None
    share_low: float | None = None
    share_high: float | None = None
    trend: float | None = None
    trend_low: float | None = None
    trend_high: float | None = None
    best: str | None = None


def has_shares() -> bool:
    """Return whether Optuna is installed, which the shares need."""
    return importlib.util.find_spec("optuna") is not None


def measure(
    space: Space, configs: Sequence[Config], objectives: Sequence[float], *, seed: int
) -> list[Importance]:
    """Return the importance of each searched parameter, in the space's order.

    The same input gives the same output.

    Args:
        space: values that it does not have are left out, parameter by parameter.
        configs: of n runs, flat; one may lack parameters that it has no use for.
        objectives: finite, lower is better, shape (n,).
        seed: of the resamples.
    """
    y = np.asarray(objectives, dtype=np.float64)
    rng = np.random.default_rng(seed)
    if len(y) > _MOST:
        kept = np.sort(rng.choice(len(y), _MOST, replace=False))
        y, configs = y[kept], [configs[i] for i in kept]
    columns = [_positions(parameter, configs) for parameter in space.searched]
    counts = [int(np.isfinite(column).sum()) for column in columns]
    known = [i for i, count in enumerate(counts) if count >= ENOUGH]
    shares = _shares(space, [columns[i] for i in known], known, y, rng) if known else {}
    found = []
    for i, parameter in enumerate(space.searched):
        if i not in known:
            found.append(Importance(parameter.name, counts[i]))
            continue
        has = np.isfinite(columns[i])
        law, x = parameter.distribution, columns[i][has]
        share = shares.get(i, (None, None, None))
        trend = _trend(x, y[has], rng) if is_ordered(law) else (None, None, None)
        best = None if is_ordered(law) else _best(law, x, y[has])
        found.append(Importance(parameter.name, counts[i], *share, *trend, best))
    return found


def is_ordered(law: Distribution) -> bool:
    """Return whether there is more and less of a parameter: numbers, and false before true."""
    if not law.is_categorical:
        return True
    return isinstance(law, Categorical) and all(isinstance(v, bool) for v in law.values)


def _positions(parameter: Parameter, configs: Sequence[Config]) -> Array:
    """Return the parameter's positions on its law's scale, shape (n,); NaN where it has none.

    Of one without an order they are the indices of its values.
    """
    law, name = parameter.distribution, parameter.name
    place: Callable[[Any], float] = law.unit
    if isinstance(law, Categorical) and law.is_categorical:
        index = {law.unit(value): i for i, value in enumerate(law.values)}
        numbers = [float(v) if is_ordered(law) else i for i, v in enumerate(law.values)]

        def place(value: Any) -> float:
            return float(numbers[index[law.unit(value)]])

    return np.array(
        [
            place(config[name]) if name in config and law.contains(config[name]) else np.nan
            for config in configs
        ],
        dtype=np.float64,
    )


Interval = tuple[float | None, float | None, float | None]


def _trend(x: Array, y: Array, rng: np.random.Generator) -> Interval:
    """Return Spearman's correlation of x and y, shape (n,), with its interval."""
    value = _spearman(x, y)
    if value is None:
        return None, None, None
    draws = (rng.integers(len(x), size=len(x)) for _ in range(_TREND_RESAMPLES))
    again = [r for drawn in draws if (r := _spearman(x[drawn], y[drawn])) is not None]
    return _interval(value, again)


def _spearman(x: Array, y: Array) -> float | None:
    from scipy.stats import rankdata  # 60 MB, which only the process that computes needs

    a, b = rankdata(x), rankdata(y)
    a, b = a - a.mean(), b - b.mean()
    scale = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / scale if scale > 0 else None


def _interval(value: float, again: Sequence[float]) -> tuple[float, float, float]:
    low, high = np.percentile([value, *again], _INTERVAL)
    return value, float(min(low, value)), float(max(high, value))


def _best(law: Distribution, x: Array, y: Array) -> str | None:
    assert isinstance(law, Categorical), "all else has an order"
    medians = {i: float(np.median(y[x == i])) for i in np.unique(x)}
    best = min(medians.values())
    first = [i for i, median in medians.items() if median == best]
    if len(medians) < 2 or len(first) > 1:
        return None
    return json.dumps(law.values[int(first[0])], ensure_ascii=False)


def _shares(
    space: Space,
    columns: Sequence[Array],
    known: Sequence[int],
    y: Array,
    rng: np.random.Generator,
) -> dict[int, Interval]:
    """Return each known parameter's share of the importance; empty without Optuna."""
    if not has_shares():
        return {}
    laws = [space.searched[i].distribution for i in known]
    evaluate = _ped_anova(laws, columns, y)
    values = evaluate(np.arange(len(y)))
    again = [evaluate(rng.integers(len(y), size=len(y))) for _ in range(_SHARE_RESAMPLES)]
    return {
        i: _interval(float(values[j]), [float(one[j]) for one in again])
        for j, i in enumerate(known)
    }


def _ped_anova(
    laws: Sequence[Distribution], columns: Sequence[Array], y: Array
) -> Callable[[Any], Array]:
    """Return a function from the indices of runs to the shares among them, shape (d,)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import optuna
        from optuna.distributions import BaseDistribution, CategoricalDistribution
        from optuna.importance import PedAnovaImportanceEvaluator

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    axes: dict[str, BaseDistribution] = {}
    for j, law in enumerate(laws):
        values = range(len(law.values)) if isinstance(law, Categorical) else ()
        is_category = isinstance(law, Categorical) and law.is_categorical
        axes[str(j)] = (
            CategoricalDistribution([int(v) for v in values])
            if is_category
            else optuna.distributions.FloatDistribution(0.0, 1.0)
        )
    part = max(_BEST_PART, min(0.5, _LEAST_BEST / len(y)))
    evaluator = PedAnovaImportanceEvaluator(target_quantile=part)
    trials = [_trial(optuna, axes, [column[i] for column in columns], y[i]) for i in range(len(y))]

    def evaluate(indices: Any) -> Array:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            study = optuna.create_study()
            study.add_trials([trials[i] for i in indices])
            found = evaluator.evaluate(study)
        shares = np.array([max(0.0, found.get(name, 0.0)) for name in axes])
        total = shares.sum()
        return np.asarray(shares / total if total > 0 else shares)

    return evaluate


def _trial(optuna: Any, axes: dict[str, Any], positions: Sequence[float], value: float) -> Any:
    given = {name: at for name, at in zip(axes, positions, strict=True) if np.isfinite(at)}
    is_float = optuna.distributions.FloatDistribution
    params = {
        name: float(at) if isinstance(axes[name], is_float) else int(at)
        for name, at in given.items()
    }
    known = {name: axes[name] for name in params}
    return optuna.trial.create_trial(params=params, distributions=known, value=float(value))
