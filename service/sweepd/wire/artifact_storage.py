"""The bytes of artifacts: links, uploads whole and in parts, manifests, downloads.

Every address but the last carries its own authority, signed and for a day. The last is what the
client falls back on when a link has expired; it brings its key.
"""

import mimetypes
from base64 import b64decode, b64encode
from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from urllib.parse import quote

from anyio import to_thread
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from sweepd.engine.artifacts import drafts, fetching, uploads
from sweepd.engine.artifacts.views import ArtifactFile, Kept, Upload
from sweepd.engine.link_holders import Target
from sweepd.engine.services import Services
from sweepd.engine.views import Account
from sweepd.errors import NotFound, ProtocolError
from sweepd.store import Written
from sweepd.wire.context import Context
from sweepd.wire.ids import read_int_id
from sweepd.wire.looks import look_of
from sweepd.wire.sending import send_file
from sweepd.wire.storage import check, receive, sign

__all__ = [
    "FALLBACKS",
    "FOLDER",
    "Bytes",
    "file_link",
    "keep",
    "manifest_link",
    "manifest_upload_link",
    "part_link",
    "settle",
    "upload_link",
]

FOLDER = "wandb_artifacts"  # of every file's storage path, as the client's tests want it
_MANIFEST = "wandb_manifest.json"
_MAX_MANIFEST = 256 << 20  # bytes

#: What the client asks for where a link fails, with and without the version's id.
FALLBACKS = (
    "/artifactsV2/{region}/{entity}/{project}/{collection}/{artifact}/{birth}/{digest}/{name}",
    "/artifactsV2/{region}/{entity}/{project}/{collection}/{birth}/{digest}/{name}",
)


def file_link(context: Context, file: ArtifactFile) -> str:
    """Return where a file's bytes are, or where its reference leads."""
    if file.ref is not None:
        return file.ref
    return sign(context, f"/storage/{FOLDER}/{file.artifact_id}/{file.path}", method="GET")


def manifest_link(context: Context, artifact_id: int) -> str:
    """Return where a version's manifest is."""
    return sign(context, f"/storage/manifests/{artifact_id}/{_MANIFEST}", method="GET")


def manifest_upload_link(context: Context, manifest_id: int) -> str:
    """Return where a draft's manifest is to be sent."""
    return sign(context, f"/storage/draft_manifests/{manifest_id}/{_MANIFEST}", method="PUT")


def upload_link(context: Context, upload: Upload) -> str:
    """Return where a draft's file is to be sent; the link says what its bytes must be."""
    digest = b64decode(upload.digest).hex()
    path = f"/storage/draft_files/{upload.id}/{digest}/{upload.path}"
    return sign(context, path, method="PUT")


def part_link(context: Context, upload_id: int, number: int) -> str:
    """Return where a part of a draft's file is to be sent."""
    return sign(context, f"/storage/draft_parts/{upload_id}/{number}", method="PUT")


