"""What a search method and a stop rule are, and what they are told."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np

from sweepd.spec import Config, Space

__all__ = ["Decision", "Memo", "Method", "StopRule", "Trial"]

#: What a method keeps from one call to the next: JSON-able, {} at first. A method that is given {}
#: again still answers, if slower.
Memo: TypeAlias = dict[str, Any]


@dataclass(frozen=True)
class Trial:
    """A run that has ended, as the search sees it.

    Args:
        config: what was handed out, flat.
        objective: signed, lower is better; None if the run tells nothing of it.
        is_feasible: False if its config made the run fail: diverged, out of memory, error.
    """

    config: Config
    objective: float | None
    is_feasible: bool = True


class Method(Protocol):
    """A search method: a pure function of what it is given, `rng` included.

    Attributes:
        is_instant: cheap enough to call while the store waits.
    """

    is_instant: bool

    def suggest(
        self,
        space: Space,
        trials: Sequence[Trial],
        pending: Sequence[Config],
        n: int,
        rng: np.random.Generator,
        memo: Memo,
    ) -> tuple[list[Config], Memo]:
        """Return up to n configs to try next, and the memo for the next call.

        The configs differ from each other and from all that were tried or are pending; fewer than n
        mean that the space is exhausted, none that it was before.

        Args:
            space: where to search.
            trials: ended runs in the order in which they ended, so that it only grows at its end.
            pending: configs that were handed out and have not ended, in any order.
            n: how many are wanted.
            rng: seeded by the sweep's seed and the number of configs handed out so far.
            memo: the one that the last call returned; {} at first.
        """
        ...


@dataclass(frozen=True)
class Decision:
    """Why a run was stopped.

    Args:
        band: number of values that a run must have logged before it is compared.
        threshold: what it was compared with, lower is better.
        value: what it had; above the threshold.
    """

    band: int
    threshold: float
    value: float


class StopRule(Protocol):
    """A rule that ends runs which are not worth finishing. Built from `early_terminate`'s keys."""

    def should_stop(
        self, curve: Sequence[float], others: Sequence[Sequence[float]]
    ) -> Decision | None:
        """Return why the run with this curve is to stop, or None if it may go on.

        Args:
            curve: finite values that the run has logged so far, in order, lower is better.
            others: the same of every other run of the sweep, whatever its state.
        """
        ...
