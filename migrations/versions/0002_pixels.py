"""Catalogs measured from pixels, their versions, detector positions, and the grids of mosaics.

Revision ID: 0002
Revises: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_POSITIONS = (
    ("x_det", "detector column, mean of the exposures that cover it [pixel, 0-based]"),
    ("y_det", "detector row, mean of the exposures that cover it [pixel, 0-based]"),
    ("v2_arcsec", "mean V2 of these exposures [arcsec]"),
    ("v3_arcsec", "mean V3 of these exposures [arcsec]"),
    ("r_half_arcsec", "half-light radius [arcsec]"),
)

_IDENTITY = ["exposure_id", "flux_kind", "aperture", "version"]
_IS_ORIGIN = "origin IN ('file', 'pixels')"
_IS_COMPACTNESS = "compactness BETWEEN -1 AND 1"
_DIGEST = "SHA-256 of the whole file"
_DIGEST_OR_INPUTS = "SHA-256 of the whole file; of settings and images for pixels"


def upgrade() -> None:
    """Add the columns and the table; what is there was read from files, as first versions."""
    _upgrade_catalogs()
    _upgrade_detections()
    _create_grids()


def downgrade() -> None:
    """Take them away, if every catalog is the only version that its image has."""
    n_later = op.get_bind().execute(sa.text("SELECT count(*) FROM catalogs WHERE version > 1"))
    if n_later.scalar_one():
        msg = "catalogs that replaced others cannot be kept by revision 0001: stay at 0002"
        raise RuntimeError(msg)
    op.drop_table("grids")
    with op.batch_alter_table("detections", copy_from=_detections(is_new=True)) as batch:
        batch.drop_constraint("ck_detections_compactness", type_="check")
        batch.drop_column("compactness")
        for name, _ in reversed(_POSITIONS):
            batch.drop_column(name)
    with op.batch_alter_table("catalogs", copy_from=_catalogs(is_new=True)) as batch:
        batch.drop_constraint("uq_catalogs_identity", type_="unique")
        batch.drop_constraint("ck_catalogs_origin", type_="check")
        batch.drop_constraint("ck_catalogs_version", type_="check")
        batch.drop_column("version")
        batch.drop_column("origin")
        batch.create_unique_constraint(
            "uq_catalogs_identity", ["exposure_id", "flux_kind", "aperture"]
        )
        batch.alter_column("file_sha256", comment=_DIGEST, existing_comment=_DIGEST_OR_INPUTS)


def _upgrade_catalogs() -> None:
    """Add origin and version, and let versions stand side by side."""
    with op.batch_alter_table("catalogs", copy_from=_catalogs(is_new=False)) as batch:
        batch.drop_constraint("uq_catalogs_identity", type_="unique")
        batch.add_column(_origin(server_default="file"))
        batch.add_column(_version(server_default="1"))
        batch.alter_column("file_sha256", comment=_DIGEST_OR_INPUTS, existing_comment=_DIGEST)
        batch.create_unique_constraint("uq_catalogs_identity", _IDENTITY)
        batch.create_check_constraint("ck_catalogs_origin", _IS_ORIGIN)
        batch.create_check_constraint("ck_catalogs_version", "version > 0")
    with op.batch_alter_table("catalogs", copy_from=_catalogs(is_new=True)) as batch:
        batch.alter_column("origin", server_default=None)
        batch.alter_column("version", server_default=None)


def _upgrade_detections() -> None:
    """Add detector positions, radius and compactness."""
    with op.batch_alter_table("detections", copy_from=_detections(is_new=False)) as batch:
        for name, comment in _POSITIONS:
            batch.add_column(sa.Column(name, sa.Double(), nullable=True, comment=comment))
        batch.add_column(_compactness(server_default="-1"))
        batch.create_check_constraint("ck_detections_compactness", _IS_COMPACTNESS)
    with op.batch_alter_table("detections", copy_from=_detections(is_new=True)) as batch:
        batch.alter_column("compactness", server_default=None)


def _create_grids() -> None:
    """Create the table grids."""
    op.create_table(
        "grids",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("field_id", sa.Integer(), nullable=False),
        sa.Column(
            "epoch_id",
            sa.Integer(),
            nullable=False,
            comment="epoch whose footprints it covers",
        ),
        sa.Column("ingest_id", sa.Integer(), nullable=False),
        sa.Column("band", sa.Text(), nullable=False),
        sa.Column("scale_arcsec", sa.Double(), nullable=False, comment="side of a pixel [arcsec]"),
        sa.Column("ra_deg", sa.Double(), nullable=False, comment="tangent point [deg, ICRS]"),
        sa.Column("dec_deg", sa.Double(), nullable=False, comment="tangent point [deg, ICRS]"),
        sa.Column(
            "y_pa_deg", sa.Double(), nullable=False, comment="position angle of +y [deg, N over E]"
        ),
        sa.Column("x_ref", sa.Double(), nullable=False, comment="tangent point [pixel, 0-based]"),
        sa.Column("y_ref", sa.Double(), nullable=False, comment="tangent point [pixel, 0-based]"),
        sa.Column("nx", sa.Integer(), nullable=False, comment="columns"),
        sa.Column("ny", sa.Integer(), nullable=False, comment="rows"),
        sa.CheckConstraint("scale_arcsec > 0", name="ck_grids_scale_arcsec"),
        sa.CheckConstraint("ra_deg BETWEEN 0 AND 360", name="ck_grids_ra_deg"),
        sa.CheckConstraint("dec_deg BETWEEN -90 AND 90", name="ck_grids_dec_deg"),
        sa.CheckConstraint("y_pa_deg BETWEEN 0 AND 360", name="ck_grids_y_pa_deg"),
        sa.CheckConstraint("nx > 0", name="ck_grids_nx"),
        sa.CheckConstraint("ny > 0", name="ck_grids_ny"),
        sa.ForeignKeyConstraint(["epoch_id"], ["epochs.id"], name="fk_grids_epoch_id"),
        sa.ForeignKeyConstraint(["field_id"], ["fields.id"], name="fk_grids_field_id"),
        sa.ForeignKeyConstraint(["ingest_id"], ["ingests.id"], name="fk_grids_ingest_id"),
        sa.PrimaryKeyConstraint("id", name="pk_grids"),
        sa.UniqueConstraint("field_id", "band", "scale_arcsec", name="uq_grids_identity"),
    )


# --- the tables as they are before and after; SQLite rebuilds them, and reflection loses CHECKs ---


def _origin(server_default: str | None = None) -> sa.Column[str]:
    """Return the column origin."""
    comment = "file: read from a catalog; pixels: measured on the image that the name is of"
    return sa.Column(
        "origin", sa.Text(), nullable=False, comment=comment, server_default=server_default
    )


def _version(server_default: str | None = None) -> sa.Column[int]:
    """Return the column version."""
    comment = "1, 2, ... per image, flux and aperture"
    return sa.Column(
        "version", sa.Integer(), nullable=False, comment=comment, server_default=server_default
    )


def _compactness(server_default: str | None = None) -> sa.Column[int]:
    """Return the column compactness."""
    comment = "1 compact, 0 extended, -1 unknown"
    return sa.Column(
        "compactness", sa.Integer(), nullable=False, comment=comment, server_default=server_default
    )


def _catalogs(*, is_new: bool) -> sa.Table:
    """Return the table catalogs."""
    added = (
        _origin(),
        _version(),
        sa.CheckConstraint(_IS_ORIGIN, name="ck_catalogs_origin"),
        sa.CheckConstraint("version > 0", name="ck_catalogs_version"),
    )
    identity = _IDENTITY if is_new else _IDENTITY[:-1]
    return sa.Table(
        "catalogs",
        sa.MetaData(),
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("exposure_id", sa.Integer(), nullable=False),
        sa.Column("ingest_id", sa.Integer(), nullable=False),
        sa.Column("flux_kind", sa.Text(), nullable=False, comment="iso, auto, aper or psf"),
        sa.Column("aperture", sa.Text(), nullable=False, comment="which aperture, for aper"),
        sa.Column("software", sa.Text(), nullable=False, comment="program and version"),
        sa.Column(
            "detection_image", sa.Text(), nullable=False, comment="detection image where stated"
        ),
        sa.Column(
            "mag_origin",
            sa.Text(),
            nullable=False,
            comment="flux: from fluxes and PIXAR_SR; or catalog",
        ),
        sa.Column(
            "mag_disagreement",
            sa.Double(),
            nullable=True,
            comment="median (computed - stated) magnitude [mag]",
        ),
        sa.Column(
            "settings", sa.Text(), nullable=False, comment="settings that the file states, JSON"
        ),
        sa.Column("n_rows", sa.Integer(), nullable=False, comment="detections stored"),
        sa.Column(
            "n_dropped_nonfinite",
            sa.Integer(),
            nullable=False,
            comment="rows dropped for NaN or infinity",
        ),
        sa.Column(
            "n_negative_flux", sa.Integer(), nullable=False, comment="rows stored without magnitude"
        ),
        sa.Column("file_name", sa.Text(), nullable=False, comment="name of the file"),
        sa.Column("directory", sa.Text(), nullable=False, comment="where the file was"),
        sa.Column("file_size_bytes", sa.BigInteger(), nullable=False, comment="[byte]"),
        sa.Column(
            "file_sha256",
            sa.Text(),
            nullable=False,
            comment=_DIGEST_OR_INPUTS if is_new else _DIGEST,
        ),
        *(added if is_new else ()),
        sa.CheckConstraint(
            "flux_kind IN ('iso', 'auto', 'aper', 'psf')", name="ck_catalogs_flux_kind"
        ),
        sa.CheckConstraint("mag_origin IN ('flux', 'catalog')", name="ck_catalogs_mag_origin"),
        sa.CheckConstraint("length(file_sha256) = 64", name="ck_catalogs_file_sha256"),
        sa.CheckConstraint("n_dropped_nonfinite >= 0", name="ck_catalogs_n_dropped_nonfinite"),
        sa.CheckConstraint("n_negative_flux >= 0", name="ck_catalogs_n_negative_flux"),
        sa.CheckConstraint("n_rows > 0", name="ck_catalogs_n_rows"),
        sa.ForeignKeyConstraint(["exposure_id"], ["exposures.id"], name="fk_catalogs_exposure_id"),
        sa.ForeignKeyConstraint(["ingest_id"], ["ingests.id"], name="fk_catalogs_ingest_id"),
        sa.PrimaryKeyConstraint("id", name="pk_catalogs"),
        sa.UniqueConstraint(*identity, name="uq_catalogs_identity"),
        sa.Index("ix_catalogs_file_sha256", "file_sha256"),
    )


def _detections(*, is_new: bool) -> sa.Table:
    """Return the table detections."""
    added = (
        *(sa.Column(name, sa.Double(), nullable=True, comment=text) for name, text in _POSITIONS),
        _compactness(),
        sa.CheckConstraint(_IS_COMPACTNESS, name="ck_detections_compactness"),
    )
    return sa.Table(
        "detections",
        sa.MetaData(),
        sa.Column("catalog_id", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False, comment="row identifier in the catalog"),
        sa.Column("ra_deg", sa.Double(), nullable=False, comment="[deg, ICRS]"),
        sa.Column("dec_deg", sa.Double(), nullable=False, comment="[deg, ICRS]"),
        sa.Column("x", sa.Double(), nullable=True, comment="[pixel, 0-based]"),
        sa.Column("y", sa.Double(), nullable=True, comment="[pixel, 0-based]"),
        sa.Column("flux_ujy", sa.Double(), nullable=True, comment="[uJy]"),
        sa.Column("flux_err_ujy", sa.Double(), nullable=True, comment="[uJy]"),
        sa.Column(
            "mag_ab", sa.Double(), nullable=True, comment="[mag AB], NULL if flux is not positive"
        ),
        sa.Column("mag_err", sa.Double(), nullable=True, comment="[mag]"),
        sa.Column(
            "flags", sa.Integer(), nullable=False, comment="bits of calreg.flags.DetectionFlag"
        ),
        *(added if is_new else ()),
        sa.CheckConstraint("dec_deg BETWEEN -90 AND 90", name="ck_detections_dec_deg"),
        sa.CheckConstraint("ra_deg BETWEEN 0 AND 360", name="ck_detections_ra_deg"),
        sa.ForeignKeyConstraint(["catalog_id"], ["catalogs.id"], name="fk_detections_catalog_id"),
        sa.PrimaryKeyConstraint("catalog_id", "number", name="pk_detections"),
        sqlite_with_rowid=False,
    )
