"""Files that were corrected, or restored.

Revision ID: 0005
Revises: 0004
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table applications."""
    op.create_table(
        "applications",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False, comment="apply or undo"),
        sa.Column(
            "application_id",
            sa.Text(),
            nullable=False,
            comment="card CALREGAP; an undo has that it undid",
        ),
        sa.Column("origin", sa.Text(), nullable=False, comment="measured, predicted or identity"),
        sa.Column(
            "set_id",
            sa.Text(),
            nullable=False,
            comment="card CALREGID: coefficient set, or identity",
        ),
        sa.Column(
            "set_pk",
            sa.Integer(),
            nullable=True,
            comment="NULL for identity, and for sets of other registries",
        ),
        sa.Column("pmap_id", sa.Integer(), nullable=False, comment="CRDS_CTX of the file"),
        sa.Column("array", sa.Text(), nullable=False, comment="detector in lower case"),
        sa.Column(
            "band", sa.Text(), nullable=False, comment="the element that shapes the passband"
        ),
        sa.Column(
            "photom_factor", sa.Double(), nullable=False, comment="PHOTMJSR was multiplied by it"
        ),
        sa.Column("file_name", sa.Text(), nullable=False, comment="file that was written"),
        sa.Column("directory", sa.Text(), nullable=False, comment="where it was written to"),
        sa.Column(
            "sha256_before", sa.Text(), nullable=False, comment="SHA-256 of the whole file before"
        ),
        sa.Column(
            "sha256_after", sa.Text(), nullable=False, comment="SHA-256 of the whole file after"
        ),
        sa.Column("created_utc", sa.DateTime(timezone=True), nullable=False, comment="UTC"),
        sa.Column("code_version", sa.Text(), nullable=False, comment="calreg version"),
        sa.CheckConstraint("kind IN ('apply', 'undo')", name="ck_applications_kind"),
        sa.CheckConstraint(
            "origin IN ('measured', 'predicted', 'identity')", name="ck_applications_origin"
        ),
        sa.CheckConstraint("application_id <> ''", name="ck_applications_application_id"),
        sa.CheckConstraint("set_id <> ''", name="ck_applications_set_id"),
        sa.CheckConstraint("photom_factor > 0", name="ck_applications_photom_factor"),
        sa.CheckConstraint("length(sha256_before) = 64", name="ck_applications_sha256_before"),
        sa.CheckConstraint("length(sha256_after) = 64", name="ck_applications_sha256_after"),
        sa.ForeignKeyConstraint(["set_pk"], ["coefficient_sets.id"], name="fk_applications_set_pk"),
        sa.ForeignKeyConstraint(["pmap_id"], ["pmaps.id"], name="fk_applications_pmap_id"),
        sa.PrimaryKeyConstraint("id", name="pk_applications"),
    )
    op.create_index("ix_applications_application_id", "applications", ["application_id"])
    op.create_index("ix_applications_set_pk", "applications", ["set_pk"])


def downgrade() -> None:
    """Drop the table, if no file was corrected."""
    n_rows = op.get_bind().execute(sa.text("SELECT count(*) FROM applications")).scalar_one()
    if n_rows:
        msg = f"{n_rows} corrections of files cannot be kept by revision 0004: stay at 0005"
        raise RuntimeError(msg)
    op.drop_table("applications")
