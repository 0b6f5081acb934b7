"""A config that notes which of its values are asked for, to find a name that is misspelt."""

import copy
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from functools import wraps
from typing import Any

import yaml

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

    def __init__(self, values: Mapping[str, Any] | Sequence[tuple[str, Any]] = ()) -> None:
        super().__init__(values)
        self.unasked = set(dict.keys(self))

    __getitem__ = _of_one(dict.__getitem__)
    __setitem__ = _of_one(dict.__setitem__)
    __contains__ = _of_one(dict.__contains__)
    get = _of_one(dict.get)
    pop = _of_one(dict.pop)
    setdefault = _of_one(dict.setdefault)
    __iter__ = _of_all(dict.__iter__)
    __reversed__ = _of_all(dict.__reversed__)
    __or__ = _of_all(dict.__or__)
    __ror__ = _of_all(dict.__ror__)
    __eq__ = _of_all(dict.__eq__)
    __repr__ = _of_all(dict.__repr__)
    keys = _of_all(dict.keys)
    values = _of_all(dict.values)
    items = _of_all(dict.items)
    copy = _of_all(dict.copy)
    popitem = _of_all(dict.popitem)

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Be pickled as what `torch.load(…, weights_only=True)` takes."""
        self.unasked.clear()
        return OrderedDict, (), None, None, iter(dict.items(self))

    def __deepcopy__(self, memo: dict[int, Any]) -> dict[str, Any]:
        self.unasked.clear()
        return copy.deepcopy(self.plain(), memo)

    def plain(self) -> dict[str, Any]:
        """Return the values as they are now, without having asked for any."""
        return dict(dict.items(self))

    def without_effect(self, *, known: Sequence[str], is_sure: bool) -> str | None:
        """Return a sentence on the values that nobody has asked for, None if there are none.

        Args:
            known: names that others read.
            is_sure: who might ask has been given this; else only what has another name here is
                told, such as `lr`.
        """
        names = sorted(name for name in self.unasked if name not in known and name[:1] != "_")
        hints = {name: near(name, known, is_sure=is_sure) for name in names}
        told = [f"{name}{hint}" for name, hint in hints.items() if hint or is_sure]
        if not told:
            return None
        return (
            f"warning: nothing has asked for {', '.join(told)} so far: unless the program reads "
            "it elsewhere, what it is set to has no effect"
        )


yaml.SafeDumper.add_representer(Asking, yaml.SafeDumper.represent_dict)
