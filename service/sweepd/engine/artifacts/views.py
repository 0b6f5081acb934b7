"""What the use cases of artifacts answer with: plain rows, in our own words."""

from dataclasses import dataclass
from mimetypes import guess_type

__all__ = [
    "Alias",
    "ArtifactFile",
    "ArtifactView",
    "CollectionView",
    "DraftFile",
    "Kept",
    "ManifestView",
    "MemberView",
    "Part",
    "TypeView",
    "Upload",
]


@dataclass(frozen=True)
class TypeView:
    """A kind of artifact in a project, such as `dataset`."""

    id: int
    project_id: int
    name: str
    description: str | None
    created_at: float


@dataclass(frozen=True)
class CollectionView:
    """A named row of versions: a sequence, where they are made, or a portfolio of links to them."""

    id: int
    project_id: int
    project: str
    entity: str
    type: str
    is_portfolio: bool
    name: str
    description: str | None
    created_at: float
    updated_at: float
    tags: tuple[str, ...]


@dataclass(frozen=True)
class Alias:
    """A name that moves from version to version within its collection."""

    id: int
    name: str
    collection_id: int
    collection: str
    project_id: int
    project: str
    entity: str


@dataclass(frozen=True)
class ArtifactView:
    """One version of a sequence; `metadata` is JSON text, `size` bytes.

    `version_index` is None and `state` is `pending` until it is committed. `ttl_s` is its lifetime
    from its creation: None if none was set, 0 for ever.
    """

    id: int
    sequence_id: int
    sequence: str
    project_id: int
    project: str
    entity_id: int
    entity: str
    type: str
    state: str
    version_index: int | None
    digest: str
    description: str | None
    metadata: str
    ttl_s: int | None
    history_step: int | None
    size: int
    n_files: int
    run_id: int | None
    user_name: str | None
    created_at: float
    updated_at: float
    tags: tuple[str, ...]
    aliases: tuple[Alias, ...]

    @property
    def is_committed(self) -> bool:
        """Return whether it is whole, and so to be seen."""
        return self.state == "committed"


@dataclass(frozen=True)
class MemberView:
    """A version's place in a collection, with the number and the aliases that it has there."""

    id: int
    collection: CollectionView
    version_index: int
    created_at: float
    artifact: ArtifactView

    @property
    def aliases(self) -> tuple[Alias, ...]:
        """Return the aliases that lead to the version in this collection."""
        return tuple(
            alias for alias in self.artifact.aliases if alias.collection_id == self.collection.id
        )


@dataclass(frozen=True)
class ArtifactFile:
    """A file of a version; `ref` is where a reference leads, None for bytes that are kept here."""

    artifact_id: int
    path: str
    digest: str
    size: int
    ref: str | None
    blob: str | None
    updated_at: float

    @property
    def name(self) -> str:
        """Return its path within the version."""
        return self.path

    @property
    def md5(self) -> str:
        """Return the MD5 of its bytes, base64; of a reference, whatever its client wrote."""
        return self.digest

    @property
    def mimetype(self) -> str:
        """Return what its name makes one expect."""
        return guess_type(self.path)[0] or "application/octet-stream"


@dataclass(frozen=True)
class Kept:
    """Where bytes that were received are kept, and which blobs nothing needs any more."""

    blob: str
    freed: tuple[str, ...] = ()


@dataclass(frozen=True)
class ManifestView:
    """A manifest of a draft, uploaded or to be uploaded."""

    id: int
    artifact_id: int
    digest: str


@dataclass(frozen=True)
class Part:
    """A part of a file's upload: its number from 1 and the MD5 of its bytes, hexadecimal."""

    number: int
    md5: str


@dataclass(frozen=True)
class DraftFile:
    """A file that a client announces for a draft: its path and the MD5 of its bytes, base64."""

    artifact_id: int
    path: str
    digest: str
    parts: tuple[Part, ...] = ()


@dataclass(frozen=True)
class Upload:
    """What is to be sent of an announced file: nothing where `is_here`, else all of it.

    `digest` is the MD5 that it must have, base64; `birth_id` is the artifact that the bytes first
    came with.
    """

    id: int
    artifact_id: int
    path: str
    digest: str
    is_here: bool
    birth_id: int
    parts: tuple[Part, ...] = ()
