"""The few kinds of requests that limits, metrics and logs tell apart."""

import re
from enum import StrEnum

__all__ = ["Way", "masked", "way_of"]

_LOGIN_LINK = re.compile(r"^(/login)/.+", re.DOTALL)
_UNSEEN = re.compile(r"[^\x21-\x7e]")


class Way(StrEnum):
    """A kind of request; the value is its name in metrics and logs."""

    GRAPHQL = "graphql"
    STREAM = "file_stream"
    UPLOAD = "upload"
    DOWNLOAD = "download"
    PROBE = "probe"
    FEED = "feed"
    DATA = "data"
    STATIC = "static"
    PAGE = "page"


_PROBES = frozenset({"/healthz", "/readyz", "/metrics"})
_OURS = {"feed": Way.FEED, "data": Way.DATA, "static": Way.STATIC, "netron": Way.STATIC}


def way_of(method: str, path: str) -> Way:
    """Return what kind of request this is; every request is of one of nine kinds."""
    if path == "/graphql":
        return Way.GRAPHQL
    if path.endswith("/file_stream") and path.startswith("/files/"):
        return Way.STREAM
    if method == "PUT":
        return Way.UPLOAD
    if path.startswith(("/storage/", "/artifactsV2/")):
        return Way.DOWNLOAD
    if path in _PROBES:
        return Way.PROBE
    if path.startswith("/-/"):
        return _OURS.get(path[3:].partition("/")[0], Way.PAGE)
    return Way.PAGE


def masked(path: str) -> str:
    """Return a path fit for a log: one line, short, without the secret of a sign-in link."""
    text = _LOGIN_LINK.sub(r"\1/***", path)[:300]
    return _UNSEEN.sub(lambda found: f"\\x{ord(found[0]):02x}", text)
