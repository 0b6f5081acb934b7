"""A host on a network of its own, which may vanish: its link goes down, and nobody hangs up.

Two network namespaces are made with a link between them, and nothing of them reaches any network of
this machine. In the nearer one a small program hands connections through a Unix socket to here,
from where they go on to a port of this machine's loopback.
"""

import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from live import PATIENCE, wait_for

__all__ = ["VanishingHost", "vanishing_host"]

_NEAR, _FAR, _PORT = "10.213.77.1", "10.213.77.2", 8080
#: Listens on an address; passes each connection on to a Unix socket, both ways.
_RELAY = """
import socket, sys, threading
def copy(one, other):
    try:
        while data := one.recv(1 << 16):
            other.sendall(data)
        other.shutdown(socket.SHUT_WR)
    except OSError:
        pass
address, port, path = sys.argv[1:]
listener = socket.create_server((address, int(port)), backlog=64)
print("ready", flush=True)
while True:
    near, _ = listener.accept()
    far = socket.socket(socket.AF_UNIX)
    far.connect(path)
    for pair in ((near, far), (far, near)):
        threading.Thread(target=copy, args=pair, daemon=True).start()
"""


class VanishingHost:
    """A host: `before` is put before a command to run it there, `url` leads from it to here."""

    def __init__(self, near: str, far: str) -> None:
        self._near = near
        self.before = ["ip", "netns", "exec", far]
        self.url = f"http://{_NEAR}:{_PORT}"

    def vanish(self) -> None:
        """Take the link down: no packet passes any more, not even one that says goodbye."""
        _ip("-n", self._near, "link", "set", "near", "down")


@contextmanager
def vanishing_host(port: int, folder: Path) -> Iterator[VanishingHost]:
    """Make a host that reaches one port of this machine's loopback; remove it at the end.

    Skips the test where no network namespaces can be made.
    """
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("network namespaces take root, and `ip` of iproute2")
    near, far = (f"sweepd-{os.getpid()}-{end}" for end in ("near", "far"))
    with ExitStack() as stack:
        for name in (near, far):
            try:
                _ip("netns", "add", name)
            except subprocess.CalledProcessError as error:
                pytest.skip(f"no network namespace can be made here: {error.stderr.strip()}")
            stack.callback(_ip, "netns", "delete", name)
        _ip("-n", near, "link", "add", "near", "type", "veth", "peer", "name", "far", "netns", far)
        for name, device, address in ((near, "near", _NEAR), (far, "far", _FAR)):
            _ip("-n", name, "address", "add", f"{address}/30", "dev", device)
            _ip("-n", name, "link", "set", device, "up")
            _ip("-n", name, "link", "set", "lo", "up")
        stack.enter_context(_doorway(near, port, folder / "doorway"))
        yield VanishingHost(near, far)


@contextmanager
def _doorway(near: str, port: int, path: Path) -> Iterator[None]:
    """Pass connections of a namespace on to a port of this machine."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen(64)
    ends: list[socket.socket] = []
    threading.Thread(target=_accept, args=(listener, port, ends), daemon=True).start()
    command = ["ip", "netns", "exec", near, sys.executable, "-c", _RELAY, _NEAR, str(_PORT)]
    relay = subprocess.Popen([*command, str(path)], stdout=subprocess.PIPE, text=True)
    try:
        assert relay.stdout is not None
        assert wait_for("the doorway", relay.stdout.readline) == "ready\n"
        yield
    finally:
        relay.kill()
        relay.communicate()
        for one in (listener, *ends):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()


def _accept(listener: socket.socket, port: int, ends: list[socket.socket]) -> None:
    with suppress(OSError):  # the listener is closed
        while True:
            one = listener.accept()[0]
            other = socket.create_connection(("127.0.0.1", port))
            ends += [one, other]
            for pair in ((one, other), (other, one)):
                threading.Thread(target=_copy, args=pair, daemon=True).start()


def _copy(one: socket.socket, other: socket.socket) -> None:
    with suppress(OSError):
        while data := one.recv(1 << 16):
            other.sendall(data)
        other.shutdown(socket.SHUT_WR)


def _ip(*arguments: str) -> None:
    subprocess.run(
        ["ip", *arguments], check=True, capture_output=True, text=True, timeout=20 * PATIENCE
    )
