"""Manifests: what a version holds, as its client wrote it down, read and put together. Pure."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from sweepd.engine.files import check_name
from sweepd.engine.texts import MAX_INT, clean, load
from sweepd.errors import ProtocolError

__all__ = ["Entry", "Kind", "Manifest", "combine", "encode", "read_manifest"]

_MAX_ENTRIES = 1_000_000
_MAX_REF = 8_192  # characters


class Kind(StrEnum):
    """What a manifest says: everything, what is added to a base, or one writer's share."""

    FULL = "full"
    INCREMENTAL = "incremental"
    PATCH = "patch"


@dataclass(frozen=True)
class Entry:
    """A file of a manifest; `raw` is all that the client wrote of it."""

    path: str
    digest: str
    size: int
    ref: str | None
    raw: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True)
class Manifest:
    """A manifest's files by path, and what stands beside them: version and storage policy."""

    head: Mapping[str, Any]
    entries: Mapping[str, Entry]

    @property
    def digest(self) -> str:
        """Return the digest that the client computes of such contents, hexadecimal MD5."""
        total = hashlib.md5(b"wandb-artifact-manifest-v1\n", usedforsecurity=False)
        for path in sorted(self.entries):
            total.update(f"{path}:{self.entries[path].digest}\n".encode())
        return total.hexdigest()


def read_manifest(data: bytes) -> Manifest:
    """Parse a manifest.

    Raises:
        ProtocolError: naming what is not as it must be, and where.
    """
    try:
        value = load(data)
    except ValueError as error:
        raise ProtocolError(f"the manifest is not JSON: {error}") from None
    if not isinstance(value, dict) or value.get("version") != 1:
        raise ProtocolError("the manifest must be a JSON object of version 1")
    contents = value.pop("contents", None)
    if not isinstance(contents, dict):
        raise ProtocolError("the manifest has no `contents`")
    if len(contents) > _MAX_ENTRIES:
        raise ProtocolError(f"an artifact has at most {_MAX_ENTRIES} files, not {len(contents)}")
    return Manifest(value, {path: _entry(path, raw) for path, raw in contents.items()})


def _entry(path: str, raw: Any) -> Entry:
    if check_name(path) != path:
        raise ProtocolError(f"the manifest's path {path!r} must be written as {check_name(path)!r}")
    if not isinstance(raw, dict) or not isinstance(raw.get("digest"), str):
        raise ProtocolError(f"the manifest's entry {path!r} must be an object with a digest")
    size, ref = raw.get("size") or 0, raw.get("ref")
    if isinstance(size, bool) or not isinstance(size, int) or not 0 <= size <= MAX_INT:
        raise ProtocolError(f"the size of {path!r} must be a whole number of bytes, not {size!r}")
    if ref is not None and (not isinstance(ref, str) or not 0 < len(ref) <= _MAX_REF):
        raise ProtocolError(f"the reference of {path!r} must be 1 to {_MAX_REF} characters")
    digest = clean(raw["digest"])
    return Entry(path, digest, size, clean(ref) if ref is not None else None, raw)


def combine(parts: Sequence[tuple[Kind, Manifest]], base: Manifest | None) -> Manifest:
    """Return what a version holds that was written in several manifests, the oldest first.

    A full one stands for everything before it. One that is incremental adds to the base; what
    several writers patched is put together, and the last one to write a path wins.
    """
    head: Mapping[str, Any] = {}
    entries: dict[str, Entry] = {}
    if base is not None and any(kind is Kind.INCREMENTAL for kind, _ in parts):
        entries.update(base.entries)
    for kind, manifest in parts:
        if kind is Kind.FULL:
            entries.clear()
        entries.update(manifest.entries)
        head = manifest.head
    return Manifest(head, entries)


def encode(manifest: Manifest) -> bytes:
    """Return a manifest as the client reads it."""
    contents = {path: entry.raw for path, entry in manifest.entries.items()}
    value = {**manifest.head, "contents": contents}
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
