"""The plateau rule: a run that does not get any better has converged."""

from dataclasses import dataclass

from sweepd.search.protocols import Decision, Peers, Progress

__all__ = ["Plateau"]


@dataclass(frozen=True, kw_only=True)
class Plateau:
    """Stops a run whose latest values do not improve on the earlier ones, as one that has finished.

    Args:
        patience: how many values in a row may pass without an improvement.
        min_delta: what counts as one: a value lower than the best before by more than this.
        min_iter: values that a run logs before it is judged.
    """

    patience: int = 10
    min_delta: float = 0.0
    min_iter: int = 1

    def should_stop(self, run: Progress, others: Peers) -> Decision | None:
        """Return why the run is to stop, or None if it may go on."""
        n_values = len(run.curve)
        if n_values <= self.patience or n_values < self.min_iter:
            return None
        values = list(run.curve)
        before, latest = min(values[: -self.patience]), min(values[-self.patience :])
        if latest < before - self.min_delta:
            return None
        by = f" by more than {self.min_delta:g}" if self.min_delta else ""
        why = (
            f"it has converged: {{metric}} has not got better than {{threshold}}{by} in the latest "
            f"{self.patience} of {{band}} values"
        )
        return Decision(band=n_values, value=latest, threshold=before, why=why, outcome="finished")
