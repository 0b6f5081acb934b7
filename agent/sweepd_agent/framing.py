"""Messages between supervisor, warm parent and trials: JSON, and open files with it."""

import array
import json
import os
import socket
import struct
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["receive", "send"]

_HEADER = struct.Struct(">I")
_MAX_FDS = 4


def send(sock: socket.socket, message: Mapping[str, Any], fds: Sequence[int] = ()) -> None:
    """Send one message, and copies of open file descriptors with it.

    Raises:
        OSError: if the other side has gone.
    """
    body = json.dumps(message).encode()
    header = _HEADER.pack(len(body))
    if fds:
        rights = array.array("i", fds)
        sock.sendmsg([header], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
    else:
        sock.sendall(header)
    sock.sendall(body)


def receive(sock: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    """Return the next message and the file descriptors that came with it; None at the end."""
    fds: list[int] = []
    header = b""
    while len(header) < _HEADER.size:
        try:
            part, ancillary, _, _ = sock.recvmsg(
                _HEADER.size - len(header), socket.CMSG_SPACE(_MAX_FDS * 4)
            )
        except ConnectionError:
            return None
        if not part:
            return None
        header += part
        for level, kind, data in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                rights = array.array("i")
                rights.frombytes(data[: len(data) - len(data) % rights.itemsize])
                fds.extend(rights)
    for fd in fds:
        os.set_inheritable(fd, False)
    body = _read(sock, _HEADER.unpack(header)[0])
    return None if body is None else (json.loads(body), fds)


def _read(sock: socket.socket, size: int) -> bytes | None:
    parts = []
    while size:
        try:
            part = sock.recv(min(size, 1 << 20))
        except ConnectionError:
            return None
        if not part:
            return None
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
