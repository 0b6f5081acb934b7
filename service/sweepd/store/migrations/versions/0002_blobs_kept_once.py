"""Blobs as rows that files refer to, so that a project keeps equal bytes once."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make a row of every blob that a file has, then let files refer to these rows."""
    op.create_table(
        "blob",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("project_id", sa.Integer(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("md5", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=True),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id"], ["project.id"], name=op.f("fk_blob_project_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_blob")),
        sa.UniqueConstraint("project_id", "sha256", name=op.f("uq_blob_project_id_sha256")),
    )
    op.create_index("ix_blob_project_id_md5", "blob", ["project_id", "md5"])
    op.execute(
        "INSERT INTO blob (key, project_id, size, md5, created_at)"
        " SELECT run_file.blob, run.project_id, run_file.size, run_file.md5, run_file.updated_at"
        " FROM run_file JOIN run ON run.id = run_file.run_id GROUP BY run_file.blob"
    )
    with op.batch_alter_table("run_file") as batch:
        batch.create_foreign_key(op.f("fk_run_file_blob"), "blob", ["blob"], ["key"])
    op.create_index("ix_run_file_blob", "run_file", ["blob"])
