"""The socket that the service listens on, and where this machine reaches it."""

import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sweepd.errors import Conflict, InvalidInput
from sweepd.settings import Settings

__all__ = ["is_loopback", "listen", "local_address"]

_BACKLOG = 2048
_WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}


@contextmanager
def listen(settings: Settings) -> Iterator[socket.socket]:
    """Give a socket that listens where the settings say.

    Raises:
        Conflict: if the port is taken.
        InvalidInput: if the address is none of this machine's.
    """
    try:
        found = socket.getaddrinfo(
            settings.host or None, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except socket.gaierror as error:
        raise InvalidInput(f"host {settings.host!r} is not an address: {error.strerror}") from None
    family, _, _, _, address = found[0]
    try:
        listener = _listening(family, address)
    except OSError as error:
        if error.errno != errno.EADDRINUSE or not settings.any_port:
            raise _refused(error, settings) from None
        listener = _listening(family, (address[0], 0, *address[2:]))
    with listener:
        yield listener


def _listening(family: socket.AddressFamily, address: tuple[Any, ...]) -> socket.socket:
    # Bound alone, a port is not taken yet: others may bind it too until one of them listens.
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def _refused(error: OSError, settings: Settings) -> Conflict | InvalidInput:
    where = f"port {settings.port} on {settings.host}"
    if error.errno == errno.EADDRINUSE:
        return Conflict(f"{where} is taken by another program; choose one with --port")
    if error.errno == errno.EACCES:
        return InvalidInput(f"{where} needs privileges; choose one from 1024 on with --port")
    return InvalidInput(f"cannot listen on {where}: {error.strerror}")


def local_address(settings: Settings, listener: socket.socket) -> str:
    """Return where this machine reaches the listener."""
    host = _WILDCARDS.get(settings.host, settings.host)
    port = listener.getsockname()[1]
    scheme = "https" if settings.tls_cert is not None else "http"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches what listens on `host`."""
    return host in ("localhost", "::1") or host.startswith("127.")
