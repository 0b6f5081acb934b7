"""What load balancers and monitoring ask: does it live, is it ready, what does it count."""

from collections.abc import Sequence

from anyio import to_thread
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from sweepd import __version__
from sweepd.edge.gate import Gate
from sweepd.edge.meters import Meters
from sweepd.engine.services import Services
from sweepd.errors import Forbidden, SweepdError
from sweepd.wire.auth import account_of
from sweepd.wire.context import base_url

__all__ = ["probes"]

_EXPOSITION = "text/plain; version=0.0.4; charset=utf-8"


def probes(
    services: Services, gate: Gate, meters: Meters, *, has_open_metrics: bool
) -> Sequence[BaseRoute]:
    """Return the routes that need no key, save /metrics, which an administrator's opens."""

    async def healthz(_: Request) -> Response:
        return JSONResponse({"status": "ok", "service": "sweepd", "version": __version__})

    async def readyz(_: Request) -> Response:
        if gate.is_closed:
            problem: str | None = "the service is about to end"
        else:
            problem = await services.health.look()
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
