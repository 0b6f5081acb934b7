"""Asynchronous successive halving: at each rung the best 1/eta go on, as far as is known then.

Source: Li et al. 2020, A System for Massively Parallel Hyperparameter Tuning, arXiv:1810.05934,
Algorithm 2. There every trial ends at its rung, and those that prove good are promoted. Here a
trial that is good enough already at that moment goes on at once, which saves its restart; the
others are promoted in the same way if their programs can resume, or else are never heard of again.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from sweepd.search.protocols import Decision, Peers, Progress

__all__ = ["Asha", "Promotion"]

Key = TypeVar("Key")

_MOST_RUNGS = 100


class Promotion(NamedTuple):
    """A paused trial that is to go on.

    Args:
        rung: where it was paused.
        value: what it had there, lower is better.
        threshold: the worst value that is good enough by now.
        n_reached: trials that have reached the rung.
    """

    rung: int
    value: float
    threshold: float
    n_reached: int


@dataclass(frozen=True, kw_only=True)
class Asha:
    """Judges a run once at each rung, by its value there among those of all that have come so far.

    An iteration is a finite value of the metric; a run has reached rung r with its r-th value.

    Args:
        min_iter: the first rung; the next are min_iter × eta, × eta², …
        max_iter: values that a whole run logs: rungs are below it. None sets no bound.
        eta: above 1; of n runs at a rung the best floor(n / eta) go on.
        promote: whether a run that was stopped at a rung can go on later. If not, at least the best
            at a rung goes on: the first to arrive is never stopped.
    """

    min_iter: int = 1
    max_iter: int | None = None
    eta: float = 3.0
    promote: bool = False

    @property
    def rungs(self) -> tuple[int, ...]:
        """Return the rungs, rising."""
        top = 1e15 if self.max_iter is None else self.max_iter
        rungs: list[int] = []
        rung = float(self.min_iter)
        for _ in range(_MOST_RUNGS):
            if rung >= top:
                break
            if not rungs or int(rung) > rungs[-1]:
                rungs.append(int(rung))
            rung *= self.eta
        return tuple(rungs)

    @property
    def judged_at(self) -> tuple[int, ...]:
        """Return the numbers (0, 1, …) of the values that a run is compared by."""
        return tuple(rung - 1 for rung in self.rungs)

    def threshold(self, reached: Sequence[float]) -> float | None:
        """Return the worst value that is good enough among those that all runs had at a rung."""
        slots = self._slots(len(reached), at_least=0 if self.promote else 1)
        return sorted(reached)[slots - 1] if slots else None

    def rung_of(self, n_values: int) -> int:
        """Return the highest rung that a run of so many values has reached, 0 before the first."""
        return max((rung for rung in self.rungs if rung <= n_values), default=0)

    def should_stop(self, run: Progress, others: Peers) -> Decision | None:
        """Return why the run is to stop at the rung that it has newly reached, None if it goes on.

        Of equal values those that came before are the better ones.
        """
        rung = self.rung_of(len(run.curve))
        if rung <= run.rung:
            return None
        value, known = run.curve[rung - 1], sorted(others.at(rung - 1))
        n_reached = len(known) + 1
        slots = self._slots(n_reached, at_least=0 if self.promote else 1)
        if sum(other <= value for other in known) < slots:
            return None
        if slots:
            threshold = known[slots - 1]
            why = (
                f"after {{band}} values {{metric}} is {{value}}, and better than {{threshold}} "
                f"is needed to be among the best {slots} of {n_reached}"
            )
        else:
            threshold = None
            why = (
                f"after {{band}} values it waits for others to compare with: only {n_reached} of "
                f"the {self._needed} that are needed got so far"
            )
        return Decision(
            band=rung, value=value, threshold=threshold, why=why, is_paused=self.promote
        )

    def promotable(
        self,
        paused: Mapping[Key, int],
        reached: Callable[[int], Sequence[tuple[Key, float]]],
        *,
        at_least: int = 0,
    ) -> list[tuple[Key, Promotion]]:
        """Return the paused trials that may go on: of the highest rung first, the best first.

        Args:
            paused: the rung at which each paused trial waits.
            reached: for a rung, every trial that has reached it with its value there, whatever
                became of it, in the order in which equal values rank.
            at_least: how many trials go on from each rung however few have reached it. 1 once no
                others will come: then the best one runs to its end.
        """
        found: list[tuple[Key, Promotion]] = []
        for rung in sorted(set(paused.values()), reverse=True):
            ranked = sorted(reached(rung), key=lambda one: one[1])
            best = ranked[: self._slots(len(ranked), at_least=at_least)]
            found += [
                (key, Promotion(rung, value, best[-1][1], len(ranked)))
                for key, value in best
                if paused.get(key) == rung
            ]
        return found

    def _slots(self, n_reached: int, *, at_least: int) -> int:
        return max(at_least, int(n_reached / self.eta))

    @property
    def _needed(self) -> int:
        """Return how many trials at a rung let one go on."""
        n = max(1, int(self.eta))
        while int(n / self.eta) < 1:
            n += 1
        return n
