"""Stands between a client and a service: counts what passes, refuses requests, loses answers.

The service answers with links to the address that a request came to, so bytes pass here as well.
"""

import contextlib
import http.client
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

__all__ = ["Between", "Passed", "between"]

_CHUNK = 1 << 20
_OF_ONE_HOP = {"connection", "transfer-encoding", "keep-alive"}


@dataclass(frozen=True)
class Passed:
    """A request that passed: its method and path, and the size of its body in bytes."""

    method: str
    path: str
    size: int
    status: int


@dataclass
class Between:
    """What passed, and what is not to pass.

    `refuse` and `lose` are given method, path and size; a status that they return answers the
    request in the service's place: before it has heard of it, or after it has done what was asked.
    """

    url: str
    passed: list[Passed] = field(default_factory=list)
    refuse: Callable[[str, str, int], int | None] = lambda method, path, size: None
    lose: Callable[[str, str, int], int | None] = lambda method, path, size: None

    def sent(self, part_of_path: str) -> list[Passed]:
        """Return the PUTs that passed with this in their path, and empty what is counted."""
        found = [one for one in self.passed if one.method == "PUT" and part_of_path in one.path]
        self.passed.clear()
        return found


def _handler(target: str, state: Between) -> type[BaseHTTPRequestHandler]:
    place = urlsplit(target)
    assert place.hostname is not None
    host, port = place.hostname, place.port

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _pass(self) -> None:
            size = int(self.headers.get("Content-Length") or 0)
            status = state.refuse(self.command, self.path, size)
            if status is not None:
                with contextlib.suppress(ConnectionError):  # who asked is gone
                    self._drain(size)
                    self._answer(status, b"")
            else:
                status = self._forward(size)
            state.passed.append(Passed(self.command, self.path, size, status))

        def _drain(self, left: int) -> None:
            while left and (chunk := self.rfile.read(min(left, _CHUNK))):
                left -= len(chunk)

        def _forward(self, size: int) -> int:
            left = size
            upstream = http.client.HTTPConnection(host, port, timeout=120)
            with contextlib.closing(upstream):
                upstream.putrequest(
                    self.command, self.path, skip_host=True, skip_accept_encoding=True
                )
                for name, value in self.headers.items():
                    if name.lower() not in _OF_ONE_HOP:
                        upstream.putheader(name, value)
                upstream.endheaders()
                while left:
                    chunk = self.rfile.read(min(left, _CHUNK))
                    if not chunk:
                        self.close_connection = True
                        return 0
                    left -= len(chunk)
                    upstream.send(chunk)
                answer = upstream.getresponse()
                body = answer.read()
                lost = state.lose(self.command, self.path, size)
                if lost is not None:
                    self._answer(lost, b"")
                    return lost
                self._answer(answer.status, body, answer.getheaders())
                return answer.status

        def _answer(
            self, status: int, body: bytes, headers: Sequence[tuple[str, str]] = ()
        ) -> None:
            self.send_response(status)
            for name, value in headers:
                if name.lower() not in _OF_ONE_HOP | {"content-length", "date", "server"}:
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_GET = do_HEAD = do_POST = do_PUT = _pass

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    return Handler


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128  # the client sends the parts of a large file all at once


@contextlib.contextmanager
def between(target: str) -> Iterator[Between]:
    """Listen on a free port and pass everything on to `target`, a service's address."""
    state = Between("")
    server = _Server(("127.0.0.1", 0), _handler(target, state))
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
