"""What load balancers and monitoring ask: does it live, is it ready, what does it count."""

import os
import shutil
import tempfile
import time
from collections.abc import Sequence

from anyio import to_thread
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from sweepd import __version__
from sweepd.edge.gate import Gate
from sweepd.edge.meters import Meters
from sweepd.engine import census
from sweepd.engine.services import Services
from sweepd.errors import Forbidden, SweepdError
from sweepd.wire.auth import account_of
from sweepd.wire.context import base_url

__all__ = ["probes"]

_LEAST_FREE = 64 << 20  # bytes of disk below which a service will soon fail to write
_FRESH_S = 1.0  # how long one look counts: anybody may ask, as often as they like
_EXPOSITION = "text/plain; version=0.0.4; charset=utf-8"


def probes(
    services: Services, gate: Gate, meters: Meters, *, has_open_metrics: bool
) -> Sequence[BaseRoute]:
    """Return the routes that need no key, save /metrics, which an administrator's opens."""
    readiness = _Readiness(services, gate)

    async def healthz(_: Request) -> Response:
        return JSONResponse({"status": "ok", "service": "sweepd", "version": __version__})

    async def readyz(_: Request) -> Response:
        problem = await readiness.problem()
        if problem is None:
            return JSONResponse({"status": "ready"})
        return JSONResponse({"status": problem}, 503, headers={"Retry-After": "1"})

    async def metrics(request: Request) -> Response:
        try:
            if not has_open_metrics:
                await _check_administrator(request, services)
            text = await to_thread.run_sync(meters.render)
        except SweepdError as error:
            headers = {"WWW-Authenticate": "Basic"} if error.http_status == 401 else {}
            return Response(f"{error}\n", error.http_status, headers, media_type="text/plain")
        return Response(text, headers={"Content-Type": _EXPOSITION})

    return [
        Route("/healthz", healthz, methods=["GET"]),
        Route("/readyz", readyz, methods=["GET"]),
        Route("/metrics", metrics, methods=["GET"]),
    ]


async def _check_administrator(request: Request, services: Services) -> None:
    account = await account_of(request, services, url=base_url(request, services))
    if not account.is_admin:
        raise Forbidden("metrics are for administrators; --open-metrics shows them to everybody")


class _Readiness:
    """Looks whether requests that write would succeed."""

    def __init__(self, services: Services, gate: Gate) -> None:
        self._store = services.store
        self._gate = gate
        self._looked_at = -_FRESH_S
        self._found: str | None = None

    async def problem(self) -> str | None:
        """Return why the service is not ready, in words; None if it is."""
        if self._gate.is_closed:
            return "the service is about to end"
        if time.monotonic() - self._looked_at >= _FRESH_S:
            self._looked_at = time.monotonic()
            self._found = await self._look()
        return self._found

    async def _look(self) -> str | None:
        try:
            await self._store.write(census.touch)
            return await to_thread.run_sync(self._disk_problem)
        except SweepdError as error:
            return str(error)

    def _disk_problem(self) -> str | None:
        folder = self._store.folder
        try:
            handle, path = tempfile.mkstemp(prefix=".ready-", dir=folder)
            os.close(handle)
            os.unlink(path)
            free = shutil.disk_usage(folder).free
        except OSError as error:
            return f"{folder} cannot be written to: {error.strerror}"
        if free < _LEAST_FREE:
            return f"the disk that holds {folder} has {free >> 20} MiB left"
        return None
