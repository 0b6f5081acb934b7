"""Doubling how many trials train at once, in a pack or on a GPU, for as long as that pays and fits.

n   trials at once;  rate   what all n of them together get done in a second, in one unit throughout
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["UNREADABLE", "Doubling", "Measured", "fits", "read_measured"]

#: What reading raises that is none of ours: there is nothing that a program cannot write.
UNREADABLE = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)

_WORTHWHILE = 1.1  # doubling must raise the rate by so much
_MEMORY = 0.8  # of what there is: more is not filled on purpose


@dataclass(frozen=True)
class Measured:
    """What a program measured of itself: its throughput, and on a GPU the memory it needs."""

    rows_per_s: float | None = None
    peak_bytes: int | None = None
    total_bytes: int | None = None


def read_measured(said: Mapping[str, Any]) -> Measured:
    """Return what a program says that it measured; what is missing or null it did not measure.

    Raises:
        ArithmeticError, TypeError, ValueError: it says what nobody can have measured.
    """
    rate, peak, total = (said.get(name) for name in ("rows_per_s", "peak_bytes", "total_bytes"))
    measured = Measured(
        None if rate is None else float(rate),
        None if peak is None else int(peak),
        None if total is None else int(total),
    )
    for name, value in vars(measured).items():
        if value is not None and not 0 < value < math.inf:
            raise ValueError(f"{name} must be above 0, not {value}")
    return measured


def fits(needed_bytes: int, room_bytes: float) -> bool:
    """Return whether so much of the memory that there is is filled on purpose."""
    return needed_bytes <= _MEMORY * room_bytes


@dataclass
class Doubling:
    """A number of trials at once that doubles until it is settled.

    Attributes:
        now: the number.
        limit: more are not tried.
        is_settled: whether it grows no more.
    """

    now: int
    limit: int
    is_settled: bool = False
    _rates: dict[int, float] = field(default_factory=dict)

    def note(
        self, rate: float, *, gains: str, needed_bytes: int | None, room_bytes: float | None
    ) -> str | None:
        """Take what was measured at the number of now; return why it grows no more, if it does not.

        Args:
            rate: of all of them.
            gains: what more of it means, and by what factor: `train {} times as many rows`.
            needed_bytes: memory of all of them; None if that does not matter.
            room_bytes: memory that there is for them.
        """
        n = self.now
        self._rates[n] = rate
        before = self._rates.get(n // 2)
        if before is not None and rate < _WORTHWHILE * before:
            self.now = n // 2
            why = f"{n} {gains.format(f'{rate / before:.2f}')}"
        elif 2 * n > self.limit:
            why = f"more than {self.limit} are not tried"
        elif needed_bytes is not None and room_bytes and not fits(2 * needed_bytes, room_bytes):
            verb = "needs" if n == 1 else "need"
            why = f"{n} {verb} {needed_bytes / 2**30:.1f} GiB of the GPU's memory"
        else:
            self.now = 2 * n
            return None
        self.is_settled = True
        return why

    def shrink(self, limit: int) -> bool:
        """Have no more than so many from now on; return whether there were more."""
        self.limit = limit
        if self.now <= limit:
            return False
        self.now, self.is_settled = limit, True
        return True
