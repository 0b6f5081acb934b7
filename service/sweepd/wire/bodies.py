"""Request bodies with a limit, whatever their length header says, before and after gzip."""

import zlib

from starlette.requests import Request

from sweepd.errors import ProtocolError

__all__ = ["BodyTooLarge", "read_body", "too_large"]


class BodyTooLarge(ProtocolError):
    """A request body is larger than this service takes."""

    http_status = 413


async def read_body(request: Request, *, limit: int) -> bytes:
    """Return a request's body, uncompressed.

    Args:
        request: its `Content-Encoding` may be gzip.
        limit: bytes, before and after decompression.

    Raises:
        BodyTooLarge: in words, before more than `limit` was kept.
        ProtocolError: if the body is not what its encoding says.
    """
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            raise too_large(limit)
        chunks.append(chunk)
    body = b"".join(chunks)
    encoding = request.headers.get("content-encoding", "identity").lower()
    if encoding == "gzip":
        return _gunzip(body, limit)
    if encoding != "identity":
        raise ProtocolError(f"content-encoding {encoding!r} is not known; allowed: gzip")
    return body


def _gunzip(body: bytes, limit: int) -> bytes:
    undo = zlib.decompressobj(wbits=31)
    try:
        plain = undo.decompress(body, limit + 1)
    except zlib.error as error:
        raise ProtocolError(f"the body is not gzip: {error}") from None
    if len(plain) > limit:
        raise too_large(limit)
    if not undo.eof:
        raise ProtocolError("the gzip body ends early")
    if undo.unused_data:
        raise ProtocolError("the gzip body goes on after its end")
    return plain


def too_large(limit: int) -> BodyTooLarge:
    """Return the refusal of a body of more than `limit` bytes."""
    return BodyTooLarge(
        f"the request body is larger than {limit / 2**20:.0f} MiB, the most allowed"
    )
