"""Storage ids on the wire: opaque base64 of "Kind:id"."""

import base64
import binascii

from sweepd.errors import ProtocolError

__all__ = ["read_id", "read_int_id", "wire_id"]


def wire_id(kind: str, value: int | str) -> str:
    """Return the opaque id of one thing of a kind, e.g. `Run` 7."""
    return base64.b64encode(f"{kind}:{value}".encode()).decode()


def read_id(kind: str, text: str) -> str:
    """Return what `wire_id` was given, as text.

    Raises:
        ProtocolError: if the id is not one of this kind.
    """
    try:
        found, _, value = base64.b64decode(text, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError, ValueError):
        found, value = "", ""
    if found != kind or not value:
        raise ProtocolError(f"{text!r:.80} is not the id of a {kind.lower()}")
    return value


def read_int_id(kind: str, text: str) -> int:
    """Return the integer that `wire_id` was given.

    Raises:
        ProtocolError: if the id is not one of this kind.
    """
    value = read_id(kind, text)
    if not value.isdecimal() or len(value) > 18:
        raise ProtocolError(f"{text!r:.80} is not the id of a {kind.lower()}")
    return int(value)
