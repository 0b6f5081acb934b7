"""What a browser may do with the bytes of a file, by their kind: people upload what they like."""

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["Look", "look_of"]

_UNKNOWN = "application/octet-stream"

#: Shown in place: nothing in them runs. A drawing can hold scripts, which `_NOTHING` forbids.
_PLAIN = frozenset(
    {
        "application/json",
        "image/bmp",
        "image/gif",
        "image/jpeg",
        "image/png",
        "image/svg+xml",
        "image/webp",
        "text/plain",
    }
)
_PLAYED = ("audio/", "video/")

_NOTHING = "default-src 'none'; style-src 'unsafe-inline'; sandbox"

#: A page of a user's: it may run what it brought along, in an origin of its own that has no
#: cookies and no storage, and reach nothing, neither this service nor any other.
_PAGE = (
    "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval' blob:; "
    "style-src 'unsafe-inline'; img-src data: blob:; font-src data:; media-src data: blob:; "
    "worker-src blob:; form-action 'none'; base-uri 'none'; frame-ancestors 'self'"
)


@dataclass(frozen=True)
class Look:
    """How a file is sent: as what, inline or as an attachment, under which rules."""

    media_type: str
    place: str
    policy: str
    headers: Mapping[str, str] = field(init=False)

    def __post_init__(self) -> None:
        guard = {
            "X-Content-Type-Options": "nosniff",
            "Content-Security-Policy": self.policy,
            "Cross-Origin-Resource-Policy": "cross-origin",
            "Referrer-Policy": "no-referrer",
            "Cache-Control": "private, no-cache",
        }
        object.__setattr__(self, "headers", guard)


def look_of(mimetype: str, *, is_page: bool = False) -> Look:
    """Return how a file of this kind is sent.

    Args:
        mimetype: as it was guessed from the file's name.
        is_page: whether it is to be shown as a page in a sandbox; only HTML can be.
    """
    if is_page and mimetype == "text/html":
        return Look("text/html", "inline", _PAGE)
    if mimetype in _PLAIN or mimetype.startswith(_PLAYED):
        return Look(mimetype, "inline", _NOTHING)
    return Look(_UNKNOWN, "attachment", _NOTHING)
