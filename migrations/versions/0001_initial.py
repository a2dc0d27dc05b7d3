"""Create the registry.

Revision ID: 0001
Revises: none
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql.base import PGDialect

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)

_KEY_HASH = "hashtextextended(band || ' ' || array_id, 0)"
_EXCLUSION = f"""
    ALTER TABLE acceptances ADD CONSTRAINT ex_acceptances_overlap EXCLUDE USING gist (
        numrange({_KEY_HASH}, {_KEY_HASH}, '[]') WITH &&,
        int4range(pmap_from_number, pmap_to_number, '[]') WITH &&,
        tstzrange(accepted_utc, ended_utc) WITH &&
    )
"""
_TRIGGER = """
    CREATE TRIGGER ex_acceptances_overlap_{name}
    AFTER {event} ON acceptances WHEN EXISTS (
        SELECT 1 FROM acceptances AS other
        WHERE other.id <> NEW.id AND other.band = NEW.band AND other.array_id = NEW.array_id
        AND (other.pmap_to_number IS NULL OR other.pmap_to_number >= NEW.pmap_from_number)
        AND (NEW.pmap_to_number IS NULL OR NEW.pmap_to_number >= other.pmap_from_number)
        AND (other.ended_utc IS NULL OR other.ended_utc > NEW.accepted_utc)
        AND (NEW.ended_utc IS NULL OR NEW.ended_utc > other.accepted_utc)
        AND (NEW.ended_utc IS NULL OR NEW.ended_utc > NEW.accepted_utc)
        AND (other.ended_utc IS NULL OR other.ended_utc > other.accepted_utc)
    )
    BEGIN
        SELECT RAISE(ABORT, 'overlapping acceptances: ex_acceptances_overlap');
    END
