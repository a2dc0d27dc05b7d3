"""External solutions: sense, method, datum; errors that are not stated; every number as given.

Revision ID: 0006
Revises: 0005
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_SENSE = "sense IN ('multiply', 'divide')"
_METHOD = "method IN ('star', 'sky')"
_STATE = "state IN ('measured', 'interpolated')"
_CHECKS = {"sense": _SENSE, "method": _METHOD, "state": _STATE}
_GIVEN = ("the row of the file, JSON", "the row or rows of the file, JSON")
_ERR = ("[mag]", "[mag], NULL where not stated")
"""Before and after."""

_TEXTS = {
    "sense": ("multiply", "what the file's numbers do to flux"),
    "method": ("star", "star: fluxes of sources; sky: surface brightness, without PIXAR_SR"),
    "state": ("measured", "measured or interpolated"),
    "datum": ("given", "what is held at zero: B, A or given"),
}
"""What the solutions so far are: published recipes; and the comment."""


def upgrade() -> None:
    """Add columns and the table; what is there came from recipes."""
    with op.batch_alter_table("external_solutions", copy_from=_solutions(is_new=False)) as batch:
        for column in _columns(has_defaults=True):
            batch.add_column(column)
        batch.alter_column(
            "offset_ab_err_mag", nullable=True, comment=_ERR[1], existing_comment=_ERR[0]
        )
        batch.alter_column("as_given", comment=_GIVEN[1], existing_comment=_GIVEN[0])
        for name, sql in _CHECKS.items():
            batch.create_check_constraint(f"ck_external_solutions_{name}", sql)
    with op.batch_alter_table("external_solutions", copy_from=_solutions(is_new=True)) as batch:
        for name in _TEXTS:
            batch.alter_column(name, server_default=None)
    _create_external_values()


def downgrade() -> None:
    """Take them away, if there are only recipes."""
    bind = op.get_bind()
    others = (
        "offset_ab_err_mag IS NULL OR sense <> 'multiply' OR method <> 'star' "
        "OR state <> 'measured' OR datum <> 'given'"
    )
    for rows in ("external_values", f"external_solutions WHERE {others}"):
        statement = f"SELECT count(*) FROM {rows}"  # noqa: S608
        if bind.execute(sa.text(statement)).scalar_one():
            msg = "external solutions other than recipes cannot be kept by 0005: stay at 0006"
            raise RuntimeError(msg)
    op.drop_table("external_values")
    with op.batch_alter_table("external_solutions", copy_from=_solutions(is_new=True)) as batch:
        for name in _CHECKS:
            batch.drop_constraint(f"ck_external_solutions_{name}", type_="check")
        for name in ("pixar_ab_mag", *reversed(_TEXTS)):
            batch.drop_column(name)
        batch.alter_column(
            "offset_ab_err_mag", nullable=False, comment=_ERR[0], existing_comment=_ERR[1]
        )
        batch.alter_column("as_given", comment=_GIVEN[0], existing_comment=_GIVEN[1])


def _columns(*, has_defaults: bool) -> list[sa.Column[Any]]:
    """Return the new columns of external_solutions."""
    texts = [
        sa.Column(
            name,
            sa.Text(),
            nullable=False,
            comment=comment,
            server_default=default if has_defaults else None,
        )
        for name, (default, comment) in _TEXTS.items()
    ]
    comment = "-2.5 log10 of PIXAR_SR of A over B, not in the offset [mag]"
    return [*texts, sa.Column("pixar_ab_mag", sa.Double(), nullable=True, comment=comment)]


def _solutions(*, is_new: bool) -> sa.Table:
    """Return the table external_solutions; SQLite rebuilds it, and reflection loses CHECKs."""
    index = int(is_new)
    added: list[Any] = []
    if is_new:
        added = [*_columns(has_defaults=False)]
        added += [
            sa.CheckConstraint(sql, name=f"ck_external_solutions_{name}")
            for name, sql in _CHECKS.items()
        ]
    return sa.Table(
        "external_solutions",
        sa.MetaData(),
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("ingest_id", sa.Integer(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False, comment="citation given with --source"),
        sa.Column("pmap_id", sa.Integer(), nullable=False),
        sa.Column("band", sa.Text(), nullable=False),
        sa.Column("array_id", sa.Text(), nullable=False, comment="1 2 3 4 long"),
        sa.Column("offset_ab_mag", sa.Double(), nullable=False, comment="m_A - m_B [mag]"),
        sa.Column("offset_ab_err_mag", sa.Double(), nullable=is_new, comment=_ERR[index]),
        sa.Column("offset_a_mag", sa.Double(), nullable=False, comment="share of module A [mag]"),
        sa.Column("offset_b_mag", sa.Double(), nullable=False, comment="share of module B [mag]"),
        sa.Column("slope_mag_arcmin", sa.Double(), nullable=False, comment="[mag / arcmin]"),
        sa.Column("slope_err_mag_arcmin", sa.Double(), nullable=False, comment="[mag / arcmin]"),
        sa.Column("as_given", sa.Text(), nullable=False, comment=_GIVEN[index]),
        sa.Column("file_name", sa.Text(), nullable=False),
        sa.Column("file_sha256", sa.Text(), nullable=False, comment="SHA-256 of the file"),
        *added,
        sa.CheckConstraint("array_id <> ''", name="ck_external_solutions_array_id"),
        sa.CheckConstraint("length(file_sha256) = 64", name="ck_external_solutions_file_sha256"),
        sa.CheckConstraint(
            "offset_ab_err_mag >= 0", name="ck_external_solutions_offset_ab_err_mag"
        ),
        sa.ForeignKeyConstraint(
            ["ingest_id"], ["ingests.id"], name="fk_external_solutions_ingest_id"
        ),
        sa.ForeignKeyConstraint(["pmap_id"], ["pmaps.id"], name="fk_external_solutions_pmap_id"),
        sa.PrimaryKeyConstraint("id", name="pk_external_solutions"),
        sa.UniqueConstraint(
            "source", "pmap_id", "band", "array_id", name="uq_external_solutions_identity"
        ),
        sa.Index("ix_external_solutions_key", "band", "array_id", "pmap_id"),
    )


def _text(name: str, comment: str | None = None) -> sa.Column[str]:
    """Return a column of text that must have a value."""
    return sa.Column(name, sa.Text(), nullable=False, comment=comment)


def _create_external_values() -> None:
    """Create the table external_values."""
    op.create_table(
        "external_values",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("ingest_id", sa.Integer(), nullable=False),
        _text("source", "citation given with --source"),
        sa.Column("pmap_id", sa.Integer(), nullable=False),
        _text("band"),
        _text("array", "detector in lower case"),
        sa.Column("value_given", sa.Double(), nullable=False, comment="in unit_given"),
        sa.Column(
            "err_given",
            sa.Double(),
            nullable=True,
            comment="in unit_given, NULL where not stated",
        ),
        _text("unit_given", "factor or mag"),
        _text("sense", "what the number does to flux"),
        _text("method", "star or sky"),
        _text("state", "measured; datum: held fixed; interpolated; none: no data"),
        sa.Column(
            "offset_mag",
            sa.Double(),
            nullable=False,
            comment="in our sign, relative to the table's own datum [mag]",
        ),
        sa.Column(
            "offset_err_mag", sa.Double(), nullable=True, comment="[mag], NULL where not stated"
        ),
        sa.Column(
            "photmjsr",
            sa.Double(),
            nullable=True,
            comment="PHOTMJSR that the table gives [MJy/sr per DN/s]",
        ),
        sa.Column(
            "pixar_sr", sa.Double(), nullable=True, comment="PIXAR_SR that the table gives [sr]"
        ),
        sa.Column("line", sa.Integer(), nullable=False, comment="line of the file"),
        _text("text_given", "that line"),
        _text("file_name"),
        _text("file_sha256", "SHA-256 of the file"),
        sa.CheckConstraint("err_given >= 0", name="ck_external_values_err_given"),
        sa.CheckConstraint("offset_err_mag >= 0", name="ck_external_values_offset_err_mag"),
        sa.CheckConstraint("length(file_sha256) = 64", name="ck_external_values_file_sha256"),
        sa.CheckConstraint(_SENSE, name="ck_external_values_sense"),
        sa.CheckConstraint(_METHOD, name="ck_external_values_method"),
        sa.CheckConstraint(
            "state IN ('measured', 'datum', 'interpolated', 'none')",
            name="ck_external_values_state",
        ),
        sa.CheckConstraint("unit_given IN ('factor', 'mag')", name="ck_external_values_unit_given"),
        sa.CheckConstraint("photmjsr > 0", name="ck_external_values_photmjsr"),
        sa.CheckConstraint("pixar_sr > 0", name="ck_external_values_pixar_sr"),
        sa.ForeignKeyConstraint(["ingest_id"], ["ingests.id"], name="fk_external_values_ingest_id"),
        sa.ForeignKeyConstraint(["pmap_id"], ["pmaps.id"], name="fk_external_values_pmap_id"),
        sa.PrimaryKeyConstraint("id", name="pk_external_values"),
        sa.UniqueConstraint(
            "source",
            "pmap_id",
            "band",
            "array",
            name="uq_external_values_source_pmap_id_band_array",
        ),
    )
