"""Which W&B server a command talks to: the configured one, or the service on this machine."""

import json
import os
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from sweepd.errors import InvalidInput, ServerUnreachable, Unauthorized
from sweepd_agent.server import resolve_server

__all__ = ["CLOUD", "Server", "configured_url", "find_server", "running_service"]

CLOUD = "https://api.wandb.ai"
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Server:
    """A W&B server and how to sign in there."""

    url: str
    api_key: str = field(repr=False)
    kind: str  # "local": ours on this machine; "cloud": W&B's; "other"
    pid: int | None = None  # of the service on this machine

    def __str__(self) -> str:
        """Return the line that commands print first."""
        names = {"local": "the local service", "cloud": "W&B's cloud", "other": "the W&B server"}
        return f"{names[self.kind]} at {self.url}"

    @property
    def page_url(self) -> str:
        """Return where the pages are: W&B's cloud keeps them apart from its API."""
        return "https://wandb.ai" if self.kind == "cloud" else self.url

    @property
    def environment(self) -> dict[str, str]:
        """Return what plain `wandb` needs to talk to this server."""
        return {"WANDB_BASE_URL": self.url, "WANDB_API_KEY": self.api_key}


def configured_url() -> str | None:
    """Return the server that the user's environment or wandb's settings name, if any.

    Raises:
        InvalidInput: if WANDB_BASE_URL is not an address.
    """
    named = os.environ.get("WANDB_BASE_URL")
    if named:
        return _checked(named, "WANDB_BASE_URL")
    try:
        return resolve_server(None, "unused", environ=os.environ, folder=Path.cwd()).url
    except InvalidInput:
        return None


def running_service(data: Path) -> Server | None:
    """Return the service that runs on this machine with this data folder, if one answers."""
    try:
        place = json.loads((data / "server.json").read_text("utf-8"))
        key = json.loads((data / "credentials.json").read_text("utf-8"))["api_key"]
        url, pid = str(place["url"]), int(place["pid"])
        if not _is_alive(pid):
            return None  # it was killed; whatever has its port now is not it
        # Never through a proxy: it is on this machine.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"{url}/healthz", timeout=5):
            return Server(url, str(key), "local", pid)
    except (OSError, ValueError, LookupError, TypeError):  # no files, damaged ones, no answer
        return None


def find_server(choice: str | None, data: Path) -> Server:
    """Return the server to use: `choice` (cloud, local, a URL), the configured or the local one.

    A netrc entry alone never picks a server: nothing goes to a metered account unasked. The key of
    the service on this machine is found in its data folder where the user names none.

    Raises:
        InvalidInput: if the choice is not an address.
        ServerUnreachable: if the local service is meant and does not run.
        Unauthorized: if there is no key for the server.
    """
    if choice is None:
        url = configured_url()
    elif choice in {"cloud", "local"}:
        url = CLOUD if choice == "cloud" else None
    else:
        url = _checked(choice, "--server, unless it is cloud or local,")
    local = running_service(data)
    if url is None:
        if local is None:
            raise ServerUnreachable(
                f"no service is running with the data in {data}; start one with `sweep serve`, "
                "or name another server with --server or WANDB_BASE_URL"
            )
        return local
    try:
        found = resolve_server(url, None, environ=os.environ, folder=Path.cwd())
    except Unauthorized:
        if local is not None and _place(url) == _place(local.url):
            return local
        raise
    kinds = {_place(CLOUD): "cloud"}
    if local is not None:
        kinds[_place(local.url)] = "local"
    return Server(found.url, found.api_key, kinds.get(_place(found.url), "other"))


def _checked(url: str, name: str) -> str:
    """Return `url` if it is the address of a server: an http one with a host and a fit port."""
    try:
        parts = urlsplit(url)
        is_address = parts.scheme in _PORTS and bool(parts.hostname) and parts.port != 0
    except ValueError:  # brackets or port
        is_address = False
    if not is_address:
        raise InvalidInput(f"{name} must be a URL such as http://127.0.0.1:8080, not {url!r}")
    return url


def _place(url: str) -> tuple[str | None, int | None]:
    parts = urlsplit(url)
    host = "127.0.0.1" if parts.hostname == "localhost" else parts.hostname
    return host, parts.port or _PORTS.get(parts.scheme)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
