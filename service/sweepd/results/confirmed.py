"""What leaders came to with fresh seeds: mean, interval, ties, and how far they fell.

The best of many runs is the best configuration or the luckiest seed. Its value promises too much,
the more so the more runs there were: the winner's curse. Runs of the same configuration with seeds
that nobody chose by say what it is worth.

Symbols: `n` values of one leader, `s` their standard deviation, `t` the quantile of Student's t.
"""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sweepd.results.judging import Excluded, Ranked, came_to, runs_of
from sweepd.spec import Bounds, canonical, signed

__all__ = [
    "CONFIDENCE",
    "Confirmation",
    "Confirmed",
    "configuration_key",
    "configuration_of",
    "confirmation_of",
    "read_confirmed",
]

CONFIDENCE = 0.9
_ENDED = frozenset({"finished", "failed", "crashed", "killed", "preempted"})
_SWEEP_ENDED = frozenset({"finished", "failed", "crashed", "canceled", "cancelled", "stopped"})


@dataclass(frozen=True)
class Confirmed:
    """A leader with what the runs of its configuration with fresh seeds came to."""

    leader: Ranked
    values: tuple[float, ...]
    goal: str
    n_without: int = 0  # runs that ended without a value
    is_tied: bool | None = None  # with the best; None: not known, or it is the best

    @property
    def mean(self) -> float:
        """Return the mean over the fresh seeds, NaN without any."""
        return statistics.fmean(self.values) if self.values else math.nan

    @property
    def share(self) -> float:
        """Return the share of its runs that came to a value, 0 without any."""
        return len(self.values) / max(1, len(self.values) + self.n_without)

    @property
    def seeds_in_words(self) -> str:
        """Return how many values the mean is of, and of how many seeds if some came to none."""
        n = len(self.values)
        return f"{n} of {n + self.n_without}" if self.n_without else str(n)

    @property
    def half_width(self) -> float | None:
        """Return half of the 90 % interval of the mean, t s / sqrt(n); None below two values."""
        n = len(self.values)
        if n < 2:
            return None
        from scipy.stats import t

        quantile = float(t.ppf((1 + CONFIDENCE) / 2, n - 1))
        return quantile * statistics.stdev(self.values) / math.sqrt(n)

    @property
    def interval(self) -> tuple[float, float] | None:
        """Return the 90 % interval of the mean; None below two values."""
        half = self.half_width
        return None if half is None else (self.mean - half, self.mean + half)

    @property
    def fall(self) -> float:
        """Return how much worse the mean is than the leader's own value, in the metric's unit."""
        return signed(self.mean, self.goal) - signed(self.leader.value, self.goal)

    def as_json(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        return {
            "run": self.leader.path,
            "display_name": self.leader.display_name,
            "value": self.leader.value,
            "n": len(self.values),
            "values": list(self.values),
            "mean": self.mean if self.values else None,
            "interval": list(self.interval) if self.interval else None,
            "confidence": CONFIDENCE,
            "fall": self.fall if self.values else None,
            "is_tied": self.is_tied,
            "n_without": self.n_without,
        }


@dataclass(frozen=True)
class Confirmation:
    """The confirmations of a sweep: its leaders, best first, and what is still to come.

    A seed that fails or diverges says something of its configuration too, so the share of seeds
    that came to a value goes before the mean: the mean is of those that survived.
    """

    leaders: tuple[Confirmed, ...] = ()
    sweeps: tuple[str, ...] = ()  # entity/project/sweep, those that run the configurations again
    n_waiting: int = 0  # runs that have not ended, or not begun
    seeds: tuple[Any, ...] = ()  # of the fresh runs
    n_strangers: int = 0  # finished runs that have the configuration of no leader

    @property
    def ranked(self) -> tuple[Confirmed, ...]:
        """Return the leaders that have a value, best first: by share of values, then by mean."""
        return tuple(one for one in self.leaders if one.values)

    @property
    def is_seed_idle(self) -> bool:
        """Return whether no seed made a difference, as where the program does not read them.

        That takes two leaders or three values of one; a coarse metric is alike now and then.
        """
        repeated = [one.values for one in self.ranked if len(one.values) > 1]
        is_telling = len(repeated) > 1 or any(len(values) > 2 for values in repeated)
        return not self.n_waiting and is_telling and all(len(set(one)) == 1 for one in repeated)

    def as_json(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        return {
            "sweeps": list(self.sweeps),
            "waiting": self.n_waiting,
            "strangers": self.n_strangers,
            "is_seed_idle": self.is_seed_idle,
            "leaders": [one.as_json() for one in self.leaders],
        }


def confirmation_of(config: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return which sweep a definition confirms, and by which seed parameter; None for others."""
    own = config.get("sweepd")
    confirms = own.get("confirms") if isinstance(own, Mapping) else None
    if not isinstance(confirms, Mapping):
        return None
    return str(confirms.get("sweep")), str(confirms.get("seed_key"))


def configuration_of(
    config: Mapping[str, Any], *, parameters: Iterable[str], seed_key: str
) -> dict[str, Any]:
    """Return what a config has of these parameters but for the seed."""
    return {name: config[name] for name in parameters if name in config and name != seed_key}


def configuration_key(config: Mapping[str, Any]) -> str:
    """Return the text by which two configurations are the same."""
    return canonical(dict(config))


def read_confirmed(
    api: Any,
    sweep: Any,
    ranking: Sequence[Ranked],
    *,
    metric: str,
    goal: str,
    rule: str,
    bounds: Mapping[str, Bounds],
) -> Confirmation:
    """Return what the confirmations of a sweep came to; an empty one if there are none.

    Args:
        api: a `wandb.Api`.
        sweep: the sweep whose leaders they are.
        ranking: its runs, best first; a confirmation counts for the best run of its configuration.
        metric: what they are compared by.
        goal: minimize or maximize.
        rule: what stands for a run.
        bounds: those that a run must satisfy, by the metric.
    """
    present = sweep.config.get("parameters") or {}
    names: list[str] = []
    found: dict[str, Confirmed] = {}
    seeds: dict[str, Any] = {}
    n_waiting = n_strangers = 0
    for again in api.project(sweep.project, sweep.entity).sweeps():
        known = confirmation_of(again.config)
        if known is None or known[0] != sweep.id:
            continue
        seed_key = known[1]
        # Those of the plan: an edit may have removed some from the definition since, or before.
        parameters = again.config["sweepd"]["confirms"].get("parameters") or list(present)
        names.append(f"{again.entity}/{again.project}/{again.id}")
        leaders: dict[str, Ranked] = {}
        for run in ranking:
            own = configuration_of(run.config, parameters=parameters, seed_key=seed_key)
            leaders.setdefault(configuration_key(own), run)
        n_ended = 0
        for run in runs_of(api, again):
            n_ended += run.state in _ENDED
            own = configuration_of(dict(run.config), parameters=parameters, seed_key=seed_key)
            leader = leaders.get(configuration_key(own))
            n_strangers += leader is None and run.state == "finished"
            if leader is None or run.state not in _ENDED:
                continue
            judged = came_to(run, metric=metric, goal=goal, rule=rule, bounds=bounds)
            before = found.setdefault(leader.path, Confirmed(leader, (), goal))
            if isinstance(judged, Excluded):
                found[leader.path] = replace(before, n_without=before.n_without + 1)
            else:
                found[leader.path] = replace(before, values=(*before.values, judged.value))
                seed = run.config.get(seed_key)
                seeds.setdefault(canonical(seed), seed)
        if str(again.state).lower() not in _SWEEP_ENDED:
            n_waiting += max(0, _planned(again.config, seed_key) - n_ended)
    order = sorted(found.values(), key=lambda one: _order(one, goal))
    told = _with_ties(order)
    return Confirmation(told, tuple(names), n_waiting, tuple(seeds.values()), n_strangers)


def _planned(config: Mapping[str, Any], seed_key: str) -> int:
    """Return how many runs a sweep of confirmations is to have."""
    law = (config.get("parameters") or {}).get(seed_key) or {}
    return int(config.get("run_cap") or len(law.get("values", [0])))


def _order(one: Confirmed, goal: str) -> tuple[float, float]:
    return -one.share, signed(one.mean, goal) if one.values else math.inf


def _with_ties(order: Sequence[Confirmed]) -> tuple[Confirmed, ...]:
    if not order or order[0].interval is None:
        return tuple(order)
    low, high = order[0].interval
    told = [order[0]]
    for one in order[1:]:
        own = one.interval
        is_tied = None if own is None else own[0] <= high and low <= own[1]
        is_behind = one.share < order[0].share  # whatever the means
        told.append(replace(one, is_tied=False if is_behind else is_tied))
    return tuple(told)
