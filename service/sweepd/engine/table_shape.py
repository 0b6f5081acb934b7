"""Whether rows fit a table: every row with the same keys, every key with one kind of value.

Only such rows are read back from a Parquet file as they were logged. In any other, a row that lacks
a key would come back with None under it, and a reader that asks for keys would get rows without
them.
"""

from collections.abc import Mapping
from typing import Any

__all__ = ["Kind", "Ragged", "kind_of", "merge"]

#: `null`, `special` (the text of a number that JSON lacks: NaN or an infinity), `bool`, `int`,
#: `float`, `str`; ("list", kind of the members); ("dict", {key: kind}).
Kind = str | tuple[str, Any]

_SPECIAL = frozenset({"NaN", "Infinity", "-Infinity"})
_SCALARS = {bool: "bool", int: "int", float: "float", type(None): "null"}
#: What two kinds of scalars are together.
_TOGETHER = {
    frozenset({"int", "float"}): "float",
    frozenset({"int", "special"}): "float",
    frozenset({"float", "special"}): "float",
    frozenset({"str", "special"}): "str",
}


class Ragged(Exception):
    """The rows do not fit a table; the text says why."""


def kind_of(value: Any, *, key: str) -> Kind:
    """Return the kind of one value.

    Raises:
        Ragged: for an object or a list that a column cannot hold; `key` names it.
    """
    scalar = _SCALARS.get(type(value))
    if scalar is not None:
        return scalar
    if isinstance(value, str):
        return "special" if value in _SPECIAL else "str"
    if isinstance(value, Mapping):
        if not value:
            raise Ragged(f"{key} holds an empty object")
        return "dict", {name: kind_of(one, key=f"{key}.{name}") for name, one in value.items()}
    member: Kind = "null"
    for one in value:
        member = merge(member, kind_of(one, key=key), key=key)
    return "list", member


def merge(one: Kind, other: Kind, *, key: str) -> Kind:
    """Return the kind that holds both.

    Raises:
        Ragged: if there is none; `key` names the column.
    """
    if one == other or other == "null":
        return one
    if one == "null":
        return other
    if isinstance(one, str) and isinstance(other, str):
        both = _TOGETHER.get(frozenset({one, other}))
        if both is not None:
            return both
    elif isinstance(one, tuple) and isinstance(other, tuple) and one[0] == other[0]:
        if one[0] == "list":
            return "list", merge(one[1], other[1], key=key)
        if one[1].keys() == other[1].keys():
            return "dict", {
                name: merge(kind, other[1][name], key=f"{key}.{name}")
                for name, kind in one[1].items()
            }
    raise Ragged(f"{key} holds values of several kinds")
