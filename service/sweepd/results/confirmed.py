"""What leaders came to with fresh seeds: mean, interval, ties, and how far they fell.

The best of many runs is the best configuration or the luckiest seed. Its value promises too much,
the more so the more runs there were: the winner's curse. Runs of the same configuration with seeds
that nobody chose by say what it is worth.

Symbols: `n` values of one leader, `s` their standard deviation, `t` the quantile of Student's t.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from sweepd.results.judging import Ranked
from sweepd.spec import signed

__all__ = ["CONFIDENCE", "Confirmation", "Confirmed", "in_order", "is_idle"]

CONFIDENCE = 0.9
_PAIRS = 3  # of a coarse metric two differences are alike now and then


@dataclass(frozen=True)
class Confirmed:
    """A leader with what the runs of its configuration with fresh seeds came to."""

    leader: Ranked
    values: tuple[float, ...]
    goal: str
    n_without: int = 0  # runs that ended without a value
    is_tied: bool | None = None  # with the best; None: not known, or it is the best
    seeds: tuple[str, ...] = ()  # one for each value: those of two leaders are compared in pairs

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
        return _half_width(self.values)

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

    Nobody is ranked by it before all of its runs have ended, or where some leaders were never
    run again: whose seed happens to end first would be the best.
    """

    leaders: tuple[Confirmed, ...] = ()
    sweeps: tuple[str, ...] = ()  # entity/project/sweep, those that run the configurations again
    n_waiting: int = 0  # runs that have not ended, or not begun
    seeds: tuple[Any, ...] = ()  # of the fresh runs
    n_strangers: int = 0  # finished runs that have the configuration of no leader
    is_settled: bool = True  # whether the leaders have had their seeds, and are ranked by them

    @property
    def ranked(self) -> tuple[Confirmed, ...]:
        """Return the leaders that have a value, best first: by share of values, then by mean.

        None of them as long as it is not settled.
        """
        return tuple(one for one in self.leaders if one.values and self.is_settled)

    @property
    def open_in_words(self) -> str | None:
        """Return why nobody is ranked by it, though there are confirmations; None if somebody is.

        Also None where its runs have ended and none has a value of a leader.
        """
        if self.is_settled or not self.sweeps:
            return None
        if self.n_waiting:
            runs = "run has" if self.n_waiting == 1 else "runs have"
            return (
                f"{self.n_waiting} {runs} not ended that try the leaders with fresh seeds: until "
                "then each leader counts by its own value"
            )
        return (
            "not every leader was run again with fresh seeds, so each counts by its own value; "
            "`sweep confirm SWEEP --again` runs them all"
        )

    @property
    def is_seed_idle(self) -> bool:
        """Return whether no seed made a difference, as where the program does not read them.

        That takes two leaders or three values of one; a coarse metric is alike now and then.
        """
        return not self.n_waiting and is_idle([one.values for one in self.ranked])

    def as_json(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        return {
            "sweeps": list(self.sweeps),
            "waiting": self.n_waiting,
            "strangers": self.n_strangers,
            "is_seed_idle": self.is_seed_idle,
            "is_settled": self.is_settled,
            "leaders": [one.as_json() for one in self.leaders],
        }


def is_idle(values: Sequence[Sequence[float]]) -> bool:
    """Return whether each leader's runs came to one value, of two leaders or three runs of one."""
    repeated = [one for one in values if len(one) > 1]
    is_telling = len(repeated) > 1 or any(len(one) > 2 for one in repeated)
    return is_telling and all(len(set(one)) == 1 for one in repeated)


def in_order(leaders: Sequence[Confirmed], goal: str) -> tuple[Confirmed, ...]:
    """Return leaders best first, each with whether it is tied with the best."""
    order = sorted(leaders, key=lambda one: _order(one, goal))
    return tuple(
        one if place == 0 else replace(one, is_tied=_is_tied(order[0], one))
        for place, one in enumerate(order)
    )


def _order(one: Confirmed, goal: str) -> tuple[float, float]:
    return -one.share, signed(one.mean, goal) if one.values else math.inf


def _is_tied(best: Confirmed, one: Confirmed) -> bool | None:
    """Return whether the order of two may be chance; None if that is not known.

    Where they share three seeds, by the 90 % interval of the differences seed by seed: what a seed
    does to both is no reason for doubt. Else by whether the intervals of their means overlap.
    """
    if best.interval is None:
        return None
    if one.share < best.share:  # whatever the means
        return False
    own = dict(zip(one.seeds, one.values, strict=False))
    pairs = zip(best.seeds, best.values, strict=False)
    differences = [value - own[seed] for seed, value in pairs if seed in own]
    half = _half_width(differences)
    if half is not None and len(differences) >= _PAIRS:
        return abs(statistics.fmean(differences)) <= half + _rounding(best, one)
    if one.interval is None:
        return None
    (low, high), (own_low, own_high) = best.interval, one.interval
    rounding = _rounding(best, one)
    return own_low <= high + rounding and low <= own_high + rounding


def _rounding(*leaders: Confirmed) -> float:
    """Return by how much means of the same values may differ."""
    return 1e-12 * max(abs(one.mean) for one in leaders)


def _half_width(values: Sequence[float]) -> float | None:
    n = len(values)
    if n < 2:
        return None
    from scipy.stats import t

    quantile = float(t.ppf((1 + CONFIDENCE) / 2, n - 1))
    return quantile * statistics.stdev(values) / math.sqrt(n)
