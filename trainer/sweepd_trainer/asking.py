"""A config that notes which of its values are asked for, to find a name that is misspelt."""

from collections.abc import Mapping, Sequence
from functools import wraps
from typing import Any

from sweepd_trainer.options import near

__all__ = ["Asking"]


def _of_one(method: Any) -> Any:
    @wraps(method)
    def asked(self: "Asking", name: str, *rest: Any) -> Any:
        self.unasked.discard(name)
        return method(self, name, *rest)

    return asked


def _of_all(method: Any) -> Any:
    @wraps(method)
    def asked(self: "Asking", *rest: Any) -> Any:
        self.unasked.clear()
        return method(self, *rest)

    return asked


class Asking(dict[str, Any]):
    """The values of a config, as a dict; who takes them as a whole has asked for each.

    Attributes:
        unasked: the names that nobody has asked for yet.
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        super().__init__(values)
        self.unasked = set(values)

    __getitem__ = _of_one(dict.__getitem__)
    __contains__ = _of_one(dict.__contains__)
    get = _of_one(dict.get)
    pop = _of_one(dict.pop)
    __iter__ = _of_all(dict.__iter__)
    __or__ = _of_all(dict.__or__)
    keys = _of_all(dict.keys)
    values = _of_all(dict.values)
    items = _of_all(dict.items)
    copy = _of_all(dict.copy)

    def without_effect(self, *, known: Sequence[str], is_sure: bool) -> str | None:
        """Return a sentence on the values that nobody has asked for, None if there are none.

        Args:
            known: names that others read.
            is_sure: who might ask has done so; else only names that are like a known one are told.
        """
        names = [name for name in self.unasked if name not in known and name[:1] != "_"]
        hints = {name: near(name, known) for name in sorted(names)}
        told = [f"{name}{hint}" for name, hint in hints.items() if hint or is_sure]
        if not told:
            return None
        return f"nothing asks for {', '.join(told)}: what it is set to has no effect here"
