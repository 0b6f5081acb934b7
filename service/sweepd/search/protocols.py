"""What a search method and a stop rule are, and what they are told."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np

from sweepd.search.unique import Out
from sweepd.spec import Config, Space

__all__ = [
    "Decision",
    "Instant",
    "Memo",
    "Method",
    "Outcome",
    "Peers",
    "Progress",
    "StopRule",
    "Trial",
]

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
        objectives: one for each metric where a sweep has several, each signed; `objective` is None
            then, so that no method takes one of them for the whole.
        blame: if it failed, how sure it is that the config is why, above 0 to 1; less than 1 where
            the program or the machine may be.
        curve: pairs (iteration, signed value) at a few iterations, rising, the last one included;
            empty unless some trial of the sweep was stopped early.
        is_stopped: a stop rule has ended it: its objective is that of a shorter run.
        number: of the trial in its sweep, None for a run from before it. Explanations name trials
            by it; no method searches by it.
    """

    config: Config
    objective: float | None
    is_feasible: bool = True
    objectives: tuple[float, ...] = ()
    blame: float = 1.0
    curve: tuple[tuple[float, float], ...] = ()
    is_stopped: bool = False
    number: int | None = field(default=None, compare=False)


class Method(Protocol):
    """A search method: a pure function of what it is given, `rng` included.

    One that learns from `Trial.objectives` too has an attribute `ranks_fronts`, True; any other is
    shown one number for each trial of several metrics (`sweepd.search.scalarised`).

    Attributes:
        is_instant: it learns from nothing, and is an `Instant`. The service asks only its own
            methods of this kind for configs itself (`sweepd.names.INSTANT`).
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
            rng: seeded by the sweep's seed and the number of ended runs, so that each call between
                two results is given the same one.
            memo: one that a call with the first of these trials returned, or {}; which one makes no
                difference to the configs.

        n = 3 gives what three calls of n = 1 give, each with the configs before it among the
        pending: so a suggestion does not depend on how many were asked for together.
        """
        ...


class Instant(Method, Protocol):
    """A method whose configs are numbered: each depends on its number and the seed alone."""

    def pick(self, space: Space, taken: Out, *, index: int, seed: int) -> tuple[Config, int] | None:
        """Return the config with this number, or the next one that is free, and its number.

        None means that there is none: the space is exhausted.

        Args:
            space: where to search.
            taken: what is out.
            index: 0, 1, …
            seed: of the sweep, at least 0.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a run has come.

    Args:
        curve: finite values that it has logged, in order, lower is better.
        n_bad: NaN or infinite values that it has logged since the last of them.
        rung: the last rung that it was judged at, 0 before the first.
        n_new: the latest of the values, which no rule has been asked about: those that came
            together, or took the place of others. None of them if all that came is NaN or infinite.
    """

    curve: Sequence[float]
    n_bad: int = 0
    rung: int = 0
    n_new: int = 1


class Peers(Protocol):
    """The curves of every other run of the sweep, whatever its state; read column by column."""

    def at(self, number: int) -> Sequence[float]:
        """Return value `number` (0, 1, …) of each run that has logged so many."""
        ...

    def means(self, number: int) -> Sequence[float]:
        """Return the mean of values 0 to `number` of each run that has logged so many."""
        ...


#: What the end of a run that a rule stops means: not worth finishing, as good as finished, broken.
Outcome: TypeAlias = Literal["stopped", "finished", "diverged"]


@dataclass(frozen=True, kw_only=True)
class Decision:
    """Why a run is stopped.

    Args:
        band: number of values of the metric that it was judged after.
        value: what it had, lower is better; None if it had only NaN and infinities.
        threshold: what was asked of it, in the same units; None where a rule compares nothing.
        why: the same in words, with places for `{metric}`, `{value}`, `{threshold}` and `{band}`.
        outcome: what the run's end means.
        is_paused: the run may be promoted later on, and go on from where it was.
    """

    band: int
    value: float | None = None
    threshold: float | None = None
    why: str = "after {band} values {metric} is {value}, and {threshold} is needed to go on"
    outcome: Outcome = "stopped"
    is_paused: bool = False


class StopRule(Protocol):
    """A rule that ends runs, built from the keys of its block in the definition; pure."""

    def should_stop(self, run: Progress, others: Peers) -> Decision | None:
        """Return why a run is to stop, or None if it may go on.

        Args:
            run: what it has logged.
            others: the other runs of the sweep.
        """
        ...