"""


# Parents first: the order in which tables are made; they are dropped the other way round.
_TABLES = (
    "deliveries",
    "fields",
    "fit_runs",
    "ingests",
    "instrument",
    "pmaps",
    "coefficient_sets",
    "epochs",
    "external_solutions",
    "external_values",
    "pmap_equalities",
    "reference_files",
    "refusals",
    "sources",
    "zero_points",
    "acceptances",
    "applications",
    "coefficients",
    "covariances",
    "delivery_sets",
    "exposures",
    "grids",
    "prediction_residuals",
    "withdrawals",
    "catalogs",
    "detections",
    "pair_groups",
    "pairs",
    "set_inputs",
    "variable_sources",
)


def upgrade() -> None:
    """Create all tables, and the rule that acceptances of one key do not overlap."""
    _create_deliveries()
    _create_fields()
    _create_fit_runs()
    _create_ingests()
    _create_instrument()
    _create_pmaps()
    _create_coefficient_sets()
    _create_epochs()
    _create_external_solutions()
    _create_external_values()
    _create_pmap_equalities()
    _create_reference_files()
    _create_refusals()
    _create_sources()
    _create_zero_points()
    _create_acceptances()
    _create_applications()
    _create_coefficients()
    _create_covariances()
    _create_delivery_sets()
    _create_exposures()
    _create_grids()
    _create_prediction_residuals()
    _create_withdrawals()
    _create_catalogs()
    _create_detections()
    _create_pair_groups()
    _create_pairs()
    _create_set_inputs()
    _create_variable_sources()
    if isinstance(op.get_bind().dialect, PGDialect):
        op.execute(_EXCLUSION)
    else:
        for event in ("INSERT", "UPDATE"):
            op.execute(_TRIGGER.format(event=event, name=event.lower()))


def downgrade() -> None:
    """Drop all tables, and with them everything that they hold."""
    for table in reversed(_TABLES):
        op.drop_table(table)


def _create_deliveries() -> None:
    """Create the table deliveries."""
    op.create_table(
        "deliveries",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False, comment="recipe, grizli, parquet"),
        sa.Column("file_name", sa.Text(), nullable=False),
        sa.Column("directory", sa.Text(), nullable=False),
        sa.Column("file_size_bytes", sa.BigInteger(), nullable=False, comment="[byte]"),
        sa.Column("file_sha256", sa.Text(), nullable=False),
        sa.Column("created_utc", _TIME, nullable=False, comment="UTC"),
        sa.Column("code_version", sa.Text(), nullable=False, comment="calreg version"),
        sa.CheckConstraint("file_size_bytes > 0", name="ck_deliveries_file_size_bytes"),
        sa.CheckConstraint("length(file_sha256) = 64", name="ck_deliveries_file_sha256"),
        sa.PrimaryKeyConstraint("id", name="pk_deliveries"),
    )
    op.create_index("ix_deliveries_file_sha256", "deliveries", ["file_sha256"], unique=False)


def _create_fields() -> None:
    """Create the table fields."""
    op.create_table(
        "fields",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column(
            "name", sa.Text(), nullable=False, comment="given, or the proposer's target name"
        ),
        sa.Column(
            "merged_into_id",
            sa.Integer(),
            nullable=True,
            comment="field that took this one's epochs over",
        ),
        sa.Column("merged_utc", _TIME, nullable=True, comment="when, UTC"),
        sa.Column("created_utc", _TIME, nullable=False, comment="UTC"),
        sa.ForeignKeyConstraint(["merged_into_id"], ["fields.id"], name="fk_fields_merged_into_id"),
        sa.PrimaryKeyConstraint("id", name="pk_fields"),
        sa.UniqueConstraint("name", name="uq_fields_name"),
    )


def _create_fit_runs() -> None:
    """Create the table fit_runs."""
    op.create_table(
        "fit_runs",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("started_utc", _TIME, nullable=False, comment="UTC"),
        sa.Column("settings", sa.Text(), nullable=False, comment="JSON"),
        sa.Column("code_version", sa.Text(), nullable=False, comment="calreg version"),
        sa.PrimaryKeyConstraint("id", name="pk_fit_runs"),
    )


def _create_ingests() -> None:
    """Create the table ingests."""
    op.create_table(
        "ingests",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("started_utc", _TIME, nullable=False, comment="UTC"),
        sa.Column("code_version", sa.Text(), nullable=False, comment="calreg version"),
        sa.PrimaryKeyConstraint("id", name="pk_ingests"),
    )


def _create_instrument() -> None:
    """Create the table instrument."""
    op.create_table(
        "instrument",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False, comment="1"),
        sa.Column("name", sa.Text(), nullable=False, comment="as the card INSTRUME has it"),
        sa.Column(
            "source",
            sa.Text(),
            nullable=False,
            comment="name of a table that comes with calreg or another package, or path of a file",
        ),
        sa.Column(
            "facts",
            sa.Text(),
            nullable=True,
            comment="TOML text; NULL where the table comes with calreg",
        ),
        sa.CheckConstraint("name <> ''", name="ck_instrument_name"),
        sa.CheckConstraint("id = 1", name="ck_instrument_id"),
        sa.PrimaryKeyConstraint("id", name="pk_instrument"),
    )


def _create_pmaps() -> None:
    """Create the table pmaps."""
    op.create_table(
        "pmaps",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False, comment="jwst_1130.pmap"),
        sa.Column(
            "number", sa.Integer(), nullable=False, comment="integer that contexts are ordered by"
        ),
        sa.CheckConstraint("number > 0", name="ck_pmaps_number"),
        sa.PrimaryKeyConstraint("id", name="pk_pmaps"),
        sa.UniqueConstraint("name", name="uq_pmaps_name"),
        sa.UniqueConstraint("number", name="uq_pmaps_number"),
    )


def _create_coefficient_sets() -> None:
    """Create the table coefficient_sets."""
    op.create_table(
        "coefficient_sets",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("set_id", sa.Text(), nullable=False, comment="UUID, stamped on what is exported"),
        sa.Column("fit_run_id", sa.Integer(), nullable=False),
        sa.Column("field_id", sa.Integer(), nullable=False),
        sa.Column("pmap_id", sa.Integer(), nullable=False),
        sa.Column("filter", sa.Text(), nullable=False, comment="FILTER"),
        sa.Column("pupil", sa.Text(), nullable=False, comment="PUPIL"),
        sa.Column("band", sa.Text(), nullable=False),
        sa.Column("array_id", sa.Text(), nullable=False, comment="1 2 3 4 long"),
        sa.Column("image_kind", sa.Text(), nullable=False, comment="cal, crf or i2d"),
        sa.Column("flux_kind", sa.Text(), nullable=False, comment="iso, auto, aper or psf"),
        sa.Column("aperture", sa.Text(), nullable=False, comment="which aperture, for aper"),
        sa.Column("model", sa.Text(), nullable=False, comment="pair"),
        sa.Column(
            "model_version", sa.Integer(), nullable=False, comment="version of the model's code"
        ),
        sa.Column("version", sa.Integer(), nullable=False, comment="1, 2, ... per key"),
        sa.Column("datum", sa.Text(), nullable=False, comment="what is held at zero: B"),
        sa.Column("settings", sa.Text(), nullable=False, comment="JSON"),
        sa.Column(
            "input_digest",
            sa.Text(),
            nullable=False,
            comment="SHA-256 of inputs, settings, model version",
        ),
        sa.Column(
            "axis_pa_deg",
            sa.Double(),
            nullable=False,
            comment="position angle of +d [deg, N over E]",
        ),
        sa.Column("origin_ra_deg", sa.Double(), nullable=False, comment="d = 0 [deg, ICRS]"),
        sa.Column("origin_dec_deg", sa.Double(), nullable=False, comment="d = 0 [deg, ICRS]"),
        sa.Column("n_epochs", sa.Integer(), nullable=False, comment="epochs in the fit"),
        sa.Column("n_pairs", sa.Integer(), nullable=False, comment="pairs in the fit"),
        sa.Column(
            "n_sources", sa.Integer(), nullable=False, comment="independent sources in the fit"
        ),
        sa.Column("n_clipped", sa.Integer(), nullable=False, comment="pairs left out as variable"),
        sa.Column("floor_mag", sa.Double(), nullable=False, comment="noise floor per pair [mag]"),
        sa.Column(
            "scatter_mag", sa.Double(), nullable=False, comment="robust scatter of residuals [mag]"
        ),
        sa.Column("chi2", sa.Double(), nullable=False, comment="weighted squared residuals"),
        sa.Column("n_dof", sa.Integer(), nullable=False, comment="degrees of freedom of chi2"),
        sa.Column("corr_offset_slope", sa.Double(), nullable=True, comment="NULL without a slope"),
        sa.Column(
            "pivot_arcmin",
            sa.Double(),
            nullable=True,
            comment="folded d where offset and slope are uncorrelated [arcmin]",
        ),
        sa.Column(
            "offset_pivot_mag", sa.Double(), nullable=True, comment="m_A - m_B at the pivot [mag]"
        ),
        sa.Column("offset_pivot_err_mag", sa.Double(), nullable=True, comment="[mag]"),
        sa.Column(
            "offset_bootstrap_err_mag",
            sa.Double(),
            nullable=False,
            comment="error by bootstrap [mag]",
        ),
        sa.Column(
            "check_time_mag",
            sa.Double(),
            nullable=True,
            comment="median of pairs with equal rolls, the check on the time term [mag]",
        ),
        sa.Column("check_time_err_mag", sa.Double(), nullable=True, comment="[mag]"),
        sa.Column("created_utc", _TIME, nullable=False, comment="UTC"),
        sa.CheckConstraint("array_id <> ''", name="ck_coefficient_sets_array_id"),
        sa.CheckConstraint(
            "flux_kind IN ('iso', 'auto', 'aper', 'psf')", name="ck_coefficient_sets_flux_kind"
        ),
        sa.CheckConstraint(
            "image_kind IN ('cal', 'crf', 'i2d')", name="ck_coefficient_sets_image_kind"
        ),
        sa.CheckConstraint(
            "corr_offset_slope BETWEEN -1.0000001 AND 1.0000001",
            name="ck_coefficient_sets_corr_offset_slope",
        ),
        sa.CheckConstraint("floor_mag >= 0", name="ck_coefficient_sets_floor_mag"),
        sa.CheckConstraint("length(input_digest) = 64", name="ck_coefficient_sets_input_digest"),
        sa.CheckConstraint("n_clipped >= 0", name="ck_coefficient_sets_n_clipped"),
        sa.CheckConstraint("n_pairs > 0", name="ck_coefficient_sets_n_pairs"),
        sa.CheckConstraint("version > 0", name="ck_coefficient_sets_version"),
        sa.ForeignKeyConstraint(["field_id"], ["fields.id"], name="fk_coefficient_sets_field_id"),
        sa.ForeignKeyConstraint(
            ["fit_run_id"], ["fit_runs.id"], name="fk_coefficient_sets_fit_run_id"
        ),
        sa.ForeignKeyConstraint(["pmap_id"], ["pmaps.id"], name="fk_coefficient_sets_pmap_id"),
        sa.PrimaryKeyConstraint("id", name="pk_coefficient_sets"),
        sa.UniqueConstraint(
            "band",
            "array_id",
            "pmap_id",
            "field_id",
            "image_kind",
            "flux_kind",
            "aperture",
            "model",
            "version",
            name="uq_coefficient_sets_version",
        ),
        sa.UniqueConstraint("set_id", name="uq_coefficient_sets_set_id"),
    )
    op.create_index(
        "ix_coefficient_sets_created_utc", "coefficient_sets", ["created_utc"], unique=False
    )


def _create_epochs() -> None:
    """Create the table epochs."""
    op.create_table(
        "epochs",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("field_id", sa.Integer(), nullable=False),
        sa.Column(
            "label", sa.Text(), nullable=True, comment="name given with --epoch, NULL when found"
        ),
        sa.ForeignKeyConstraint(["field_id"], ["fields.id"], name="fk_epochs_field_id"),
        sa.PrimaryKeyConstraint("id", name="pk_epochs"),
        sa.UniqueConstraint("field_id", "label", name="uq_epochs_field_id_label"),
    )
    op.create_index("ix_epochs_field_id", "epochs", ["field_id"], unique=False)


def _create_external_solutions() -> None:
    """Create the table external_solutions."""
    op.create_table(
        "external_solutions",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("ingest_id", sa.Integer(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False, comment="citation given with --source"),
        sa.Column("pmap_id", sa.Integer(), nullable=False),
        sa.Column("band", sa.Text(), nullable=False),
        sa.Column("array_id", sa.Text(), nullable=False, comment="1 2 3 4 long"),
        sa.Column("offset_ab_mag", sa.Double(), nullable=False, comment="m_A - m_B [mag]"),
        sa.Column(
            "offset_ab_err_mag", sa.Double(), nullable=True, comment="[mag], NULL where not stated"
        ),
        sa.Column("offset_a_mag", sa.Double(), nullable=False, comment="share of module A [mag]"),
        sa.Column("offset_b_mag", sa.Double(), nullable=False, comment="share of module B [mag]"),
        sa.Column("slope_mag_arcmin", sa.Double(), nullable=False, comment="[mag / arcmin]"),
        sa.Column("slope_err_mag_arcmin", sa.Double(), nullable=False, comment="[mag / arcmin]"),
        sa.Column(
            "as_given", sa.Text(), nullable=False, comment="the row or rows of the file, JSON"
        ),
        sa.Column("file_name", sa.Text(), nullable=False),
        sa.Column("file_sha256", sa.Text(), nullable=False, comment="SHA-256 of the file"),
        sa.Column("sense", sa.Text(), nullable=False, comment="what the file's numbers do to flux"),
        sa.Column(
            "method",
            sa.Text(),
            nullable=False,
            comment="star: fluxes of sources; sky: surface brightness, without PIXAR_SR",
        ),
        sa.Column("state", sa.Text(), nullable=False, comment="measured or interpolated"),
        sa.Column(
            "datum", sa.Text(), nullable=False, comment="what is held at zero: B, A or given"
        ),
        sa.Column(
            "pixar_ab_mag",
            sa.Double(),
            nullable=True,
            comment="-2.5 log10 of PIXAR_SR of A over B, not in the offset [mag]",
        ),
        sa.CheckConstraint("array_id <> ''", name="ck_external_solutions_array_id"),
        sa.CheckConstraint("method IN ('star', 'sky')", name="ck_external_solutions_method"),
        sa.CheckConstraint("sense IN ('multiply', 'divide')", name="ck_external_solutions_sense"),
        sa.CheckConstraint(
            "state IN ('measured', 'interpolated')", name="ck_external_solutions_state"
        ),
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
    )
    op.create_index(
        "ix_external_solutions_key",
        "external_solutions",
        ["band", "array_id", "pmap_id"],
        unique=False,
    )


def _create_external_values() -> None:
    """Create the table external_values."""
    op.create_table(
        "external_values",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("ingest_id", sa.Integer(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False, comment="citation given with --source"),
        sa.Column("pmap_id", sa.Integer(), nullable=False),
        sa.Column("band", sa.Text(), nullable=False),
        sa.Column("array", sa.Text(), nullable=False, comment="detector in lower case"),
        sa.Column("value_given", sa.Double(), nullable=False, comment="in unit_given"),
        sa.Column(
            "err_given", sa.Double(), nullable=True, comment="in unit_given, NULL where not stated"
        ),
        sa.Column("unit_given", sa.Text(), nullable=False, comment="factor or mag"),
        sa.Column("sense", sa.Text(), nullable=False, comment="what the number does to flux"),
        sa.Column("method", sa.Text(), nullable=False, comment="star or sky"),
        sa.Column(
            "state",
            sa.Text(),
            nullable=False,
            comment="measured; datum: held fixed; interpolated; none: no data",
        ),
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
        sa.Column("text_given", sa.Text(), nullable=False, comment="that line"),
        sa.Column("file_name", sa.Text(), nullable=False),
        sa.Column("file_sha256", sa.Text(), nullable=False, comment="SHA-256 of the file"),
        sa.CheckConstraint("method IN ('star', 'sky')", name="ck_external_values_method"),
        sa.CheckConstraint("sense IN ('multiply', 'divide')", name="ck_external_values_sense"),
        sa.CheckConstraint(
            "state IN ('measured', 'datum', 'interpolated', 'none')",
            name="ck_external_values_state",
        ),
        sa.CheckConstraint("unit_given IN ('factor', 'mag')", name="ck_external_values_unit_given"),
        sa.CheckConstraint("err_given >= 0", name="ck_external_values_err_given"),
        sa.CheckConstraint("length(file_sha256) = 64", name="ck_external_values_file_sha256"),
        sa.CheckConstraint("offset_err_mag >= 0", name="ck_external_values_offset_err_mag"),
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


def _create_pmap_equalities() -> None:
    """Create the table pmap_equalities."""
    op.create_table(
        "pmap_equalities",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("pmap_1_id", sa.Integer(), nullable=False),
        sa.Column("pmap_2_id", sa.Integer(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False, comment="why they are believed equal"),
        sa.Column("declared_utc", _TIME, nullable=False, comment="UTC"),
        sa.Column("code_version", sa.Text(), nullable=False, comment="calreg version"),
        sa.Column("withdrawn_utc", _TIME, nullable=True, comment="UTC, NULL while it holds"),
        sa.Column("withdrawn_reason", sa.Text(), nullable=True, comment="why it no longer holds"),
        sa.CheckConstraint("reason <> ''", name="ck_pmap_equalities_reason"),
        sa.CheckConstraint(
            "(withdrawn_utc IS NULL) = (withdrawn_reason IS NULL)",
            name="ck_pmap_equalities_withdrawn_reason",
        ),
        sa.CheckConstraint("pmap_1_id <> pmap_2_id", name="ck_pmap_equalities_pmap_2_id"),
        sa.ForeignKeyConstraint(["pmap_1_id"], ["pmaps.id"], name="fk_pmap_equalities_pmap_1_id"),
        sa.ForeignKeyConstraint(["pmap_2_id"], ["pmaps.id"], name="fk_pmap_equalities_pmap_2_id"),
        sa.PrimaryKeyConstraint("id", name="pk_pmap_equalities"),
    )


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
            comment=(
                "date of exposures from which on it is used, as in the rmap; empty if not stated"
            ),
        ),
        sa.Column("file_name", sa.Text(), nullable=False, comment="jwst_nircam_photom_0155.fits"),
        sa.Column("source", sa.Text(), nullable=False, comment="mapping, or a citation"),
        sa.CheckConstraint("file_name <> ''", name="ck_reference_files_file_name"),
        sa.CheckConstraint("kind IN ('photom', 'flat', 'area')", name="ck_reference_files_kind"),
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


def _create_refusals() -> None:
    """Create the table refusals."""
    op.create_table(
        "refusals",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("fit_run_id", sa.Integer(), nullable=False),
        sa.Column("field_id", sa.Integer(), nullable=False),
        sa.Column("pmap_id", sa.Integer(), nullable=False),
        sa.Column("band", sa.Text(), nullable=False),
        sa.Column("array_id", sa.Text(), nullable=False, comment="1 2 3 4 long"),
        sa.Column("image_kind", sa.Text(), nullable=False, comment="cal, crf or i2d"),
        sa.Column("flux_kind", sa.Text(), nullable=False, comment="iso, auto, aper or psf"),
        sa.Column("aperture", sa.Text(), nullable=False, comment="which aperture, for aper"),
        sa.Column(
            "input_digest",
            sa.Text(),
            nullable=False,
            comment="SHA-256 of inputs, settings, model version",
        ),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("created_utc", _TIME, nullable=False, comment="UTC"),
        sa.CheckConstraint("length(input_digest) = 64", name="ck_refusals_input_digest"),
        sa.ForeignKeyConstraint(["field_id"], ["fields.id"], name="fk_refusals_field_id"),
        sa.ForeignKeyConstraint(["fit_run_id"], ["fit_runs.id"], name="fk_refusals_fit_run_id"),
        sa.ForeignKeyConstraint(["pmap_id"], ["pmaps.id"], name="fk_refusals_pmap_id"),
        sa.PrimaryKeyConstraint("id", name="pk_refusals"),
        sa.UniqueConstraint(
            "field_id",
            "pmap_id",
            "band",
            "array_id",
            "image_kind",
            "flux_kind",
            "aperture",
            "input_digest",
            name="uq_refusals_inputs",
        ),
    )


def _create_sources() -> None:
    """Create the table sources."""
    op.create_table(
        "sources",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("field_id", sa.Integer(), nullable=False),
        sa.Column("ra_deg", sa.Double(), nullable=False, comment="[deg, ICRS]"),
        sa.Column("dec_deg", sa.Double(), nullable=False, comment="[deg, ICRS]"),
        sa.CheckConstraint("dec_deg BETWEEN -90 AND 90", name="ck_sources_dec_deg"),
        sa.CheckConstraint("ra_deg BETWEEN 0 AND 360", name="ck_sources_ra_deg"),
        sa.ForeignKeyConstraint(["field_id"], ["fields.id"], name="fk_sources_field_id"),
        sa.PrimaryKeyConstraint("id", name="pk_sources"),
    )
    op.create_index("ix_sources_field_id", "sources", ["field_id"], unique=False)


def _create_zero_points() -> None:
    """Create the table zero_points."""
    op.create_table(
        "zero_points",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("pmap_id", sa.Integer(), nullable=False),
        sa.Column("ingest_id", sa.Integer(), nullable=False),
        sa.Column("array", sa.Text(), nullable=False, comment="detector in lower case"),
        sa.Column("filter", sa.Text(), nullable=False, comment="FILTER"),
        sa.Column("pupil", sa.Text(), nullable=False, comment="PUPIL"),
        sa.Column(
            "band", sa.Text(), nullable=False, comment="the element that shapes the passband"
        ),
        sa.Column(
            "subarray",
            sa.Text(),
            nullable=False,
            comment="SUBARRAY, empty where it holds for every one",
        ),
        sa.Column("photmjsr", sa.Double(), nullable=False, comment="PHOTMJSR [MJy/sr per DN/s]"),
        sa.Column(
            "pixar_sr", sa.Double(), nullable=True, comment="PIXAR_SR [sr]; NULL from mosaics"
        ),
        sa.Column("r_photom", sa.Text(), nullable=False, comment="photom reference file"),
        sa.Column(
            "source",
            sa.Text(),
            nullable=False,
            comment="where the value was seen: header, or a citation",
        ),
        sa.Column(
            "kind",
            sa.Text(),
            nullable=False,
            comment=(
                "header: with its time correction; table: row of a photom file; timed: the "
                "same, in a file with TIMECOEFF; published: as others wrote it down"
            ),
        ),
        sa.Column(
            "photmjsr_half_width",
            sa.Double(),
            nullable=False,
            comment="half a unit of the last digit of photmjsr [MJy/sr per DN/s]",
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
        ),
        sa.CheckConstraint(
            "kind IN ('header', 'table', 'timed', 'published')", name="ck_zero_points_kind"
        ),
        sa.CheckConstraint("photmjsr > 0", name="ck_zero_points_photmjsr"),
        sa.CheckConstraint("photmjsr_half_width > 0", name="ck_zero_points_photmjsr_half_width"),
        sa.CheckConstraint("pixar_half_width_sr > 0", name="ck_zero_points_pixar_half_width_sr"),
        sa.CheckConstraint("pixar_sr > 0", name="ck_zero_points_pixar_sr"),
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
    )
    op.create_index("ix_zero_points_key", "zero_points", ["band", "array", "pmap_id"], unique=False)


def _create_acceptances() -> None:
    """Create the table acceptances."""
    op.create_table(
        "acceptances",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("set_pk", sa.Integer(), nullable=False),
        sa.Column("band", sa.Text(), nullable=False, comment="of the set"),
        sa.Column("array_id", sa.Text(), nullable=False, comment="of the set"),
        sa.Column(
            "pmap_from_number",
            sa.Integer(),
            nullable=False,
            comment="first context, 1130 for jwst_1130.pmap",
        ),
        sa.Column(
            "pmap_to_number",
            sa.Integer(),
            nullable=True,
            comment="last context, itself included; NULL when the end is open",
        ),
        sa.Column("reason", sa.Text(), nullable=False, comment="given with --reason"),
        sa.Column("basis", sa.Text(), nullable=False, comment="what the range rests on, JSON"),
        sa.Column("accepted_utc", _TIME, nullable=False, comment="UTC"),
        sa.Column("ended_utc", _TIME, nullable=True, comment="UTC, NULL while it is in force"),
        sa.Column(
            "end_reason", sa.Text(), nullable=True, comment="why it ended, NULL while in force"
        ),
        sa.CheckConstraint("reason <> ''", name="ck_acceptances_reason"),
        sa.CheckConstraint("ended_utc >= accepted_utc", name="ck_acceptances_ended_utc"),
        sa.CheckConstraint("pmap_from_number > 0", name="ck_acceptances_pmap_from_number"),
        sa.CheckConstraint(
            "pmap_to_number >= pmap_from_number", name="ck_acceptances_pmap_to_number"
        ),
        sa.ForeignKeyConstraint(["set_pk"], ["coefficient_sets.id"], name="fk_acceptances_set_pk"),
        sa.PrimaryKeyConstraint("id", name="pk_acceptances"),
    )
    op.create_index("ix_acceptances_key", "acceptances", ["band", "array_id"], unique=False)
    op.create_index("ix_acceptances_set_pk", "acceptances", ["set_pk"], unique=False)


def _create_applications() -> None:
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
        sa.Column("created_utc", _TIME, nullable=False, comment="UTC"),
        sa.Column("code_version", sa.Text(), nullable=False, comment="calreg version"),
        sa.CheckConstraint("application_id <> ''", name="ck_applications_application_id"),
        sa.CheckConstraint("kind IN ('apply', 'undo')", name="ck_applications_kind"),
        sa.CheckConstraint(
            "origin IN ('measured', 'predicted', 'identity')", name="ck_applications_origin"
        ),
        sa.CheckConstraint("set_id <> ''", name="ck_applications_set_id"),
        sa.CheckConstraint("length(sha256_after) = 64", name="ck_applications_sha256_after"),
        sa.CheckConstraint("length(sha256_before) = 64", name="ck_applications_sha256_before"),
        sa.CheckConstraint("photom_factor > 0", name="ck_applications_photom_factor"),
        sa.ForeignKeyConstraint(["pmap_id"], ["pmaps.id"], name="fk_applications_pmap_id"),
        sa.ForeignKeyConstraint(["set_pk"], ["coefficient_sets.id"], name="fk_applications_set_pk"),
        sa.PrimaryKeyConstraint("id", name="pk_applications"),
    )
    op.create_index(
        "ix_applications_application_id", "applications", ["application_id"], unique=False
    )
    op.create_index("ix_applications_set_pk", "applications", ["set_pk"], unique=False)


def _create_coefficients() -> None:
    """Create the table coefficients."""
    op.create_table(
        "coefficients",
        sa.Column("set_pk", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False, comment="offset_ab, slope, time:EPOCH"),
        sa.Column("value", sa.Double(), nullable=False, comment="in unit"),
        sa.Column(
            "err", sa.Double(), nullable=False, comment="standard error, in unit; 0 when held fixed"
        ),
        sa.Column("unit", sa.Text(), nullable=False, comment="mag, mag / arcmin"),
        sa.CheckConstraint("err >= 0", name="ck_coefficients_err"),
        sa.ForeignKeyConstraint(["set_pk"], ["coefficient_sets.id"], name="fk_coefficients_set_pk"),
        sa.PrimaryKeyConstraint("set_pk", "name", name="pk_coefficients"),
        sqlite_with_rowid=False,
    )


def _create_covariances() -> None:
    """Create the table covariances."""
    op.create_table(
        "covariances",
        sa.Column("set_pk", sa.Integer(), nullable=False),
        sa.Column("name_1", sa.Text(), nullable=False),
        sa.Column("name_2", sa.Text(), nullable=False),
        sa.Column("value", sa.Double(), nullable=False, comment="product of the two units"),
        sa.ForeignKeyConstraint(["set_pk"], ["coefficient_sets.id"], name="fk_covariances_set_pk"),
        sa.PrimaryKeyConstraint("set_pk", "name_1", "name_2", name="pk_covariances"),
        sqlite_with_rowid=False,
    )


def _create_delivery_sets() -> None:
    """Create the table delivery_sets."""
    op.create_table(
        "delivery_sets",
        sa.Column("delivery_id", sa.Integer(), nullable=False),
        sa.Column("set_pk", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["delivery_id"], ["deliveries.id"], name="fk_delivery_sets_delivery_id"
        ),
        sa.ForeignKeyConstraint(
            ["set_pk"], ["coefficient_sets.id"], name="fk_delivery_sets_set_pk"
        ),
        sa.PrimaryKeyConstraint("delivery_id", "set_pk", name="pk_delivery_sets"),
    )


def _create_exposures() -> None:
    """Create the table exposures."""
    op.create_table(
        "exposures",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("epoch_id", sa.Integer(), nullable=False),
        sa.Column("pmap_id", sa.Integer(), nullable=False),
        sa.Column("ingest_id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False, comment="cal, crf or i2d"),
        sa.Column("program", sa.Text(), nullable=False, comment="PROGRAM"),
        sa.Column("observation", sa.Text(), nullable=False, comment="OBSERVTN"),
        sa.Column("visit", sa.Text(), nullable=False, comment="VISIT, empty for mosaics"),
        sa.Column("visit_group", sa.Text(), nullable=False, comment="VISITGRP, empty for mosaics"),
        sa.Column("sequence", sa.Text(), nullable=False, comment="SEQ_ID, empty for mosaics"),
        sa.Column("activity", sa.Text(), nullable=False, comment="ACT_ID, empty for mosaics"),
        sa.Column("exposure", sa.Text(), nullable=False, comment="EXPOSURE, empty for mosaics"),
        sa.Column("array", sa.Text(), nullable=False, comment="DETECTOR in lower case"),
        sa.Column(
            "array_id",
            sa.Text(),
            nullable=False,
            comment="what modules A and B share: 1 2 3 4 long",
        ),
        sa.Column("module", sa.Text(), nullable=False, comment="A or B"),
        sa.Column("cal_ver", sa.Text(), nullable=False, comment="CAL_VER"),
        sa.Column("filter", sa.Text(), nullable=False, comment="FILTER"),
        sa.Column("pupil", sa.Text(), nullable=False, comment="PUPIL"),
        sa.Column(
            "band", sa.Text(), nullable=False, comment="the element that shapes the passband"
        ),
        sa.Column("subarray", sa.Text(), nullable=False, comment="SUBARRAY"),
        sa.Column("expstart_mjd_utc", sa.Double(), nullable=False, comment="EXPSTART [d, MJD UTC]"),
        sa.Column("expmid_mjd_utc", sa.Double(), nullable=False, comment="EXPMID [d, MJD UTC]"),
        sa.Column("expend_mjd_utc", sa.Double(), nullable=False, comment="EXPEND [d, MJD UTC]"),
        sa.Column("exposure_time_s", sa.Double(), nullable=True, comment="EFFEXPTM or XPOSURE [s]"),
        sa.Column("n_members", sa.Integer(), nullable=False, comment="raw exposures in the image"),
        sa.Column("ra_v1_deg", sa.Double(), nullable=True, comment="RA_V1 [deg, ICRS]"),
        sa.Column("dec_v1_deg", sa.Double(), nullable=True, comment="DEC_V1 [deg, ICRS]"),
        sa.Column("pa_v3_deg", sa.Double(), nullable=True, comment="PA_V3 [deg, N over E]"),
        sa.Column("ra_ref_deg", sa.Double(), nullable=True, comment="RA_REF [deg, ICRS]"),
        sa.Column("dec_ref_deg", sa.Double(), nullable=True, comment="DEC_REF [deg, ICRS]"),
        sa.Column("roll_ref_deg", sa.Double(), nullable=True, comment="ROLL_REF [deg, N over E]"),
        sa.Column("v2_ref_arcsec", sa.Double(), nullable=True, comment="V2_REF [arcsec]"),
        sa.Column("v3_ref_arcsec", sa.Double(), nullable=True, comment="V3_REF [arcsec]"),
        sa.Column(
            "roll_deg", sa.Double(), nullable=False, comment="PA_V3, else ROLL_REF [deg, N over E]"
        ),
        sa.Column("s_region", sa.Text(), nullable=False, comment="S_REGION [deg, ICRS]"),
        sa.Column("bunit", sa.Text(), nullable=False, comment="BUNIT of SCI"),
        sa.Column("photmjsr", sa.Double(), nullable=True, comment="PHOTMJSR [MJy/sr per DN/s]"),
        sa.Column("pixar_sr", sa.Double(), nullable=True, comment="PIXAR_SR [sr]"),
        sa.Column("r_photom", sa.Text(), nullable=False, comment="R_PHOTOM without crds://"),
        sa.Column("r_flat", sa.Text(), nullable=False, comment="R_FLAT without crds://"),
        sa.Column("r_area", sa.Text(), nullable=False, comment="R_AREA without crds://"),
        sa.Column("target", sa.Text(), nullable=False, comment="TARGPROP"),
        sa.Column("file_name", sa.Text(), nullable=False, comment="name of the file"),
        sa.Column("directory", sa.Text(), nullable=False, comment="where the file was"),
        sa.Column("file_size_bytes", sa.BigInteger(), nullable=False, comment="[byte]"),
        sa.Column(
            "header_sha256",
            sa.Text(),
            nullable=False,
            comment="SHA-256 of all header blocks and the size",
        ),
        sa.Column(
            "file_sha256", sa.Text(), nullable=True, comment="SHA-256 of the file, with --hash full"
        ),
        sa.CheckConstraint("kind IN ('cal', 'crf', 'i2d')", name="ck_exposures_kind"),
        sa.CheckConstraint("dec_ref_deg BETWEEN -90 AND 90", name="ck_exposures_dec_ref_deg"),
        sa.CheckConstraint(
            "expend_mjd_utc >= expstart_mjd_utc", name="ck_exposures_expend_mjd_utc"
        ),
        sa.CheckConstraint("exposure_time_s > 0", name="ck_exposures_exposure_time_s"),
        sa.CheckConstraint("length(file_sha256) = 64", name="ck_exposures_file_sha256"),
        sa.CheckConstraint("length(header_sha256) = 64", name="ck_exposures_header_sha256"),
        sa.CheckConstraint("n_members > 0", name="ck_exposures_n_members"),
        sa.CheckConstraint("photmjsr > 0", name="ck_exposures_photmjsr"),
        sa.CheckConstraint("pixar_sr > 0", name="ck_exposures_pixar_sr"),
        sa.CheckConstraint("ra_ref_deg BETWEEN 0 AND 360", name="ck_exposures_ra_ref_deg"),
        sa.CheckConstraint("roll_deg BETWEEN 0 AND 360", name="ck_exposures_roll_deg"),
        sa.ForeignKeyConstraint(["epoch_id"], ["epochs.id"], name="fk_exposures_epoch_id"),
        sa.ForeignKeyConstraint(["ingest_id"], ["ingests.id"], name="fk_exposures_ingest_id"),
        sa.ForeignKeyConstraint(["pmap_id"], ["pmaps.id"], name="fk_exposures_pmap_id"),
        sa.PrimaryKeyConstraint("id", name="pk_exposures"),
        sa.UniqueConstraint(
            "kind",
            "program",
            "observation",
            "visit",
            "visit_group",
            "sequence",
            "activity",
            "exposure",
            "array",
            "filter",
            "pupil",
            "subarray",
            "pmap_id",
            "cal_ver",
            "expstart_mjd_utc",
            name="uq_exposures_identity",
        ),
    )
    op.create_index("ix_exposures_epoch_id", "exposures", ["epoch_id"], unique=False)
    op.create_index("ix_exposures_file_name", "exposures", ["file_name"], unique=False)


def _create_grids() -> None:
    """Create the table grids."""
    op.create_table(
        "grids",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("field_id", sa.Integer(), nullable=False),
        sa.Column(
            "epoch_id", sa.Integer(), nullable=False, comment="epoch whose footprints it covers"
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
        sa.CheckConstraint("dec_deg BETWEEN -90 AND 90", name="ck_grids_dec_deg"),
        sa.CheckConstraint("nx > 0", name="ck_grids_nx"),
        sa.CheckConstraint("ny > 0", name="ck_grids_ny"),
        sa.CheckConstraint("ra_deg BETWEEN 0 AND 360", name="ck_grids_ra_deg"),
        sa.CheckConstraint("scale_arcsec > 0", name="ck_grids_scale_arcsec"),
        sa.CheckConstraint("y_pa_deg BETWEEN 0 AND 360", name="ck_grids_y_pa_deg"),
        sa.ForeignKeyConstraint(["epoch_id"], ["epochs.id"], name="fk_grids_epoch_id"),
        sa.ForeignKeyConstraint(["field_id"], ["fields.id"], name="fk_grids_field_id"),
        sa.ForeignKeyConstraint(["ingest_id"], ["ingests.id"], name="fk_grids_ingest_id"),
        sa.PrimaryKeyConstraint("id", name="pk_grids"),
        sa.UniqueConstraint("field_id", "band", "scale_arcsec", name="uq_grids_identity"),
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
        sa.Column("created_utc", _TIME, nullable=False, comment="UTC"),
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
        sa.ForeignKeyConstraint(
            ["from_pmap_id"], ["pmaps.id"], name="fk_prediction_residuals_from_pmap_id"
        ),
        sa.ForeignKeyConstraint(
            ["from_set_pk"], ["coefficient_sets.id"], name="fk_prediction_residuals_from_set_pk"
        ),
        sa.ForeignKeyConstraint(
            ["from_solution_id"],
            ["external_solutions.id"],
            name="fk_prediction_residuals_from_solution_id",
        ),
        sa.ForeignKeyConstraint(
            ["set_pk"], ["coefficient_sets.id"], name="fk_prediction_residuals_set_pk"
        ),
        sa.PrimaryKeyConstraint("set_pk", name="pk_prediction_residuals"),
    )


def _create_withdrawals() -> None:
    """Create the table withdrawals."""
    op.create_table(
        "withdrawals",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("set_pk", sa.Integer(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False, comment="given with --reason"),
        sa.Column("withdrawn_utc", _TIME, nullable=False, comment="UTC"),
        sa.Column("ended_utc", _TIME, nullable=True, comment="UTC, NULL while it is in force"),
        sa.Column(
            "end_reason", sa.Text(), nullable=True, comment="why it ended, NULL while in force"
        ),
        sa.CheckConstraint("reason <> ''", name="ck_withdrawals_reason"),
        sa.CheckConstraint("ended_utc >= withdrawn_utc", name="ck_withdrawals_ended_utc"),
        sa.ForeignKeyConstraint(["set_pk"], ["coefficient_sets.id"], name="fk_withdrawals_set_pk"),
        sa.PrimaryKeyConstraint("id", name="pk_withdrawals"),
    )
    op.create_index(
        "uq_withdrawals_in_force",
        "withdrawals",
        ["set_pk"],
        unique=True,
        sqlite_where=sa.text("ended_utc IS NULL"),
        postgresql_where=sa.text("ended_utc IS NULL"),
    )


def _create_catalogs() -> None:
    """Create the table catalogs."""
    op.create_table(
        "catalogs",
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
            "n_dropped_error",
            sa.Integer(),
            nullable=False,
            comment="rows dropped for an error of 0 or less",
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
            comment="SHA-256 of the whole file; of settings and images for pixels",
        ),
        sa.Column(
            "origin",
            sa.Text(),
            nullable=False,
            comment="file: read from a catalog; pixels: measured on the image that the name is of",
        ),
        sa.Column(
            "version",
            sa.Integer(),
            nullable=False,
            comment="1, 2, ... per image, flux and aperture",
        ),
        sa.CheckConstraint(
            "flux_kind IN ('iso', 'auto', 'aper', 'psf')", name="ck_catalogs_flux_kind"
        ),
        sa.CheckConstraint("mag_origin IN ('flux', 'catalog')", name="ck_catalogs_mag_origin"),
        sa.CheckConstraint("origin IN ('file', 'pixels')", name="ck_catalogs_origin"),
        sa.CheckConstraint("length(file_sha256) = 64", name="ck_catalogs_file_sha256"),
        sa.CheckConstraint("n_dropped_nonfinite >= 0", name="ck_catalogs_n_dropped_nonfinite"),
        sa.CheckConstraint("n_dropped_error >= 0", name="ck_catalogs_n_dropped_error"),
        sa.CheckConstraint("n_negative_flux >= 0", name="ck_catalogs_n_negative_flux"),
        sa.CheckConstraint("n_rows > 0", name="ck_catalogs_n_rows"),
        sa.CheckConstraint("version > 0", name="ck_catalogs_version"),
        sa.ForeignKeyConstraint(["exposure_id"], ["exposures.id"], name="fk_catalogs_exposure_id"),
        sa.ForeignKeyConstraint(["ingest_id"], ["ingests.id"], name="fk_catalogs_ingest_id"),
        sa.PrimaryKeyConstraint("id", name="pk_catalogs"),
        sa.UniqueConstraint(
            "exposure_id", "flux_kind", "aperture", "version", name="uq_catalogs_identity"
        ),
    )
    op.create_index("ix_catalogs_file_sha256", "catalogs", ["file_sha256"], unique=False)


def _create_detections() -> None:
    """Create the table detections."""
    op.create_table(
        "detections",
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
        sa.Column(
            "x_det",
            sa.Double(),
            nullable=True,
            comment="detector column, mean of the exposures that cover it [pixel, 0-based]",
        ),
        sa.Column(
            "y_det",
            sa.Double(),
            nullable=True,
            comment="detector row, mean of the exposures that cover it [pixel, 0-based]",
        ),
        sa.Column(
            "v2_arcsec", sa.Double(), nullable=True, comment="mean V2 of these exposures [arcsec]"
        ),
        sa.Column(
            "v3_arcsec", sa.Double(), nullable=True, comment="mean V3 of these exposures [arcsec]"
        ),
        sa.Column(
            "r_half_arcsec", sa.Double(), nullable=True, comment="half-light radius [arcsec]"
        ),
        sa.Column(
            "compactness", sa.Integer(), nullable=False, comment="1 compact, 0 extended, -1 unknown"
        ),
        sa.CheckConstraint("compactness BETWEEN -1 AND 1", name="ck_detections_compactness"),
        sa.CheckConstraint("dec_deg BETWEEN -90 AND 90", name="ck_detections_dec_deg"),
        sa.CheckConstraint("ra_deg BETWEEN 0 AND 360", name="ck_detections_ra_deg"),
        sa.ForeignKeyConstraint(["catalog_id"], ["catalogs.id"], name="fk_detections_catalog_id"),
        sa.PrimaryKeyConstraint("catalog_id", "number", name="pk_detections"),
        sqlite_with_rowid=False,
    )


def _create_pair_groups() -> None:
    """Create the table pair_groups."""
    op.create_table(
        "pair_groups",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("fit_run_id", sa.Integer(), nullable=False),
        sa.Column("field_id", sa.Integer(), nullable=False),
        sa.Column("pmap_id", sa.Integer(), nullable=False),
        sa.Column("band", sa.Text(), nullable=False),
        sa.Column("array_id", sa.Text(), nullable=False, comment="1 2 3 4 long"),
        sa.Column(
            "image_kind",
            sa.Text(),
            nullable=False,
            comment="cal, crf or i2d, the same on both sides",
        ),
        sa.Column("flux_kind", sa.Text(), nullable=False, comment="the same on both sides"),
        sa.Column("aperture", sa.Text(), nullable=False, comment="the same on both sides"),
        sa.Column("catalog_i_id", sa.Integer(), nullable=False, comment="earlier image"),
        sa.Column("catalog_j_id", sa.Integer(), nullable=False, comment="later image"),
        sa.Column("epoch_i_id", sa.Integer(), nullable=False),
        sa.Column("epoch_j_id", sa.Integer(), nullable=False),
        sa.Column("array_i", sa.Text(), nullable=False, comment="array that saw the patch first"),
        sa.Column("array_j", sa.Text(), nullable=False, comment="array that saw it later"),
        sa.Column("relation", sa.Text(), nullable=False, comment="rolls: equal, opposite, other"),
        sa.Column(
            "roll_i_deg",
            sa.Double(),
            nullable=False,
            comment="roll of the earlier image [deg, N over E]",
        ),
        sa.Column("max_sep_arcsec", sa.Double(), nullable=False, comment="search radius [arcsec]"),
        sa.Column(
            "min_snr", sa.Double(), nullable=False, comment="pairs of lower mean S/N are not stored"
        ),
        sa.Column(
            "match_version", sa.Integer(), nullable=False, comment="version of the matching code"
        ),
        sa.Column("n_matched", sa.Integer(), nullable=False, comment="pairs found, stored or not"),
        sa.Column(
            "n_ambiguous", sa.Integer(), nullable=False, comment="of these, flagged ambiguous"
        ),
        sa.Column(
            "n_selected",
            sa.Integer(),
            nullable=False,
            comment="clean pairs within the run's limits",
        ),
        sa.Column("median_mag", sa.Double(), nullable=True, comment="median later - earlier [mag]"),
        sa.Column("mad_mag", sa.Double(), nullable=True, comment="median absolute deviation [mag]"),
        sa.Column(
            "ra_median_mas", sa.Double(), nullable=True, comment="removed offset dRA cosDec [mas]"
        ),
        sa.Column("ra_mad_mas", sa.Double(), nullable=True, comment="its MAD [mas]"),
        sa.Column(
            "dec_median_mas", sa.Double(), nullable=True, comment="removed offset dDec [mas]"
        ),
        sa.Column("dec_mad_mas", sa.Double(), nullable=True, comment="its MAD [mas]"),
        sa.CheckConstraint("array_id <> ''", name="ck_pair_groups_array_id"),
        sa.CheckConstraint(
            "flux_kind IN ('iso', 'auto', 'aper', 'psf')", name="ck_pair_groups_flux_kind"
        ),
        sa.CheckConstraint("image_kind IN ('cal', 'crf', 'i2d')", name="ck_pair_groups_image_kind"),
        sa.CheckConstraint(
            "relation IN ('equal', 'opposite', 'other')", name="ck_pair_groups_relation"
        ),
        sa.CheckConstraint("catalog_i_id <> catalog_j_id", name="ck_pair_groups_catalogs"),
        sa.CheckConstraint("epoch_i_id <> epoch_j_id", name="ck_pair_groups_epochs"),
        sa.CheckConstraint("max_sep_arcsec > 0", name="ck_pair_groups_max_sep_arcsec"),
        sa.CheckConstraint("min_snr > 0", name="ck_pair_groups_min_snr"),
        sa.CheckConstraint("n_ambiguous >= 0", name="ck_pair_groups_n_ambiguous"),
        sa.CheckConstraint("n_matched >= 0", name="ck_pair_groups_n_matched"),
        sa.CheckConstraint("n_selected >= 0", name="ck_pair_groups_n_selected"),
        sa.ForeignKeyConstraint(
            ["catalog_i_id"], ["catalogs.id"], name="fk_pair_groups_catalog_i_id"
        ),
        sa.ForeignKeyConstraint(
            ["catalog_j_id"], ["catalogs.id"], name="fk_pair_groups_catalog_j_id"
        ),
        sa.ForeignKeyConstraint(["epoch_i_id"], ["epochs.id"], name="fk_pair_groups_epoch_i_id"),
        sa.ForeignKeyConstraint(["epoch_j_id"], ["epochs.id"], name="fk_pair_groups_epoch_j_id"),
        sa.ForeignKeyConstraint(["field_id"], ["fields.id"], name="fk_pair_groups_field_id"),
        sa.ForeignKeyConstraint(["fit_run_id"], ["fit_runs.id"], name="fk_pair_groups_fit_run_id"),
        sa.ForeignKeyConstraint(["pmap_id"], ["pmaps.id"], name="fk_pair_groups_pmap_id"),
        sa.PrimaryKeyConstraint("id", name="pk_pair_groups"),
        sa.UniqueConstraint(
            "catalog_i_id",
            "catalog_j_id",
            "max_sep_arcsec",
            "min_snr",
            "match_version",
            name="uq_pair_groups_identity",
        ),
    )
    op.create_index(
        "ix_pair_groups_key",
        "pair_groups",
        ["field_id", "pmap_id", "band", "array_id"],
        unique=False,
    )


def _create_pairs() -> None:
    """Create the table pairs."""
    op.create_table(
        "pairs",
        sa.Column("group_id", sa.Integer(), nullable=False),
        sa.Column("number_i", sa.Integer(), nullable=False, comment="row in the earlier catalog"),
        sa.Column("number_j", sa.Integer(), nullable=False, comment="row in the later catalog"),
        sa.Column("source_id", sa.Integer(), nullable=False),
        sa.Column("ra_deg", sa.Double(), nullable=False, comment="mean position [deg, ICRS]"),
        sa.Column("dec_deg", sa.Double(), nullable=False, comment="mean position [deg, ICRS]"),
        sa.Column(
            "sep_mas",
            sa.Double(),
            nullable=False,
            comment="separation after the median offset [mas]",
        ),
        sa.Column("mag_i", sa.Double(), nullable=False, comment="earlier magnitude [mag AB]"),
        sa.Column("mag_err_i", sa.Double(), nullable=False, comment="[mag]"),
        sa.Column("mag_j", sa.Double(), nullable=False, comment="later magnitude [mag AB]"),
        sa.Column("mag_err_j", sa.Double(), nullable=False, comment="[mag]"),
        sa.Column("flags", sa.Integer(), nullable=False, comment="bits of calreg.flags.PairFlag"),
        sa.CheckConstraint("mag_err_i >= 0", name="ck_pairs_mag_err_i"),
        sa.CheckConstraint("mag_err_j >= 0", name="ck_pairs_mag_err_j"),
        sa.ForeignKeyConstraint(["group_id"], ["pair_groups.id"], name="fk_pairs_group_id"),
        sa.ForeignKeyConstraint(["source_id"], ["sources.id"], name="fk_pairs_source_id"),
        sa.PrimaryKeyConstraint("group_id", "number_i", "number_j", name="pk_pairs"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_pairs_source_id", "pairs", ["source_id"], unique=False)


def _create_set_inputs() -> None:
    """Create the table set_inputs."""
    op.create_table(
        "set_inputs",
        sa.Column("set_pk", sa.Integer(), nullable=False),
        sa.Column("group_id", sa.Integer(), nullable=False),
        sa.Column("n_used", sa.Integer(), nullable=False, comment="pairs in the fit"),
        sa.Column("median_mag", sa.Double(), nullable=True, comment="[mag]"),
        sa.Column("mad_mag", sa.Double(), nullable=True, comment="[mag]"),
        sa.CheckConstraint("n_used >= 0", name="ck_set_inputs_n_used"),
        sa.ForeignKeyConstraint(["group_id"], ["pair_groups.id"], name="fk_set_inputs_group_id"),
        sa.ForeignKeyConstraint(["set_pk"], ["coefficient_sets.id"], name="fk_set_inputs_set_pk"),
        sa.PrimaryKeyConstraint("set_pk", "group_id", name="pk_set_inputs"),
        sqlite_with_rowid=False,
    )


def _create_variable_sources() -> None:
    """Create the table variable_sources."""
    op.create_table(
        "variable_sources",
        sa.Column("source_id", sa.Integer(), nullable=False),
        sa.Column("group_id", sa.Integer(), nullable=False),
        sa.Column(
            "chi2", sa.Double(), nullable=False, comment="squared residual over its variance"
        ),
        sa.Column(
            "residual_mag",
            sa.Double(),
            nullable=False,
            comment="later - earlier minus the patch [mag]",
        ),
        sa.CheckConstraint("chi2 > 0", name="ck_variable_sources_chi2"),
        sa.ForeignKeyConstraint(
            ["group_id"], ["pair_groups.id"], name="fk_variable_sources_group_id"
        ),
        sa.ForeignKeyConstraint(
            ["source_id"], ["sources.id"], name="fk_variable_sources_source_id"
        ),
        sa.PrimaryKeyConstraint("source_id", "group_id", name="pk_variable_sources"),
        sqlite_with_rowid=False,
    )
