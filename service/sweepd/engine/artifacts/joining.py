"""Puts the parts of an upload together; blocks on the disk, with no transaction open."""

from sweepd.engine.artifacts.uploads import Parts
from sweepd.errors import Conflict, ProtocolError
from sweepd.store import Blobs, Written

__all__ = ["join"]

_CHUNK = 8 << 20  # bytes


def join(blobs: Blobs, parts: Parts) -> Written:
    """Return the whole file, written anew; its parts stay until it is recorded.

    Raises:
        ProtocolError: if it is not the file that was announced.
        Conflict: if a part was replaced meanwhile.
    """
    with blobs.writer() as writer:
        for key in parts.keys:
            part = blobs.open(key)
            if part is None:
                raise Conflict("a part was sent again while the file was being put together")
            with part:
                while chunk := part.read(_CHUNK):
                    writer.write(chunk)
        written = writer.commit()
    if written.md5 != parts.digest:
        blobs.delete(written.key)
        raise ProtocolError(
            f"the MD5 of the parts together is {written.md5}, not {parts.digest} as was announced"
        )
    return written
