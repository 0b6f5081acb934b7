"""How many requests a key may make: a bucket of tokens for each, refilled at a steady rate."""

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Rates", "Standing"]

_KEPT = 10_000  # buckets; one that was not used for long is full, and so is a new one


@dataclass(frozen=True)
class Standing:
    """What a request finds: tokens left, and seconds until the bucket is full, or has one."""

    is_allowed: bool
    n_left: int
    reset_s: float
    retry_s: float


class Rates:
    """A token bucket for each key.

    Args:
        per_s: requests a second, in the long run.
        burst: requests at once.
        clock: returns seconds, never backwards.
    """

    def __init__(
        self, *, per_s: float, burst: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._per_s = per_s
        self._burst = max(burst, 1.0)
        self._clock = clock
        self._buckets: OrderedDict[bytes, tuple[float, float]] = OrderedDict()  # tokens, at

    def take(self, key: bytes) -> Standing:
        """Take a token from a key's bucket, if there is one."""
        now = self._clock()
        tokens, at = self._buckets.pop(key, (self._burst, now))
        tokens = min(self._burst, tokens + (now - at) * self._per_s)
        is_allowed = tokens >= 1
        if is_allowed:
            tokens -= 1
        self._buckets[key] = (tokens, now)
        if len(self._buckets) > _KEPT:
            self._buckets.popitem(last=False)
        return Standing(
            is_allowed=is_allowed,
            n_left=math.floor(tokens),
            reset_s=(self._burst - tokens) / self._per_s,
            retry_s=max(0.0, 1 - tokens) / self._per_s,
        )
