"""Makes a bundle: asks the service for trials in advance, and writes them into a folder."""

import base64
import contextlib
import json
import secrets
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sweepd.errors import Conflict, InvalidInput, ServerUnreachable, SweepdError
from sweepd_agent.api import AgentApi, read_sweep
from sweepd_agent.bundle import Bundle
from sweepd_agent.client import Client
from sweepd_agent.merge_bundle import GIVE_BACK
from sweepd_agent.options import SweepPath
from sweepd_agent.server import Server

__all__ = ["make_bundle"]

_SWEEP = """
query SweepdFindSweep($name: String!) {
  sweepdSweep(name: $name) { id name config project { name entity { name } } }
}"""
_FILL = """
mutation SweepdFillBundle($input: SweepdFillBundleInput!) {
  sweepdFillBundle(input: $input) { bundle { id asked given until } commands }
}"""
_RETRIES = 2  # the service's own number, where the definition gives none
_PAUSE_S = 0.3
_TRIES = 4
_LAST_TIMEOUT_S = 10.0


def make_bundle(
    path: SweepPath,
    server: Server,
    *,
    n: int,
    for_s: float,
    wait_s: float,
    folder: Path | None,
) -> Bundle:
    """Lease so many trials of a sweep in advance; return the bundle, which is on the disk.

    Where it comes to none, whatever the reason, others have at once what was leased by then.

    Args:
        path: the sweep.
        server: the service.
        n: trials; it may be fewer, where the sweep has no more to give.
        for_s: seconds until others may have what has not come back.
        wait_s: how long to wait for the search to suggest them; then space-filling points will do.
        folder: where to; None makes one in the working folder, named after the sweep.

    Raises:
        InvalidInput: if the server is not sweepd's own, or a number is out of bounds.
        NotFound: if there is no such sweep.
        AlreadyExists: if the folder holds a bundle.
        Conflict: if the sweep has nothing to give away.
    """
    client = Client(server.url, server.api_key)
    api = AgentApi(client)
    try:
        if not api.is_ours():
            raise InvalidInput(
                f"{server.url} gives no bundles away; only sweepd's own service does"
            )
        found = api.find_sweep(path, is_ours=True, entity=server.entity, project=server.project)
        row = client.execute(_SWEEP, {"name": found.name})["sweepdSweep"]
        key = secrets.token_hex(8)
        folder = folder or Path(f"bundle-{found.name}-{key[:6]}")
        if (folder / "bundle.json").exists():
            raise Conflict(f"there is a bundle in {folder} already")
        try:
            asked = {"id": row["id"], "key": key, "n": n, "seconds": for_s}
            bundle, commands = _fill(client, asked, wait_s=wait_s)
            if not commands:
                raise Conflict(f"sweep {found.name} has nothing left to give away")
            made = Bundle(
                folder,
                id=bundle["id"],
                server=server.url,
                sweep=read_sweep(found.entity, found.project, row),
                retries=_retries(row["config"]),
                until=_moment(bundle["until"]),
                commands=tuple(commands),
            )
            made.write()
        except BaseException:
            _give_back(server, key)
            raise
    finally:
        api.close()
    return made


def _give_back(server: Server, key: str) -> None:
    """Let others have what was leased, if the service can be told: nobody else knows of it."""
    # Of its own: the other one may have been interrupted amid an answer.
    client = Client(server.url, server.api_key, timeout_s=_LAST_TIMEOUT_S)
    bundle = base64.b64encode(f"Bundle:bundle-{key}".encode()).decode()
    try:
        with contextlib.suppress(SweepdError):
            client.execute(GIVE_BACK, {"id": bundle})
    finally:
        client.close()


def _fill(
    client: Client, asked: Mapping[str, Any], *, wait_s: float
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Ask until the bundle is full; the key makes that one bundle, however often it is asked."""
    deadline = time.monotonic() + wait_s
    while True:
        is_patient = time.monotonic() < deadline
        answer = _patiently(client, {"input": {**asked, "isPatient": is_patient}})
        bundle = answer["bundle"]
        if bundle["given"] >= bundle["asked"]:
            return bundle, json.loads(answer["commands"])
        if is_patient:
            time.sleep(_PAUSE_S)


def _patiently(client: Client, variables: Mapping[str, Any]) -> dict[str, Any]:
    for n in range(_TRIES):
        try:
            found: dict[str, Any] = client.execute(_FILL, variables)["sweepdFillBundle"]
        except ServerUnreachable:
            if n == _TRIES - 1:
                raise
            time.sleep(client.retry_after_s or 2.0**n)
        else:
            return found
    raise AssertionError("the last try returns or raises")


def _retries(config: str) -> int:
    import yaml

    own = (yaml.safe_load(config) or {}).get("sweepd") or {}
    return int(own.get("retries", _RETRIES))


def _moment(text: str) -> float:
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
