"""The tables of artifacts: types, collections, versions, their files, and who made and used them.

A version is a row of `artifact`; it belongs to one sequence and may be linked into portfolios, each
of which counts versions for itself (`artifact_member`). Its files are `artifact_entry` rows, whose
bytes are blobs of its project. Until it is committed a version is a draft: what was announced and
uploaded for it stands in `artifact_manifest`, `artifact_upload` and `artifact_part`.

Ids are never given twice (AUTOINCREMENT): signed links and manifests name them for a long time.
"""

from sqlalchemy import (
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    Table,
    Text,
    UniqueConstraint,
)

from sweepd.store.tables import metadata

__all__ = [
    "artifact",
    "artifact_alias",
    "artifact_collection",
    "artifact_entry",
    "artifact_manifest",
    "artifact_member",
    "artifact_part",
    "artifact_run",
    "artifact_tag",
    "artifact_type",
    "artifact_upload",
    "collection_tag",
]


def _key() -> Column[int]:
    return Column("id", Integer, primary_key=True, autoincrement=True)


def _to(
    target: str, *, name: str | None = None, on_delete: str = "CASCADE", primary: bool = False
) -> Column[int]:
    return Column(
        name or f"{target.removeprefix('artifact_')}_id",
        Integer,
        ForeignKey(f"{target}.id", ondelete=on_delete),
        nullable=on_delete == "SET NULL",
        primary_key=primary,
    )


def _blob(name: str = "blob") -> Column[str]:
    return Column(name, Text, ForeignKey("blob.key"))


artifact_type = Table(
    "artifact_type",
    metadata,
    _key(),
    _to("project"),
    Column("name", Text, nullable=False),
    Column("description", Text),
    Column("created_at", Float, nullable=False),
    UniqueConstraint("project_id", "name"),
)

artifact_collection = Table(
    "artifact_collection",
    metadata,
    _key(),
    _to("project"),
    _to("artifact_type"),
    Column("is_portfolio", Integer, nullable=False, server_default="0"),
    Column("name", Text, nullable=False),
    Column("description", Text),
    Column("n_versions", Integer, nullable=False, server_default="0"),  # given so far: the next
    Column("created_at", Float, nullable=False),
    Column("updated_at", Float, nullable=False),
    UniqueConstraint("project_id", "name"),
    sqlite_autoincrement=True,
)
Index("ix_artifact_collection_type_id", artifact_collection.c.type_id)

collection_tag = Table(
    "collection_tag",
    metadata,
    _to("artifact_collection", primary=True),
    Column("name", Text, primary_key=True),
)

artifact = Table(
    "artifact",
    metadata,
    _key(),
    _to("artifact_collection", name="sequence_id"),
    Column("state", Text, nullable=False),
    Column("version_index", Integer),  # in its sequence, given at the commit
    Column("digest", Text, nullable=False),  # of its manifest's contents, hexadecimal MD5
    Column("client_id", Text),  # the client's own name for it while it is a draft
    Column("sequence_client_id", Text),  # the same for its sequence
    _to("run", on_delete="SET NULL"),  # that made it
    _to("user", on_delete="SET NULL"),
    Column("description", Text),
    Column("metadata", Text, nullable=False, server_default="{}"),  # JSON
    Column("ttl_s", Integer),  # lifetime from its creation; NULL: not set, 0: for ever
    Column("history_step", Integer),  # of the run when it was logged
    Column("distributed_id", Text),  # shared by the runs that write one draft together
    Column("wanted_aliases", Text, nullable=False, server_default="[]"),  # JSON, until the commit
    Column("size", Integer, nullable=False, server_default="0"),  # bytes, references included
    Column("n_files", Integer, nullable=False, server_default="0"),
    _blob("manifest_blob"),  # its manifest's bytes, from the commit on
    Column("created_at", Float, nullable=False),
    Column("updated_at", Float, nullable=False),
    UniqueConstraint("sequence_id", "version_index"),
    CheckConstraint("state IN ('pending', 'committed')", name="state"),
    CheckConstraint(
        "(state = 'committed') = (version_index IS NOT NULL AND manifest_blob IS NOT NULL)",
        name="committed",
    ),
    sqlite_autoincrement=True,
)
Index("ix_artifact_sequence_id_digest", artifact.c.sequence_id, artifact.c.digest)
Index("ix_artifact_client_id", artifact.c.client_id)
Index("ix_artifact_sequence_client_id", artifact.c.sequence_client_id)
Index("ix_artifact_run_id", artifact.c.run_id)
Index("ix_artifact_manifest_of", artifact.c.manifest_blob)
Index("ix_artifact_ttl_s", artifact.c.ttl_s, sqlite_where=artifact.c.ttl_s > 0)
Index("ix_artifact_pending", artifact.c.updated_at, sqlite_where=artifact.c.state == "pending")

