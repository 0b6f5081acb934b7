"""What better means: the sign of a metric, and the one value that stands for a run's curve."""

import math
import re
from collections.abc import Sequence
from typing import Literal

from sweepd.errors import InvalidInput

__all__ = ["Goal", "check_rule", "reduce_curve", "sign", "signed"]

Goal = Literal["minimize", "maximize"]

_MEAN = re.compile(r"mean:([1-9][0-9]{0,5})")


def sign(goal: str) -> float:
    """Return what turns the metric into an objective, for which lower is better: 1 or -1."""
    return -1.0 if goal == "maximize" else 1.0


def signed(value: float, goal: str) -> float:
    """Return the metric as an objective, for which lower is better."""
    return sign(goal) * value


def check_rule(rule: str) -> str:
    """Return the rule if it is `best`, `last` or `mean:k` with k at least 1.

    Raises:
        InvalidInput: if it is anything else.
    """
    if rule not in ("best", "last") and not _MEAN.fullmatch(rule):
        raise InvalidInput(f"must be best, last or mean:k such as mean:5, not {rule!r}")
    return rule


def reduce_curve(values: Sequence[float], *, rule: str, goal: str) -> float | None:
    """Return the value that stands for a run, as logged (unsigned); None without finite values.

    Args:
        values: what the run logged for the metric, in order; NaN and infinities are passed over.
        rule: `best` is the extremum in the goal's direction, `last` the last value, `mean:k` the
            mean of the last k.
        goal: minimize or maximize.

    Raises:
        InvalidInput: if there is no such rule.
    """
    check_rule(rule)
    finite = [float(value) for value in values if math.isfinite(value)]
    if not finite:
        return None
    if rule == "best":
        return max(finite) if goal == "maximize" else min(finite)
    last = finite[-int(rule.partition(":")[2]) :] if rule != "last" else finite[-1:]
    return math.fsum(last) / len(last)
