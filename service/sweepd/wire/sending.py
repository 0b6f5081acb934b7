"""Sends the bytes of an open file: whole, in part, or only their headers."""

import re
from collections.abc import AsyncIterator, Mapping
from typing import IO

from anyio import to_thread
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

__all__ = ["send_file"]

_PIECE = 1 << 18  # bytes read at once
_RANGE = re.compile(r"bytes\s*=\s*(\d{0,18})\s*-\s*(\d{0,18})", re.ASCII)


def send_file(
    request: Request,
    file: IO[bytes],
    *,
    size: int,
    etag: str,
    media_type: str,
    headers: Mapping[str, str],
) -> Response:
    """Return the answer to a GET or HEAD for a file, which is closed once it is sent.

    `If-None-Match` and one `Range`, with or without `If-Range`, are honoured; several ranges at
    once, or a range that makes no sense, get the whole file, as they may.

    Args:
        request: the request.
        file: open for reading, in binary; stays what it is while it is sent.
        size: its bytes.
        etag: names these very bytes; without the quotes.
        media_type: such as `image/png`.
        headers: sent along.
    """
    quoted = f'"{etag}"'
    common = {**headers, "ETag": quoted, "Accept-Ranges": "bytes"}
    if _knows(request.headers.get("if-none-match", ""), quoted):
        file.close()
        return Response(status_code=304, headers=common)
    part = _part(request, quoted, size)
    if part is None:
        file.close()
        beyond = {**common, "Content-Range": f"bytes */{size}"}
        return Response(status_code=416, headers=beyond)
    start, length = part
    is_whole = length == size
    common["Content-Length"] = str(length)
    if not is_whole:
        common["Content-Range"] = f"bytes {start}-{start + length - 1}/{size}"
    status = 200 if is_whole else 206
    if request.method == "HEAD":
        file.close()
        return Response(status_code=status, headers=common, media_type=media_type)
    return _OpenFile(file, start, length, status=status, headers=common, media_type=media_type)


class _OpenFile(StreamingResponse):
    """Streams a part of a file, then closes it, whatever becomes of the connection."""

    def __init__(
        self,
        file: IO[bytes],
        start: int,
        length: int,
        *,
        status: int,
        headers: Mapping[str, str],
        media_type: str,
    ) -> None:
        pieces = _pieces(file, start, length)
        super().__init__(pieces, status_code=status, headers=headers, media_type=media_type)
        self._file, self._start, self._length = file, start, length

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            if self._length > _PIECE:
                await super().__call__(scope, receive, send)
            else:  # many files are small: without watching over the connection it costs half
                await self._send_at_once(send)
        finally:
            self._file.close()

    async def _send_at_once(self, send: Send) -> None:
        data = await to_thread.run_sync(_read, self._file, self._start, self._length)
        headers = self.raw_headers
        await send({"type": "http.response.start", "status": self.status_code, "headers": headers})
        await send({"type": "http.response.body", "body": data})


def _read(file: IO[bytes], start: int, length: int) -> bytes:
    file.seek(start)
    data = file.read(length)
    if len(data) < length:  # cut short from outside: nothing must go out as if it were all
        raise OSError(f"{length - len(data)} bytes are missing")
    return data


async def _pieces(file: IO[bytes], start: int, length: int) -> AsyncIterator[bytes]:
    file.seek(start)
    while length > 0:
        piece = await to_thread.run_sync(file.read, min(length, _PIECE))
        if not piece:  # cut short from outside: the connection must not end as if all were sent
            raise OSError(f"{length} bytes are missing")
        length -= len(piece)
        yield piece


def _knows(header: str, etag: str) -> bool:
    """Return whether an If-None-Match names these bytes."""
    known = {one.strip().removeprefix("W/") for one in header.split(",")}
    return etag in known or "*" in known


def _part(request: Request, etag: str, size: int) -> tuple[int, int] | None:
    """Return where to start and how many bytes to send; None for a range beyond the end."""
    whole = (0, size)
    wanted = _RANGE.fullmatch(request.headers.get("range", "").strip())
    if wanted is None or request.headers.get("if-range", etag) != etag:
        return whole
    first, last = wanted.groups()
    if first:
        start, end = int(first), min(int(last or size), size - 1)
        if last and int(last) < start:
            return whole
    elif last:
        start, end = max(0, size - int(last)), size - 1
    else:
        return whole
    return (start, end - start + 1) if start <= end else None
