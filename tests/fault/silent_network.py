"""A network that may fall silent: no packet passes, nobody hangs up, as when a host vanishes."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

__all__ = ["SilentNetwork", "silent_network"]

_CHUNK = 1 << 16


class SilentNetwork:
    """Passes bytes between clients and a port of this machine while it is `open`."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open = threading.Event()
        self._open.set()
        self._ends = False
        self._sockets: list[socket.socket] = [self._listener]
        self._threads: list[threading.Thread] = []
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._start(self._accept)

    def fall_silent(self) -> None:
        """Pass nothing from now on; what is sent meanwhile waits."""
        self._open.clear()

    def heal(self) -> None:
        """Pass what has waited, and all that comes."""
        self._open.set()

    def close(self) -> None:
        """Hang up on everybody and end."""
        self._ends = True
        self._open.set()
        for one in self._sockets:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        for thread in self._threads:
            thread.join(10)

    def _start(self, work: object, *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._ends:
            try:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._port))
            except OSError:
                return
            self._sockets += [client, server]
            self._start(self._pass, client, server)
            self._start(self._pass, server, client)

    def _pass(self, one: socket.socket, other: socket.socket) -> None:
        with suppress(OSError):
            while data := one.recv(_CHUNK):
                self._open.wait()
                other.sendall(data)
        with suppress(OSError):
            self._open.wait()
            other.shutdown(socket.SHUT_WR)


@contextmanager
def silent_network(port: int) -> Iterator[SilentNetwork]:
    """Give a network to a port of this machine; it is closed at the end."""
    network = SilentNetwork(port)
    try:
        yield network
    finally:
        network.close()
