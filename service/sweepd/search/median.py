"""The median rule: a run whose best value lags behind the usual course of the others is stopped.

Source: Golovin et al. 2017, Google Vizier: A Service for Black-Box Optimization, section 3.1.2.
"""

from dataclasses import dataclass
from statistics import median

from sweepd.search.protocols import Decision, Peers, Progress

__all__ = ["Median"]


@dataclass(frozen=True, kw_only=True)
class Median:
    """Stops a run whose best value so far is worse than the median of the others' running averages.

    A running average is the mean of a run's values up to as many as this run has logged; runs that
    have logged fewer do not count.

    Args:
        min_iter: values that a run logs before it is judged.
        min_trials: other runs that must have logged as many.
        interval: it is judged at every so many values after that; where values come together, at
            the latest of these numbers that they pass, as if it had logged no more.
    """

    min_iter: int = 1
    min_trials: int = 5
    interval: int = 1

    def should_stop(self, run: Progress, others: Peers) -> Decision | None:
        """Return why the run is to stop, or None if it may go on."""
        n_values = len(run.curve)
        n_judged = n_values - (n_values - self.min_iter) % self.interval
        if n_judged < self.min_iter or n_judged <= n_values - run.n_new:
            return None
        means = others.means(n_judged - 1)
        if len(means) < self.min_trials:
            return None
        threshold, value = median(means), min(run.curve[:n_judged])
        if value <= threshold:
            return None
        why = (
            "the best of {band} values of {metric} is {value}, worse than {threshold}, the median "
            f"of the running averages of {len(means)} others"
        )
        return Decision(band=n_judged, value=value, threshold=threshold, why=why)
