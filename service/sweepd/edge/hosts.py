"""The hosts that requests may name: a name that is not ours is how another site reaches in."""

import re
from collections.abc import Iterable
from ipaddress import ip_address
from urllib.parse import urlsplit

__all__ = ["Hosts"]

_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,252})"
_HOST = re.compile(rf"({_NAME}|\[[0-9A-Fa-f:.]{{2,45}}\])(?::\d{{1,5}})?")
_KEPT = 256


class Hosts:
    """Tells the hosts that this service answers to.

    DNS rebinding, in which another site's name is made to lead to this machine, needs a name: so
    addresses in numbers are always taken, names only if they are known.

    Args:
        urls: the addresses that people and clients use.
        names: further names.
        is_open: take any well-formed host: nobody said under which names people come.
    """

    def __init__(self, urls: Iterable[str], *, names: Iterable[str], is_open: bool) -> None:
        found = {urlsplit(url).hostname or "" for url in urls} | {name.lower() for name in names}
        self._names = found | {"localhost"}
        self._is_open = is_open
        self._kept: dict[bytes, str | None] = {}

    def problem(self, header: bytes) -> str | None:
        """Return what is wrong with a Host header, in words; None if it is one of ours."""
        if header in self._kept:
            return self._kept[header]
        words = self._look(header.decode("latin-1"))
        if len(self._kept) < _KEPT:
            self._kept[header] = words
        return words

    def _look(self, header: str) -> str | None:
        found = _HOST.fullmatch(header)
        if found is None:
            return "the Host header is missing or malformed"
        name = found[1].strip("[]").rstrip(".").lower()
        if self._is_open or name in self._names or _is_number(name):
            return None
        known = ", ".join(sorted(self._names - {""}))
        return (
            f"this service is not known as {name}; known are {known}, and addresses in numbers. "
            f"Start it with --public-url or --also-at and the address that people use"
        )


def _is_number(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
