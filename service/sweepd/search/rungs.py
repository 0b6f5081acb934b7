"""The iterations at which learning curves are looked at."""

__all__ = ["rungs"]

_ETA = 3


def rungs(longest: int) -> tuple[int, ...]:
    """Return the iterations 1, 3, 9, … up to `longest`."""
    found = [1]
    while found[-1] * _ETA <= longest:
        found.append(found[-1] * _ETA)
    return tuple(found)
