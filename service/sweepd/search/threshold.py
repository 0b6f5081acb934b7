"""The threshold rule: a run that has not come within a bound by some iteration is stopped."""

from dataclasses import dataclass

from sweepd.search.protocols import Decision, Peers, Progress

__all__ = ["Threshold"]


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """Stops a run whose best value is still worse than a bound after some values.

    Args:
        after: values that a run logs before it is judged.
        bound: lower is better.
    """

    after: int
    bound: float

    def should_stop(self, run: Progress, others: Peers) -> Decision | None:
        """Return why the run is to stop, or None if it may go on."""
        n_values = len(run.curve)
        if n_values < self.after:
            return None
        value = min(run.curve)
        if value <= self.bound:
            return None
        why = "the best of {band} values of {metric} is {value}, and the bound is {threshold}"
        return Decision(band=n_values, value=value, threshold=self.bound, why=why)