class Bytes:
    """The handlers of these addresses."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def routes(self, guarded: Callable[[Any], Any]) -> Sequence[BaseRoute]:
        """Return what stands under /storage."""
        puts = {
            "/draft_files/{number}/{digest}/{name:path}": self.put_file,
            "/draft_parts/{number}/{name}": self.put_part,
            "/draft_manifests/{number}/{name}": self.put_manifest,
        }
        gets = {
            f"/{FOLDER}/{{number}}/{{name:path}}": self.get_file,
            "/manifests/{number}/{name}": self.get_manifest,
        }
        return [
            *(Route(path, guarded(handler), methods=["PUT"]) for path, handler in puts.items()),
            *(Route(path, guarded(handler), methods=["GET"]) for path, handler in gets.items()),
        ]

    async def put_file(self, request: Request) -> Response:
        """Take a draft's file, if its bytes are those that were announced."""
        upload_id, _ = self._checked(request, Target.UPLOAD)
        written = await self._receive(request, _from_hex(request.path_params["digest"]))
        received = uploads.Received(upload_id, written)
        await settle(
            self._services, written, self._services.store.write_together(uploads.receive, received)
        )
        return Response(status_code=200, headers={"ETag": f'"{written.md5}"'})

    async def put_part(self, request: Request) -> Response:
        """Take a part of a draft's file; its ETag is what completes the upload later."""
        upload_id, number = self._checked(request, Target.UPLOAD)
        part = int(number) if number.isascii() and number.isdecimal() and len(number) < 9 else 0
        digest = await self._services.store.read(
            uploads.part_to_receive, upload_id=upload_id, number=part
        )
        written = await self._receive(request, b64encode(bytes.fromhex(digest)).decode())
        await keep(self._services, written, uploads.receive_part, upload_id=upload_id, number=part)
        return Response(status_code=200, headers={"ETag": digest})

    async def put_manifest(self, request: Request) -> Response:
        """Take a draft's manifest."""
        manifest_id, _ = self._checked(request, Target.MANIFEST)
        manifest = await self._services.store.read(
            drafts.manifest_to_receive, manifest_id=manifest_id
        )
        written = await self._receive(request, manifest.digest or None, limit=_MAX_MANIFEST)
        await keep(self._services, written, drafts.receive_manifest, manifest_id=manifest_id)
        return Response(status_code=200, headers={"ETag": f'"{written.md5}"'})

    async def _receive(
        self, request: Request, md5: str | None, *, limit: int | None = None
    ) -> Written:
        written = await receive(request, self._services.store.blobs, limit=limit)
        if md5 is not None and written.md5 != md5:
            await to_thread.run_sync(self._services.store.blobs.delete, written.key)
            raise ProtocolError(
                f"the MD5 of what arrived is {written.md5}, not {md5} as was announced"
            )
        return written

    async def get_file(self, request: Request) -> Response:
        """Send a version's file by a signed link."""
        artifact_id, path = self._checked(request, Target.ARTIFACT)
        return await self._send(request, fetching.file_of, artifact_id=artifact_id, path=path)

    async def get_manifest(self, request: Request) -> Response:
        """Send a version's manifest by a signed link."""
        artifact_id, _ = self._checked(request, Target.ARTIFACT)
        return await self._send(request, fetching.manifest_of, artifact_id=artifact_id)

    async def get_fallback(self, request: Request, account: Account) -> Response:
        """Send a version's file to whom may read it."""
        parts = request.path_params
        artifact = parts.get("artifact")
        return await self._send(
            request,
            fetching.readable_file,
            actor=account,
            entity=parts["entity"],
            project=parts["project"],
            collection=parts["collection"],
            artifact_id=read_int_id("Artifact", artifact) if artifact else None,
            digest=_from_hex(parts["digest"]),
        )

    async def _send(
        self, request: Request, use_case: Callable[..., fetching.Stored], **arguments: Any
    ) -> Response:
        stored = await self._services.store.read(use_case, **arguments)
        opened = await to_thread.run_sync(self._services.store.blobs.open, stored.blob)
        if opened is None:
            raise NotFound(f"the bytes of {stored.name} are gone")
        mimetype = mimetypes.guess_type(stored.name)[0] or "application/octet-stream"
        look = look_of(mimetype, is_page=False)
        disposition = f"{look.place}; filename*=utf-8''{quote(stored.name)}"
        return send_file(
            request,
            opened,
            size=stored.size,
            etag=stored.md5,
            media_type=look.media_type,
            headers={**look.headers, "Content-Disposition": disposition},
        )

    def _checked(self, request: Request, target: Target) -> tuple[int, str]:
        """Return number and name of a signed address; a GET link serves HEAD too."""
        number, name = str(request.path_params["number"]), str(request.path_params["name"])
        if not (number.isascii() and number.isdecimal() and len(number) <= 18):
            raise NotFound("there is no such file")
        check(
            request,
            self._services,
            str(request.scope["path"]),
            target=target,
            number=int(number),
            method=request.method,
        )
        return int(number), name


async def keep(
    services: Services, written: Written, use_case: Callable[..., Kept], **arguments: Any
) -> None:
    """Record bytes that are on the disk with a use case of their own; as `settle` otherwise."""
    await settle(services, written, services.store.write(use_case, written=written, **arguments))


async def settle(services: Services, written: Written, recording: Awaitable[Kept]) -> None:
    """Wait for a record of bytes; drop them if it fails, and what it makes needless."""
    blobs = services.store.blobs
    try:
        kept = await recording
    except Exception:  # not of a cancellation: the row may be committed all the same
        await to_thread.run_sync(blobs.delete, written.key)
        raise
    if kept.blob != written.key:
        await to_thread.run_sync(blobs.settle, written, kept.blob)
    for key in kept.freed:
        await to_thread.run_sync(blobs.delete, key)


def _from_hex(text: str) -> str:
    try:
        return b64encode(bytes.fromhex(text)).decode()
    except ValueError:
        raise NotFound("there is no such file") from None
