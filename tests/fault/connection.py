"""A kept connection to the service, with a key for the protocol or a cookie for the pages."""

import base64
import http.client
import json
import urllib.parse
from collections.abc import Mapping
from typing import Any

from live import PATIENCE, Service

__all__ = ["Connection"]


class Connection:
    """Sends one request after the other; not from two threads at once."""

    def __init__(self, service: Service) -> None:
        self._http = http.client.HTTPConnection("127.0.0.1", service.port, timeout=60 * PATIENCE)
        self._url, self._key = service.url, service.key
        token = base64.b64encode(f"api:{self._key}".encode()).decode()
        self._key_header = {"Authorization": f"Basic {token}", "Content-Type": "application/json"}
        self._cookie = ""

    def send(
        self, method: str, path: str, body: bytes, headers: Mapping[str, str]
    ) -> tuple[int, str, Mapping[str, str]]:
        """Return the answer's status, text and headers."""
        self._http.request(method, path, body, dict(headers))
        answer = self._http.getresponse()
        return answer.status, answer.read().decode(), answer.headers

    def post(self, path: str, body: Any) -> tuple[int, str, Mapping[str, str]]:
        """Send JSON with the key."""
        return self.send("POST", path, json.dumps(body).encode(), self._key_header)

    def send_json(
        self, method: str, path: str, body: Any, headers: Mapping[str, str]
    ) -> tuple[int, str, Mapping[str, str]]:
        """Send JSON with the key and further headers."""
        return self.send(method, path, json.dumps(body).encode(), {**self._key_header, **headers})

    def put(self, url: str, body: bytes) -> tuple[int, str, Mapping[str, str]]:
        """Send bytes by a signed link."""
        return self.send("PUT", _path(url), body, {})

    def fetch(self, url: str) -> bytes:
        """Return the bytes behind a signed link."""
        self._http.request("GET", _path(url))
        return self._http.getresponse().read()

    def page(self, path: str) -> tuple[int, str]:
        """Return status and text of what a signed-in browser gets."""
        if not self._cookie:
            form = urllib.parse.urlencode({"key": self._key, "next": "/"}).encode()
            own = {"Origin": self._url, "Content-Type": "application/x-www-form-urlencoded"}
            _, _, headers = self.send("POST", "/login", form, own)
            self._cookie = headers["Set-Cookie"].partition(";")[0]
        status, text, _ = self.send("GET", path, b"", {"Cookie": self._cookie})
        return status, text

    def close(self) -> None:
        """Close the connection; the next request opens it again."""
        self._http.close()


def _path(url: str) -> str:
    parts = urllib.parse.urlsplit(url)
    return f"{parts.path}?{parts.query}"
