"""GraphQL over one kept connection, with http.client: 40 ms to import, where httpx takes 280."""

import base64
import http.client
import json
import ssl
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from sweepd.errors import Forbidden, NotFound, ProtocolError, ServerUnreachable, Unauthorized

__all__ = ["Client"]

_RETRIED = frozenset({408, 425, 429})
_NAMED: Mapping[int, type[Exception]] = {401: Unauthorized, 403: Forbidden, 404: NotFound}
#: In a W&B server's own words these are final. Without any they are what stands before it, as a
#: router does while the server behind it restarts.
_OF_ROUTERS = frozenset(_NAMED)


class Client:
    """Asks a W&B server; one thread at a time. Repeating is the caller's decision."""

    def __init__(self, url: str, api_key: str, *, timeout_s: float = 30.0) -> None:
        self.url = url
        self.timeout_s = timeout_s
        #: Seconds that the server asked to wait in its last refusal; None if it named none.
        self.retry_after_s: float | None = None
        parts = urlsplit(url)
        self._parts = parts
        self._target = f"{parts.path.rstrip('/')}/graphql"
        token = base64.b64encode(f"api:{api_key}".encode()).decode()
        self._headers = {
            "Authorization": f"Basic {token}",
            "Content-Type": "application/json",
            "User-Agent": "sweepd-agent",
        }
        self._connection: http.client.HTTPConnection | None = None
        self._was_taken = False  # the key: the server has answered

    def execute(self, document: str, variables: Mapping[str, Any]) -> dict[str, Any]:
        """Return the `data` of one GraphQL operation.

        A server rejects a key that is none at its door, before it reads any GraphQL: a plain 401
        means that until the first answer, and no more once the key was taken.

        Raises:
            ServerUnreachable: if there was no answer, or one that means: later.
            Unauthorized, Forbidden, NotFound: as the server says.
            ProtocolError: if the server refuses the operation for another reason.
        """
        body = json.dumps({"query": document, "variables": variables}).encode()
        status, answer = self._post(body)
        try:
            parsed = json.loads(answer)
        except ValueError:
            parsed = None
        parsed = parsed if isinstance(parsed, dict) else {}
        words = _words_of(parsed) or f"HTTP {status}"
        if status in _RETRIED or (status >= 500 and status != 501):
            raise ServerUnreachable(f"{self.url} answered {status}: {words}")
        if status in _OF_ROUTERS and not isinstance(parsed.get("errors"), list):
            if status == 401 and not self._was_taken:
                raise Unauthorized(f"{self.url} does not take this key: {words}")
            raise ServerUnreachable(
                f"{self.url} answered {status}, and not as a W&B server does: {words}"
            )
        if status != 200 or parsed.get("errors"):
            raise _NAMED.get(status, ProtocolError)(words)
        data = parsed.get("data")
        if not isinstance(data, dict):
            raise ProtocolError(f"{self.url} did not answer as a W&B server does")
        self._was_taken = True
        return data

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _post(self, body: bytes) -> tuple[int, bytes]:
        """Send one request, on a new connection if the server has closed the one that was kept."""
        was_kept = self._connection is not None
        try:
            return self._post_once(body)
        except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError) as error:
            self.close()
            if not was_kept:
                raise ServerUnreachable(f"no answer from {self.url}: {error}") from error
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise ServerUnreachable(f"no answer from {self.url}: {error}") from error
        return self._post(body)

    def _post_once(self, body: bytes) -> tuple[int, bytes]:
        if self._connection is None:
            self._connection = self._connect()
        self._connection.request("POST", self._target, body=body, headers=self._headers)
        response = self._connection.getresponse()
        answer = response.read()
        self.retry_after_s = _seconds(response.getheader("Retry-After"))
        if response.will_close:
            self.close()
        return response.status, answer

    def _connect(self) -> http.client.HTTPConnection:
        """Open a connection, through the environment's proxy where it names one."""
        host, port = self._parts.hostname or "", self._parts.port
        is_tls = self._parts.scheme == "https"
        proxies = getproxies()
        proxy = proxies.get(self._parts.scheme)
        if not proxy or proxy_bypass(self._parts.netloc):
            if is_tls:
                context = ssl.create_default_context()
                return http.client.HTTPSConnection(
                    host, port, timeout=self.timeout_s, context=context
                )
            return http.client.HTTPConnection(host, port, timeout=self.timeout_s)
        via = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        headers = {}
        if via.username:
            login = base64.b64encode(f"{via.username}:{via.password or ''}".encode()).decode()
            headers["Proxy-Authorization"] = f"Basic {login}"
        if is_tls:
            tunnel = http.client.HTTPSConnection(
                via.hostname or "", via.port, timeout=self.timeout_s
            )
            tunnel.set_tunnel(host, port, headers=headers)
            return tunnel
        self._target = f"{self.url}/graphql"
        self._headers.update(headers)
        return http.client.HTTPConnection(via.hostname or "", via.port, timeout=self.timeout_s)


def _words_of(answer: Mapping[str, Any]) -> str:
    """Return what the server said went wrong, in its own words."""
    errors = answer.get("errors")
    if isinstance(errors, list):
        words = [str(error.get("message", "")) for error in errors if isinstance(error, dict)]
        return "; ".join(word for word in words if word)
    error = answer.get("error")
    return str(error.get("message", "")) if isinstance(error, dict) else str(error or "")


def _seconds(value: str | None) -> float | None:
    try:
        return max(0.0, float(value)) if value else None
    except ValueError:
        return None
