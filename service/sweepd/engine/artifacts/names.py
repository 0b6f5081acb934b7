"""Names of collections, aliases and tags, and how `collection:alias` is read."""

import re
from typing import NamedTuple

from sweepd.engine import projects
from sweepd.engine.texts import clean
from sweepd.errors import InvalidInput

__all__ = [
    "LATEST",
    "Wanted",
    "check_alias",
    "check_collection",
    "check_tag",
    "check_type",
    "read_name",
    "version_of",
]

LATEST = "latest"  # the alias of a collection's newest version

_MAX_ALIAS = 128
_MAX_TAG = 128
_VERSION = re.compile(r"v(0|[1-9][0-9]{0,17})", re.ASCII)
_TAG = re.compile(r"[\w-]+( +[\w-]+)*")


class Wanted(NamedTuple):
    """A name as it was asked for: its collection, and an alias, a version or a digest."""

    collection: str
    alias: str


def read_name(name: str) -> Wanted:
    """Split `collection:alias`; without an alias the newest version is meant."""
    collection, colon, alias = clean(name).partition(":")
    return Wanted(collection, alias if colon and alias else LATEST)


def version_of(alias: str) -> int | None:
    """Return the number in `v3`, None for any other alias."""
    match = _VERSION.fullmatch(alias)
    return int(match[1]) if match else None


def check_collection(name: str) -> str:
    """Return a collection's name if it may be one; raise InvalidInput as for a project's name."""
    return projects.check_name(name, kind="artifact's name")


def check_type(name: str) -> str:
    """Return a type's name if it may be one; raise InvalidInput as for a project's name."""
    return projects.check_name(name, kind="artifact type's name")


def check_alias(name: str) -> str:
    """Return an alias if it may be one.

    Raises:
        InvalidInput: if it is empty, too long, has a `/`, a `:` or a control character, or looks
            like a version, which is the service's to give.
    """
    if not name or len(name) > _MAX_ALIAS:
        raise InvalidInput(f"an alias has 1 to {_MAX_ALIAS} characters, not {len(name)}")
    if re.search(r"[/:\x00-\x1f\x7f]", name):
        raise InvalidInput(f"an alias may not contain '/', ':' or control characters: {name!r}")
    if version_of(name) is not None:
        raise InvalidInput(f"{name!r} is the name of a version, which the service gives")
    return clean(name)


def check_tag(name: str) -> str:
    """Return a tag if it may be one.

    Raises:
        InvalidInput: unless it is made of letters, digits, `_`, `-` and spaces between them.
    """
    if len(name) > _MAX_TAG or not _TAG.fullmatch(name):
        raise InvalidInput(
            f"Invalid tag {name[:200]!r}: a tag has 1 to {_MAX_TAG} letters, digits, '_', '-', and "
            "spaces between them"
        )
    return name
