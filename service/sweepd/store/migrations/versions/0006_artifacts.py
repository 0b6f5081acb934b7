"""Artifacts."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables of artifacts, those first that others refer to."""
    _create_collections()
    _create_versions()
    _create_names()
    _create_drafts()
    _create_uses()


def _create_collections() -> None:
    """Types, and named rows of versions."""
    op.create_table(
        "artifact_type",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id"],
            ["project.id"],
            name=op.f("fk_artifact_type_project_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_artifact_type")),
        sa.UniqueConstraint("project_id", "name", name=op.f("uq_artifact_type_project_id_name")),
    )
    op.create_table(
        "artifact_collection",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("type_id", sa.Integer(), nullable=False),
        sa.Column("is_portfolio", sa.Integer(), server_default="0", nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("n_versions", sa.Integer(), server_default="0", nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("updated_at", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id"],
            ["project.id"],
            name=op.f("fk_artifact_collection_project_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["type_id"],
            ["artifact_type.id"],
            name=op.f("fk_artifact_collection_type_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_artifact_collection")),
        sa.UniqueConstraint(
            "project_id", "name", name=op.f("uq_artifact_collection_project_id_name")
        ),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_artifact_collection_type_id", "artifact_collection", ["type_id"])
    op.create_table(
        "collection_tag",
        sa.Column("collection_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["collection_id"],
            ["artifact_collection.id"],
            name=op.f("fk_collection_tag_collection_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("collection_id", "name", name=op.f("pk_collection_tag")),
    )


def _create_versions() -> None:
    """Versions."""
    op.create_table(
        "artifact",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("sequence_id", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("version_index", sa.Integer(), nullable=True),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("client_id", sa.Text(), nullable=True),
        sa.Column("sequence_client_id", sa.Text(), nullable=True),
        sa.Column("run_id", sa.Integer(), nullable=True),
        sa.Column("user_id", sa.Integer(), nullable=True),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("metadata", sa.Text(), server_default="{}", nullable=False),
        sa.Column("ttl_s", sa.Integer(), nullable=True),
        sa.Column("history_step", sa.Integer(), nullable=True),
        sa.Column("distributed_id", sa.Text(), nullable=True),
        sa.Column("wanted_aliases", sa.Text(), server_default="[]", nullable=False),
        sa.Column("size", sa.Integer(), server_default="0", nullable=False),
        sa.Column("n_files", sa.Integer(), server_default="0", nullable=False),
        sa.Column("manifest_blob", sa.Text(), nullable=True),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("updated_at", sa.Float(), nullable=False),
        sa.CheckConstraint(
            "(state = 'committed') = (version_index IS NOT NULL AND manifest_blob IS NOT NULL)",
            name=op.f("ck_artifact_committed"),
        ),
        sa.CheckConstraint("state IN ('pending', 'committed')", name=op.f("ck_artifact_state")),
        sa.ForeignKeyConstraint(
            ["manifest_blob"], ["blob.key"], name=op.f("fk_artifact_manifest_blob")
        ),
        sa.ForeignKeyConstraint(
            ["run_id"], ["run.id"], name=op.f("fk_artifact_run_id"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["sequence_id"],
            ["artifact_collection.id"],
            name=op.f("fk_artifact_sequence_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["user.id"], name=op.f("fk_artifact_user_id"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_artifact")),
        sa.UniqueConstraint(
            "sequence_id", "version_index", name=op.f("uq_artifact_sequence_id_version_index")
        ),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_artifact_client_id", "artifact", ["client_id"])
    op.create_index("ix_artifact_manifest_of", "artifact", ["manifest_blob"])
    op.create_index(
        "ix_artifact_pending", "artifact", ["updated_at"], sqlite_where=sa.text("state = 'pending'")
    )
    op.create_index("ix_artifact_run_id", "artifact", ["run_id"])
    op.create_index("ix_artifact_sequence_client_id", "artifact", ["sequence_client_id"])
    op.create_index("ix_artifact_sequence_id_digest", "artifact", ["sequence_id", "digest"])
    op.create_index("ix_artifact_ttl_s", "artifact", ["ttl_s"], sqlite_where=sa.text("ttl_s > 0"))


def _create_names() -> None:
    """Where versions are, and the names that lead to them."""
    op.create_table(
        "artifact_member",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("collection_id", sa.Integer(), nullable=False),
        sa.Column("artifact_id", sa.Integer(), nullable=False),
        sa.Column("version_index", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(
            ["artifact_id"],
            ["artifact.id"],
            name=op.f("fk_artifact_member_artifact_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["collection_id"],
            ["artifact_collection.id"],
            name=op.f("fk_artifact_member_collection_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_artifact_member")),
        sa.UniqueConstraint(
            "collection_id",
            "artifact_id",
            name=op.f("uq_artifact_member_collection_id_artifact_id"),
        ),
        sa.UniqueConstraint(
            "collection_id",
            "version_index",
            name=op.f("uq_artifact_member_collection_id_version_index"),
        ),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_artifact_member_artifact_id", "artifact_member", ["artifact_id"])
    op.create_table(
        "artifact_tag",
        sa.Column("artifact_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["artifact_id"],
            ["artifact.id"],
            name=op.f("fk_artifact_tag_artifact_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("artifact_id", "name", name=op.f("pk_artifact_tag")),
    )
    op.create_table(
        "artifact_alias",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("collection_id", sa.Integer(), nullable=False),
        sa.Column("member_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["collection_id"],
            ["artifact_collection.id"],
            name=op.f("fk_artifact_alias_collection_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["member_id"],
            ["artifact_member.id"],
            name=op.f("fk_artifact_alias_member_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_artifact_alias")),
        sa.UniqueConstraint(
            "collection_id", "name", name=op.f("uq_artifact_alias_collection_id_name")
        ),
    )
    op.create_index("ix_artifact_alias_member_id", "artifact_alias", ["member_id"])


def _create_drafts() -> None:
    """What is announced and uploaded before a commit."""
    op.create_table(
        "artifact_manifest",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("artifact_id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("base_id", sa.Integer(), nullable=True),
        sa.Column("blob", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "kind IN ('full', 'incremental', 'patch')", name=op.f("ck_artifact_manifest_kind")
        ),
        sa.ForeignKeyConstraint(
            ["artifact_id"],
            ["artifact.id"],
            name=op.f("fk_artifact_manifest_artifact_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(["blob"], ["blob.key"], name=op.f("fk_artifact_manifest_blob")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_artifact_manifest")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_artifact_manifest_artifact_id", "artifact_manifest", ["artifact_id"])
    op.create_index("ix_artifact_manifest_blob", "artifact_manifest", ["blob"])
    op.create_table(
        "artifact_upload",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("artifact_id", sa.Integer(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("blob", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["artifact_id"],
            ["artifact.id"],
            name=op.f("fk_artifact_upload_artifact_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(["blob"], ["blob.key"], name=op.f("fk_artifact_upload_blob")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_artifact_upload")),
        sa.UniqueConstraint(
            "artifact_id", "path", name=op.f("uq_artifact_upload_artifact_id_path")
        ),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_artifact_upload_blob", "artifact_upload", ["blob"])
    op.create_table(
        "artifact_part",
        sa.Column("upload_id", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("blob", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["blob"], ["blob.key"], name=op.f("fk_artifact_part_blob")),
        sa.ForeignKeyConstraint(
            ["upload_id"],
            ["artifact_upload.id"],
            name=op.f("fk_artifact_part_upload_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("upload_id", "number", name=op.f("pk_artifact_part")),
    )
    op.create_index("ix_artifact_part_blob", "artifact_part", ["blob"])


def _create_uses() -> None:
    """What versions hold, and the runs around them."""
    op.create_table(
        "artifact_entry",
        sa.Column("artifact_id", sa.Integer(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("ref", sa.Text(), nullable=True),
        sa.Column("blob", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "(ref IS NULL) = (blob IS NOT NULL)", name=op.f("ck_artifact_entry_bytes")
        ),
        sa.ForeignKeyConstraint(
            ["artifact_id"],
            ["artifact.id"],
            name=op.f("fk_artifact_entry_artifact_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(["blob"], ["blob.key"], name=op.f("fk_artifact_entry_blob")),
        sa.PrimaryKeyConstraint("artifact_id", "path", name=op.f("pk_artifact_entry")),
    )
    op.create_index("ix_artifact_entry_blob", "artifact_entry", ["blob"])
    op.create_table(
        "artifact_run",
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("artifact_id", sa.Integer(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("used_as", sa.Text(), nullable=True),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.CheckConstraint("role IN ('input', 'output')", name=op.f("ck_artifact_run_role")),
        sa.ForeignKeyConstraint(
            ["artifact_id"],
            ["artifact.id"],
            name=op.f("fk_artifact_run_artifact_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["run_id"], ["run.id"], name=op.f("fk_artifact_run_run_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("run_id", "artifact_id", "role", name=op.f("pk_artifact_run")),
    )
    op.create_index("ix_artifact_run_artifact_id", "artifact_run", ["artifact_id"])
