"""Several objectives at once: which trials nobody beats, and how much they beat together.

One trial dominates another if it is not worse in any objective and better in one. The front are
those that no trial dominates; the next front are those of the rest, and so on.

n   trials
k   objectives, lower is better
"""

import numpy as np
import numpy.typing as npt

__all__ = ["best_first", "crowding", "front", "fronts", "hypervolume", "last_joined"]

Array = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]


def front(values: Array) -> Indices:
    """Return which of the values, shape (n, k), none of the others dominates, ascending.

    Equal ones do not dominate each other: all of them are in it, or none.
    """
    left = np.lexsort(values.T[::-1])  # whoever dominates another comes before it
    found: list[int] = []
    while len(left):
        first = left[0]
        found.append(int(first))
        is_worse = (values[first] <= values[left]).all(axis=1)
        is_worse &= (values[first] < values[left]).any(axis=1)
        left = left[1:][~is_worse[1:]]
    return np.array(sorted(found), dtype=np.intp)


def last_joined(values: Array) -> int | None:
    """Return the last of the values, shape (n, k), that none before it equals or dominates.

    It is the latest to join the front of those before it; None if there are no values. Whoever
    dominates it would have joined later itself: it is on the front of all of them.
    """
    left, rows = np.arange(len(values)), np.ascontiguousarray(values.T)  # (n,), (k, n)
    while len(left):
        better = np.flatnonzero((rows <= rows[:, -1:]).all(axis=0))[:-1]
        if not len(better):
            return int(left[-1])
        best = better[rows[:, better].sum(axis=0).argmin()]  # the first of equal ones
        kept = np.flatnonzero((left == left[best]) | ~(rows[:, [best]] <= rows).all(axis=0))
        left, rows = left[kept], rows[:, kept]
    return None


def fronts(values: Array, *, least: int | None = None) -> list[Indices]:
    """Return the first front, the next one, and so on.

    Args:
        values: finite, shape (n, k).
        least: stop once they hold so many trials together; all of them if not given.
    """
    left, found, count = np.arange(len(values)), list[Indices](), 0
    while len(left) and (least is None or count < least):
        chosen = front(values[left])
        found.append(left[chosen])
        count += len(chosen)
        left = np.delete(left, chosen)
    return found


def crowding(values: Array) -> Array:
    """Return how far apart each one's neighbours are, shape (n,); infinite at the ends of an axis.

    Source: Deb et al. 2002, IEEE Trans. Evol. Comput. 6(2), section III-B.
    """
    n, k = values.shape
    distance = np.zeros(n)
    for axis in range(k):
        order = np.argsort(values[:, axis], kind="stable")
        own = values[order, axis]
        span = own[-1] - own[0] if n else 0.0
        gaps = np.full(n, np.inf)
        gaps[1:-1] = (own[2:] - own[:-2]) / span if span > 0.0 else 0.0
        distance[order] += gaps
    return distance


def best_first(values: Array, *, least: int | None = None) -> Indices:
    """Return the trials front by front, within one those with more room around them first.

    Args:
        values: finite, shape (n, k); with one objective it is just the order of their values.
        least: how many are needed, at least; all of them if not given.
    """
    if not len(values):
        return np.array([], dtype=np.intp)
    if values.shape[1] == 1:
        return np.argsort(values[:, 0], kind="stable")[:least]
    groups = fronts(values, least=least)
    ordered = [one[np.argsort(-crowding(values[one]), kind="stable")] for one in groups]
    return np.concatenate(ordered)[:least]


def hypervolume(values: Array, reference: Array) -> float:
    """Return the volume that the values dominate below a reference point.

    Args:
        values: shape (n, k).
        reference: shape (k,); what is not below it in every objective adds nothing.
    """
    inside = values[(values < reference).all(axis=1)]
    if not len(inside):
        return 0.0
    if values.shape[1] == 1:
        return float(reference[0] - inside.min())
    inside = inside[front(inside)]
    inside = inside[np.argsort(inside[:, -1], kind="stable")]
    tops = np.append(inside[1:, -1], reference[-1])
    # slices along the last objective, each as high as the next one's start
    return float(
        sum(
            (top - inside[i, -1]) * hypervolume(inside[: i + 1, :-1], reference[:-1])
            for i, top in enumerate(tops)
            if top > inside[i, -1]
        )
    )
