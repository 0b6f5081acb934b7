"""File bytes: signed links, uploads streamed to the disk, downloads with ranges."""

import mimetypes
import re
import time
from contextlib import ExitStack
from typing import IO
from urllib.parse import quote

from anyio import to_thread
from starlette.requests import Request
from starlette.responses import Response

from sweepd.engine import exports, files, link_holders, links
from sweepd.engine.access import Need
from sweepd.engine.link_holders import Target
from sweepd.engine.services import Services
from sweepd.engine.stream_bodies import CONSOLE_FILE
from sweepd.engine.views import FileView
from sweepd.errors import NotFound, ProtocolError
from sweepd.store import Blobs, BlobWriter, Written
from sweepd.wire.bodies import BodyTooLarge
from sweepd.wire.context import Context
from sweepd.wire.looks import look_of
from sweepd.wire.middle import Middle
from sweepd.wire.sending import send_file

__all__ = [
    "check",
    "download",
    "download_export",
    "export_link",
    "link",
    "receive",
    "sign",
    "upload",
]

#: The client may repeat an upload for a quarter of an hour, and a page may stay open for a day.
_LINK_S = 24 * 3600
_CHUNK = 1 << 20


def link(
    context: Context, run_id: int, name: str, *, method: str, attempt: int | None = None
) -> str:
    """Return an absolute link that lets whoever holds it GET or PUT one file of a run for a day.

    One to PUT tells the attempt that asked, whose upload may come when another has replaced it.
    The attempt is not signed: who may write to the run gains nothing by another number.
    """
    signed = sign(context, _path(run_id, name), method=method)
    return signed if attempt is None else f"{signed}&attempt={attempt}"


def sign(context: Context, path: str, *, method: str) -> str:
    """Return an absolute link that lets whoever holds it do `method` at a path for a day."""
    secret, expires_at = context.services.store.secret, time.time() + _LINK_S
    holder = link_holders.holder_of(context.account)
    signed = links.sign(secret, path, expires_at=expires_at, method=method, holder=holder)
    return f"{context.base_url}{signed}"


def export_link(context: Context, run_id: int, number: int) -> str:
    """Return an absolute link that lets whoever holds it GET a file of a run's rows for a day."""
    return sign(context, _export_path(run_id, number), method="GET")


def _export_path(run_id: int, number: int) -> str:
    return f"/storage/history/{run_id}/{number}.parquet"


async def download_export(request: Request, services: Services) -> Response:
    """Send a file of a run's rows, whole or in part."""
    run_id, number = request.path_params["run_id"], request.path_params["number"]
    path = _export_path(run_id, number)
    check(request, services, path, target=Target.RUN, number=run_id, method="GET")
    file = await services.store.read(exports.export_file, run_id=run_id, number=number)
    opened = await to_thread.run_sync(services.store.blobs.open, file.blob)
    if opened is None:
        raise NotFound("there is no such file")
    return send_file(
        request,
        opened,
        size=file.size,
        etag=file.md5,
        media_type="application/vnd.apache.parquet",
        headers={"X-Content-Type-Options": "nosniff", "Cache-Control": "private, no-cache"},
    )


def _path(run_id: int, name: str) -> str:
    return f"/storage/{run_id}/{name}"


async def upload(request: Request, services: Services) -> Response:
    """Take the bytes of a file, whole or not at all, and register it."""
    run_id, name = _checked(request, services, method="PUT")
    attempt = request.query_params.get("attempt", "")
    middle = Middle(services.limits) if files.check_name(name) == CONSOLE_FILE else None
    written = await receive(request, services.store.blobs, middle=middle)
    mimetype = mimetypes.guess_type(name)[0] or "application/octet-stream"
    blobs = services.store.blobs
    try:
        kept = await services.store.write(
            files.register,
            run_id=run_id,
            name=name,
            mimetype=mimetype,
            written=written,
            attempt=int(attempt) if re.fullmatch("[0-9]{1,9}", attempt) else None,
        )
    except Exception:  # not of a cancellation: the row may be committed all the same
        blobs.delete(written.key)
        raise
    await to_thread.run_sync(blobs.settle, written, kept.blob)
    for key in kept.freed:
        await to_thread.run_sync(blobs.delete, key)
    return Response(status_code=200, headers={"ETag": f'"{written.md5}"'})


