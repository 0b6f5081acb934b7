"""Parameters that are written wrongly: nothing else is to be said of what hangs on them."""

from collections.abc import Iterable

__all__ = ["Unread"]


class Unread:
    """Names, flat and of whole groups, of which nothing is known.

    Args:
        names: of parameters or groups; "" stands for all of them.
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._names = frozenset(names)

    def __bool__(self) -> bool:
        """Return whether there are any."""
        return bool(self._names)

    def __or__(self, names: Iterable[str]) -> "Unread":
        """Return these and more."""
        return Unread(self._names.union(names))

    def covers(self, name: str) -> bool:
        """Return whether nothing is known of a parameter: it, or a group that it is in, is here."""
        steps = name.split(".")
        wholes = (".".join(steps[:n]) for n in range(len(steps) + 1))
        return any(whole in self._names for whole in wholes)

    def is_within(self, group: str) -> bool:
        """Return whether there is any in a group."""
        return self.covers(group) or any(name.startswith(f"{group}.") for name in self._names)
