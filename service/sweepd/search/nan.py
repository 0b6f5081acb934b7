"""The NaN rule: a run that logs nothing but NaN or infinities has diverged."""

from dataclasses import dataclass

from sweepd.search.protocols import Decision, Peers, Progress

__all__ = ["Nan"]


@dataclass(frozen=True, kw_only=True)
class Nan:
    """Stops a run whose metric was NaN or infinite some times in a row; a stray one does no harm.

    Args:
        patience: how many in a row; 0 for never.
    """

    patience: int = 3

    def should_stop(self, run: Progress, others: Peers) -> Decision | None:
        """Return why the run is to stop, or None if it may go on."""
        if not self.patience or run.n_bad < self.patience:
            return None
        why = f"it has diverged: {{metric}} was NaN or infinite {run.n_bad} times in a row"
        return Decision(band=len(run.curve), why=why, outcome="diverged")