async def receive(
    request: Request, blobs: Blobs, *, limit: int | None = None, middle: Middle | None = None
) -> Written:
    """Write a body to the disk in large pieces; a slow disk slows the sender down.

    With a `middle`, what that leaves out is not written.

    Raises:
        BodyTooLarge: as soon as more than `limit` bytes have come.
        ProtocolError: if fewer come than its header says.
    """
    pending, expected = bytearray(), request.headers.get("content-length")
    size = 0
    with ExitStack() as opened:
        writer: BlobWriter | None = None  # of a body that does not fit into one piece
        async for chunk in request.stream():
            size += len(chunk)
            if limit is not None and size > limit:
                raise BodyTooLarge(
                    f"the body is larger than {limit / 2**20:.0f} MiB, the most allowed"
                )
            pending += middle.take(chunk) if middle is not None else chunk
            if len(pending) >= _CHUNK:
                writer = writer or opened.enter_context(blobs.writer())
                await to_thread.run_sync(writer.write, bytes(pending))
                pending.clear()
        if expected is not None and expected != str(size):
            raise ProtocolError(f"{size} bytes arrived of {expected}")
        if middle is not None:
            pending += middle.rest()
        if writer is None:
            return await to_thread.run_sync(_write, blobs, bytes(pending))
        return await to_thread.run_sync(_finish, writer, bytes(pending))


def _write(blobs: Blobs, data: bytes) -> Written:
    with blobs.writer() as writer:
        return _finish(writer, data)


def _finish(writer: BlobWriter, data: bytes) -> Written:
    writer.write(data)
    return writer.commit()


async def download(request: Request, services: Services) -> Response:
    """Send the bytes of a file; what it holds is never trusted."""
    run_id, name = _checked(request, services, method="GET")
    file, opened = await _open(services, run_id, files.check_name(name))
    look = look_of(file.mimetype, is_page=request.query_params.get("view") == "page")
    filename = quote(name.rpartition("/")[2])
    disposition = f"{look.place}; filename*=utf-8''{filename}"
    return send_file(
        request,
        opened,
        size=file.size,
        etag=file.md5,
        media_type=look.media_type,
        headers={**look.headers, "Content-Disposition": disposition},
    )


async def _open(services: Services, run_id: int, name: str) -> tuple[FileView, IO[bytes]]:
    """Open a file of a run; should it be replaced meanwhile, the new one."""
    gone: set[str] = set()
    while True:
        file = await services.store.read(files.get_file, run_id=run_id, name=name)
        if file.blob in gone:
            raise NotFound(f"the bytes of {name} are gone")
        opened = await to_thread.run_sync(services.store.blobs.open, file.blob)
        if opened is not None:
            return file, opened
        gone.add(file.blob)


def _checked(request: Request, services: Services, *, method: str) -> tuple[int, str]:
    """Return run and name of a signed address; a GET link serves HEAD too."""
    number, name = str(request.path_params["run_id"]), str(request.path_params["name"])
    if not (number.isascii() and number.isdecimal() and len(number) <= 18):
        raise NotFound("there is no such file")
    run_id = int(number)
    path = _path(run_id, name)
    check(request, services, path, target=Target.RUN, number=run_id, method=method)
    return run_id, name


def check(
    request: Request, services: Services, path: str, *, target: Target, number: int, method: str
) -> None:
    """Check that a signed link was signed for this, and that its holder may still do it.

    Args:
        request: with the link's query.
        services: with an open store.
        path: that the link must be for.
        target: what the link leads to.
        number: its id.
        method: PUT or GET, which serves HEAD too.

    Raises:
        Forbidden: as `links.verify` and `link_holders.check_holder`.
    """
    holder = request.query_params.get("for", "")
    links.verify(
        services.store.secret,
        path,
        expires=request.query_params.get("expires"),
        signature=request.query_params.get("signature"),
        holder=holder,
        method=method,
        now=time.time(),
    )
    services.store.peek(
        link_holders.check_holder,
        holder=holder,
        target=target,
        number=number,
        need=Need.WRITE if method == "PUT" else Need.READ,
    )
