"""Can the service be reached, here and where the client is told to look for it."""

import json
import socket
import ssl
import time
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Iterator, Mapping
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

from sweepd.checkup.findings import Finding, fine, problem, warning
from sweepd.errors import InvalidInput, Unauthorized
from sweepd_agent.server import Server, resolve_server

__all__ = ["check_client", "check_service"]

_WAIT_S = 5.0
_SKEW_S = 60.0
_VIEWER = json.dumps({"query": "{ viewer { entity } }", "variables": {}}).encode()
_CLOUD = "api.wandb.ai"


def check_service(data: Path, *, host: str, port: int) -> Iterator[Finding]:
    """Look for the service of a data folder; if none runs, whether one could."""
    try:
        place = json.loads((data / "server.json").read_text("utf-8"))
        url = str(place["url"])
    except FileNotFoundError:
        yield _free(host, port)
        return
    except (OSError, ValueError, LookupError, TypeError) as error:
        yield warning("service", f"{data / 'server.json'} cannot be read: {error}", "restart it")
        return
    try:
        status, answer = _get(f"{url}/readyz")
    except OSError as error:
        yield problem(
            "service",
            f"{url} does not answer: {_reason(error)}",
            f"start it with `sweep serve`; if it was killed, {data / 'server.json'} is stale",
        )
        return
    words = str(answer.get("status", "")) if isinstance(answer, dict) else ""
    if status == 200:
        yield fine("service", f"{url} is {words}")
    else:
        yield problem("service", f"{url} is not ready: {words or status}", "see its log")


def _free(host: str, port: int) -> Finding:
    """Return whether a service could listen where the settings say."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return problem(
                "service",
                f"none runs with this folder, and {host}:{port} cannot be taken: {error.strerror}",
                "choose another port with --port, or end the program that has it",
            )
    return fine("service", f"none runs with this folder; {host}:{port} is free")


def check_client(environ: Mapping[str, str], folder: Path) -> Iterator[Finding]:
    """Look at what `wandb` is told in this shell, and try it.

    W&B's own cloud is not asked anything.
    """
    try:
        server = resolve_server(None, None, environ=environ, folder=folder)
    except InvalidInput as error:
        named = environ.get("WANDB_BASE_URL")
        if named:
            yield problem("client", str(error), "correct WANDB_BASE_URL")
        else:
            yield warning(
                "client",
                "WANDB_BASE_URL is not set: plain wandb talks to W&B's cloud",
                "`sweep serve` prints the two lines to export; `sweep` finds its service without",
            )
        return
    except Unauthorized as error:
        yield problem("client", str(error), "`sweep user add NAME` prints a key")
        return
    if _CLOUD in server.url:
        yield warning("client", "WANDB_BASE_URL is W&B's cloud", "name your service to use it")
        return
    yield from _try(server)


def _try(server: Server) -> Iterator[Finding]:
    token = b64encode(f"api:{server.api_key}".encode()).decode()
    headers = {"Authorization": f"Basic {token}", "Content-Type": "application/json"}
    began = time.time()
    try:
        status, answer, date = _ask(f"{server.url}/graphql", _VIEWER, headers)
    except OSError as error:
        yield problem("client", f"{server.url} does not answer: {_reason(error)}", _advice(error))
        return
    if status == 401:
        yield problem(
            "client", f"{server.url} does not know the key", "`sweep user add NAME` prints a key"
        )
        return
    viewer = (answer.get("data") or {}).get("viewer") if isinstance(answer, dict) else None
    if status != 200 or not viewer:
        yield problem(
            "client",
            f"{server.url} answered {status}: {_words(answer)}",
            "it may be no W&B server, or not known under this name: see --public-url, --also-at",
        )
        return
    yield fine(
        "client",
        f"{server.url} knows the key; runs go to {viewer.get('entity')} unless told otherwise",
    )
    if date is not None and abs(skew := date - (began + time.time()) / 2) > _SKEW_S:
        yield problem(
            "clocks",
            f"the server's clock is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} ours",
            "set both (timedatectl, chronyc)",
        )


def _ask(url: str, body: bytes, headers: Mapping[str, str]) -> tuple[int, Any, float | None]:
    request = urllib.request.Request(url, data=body, headers=dict(headers))
    try:
        with urllib.request.urlopen(request, timeout=_WAIT_S) as reply:
            told = reply.headers.get("Date")
            date = parsedate_to_datetime(told).timestamp() if told else None
            return reply.status, _parsed(reply.read(1 << 20)), date
    except urllib.error.HTTPError as error:
        with error:
            return error.code, _parsed(error.read(1 << 20)), None


def _get(url: str) -> tuple[int, Any]:
    """GET an address of this machine: never through a proxy, whatever its certificate says."""
    trusting = ssl.create_default_context()
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trusting)
    )
    try:
        with opener.open(url, timeout=_WAIT_S) as reply:
            return reply.status, _parsed(reply.read(1 << 20))
    except urllib.error.HTTPError as error:
        with error:
            return error.code, _parsed(error.read(1 << 20))


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None


def _words(answer: Any) -> str:
    errors = answer.get("errors") if isinstance(answer, dict) else None
    if isinstance(errors, list) and errors and isinstance(errors[0], dict):
        return str(errors[0].get("message"))[:300]
    return "nothing that a W&B server says"


def _reason(error: OSError) -> str:
    inner = getattr(error, "reason", error)
    return str(getattr(inner, "strerror", None) or inner)


def _advice(error: OSError) -> str:
    if isinstance(getattr(error, "reason", None), ssl.SSLCertVerificationError):
        return (
            "export SSL_CERT_FILE=/path/to/ca.pem if an authority of your own signed it,"
            " and REQUESTS_CA_BUNDLE likewise for wandb"
        )
    return "is it running, is the address right, does a firewall or proxy stand between?"