artifact_tag = Table(
    "artifact_tag",
    metadata,
    _to("artifact", name="artifact_id", primary=True),
    Column("name", Text, primary_key=True),
)

artifact_member = Table(  # a version in a collection: its sequence, or a portfolio it is linked to
    "artifact_member",
    metadata,
    _key(),
    _to("artifact_collection"),
    _to("artifact", name="artifact_id"),
    Column("version_index", Integer, nullable=False),
    Column("created_at", Float, nullable=False),
    UniqueConstraint("collection_id", "version_index"),
    UniqueConstraint("collection_id", "artifact_id"),
    sqlite_autoincrement=True,
)
Index("ix_artifact_member_artifact_id", artifact_member.c.artifact_id)

artifact_alias = Table(
    "artifact_alias",
    metadata,
    _key(),
    _to("artifact_collection"),
    _to("artifact_member"),
    Column("name", Text, nullable=False),
    UniqueConstraint("collection_id", "name"),
)
Index("ix_artifact_alias_member_id", artifact_alias.c.member_id)

artifact_entry = Table(
    "artifact_entry",
    metadata,
    _to("artifact", name="artifact_id", primary=True),
    Column("path", Text, primary_key=True),
    Column("digest", Text, nullable=False),
    Column("size", Integer, nullable=False),
    Column("ref", Text),  # where a reference leads; it has no bytes here
    _blob(),
    CheckConstraint("(ref IS NULL) = (blob IS NOT NULL)", name="bytes"),
)
Index("ix_artifact_entry_blob", artifact_entry.c.blob)

artifact_manifest = Table(  # what a draft is to hold, as its clients uploaded it
    "artifact_manifest",
    metadata,
    _key(),
    _to("artifact", name="artifact_id"),
    Column("kind", Text, nullable=False),
    Column("digest", Text, nullable=False),  # MD5 of its bytes, base64; empty: not known yet
    Column("base_id", Integer),  # the artifact that an incremental one builds on
    _blob(),  # once it is uploaded
    CheckConstraint("kind IN ('full', 'incremental', 'patch')", name="kind"),
    sqlite_autoincrement=True,
)
Index("ix_artifact_manifest_artifact_id", artifact_manifest.c.artifact_id)
Index("ix_artifact_manifest_blob", artifact_manifest.c.blob)

artifact_upload = Table(  # a file that was announced for a draft; it keeps its bytes from going
    "artifact_upload",
    metadata,
    _key(),
    _to("artifact", name="artifact_id"),
    Column("path", Text, nullable=False),
    Column("digest", Text, nullable=False),  # MD5, base64
    _blob(),  # once the bytes are here
    UniqueConstraint("artifact_id", "path"),
    sqlite_autoincrement=True,
)
Index("ix_artifact_upload_blob", artifact_upload.c.blob)

artifact_part = Table(  # of an upload in parts, announced and then received
    "artifact_part",
    metadata,
    _to("artifact_upload", primary=True),
    Column("number", Integer, primary_key=True),  # from 1
    Column("digest", Text, nullable=False),  # MD5, hexadecimal
    _blob(),  # once it is uploaded
)
Index("ix_artifact_part_blob", artifact_part.c.blob)

artifact_run = Table(  # which runs used a version, and which logged it
    "artifact_run",
    metadata,
    _to("run", primary=True),
    _to("artifact", name="artifact_id", primary=True),
    Column("role", Text, primary_key=True),
    Column("used_as", Text),
    Column("created_at", Float, nullable=False),
    CheckConstraint("role IN ('input', 'output')", name="role"),
)
Index("ix_artifact_run_artifact_id", artifact_run.c.artifact_id)
