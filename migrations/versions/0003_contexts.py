"""Precision and kind of zero points, reference files, equal contexts, tested predictions.

Revision ID: 0003
Revises: 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_COMMENTS = {
    "subarray": ("SUBARRAY", "SUBARRAY, empty where it holds for every one"),
    "source": (
        "where the value was seen: header",
        "where the value was seen: header, or a citation",
    ),
}
"""Before and after."""

_NEW = ("kind", "photmjsr_half_width", "pixar_half_width_sr", "file_name")
_CHECKS = {
    "ck_zero_points_kind": "kind IN ('header', 'table', 'timed', 'published')",
    "ck_zero_points_photmjsr_half_width": "photmjsr_half_width > 0",
    "ck_zero_points_pixar_half_width_sr": "pixar_half_width_sr > 0",
}


def upgrade() -> None:
    """Add columns and tables; all zero points so far are from headers, of 32-bit floats."""
    with op.batch_alter_table("zero_points", copy_from=_zero_points(is_new=False)) as batch:
        for column in _columns(has_defaults=True):
            batch.add_column(column)
        for name, (before, after) in _COMMENTS.items():
            batch.alter_column(name, comment=after, existing_comment=before)
    op.execute("UPDATE zero_points SET photmjsr_half_width = photmjsr / 16777216.0")
    op.execute("UPDATE zero_points SET pixar_half_width_sr = pixar_sr / 16777216.0")
    with op.batch_alter_table("zero_points", copy_from=_zero_points(is_new=True)) as batch:
        for name in ("kind", "photmjsr_half_width", "file_name"):
            batch.alter_column(name, server_default=None)
        for name, sql in _CHECKS.items():
            batch.create_check_constraint(name, sql)
    _create_reference_files()
    _create_pmap_equalities()
    _create_prediction_residuals()


def downgrade() -> None:
    """Take them away, if there is nothing in them that revision 0002 could not keep."""
    connection = op.get_bind()
    for statement, what in (
        ("SELECT count(*) FROM zero_points WHERE kind <> 'header'", "zero points from files"),
        ("SELECT count(*) FROM reference_files", "reference files of contexts"),
        ("SELECT count(*) FROM pmap_equalities", "declared equalities of contexts"),
        ("SELECT count(*) FROM prediction_residuals", "residuals of predictions"),
    ):
        if connection.execute(sa.text(statement)).scalar_one():
            msg = f"{what} cannot be kept by revision 0002: stay at 0003"
            raise RuntimeError(msg)
    for table in ("prediction_residuals", "pmap_equalities", "reference_files"):
        op.drop_table(table)
    with op.batch_alter_table(
        "zero_points", copy_from=_zero_points(is_new=True, has_checks=True)
    ) as batch:
        for name in _CHECKS:
            batch.drop_constraint(name, type_="check")
        for name in reversed(_NEW):
            batch.drop_column(name)
        for name, (before, after) in _COMMENTS.items():
            batch.alter_column(name, comment=before, existing_comment=after)


def _create_reference_files() -> None:
    """Create the table reference_files."""
    op.create_table(
        "reference_files",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("pmap_id", sa.Integer(), nullable=False),
        sa.Column("ingest_id", sa.Integer(), nullable=False),
        sa.Column("array", sa.Text(), nullable=False, comment="detector in lower case"),
        sa.Column("kind", sa.Text(), nullable=False, comment="photom, flat or area"),
        sa.Column("filter", sa.Text(), nullable=False, comment="FILTER, empty for every one"),
        sa.Column("pupil", sa.Text(), nullable=False, comment="PUPIL, empty for every one"),
        sa.Column(
            "useafter",
            sa.Text(),
            nullable=False,
            comment="date of exposures from which on it is used, as in the rmap; "
            "empty if not stated",
        ),
        sa.Column("file_name", sa.Text(), nullable=False, comment="jwst_nircam_photom_0155.fits"),
        sa.Column("source", sa.Text(), nullable=False, comment="mapping, or a citation"),
        sa.CheckConstraint("kind IN ('photom', 'flat', 'area')", name="ck_reference_files_kind"),
        sa.CheckConstraint("file_name <> ''", name="ck_reference_files_file_name"),
        sa.ForeignKeyConstraint(["ingest_id"], ["ingests.id"], name="fk_reference_files_ingest_id"),
        sa.ForeignKeyConstraint(["pmap_id"], ["pmaps.id"], name="fk_reference_files_pmap_id"),
        sa.PrimaryKeyConstraint("id", name="pk_reference_files"),
        sa.UniqueConstraint(
            "pmap_id",
            "array",
            "kind",
            "filter",
            "pupil",
            "useafter",
            "file_name",
            "source",
            name="uq_reference_files_value",
        ),
    )


def _create_pmap_equalities() -> None:
    """Create the table pmap_equalities."""
    op.create_table(
        "pmap_equalities",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("pmap_1_id", sa.Integer(), nullable=False),
        sa.Column("pmap_2_id", sa.Integer(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False, comment="why they are believed equal"),
        sa.Column("declared_utc", sa.DateTime(timezone=True), nullable=False, comment="UTC"),
        sa.Column("code_version", sa.Text(), nullable=False, comment="calreg version"),
        sa.Column(
            "withdrawn_utc",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="UTC, NULL while it holds",
        ),
        sa.Column("withdrawn_reason", sa.Text(), nullable=True, comment="why it no longer holds"),
        sa.CheckConstraint("pmap_1_id <> pmap_2_id", name="ck_pmap_equalities_pmap_2_id"),
        sa.CheckConstraint("reason <> ''", name="ck_pmap_equalities_reason"),
        sa.CheckConstraint(
            "(withdrawn_utc IS NULL) = (withdrawn_reason IS NULL)",
            name="ck_pmap_equalities_withdrawn_reason",
        ),
        sa.ForeignKeyConstraint(["pmap_1_id"], ["pmaps.id"], name="fk_pmap_equalities_pmap_1_id"),
        sa.ForeignKeyConstraint(["pmap_2_id"], ["pmaps.id"], name="fk_pmap_equalities_pmap_2_id"),
        sa.PrimaryKeyConstraint("id", name="pk_pmap_equalities"),
    )


def _create_prediction_residuals() -> None:
    """Create the table prediction_residuals."""
    op.create_table(
        "prediction_residuals",
        sa.Column("set_pk", sa.Integer(), nullable=False, comment="the set that was fitted"),
        sa.Column(
            "from_pmap_id",
            sa.Integer(),
            nullable=False,
            comment="context that the prediction is from",
        ),
        sa.Column(
            "from_set_pk", sa.Integer(), nullable=True, comment="set that the prediction rests on"
        ),
        sa.Column("from_solution_id", sa.Integer(), nullable=True, comment="or external solution"),
        sa.Column(
            "predicted_offset_ab_mag", sa.Double(), nullable=False, comment="m_A - m_B [mag]"
        ),
        sa.Column("predicted_err_mag", sa.Double(), nullable=False, comment="[mag]"),
        sa.Column(
            "residual_mag", sa.Double(), nullable=False, comment="measured minus predicted [mag]"
        ),
        sa.Column(
            "residual_err_mag",
            sa.Double(),
            nullable=False,
            comment="both errors, as independent [mag]",
        ),
        sa.Column("basis", sa.Text(), nullable=False, comment="what the prediction rests on"),
        sa.Column(
            "candidates",
            sa.Text(),
            nullable=False,
            comment="what else may have changed, JSON list; empty while they agree within 3 sigma",
        ),
        sa.Column("created_utc", sa.DateTime(timezone=True), nullable=False, comment="UTC"),
        sa.CheckConstraint(
            "(from_set_pk IS NULL) <> (from_solution_id IS NULL)",
            name="ck_prediction_residuals_from_set_pk",
        ),
        sa.CheckConstraint(
            "predicted_err_mag >= 0", name="ck_prediction_residuals_predicted_err_mag"
        ),
        sa.CheckConstraint(
            "residual_err_mag >= 0", name="ck_prediction_residuals_residual_err_mag"
        ),
        *(
            sa.ForeignKeyConstraint(
                [column], [f"{table}.id"], name=f"fk_prediction_residuals_{column}"
            )
            for column, table in (
                ("set_pk", "coefficient_sets"),
                ("from_pmap_id", "pmaps"),
                ("from_set_pk", "coefficient_sets"),
                ("from_solution_id", "external_solutions"),
            )
        ),
        sa.PrimaryKeyConstraint("set_pk", name="pk_prediction_residuals"),
    )


# --- zero_points as it is before and after; SQLite rebuilds it, and reflection loses CHECKs -------


def _columns(*, has_defaults: bool = False) -> list[sa.Column[object]]:
    """Return the new columns."""
    return [
        sa.Column(
            "kind",
            sa.Text(),
            nullable=False,
            comment="header: with its time correction; table: row of a photom file; timed: the "
            "same, in a file with TIMECOEFF; published: as others wrote it down",
            server_default="header" if has_defaults else None,
        ),
        sa.Column(
            "photmjsr_half_width",
            sa.Double(),
            nullable=False,
            comment="half a unit of the last digit of photmjsr [MJy/sr per DN/s]",
            server_default="1" if has_defaults else None,
        ),
        sa.Column(
            "pixar_half_width_sr",
            sa.Double(),
            nullable=True,
            comment="half a unit of the last digit of pixar_sr [sr]",
        ),
        sa.Column(
            "file_name",
            sa.Text(),
            nullable=False,
            comment="file of values; empty for headers of images",
            server_default="" if has_defaults else None,
        ),
    ]


def _zero_points(*, is_new: bool, has_checks: bool = False) -> sa.Table:
    """Return the table zero_points."""
    comments = {name: texts[1 if is_new else 0] for name, texts in _COMMENTS.items()}
    checks = [sa.CheckConstraint(sql, name=name) for name, sql in _CHECKS.items()]
    return sa.Table(
        "zero_points",
        sa.MetaData(),
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("pmap_id", sa.Integer(), nullable=False),
        sa.Column("ingest_id", sa.Integer(), nullable=False),
        sa.Column("array", sa.Text(), nullable=False, comment="detector in lower case"),
        sa.Column("filter", sa.Text(), nullable=False, comment="FILTER"),
        sa.Column("pupil", sa.Text(), nullable=False, comment="PUPIL"),
        sa.Column(
            "band", sa.Text(), nullable=False, comment="the element that shapes the passband"
        ),
        sa.Column("subarray", sa.Text(), nullable=False, comment=comments["subarray"]),
        sa.Column("photmjsr", sa.Double(), nullable=False, comment="PHOTMJSR [MJy/sr per DN/s]"),
        sa.Column(
            "pixar_sr", sa.Double(), nullable=True, comment="PIXAR_SR [sr]; NULL from mosaics"
        ),
        sa.Column("r_photom", sa.Text(), nullable=False, comment="photom reference file"),
        sa.Column("source", sa.Text(), nullable=False, comment=comments["source"]),
        *(_columns() if is_new else ()),
        sa.CheckConstraint("photmjsr > 0", name="ck_zero_points_photmjsr"),
        sa.CheckConstraint("pixar_sr > 0", name="ck_zero_points_pixar_sr"),
        *(checks if has_checks else ()),
        sa.ForeignKeyConstraint(["ingest_id"], ["ingests.id"], name="fk_zero_points_ingest_id"),
        sa.ForeignKeyConstraint(["pmap_id"], ["pmaps.id"], name="fk_zero_points_pmap_id"),
        sa.PrimaryKeyConstraint("id", name="pk_zero_points"),
        sa.UniqueConstraint(
            "array",
            "filter",
            "pupil",
            "subarray",
            "pmap_id",
            "photmjsr",
            "source",
            name="uq_zero_points_value",
        ),
        sa.Index("ix_zero_points_key", "band", "array", "pmap_id"),
    )
