"""Connections that would be held for ever: too many, too slow to ask, to send or to read."""

import asyncio
import json
import resource
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

__all__ = ["Patience", "Patient", "Patrol", "most_connections"]

_FULL_BODY = json.dumps(
    {"errors": [{"message": "the service has too many connections; try again"}], "data": None}
).encode()
_FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 1\r\n"
    b"connection: close\r\ncontent-length: %d\r\n\r\n%b" % (len(_FULL_BODY), _FULL_BODY)
)
_SPARE_FILES = 256  # that the database, uploads and everything else may need


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long the service waits for the other end, and for how many.

    Attributes:
        most: connections at once.
        head_s: from the first byte of a request to the end of its headers.
        silence_s: without a byte of a body, or with nobody reading an answer.
        least_rate: bytes a second that a body must keep up in the long run.
        look_s: between two looks.
    """

    most: int
    head_s: float = 20.0
    silence_s: float = 60.0
    least_rate: float = 64.0
    look_s: float = 2.0

    def scaled(self, time_scale: float) -> "Patience":
        """Return the same with every time multiplied, but not down to nothing."""
        return replace(
            self,
            head_s=max(self.head_s * time_scale, 1.0),
            silence_s=max(self.silence_s * time_scale, 2.0),
            look_s=min(max(self.look_s * time_scale, 0.1), self.look_s),
        )


def most_connections() -> int:
    """Raise the process's limit of open files as far as it goes; return what that allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65_536 if hard == resource.RLIM_INFINITY else min(hard, 65_536)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return max(64, max(soft, wanted) - _SPARE_FILES)


class Patient(HttpToolsProtocol):
    """Uvicorn's protocol, which notes when it heard what; `Patrol` looks at that now and then."""

    #: Set once, before the first connection.
    most: ClassVar[int] = 1 << 30

    heard_at = 0.0  # the last bytes
    begun_at = 0.0  # the first bytes of the present request, or the connection's beginning
    n_heard = 0  # bytes since then
    unread: tuple[int, float] = (0, 0.0)  # bytes that nobody reads, since when

    def connection_made(self, transport: Any) -> None:
        """Take a connection, or refuse it in words where there are too many."""
        super().connection_made(transport)
        self.heard_at = self.begun_at = self.loop.time()
        if len(self.connections) > self.most:
            transport.write(_FULL)
            transport.close()

    def data_received(self, data: bytes) -> None:
        """Note that something came, then read it."""
        self.heard_at = self.loop.time()
        self.n_heard += len(data)
        super().data_received(data)

    def on_message_begin(self) -> None:
        """Note that a request begins."""
        self.begun_at, self.n_heard = self.heard_at, 0
        super().on_message_begin()


class Patrol:
    """Closes the connections that are too slow."""

    def __init__(self, connections: Iterable[Any], patience: Patience) -> None:
        self._connections = connections
        self._patience = patience

    async def run(self) -> None:
        """Look now and then, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self._patience.look_s)
            now = loop.time()
            for connection in list(self._connections):
                if isinstance(connection, Patient) and self._is_too_slow(connection, now):
                    connection.transport.abort()

    def _is_too_slow(self, held: Patient, now: float) -> bool:
        waits, cycle = self._patience, held.cycle
        if self._is_unread(held, now):
            return True
        if cycle is None or cycle.response_complete:
            is_idle = held.timeout_keep_alive_task is not None  # uvicorn closes it by itself
            return not is_idle and now - held.begun_at > waits.head_s
        if not cycle.more_body or held.flow.read_paused:
            held.heard_at = now if cycle.more_body else held.heard_at  # we are the slow ones
            return False
        took = now - held.begun_at
        is_silent = now - held.heard_at > waits.silence_s
        return is_silent or (took > waits.silence_s and held.n_heard < took * waits.least_rate)

    def _is_unread(self, held: Patient, now: float) -> bool:
        """Return whether an answer waits and nothing of it was read for long."""
        size = held.transport.get_write_buffer_size()
        if size == 0 or size != held.unread[0]:
            held.unread = (size, now)
        return now - held.unread[1] > self._patience.silence_s
