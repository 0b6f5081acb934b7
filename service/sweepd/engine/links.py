"""Signed links: upload and download addresses that carry their own authority and expire."""

import hashlib
import hmac
from base64 import urlsafe_b64encode
from urllib.parse import quote

from sweepd.errors import Forbidden

__all__ = ["sign", "verify"]


def sign(secret: bytes, path: str, *, expires_at: float, method: str, holder: str = "") -> str:
    """Return `path`, percent-encoded, with a query that lets whoever holds it do `method` there.

    Args:
        secret: the service's own key, 32 random bytes.
        path: decoded, from the leading slash, as a server sees it.
        expires_at: unix seconds.
        method: PUT or GET; a link for one does not serve the other. GET serves HEAD.
        holder: whom it is made for, as `link_holders.holder_of`; one for nobody opens nothing.
    """
    expires = int(expires_at)
    signature = _signature(secret, path, expires=expires, method=method, holder=holder)
    return f"{quote(path)}?expires={expires}&for={quote(holder)}&signature={signature}"


def verify(
    secret: bytes,
    path: str,
    *,
    expires: str | None,
    signature: str | None,
    holder: str | None,
    method: str,
    now: float,
) -> None:
    """Check a signed link's query against the decoded path and the method of the request.

    Raises:
        Forbidden: if it was not signed for exactly this, or has expired.
    """
    number = expires or ""
    # isdecimal alone would let other scripts' digits through, which int() reads but nobody signed
    if not (number.isascii() and number.isdecimal() and len(number) <= 12):
        raise Forbidden("this link is not signed")
    signed_for = "GET" if method == "HEAD" else method
    good = _signature(secret, path, expires=int(number), method=signed_for, holder=holder or "")
    if not hmac.compare_digest(good.encode(), (signature or "").encode("utf-8", "replace")):
        raise Forbidden("this link is not valid for this file and method")
    if now > int(number):
        raise Forbidden("this link has expired: ask for a new one")


def _signature(secret: bytes, path: str, *, expires: int, method: str, holder: str) -> str:
    # Not ambiguous: what comes before the path holds no line break, in any link that we sign.
    message = f"{method}\n{expires}\n{holder}\n{path}".encode("utf-8", "surrogatepass")
    digest = hmac.new(secret, message, hashlib.sha256).digest()
    return urlsafe_b64encode(digest).rstrip(b"=").decode()
