"""Hyperband as W&B runs it: a run that is worse than its peers at a band is stopped.

An iteration is a finite value that the run logged; a run has passed a band once it has logged more
values than that, and `curve[band]` is what it had there. Bands, thresholds and the comparison
follow W&B's engine to the letter.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sweepd.search.protocols import Decision, Peers, Progress

__all__ = ["Hyperband"]

#: W&B makes a hundred bands; no run logs more values than the larger ones ask for.
_MOST_BANDS, _LARGEST_BAND = 100, 1e15


@dataclass(frozen=True, kw_only=True)
class Hyperband:
    """Stops a run whose value at its highest passed band is not in the best 1/eta of all runs.

    Args:
        min_iter: first band; the next are min_iter × eta, × eta², ... Unused if max_iter is given.
        max_iter: bands are max_iter / eta, / eta², ..., s of them; those below 1 are dropped.
        s: number of bands below max_iter.
        eta: greater than 1.
        strict: compare the value at the band, not the best one so far.
    """

    min_iter: int | None = None
    max_iter: int | None = None
    s: float | None = None
    eta: float = 3.0
    strict: bool = True

    @property
    def bands(self) -> tuple[int, ...]:
        """Return the bands, rising; none if there is neither min_iter nor max_iter with s."""
        bands: list[int] = []
        if self.max_iter is not None and self.s is not None:
            band = float(self.max_iter)
            for _ in range(int(self.s)):
                band /= self.eta
                if band < 1.0:
                    break
                bands.append(int(band))
            return tuple(sorted(bands))
        if self.min_iter is not None:
            band = float(self.min_iter)
            for _ in range(_MOST_BANDS):
                if band > _LARGEST_BAND:
                    break
                bands.append(int(band))
                band *= self.eta
        return tuple(bands)

    @property
    def judged_at(self) -> tuple[int, ...]:
        """Return the numbers (0, 1, …) of the values that a run is compared by."""
        return self.bands

    def threshold(self, reached: Sequence[float]) -> float:
        """Return what is needed to go on among the values that all runs had at a band."""
        rank = min(int((1.0 / self.eta) * len(reached)), len(reached) - 1)
        return sorted(reached)[rank]

    def should_stop(self, run: Progress, others: Peers) -> Decision | None:
        """Return why the run is to stop, or None if it may go on."""
        passed = [band for band in self.bands if band < len(run.curve)]
        if not passed:
            return None
        band = passed[-1]
        threshold = self.threshold((run.curve[band], *others.at(band)))
        value = run.curve[band] if self.strict else min(run.curve)
        return Decision(band=band, threshold=threshold, value=value) if value > threshold else None
