"""What a sweep may spend, and how much of it is spent."""

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Spent", "first_spent", "in_words", "ran"]

_UNITS = {
    "runs": "runs",
    "hours": "hours",
    "gpu_hours": "GPU hours",
    "plateau": "finished trials without a better one",
}


@dataclass(frozen=True)
class Spent:
    """One budget: `runs`, `hours`, `gpu_hours` or `plateau`, how much is used, and the limit."""

    name: str
    used: float
    limit: float


def first_spent(budgets: Sequence[Spent]) -> Spent | None:
    """Return a budget that is used up, None if none is; of several the first."""
    return next((one for one in budgets if one.used >= one.limit), None)


def in_words(spent: Spent) -> str:
    """Return why a sweep ends whose budget is used up."""
    return f"budget spent: {spent.limit:g} {_UNITS[spent.name]}"


def ran(ran_s: float, running_since: float | None, now: float) -> float:
    """Return the seconds that a sweep has been running; pauses do not count.

    Args:
        ran_s: until it last began to run.
        running_since: when that was; None while it does not run.
        now: unix seconds.
    """
    return ran_s if running_since is None else ran_s + max(0.0, now - running_since)
