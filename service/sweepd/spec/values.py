"""Single values in YAML, and one value of a definition set by its path."""

import re
import textwrap
from collections.abc import Mapping
from typing import Any

from sweepd.errors import InvalidInput
from sweepd.spec.definition import dump
from sweepd.spec.document import Unreadable, read_document

__all__ = ["read_value", "set_value"]


def read_value(text: str) -> Any:
    """Return the value that YAML text holds, `1e-5` a number as in definitions.

    Raises:
        InvalidInput: if it is not YAML.
    """
    if not text.strip():
        return None
    try:
        document = read_document("value:\n" + textwrap.indent(text.removeprefix("---\n"), "  "))
    except Unreadable as error:
        raise InvalidInput(str(error.violation.message)) from None
    if document.errors:
        raise InvalidInput(document.errors[0].message)
    return document.data["value"]


def set_value(text: str, path: str, value: Any) -> str:
    """Return a definition's YAML with the value at a path ("metric.target") set.

    Its comments stay where one plain line is all that changes; otherwise it is written anew.

    Raises:
        InvalidInput: if it is no definition, or the path leads through something without keys.
    """
    try:
        wanted = read_document(text).data
    except Unreadable as error:
        raise InvalidInput(str(error.violation.message)) from None
    inside, key = _place(wanted, path)
    inside[key] = value
    if inside is wanted:
        line = dump({key: value}).rstrip("\n")
        found = re.compile(rf"^{re.escape(key)}:[^\n]*$", re.MULTILINE)
        edited, n = found.subn(lambda _: line, text)
        edited = edited if n else f"{text.rstrip()}\n{line}\n"
        if n <= 1 and _is(edited, wanted):
            return edited
    return dump(wanted)


def _place(data: dict[str, Any], path: str) -> tuple[dict[str, Any], str]:
    """Return the mapping that a path ends in, made as far as it is missing, and the last key.

    Where a key has dots itself, as a parameter's name may, the longest one that is there is meant.
    """
    inside, rest = data, path
    while True:
        known = [key for key in inside if rest == key or rest.startswith(f"{key}.")]
        key = max(known, key=len, default=rest.split(".")[0])
        rest = rest[len(key) + 1 :]
        if not key:
            raise InvalidInput(f"{path!r} is not the path of a value, as metric.target is")
        if not rest:
            return inside, key
        below = inside.setdefault(key, {})
        if not isinstance(below, Mapping):
            raise InvalidInput(f"{path!r}: {key} has no keys below it")
        assert isinstance(below, dict), "what was read is plain data"
        inside = below


def _is(text: str, data: Mapping[str, Any]) -> bool:
    try:
        return read_document(text).data == data
    except Unreadable:
        return False
