"""When a loss that is still a number says that training is lost.

A run is told by the mean training loss of a report, which is read anyway. False alarms are worse
than none: a bound is one that training which works does not come near.
"""

import math
from dataclasses import dataclass

from sweepd_trainer.config import Training
from sweepd_trainer.optim import n_rising
from sweepd_trainer.task import Guess

__all__ = ["Bound", "bound_for", "n_warm_up"]

#: Steps in which a loss may be anything, at least, and as a share of the run.
_N_WARM_UP, _WARM_UP = 100, 0.1
#: A classifier that guesses has a loss of ln(classes), and one that is lost so many times that.
_TIMES_GUESSED = 3.0
#: Other losses may become so many times what they began with.
_TIMES_BEGUN = 10.0
#: A loss of unknown scale that began below this says nothing.
_SMALL = 0.01


@dataclass(frozen=True)
class Bound:
    """A loss above which a run has diverged, and where that is from."""

    loss: float
    reason: str


def n_warm_up(n_steps: int, config: Training) -> int:
    """Return the steps of a run in which its loss may be anything.

    Those are a tenth of all, 100 at least, and those in which the schedule raises the rate.
    """
    return max(_N_WARM_UP, round(_WARM_UP * n_steps), n_rising(n_steps, config))


def bound_for(start: float, guess: Guess | None) -> Bound | None:
    """Return the bound of a run's training loss; None: there is no telling.

    Classes: 3 ln(classes), three times what guessing gives, or the start where that is higher: a
    model with large weights at first may come down from anywhere. One that was trained before
    starts low, and has lost nothing to speak of at ten times that.

    Values: ten times the start, or ten times their variance, which is what guessing gives, where
    that is higher. Losses of one's own: ten times the start, unless that is next to nothing.

    Args:
        start: mean loss of the first report; NaN where it is not known.
        guess: what it costs to know nothing; None if that is not known.
    """
    if guess is not None and guess.is_of_classes:
        limit = _TIMES_GUESSED * guess.loss
        if start > limit:
            return Bound(start, "what it began with")
        return Bound(limit, f"three times ln({guess.n_classes}), the loss of guessing")
    if guess is not None and not start > guess.loss:
        return Bound(_TIMES_BEGUN * guess.loss, "ten times the variance of the targets")
    if math.isfinite(start) and start > _SMALL:
        return Bound(_TIMES_BEGUN * start, f"ten times {start:.4g}, what it began with")
    return None
