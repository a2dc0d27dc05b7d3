"""What is fitted, decided and handed out: sets, acceptances, withdrawals, exports, corrections.

Of acceptances and withdrawals, which people decide, no row is deleted. The one change that a row
sees is that its end is filled in, once.
"""

from __future__ import annotations

import sqlalchemy as sa

from calreg.db.engines.choose import dialect_of
from calreg.db.schema.base import (
    FLUX_KINDS,
    IMAGE_KINDS,
    Base,
    between,
    big_integer,
    double,
    integer,
    moment,
    not_empty,
    not_negative,
    one_of,
    positive,
    sha256,
    text,
)


class CoefficientSetRow(Base):
    """Fitted numbers for one key. Never changed; the highest version is the current one."""

    __tablename__ = "coefficient_sets"
    __table_args__ = (
        # In the order of the questions, whose index this is too.
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
        not_empty("array_id"),
        one_of("image_kind", *IMAGE_KINDS),
        one_of("flux_kind", *FLUX_KINDS),
        positive("version"),
        positive("n_pairs"),
        not_negative("n_clipped"),
        not_negative("floor_mag"),
        sha256("input_digest"),
        between("corr_offset_slope", -1.0000001, 1.0000001),
    )

    id = integer(primary_key=True)
    set_id = text("UUID, stamped on what is exported", unique=True)
    fit_run_id = integer(references="fit_runs.id")
    field_id = integer(references="fields.id")
    pmap_id = integer(references="pmaps.id")
    filter = text("FILTER")
    pupil = text("PUPIL")
    band = text()
    array_id = text("1 2 3 4 long")
    image_kind = text("cal, crf or i2d")
    flux_kind = text("iso, auto, aper or psf")
    aperture = text("which aperture, for aper")
    model = text("pair")
    model_version = integer("version of the model's code")
    version = integer("1, 2, ... per key")
    datum = text("what is held at zero: B")
    settings = text("JSON")
    input_digest = text("SHA-256 of inputs, settings, model version")
    axis_pa_deg = double("position angle of +d [deg, N over E]")
    origin_ra_deg = double("d = 0 [deg, ICRS]")
    origin_dec_deg = double("d = 0 [deg, ICRS]")
    n_epochs = integer("epochs in the fit")
    n_pairs = integer("pairs in the fit")
    n_sources = integer("independent sources in the fit")
    n_clipped = integer("pairs left out as variable")
    floor_mag = double("noise floor per pair [mag]")
    scatter_mag = double("robust scatter of residuals [mag]")
    chi2 = double("weighted squared residuals")
    n_dof = integer("degrees of freedom of chi2")
    corr_offset_slope = double("NULL without a slope", nullable=True)
    pivot_arcmin = double(
        "folded d where offset and slope are uncorrelated [arcmin]", nullable=True
    )
    offset_pivot_mag = double("m_A - m_B at the pivot [mag]", nullable=True)
    offset_pivot_err_mag = double("[mag]", nullable=True)
    offset_bootstrap_err_mag = double("error by bootstrap [mag]")
    check_time_mag = double(
        "median of pairs with equal rolls, the check on the time term [mag]", nullable=True
    )
    check_time_err_mag = double("[mag]", nullable=True)
    created_utc = moment("UTC", index=True)


class CoefficientRow(Base):
    """One coefficient of a set."""

    __tablename__ = "coefficients"
    __table_args__ = (not_negative("err"), {"sqlite_with_rowid": False})

    set_pk = integer(references="coefficient_sets.id", primary_key=True)
    name = text("offset_ab, slope, time:EPOCH", primary_key=True)
    value = double("in unit")
    err = double("standard error, in unit; 0 when held fixed")
    unit = text("mag, mag / arcmin")


class CovarianceRow(Base):
    """One element of a set's covariance (upper triangle with the diagonal)."""

    __tablename__ = "covariances"
    __table_args__ = ({"sqlite_with_rowid": False},)

    set_pk = integer(references="coefficient_sets.id", primary_key=True)
    name_1 = text(primary_key=True)
    name_2 = text(primary_key=True)
    value = double("product of the two units")


class SetInputRow(Base):
    """A pair group that a set was fitted from, with its statistics under the set's selection."""

    __tablename__ = "set_inputs"
    __table_args__ = (not_negative("n_used"), {"sqlite_with_rowid": False})

    set_pk = integer(references="coefficient_sets.id", primary_key=True)
    group_id = integer(references="pair_groups.id", primary_key=True)
    n_used = integer("pairs in the fit")
    median_mag = double("[mag]", nullable=True)
    mad_mag = double("[mag]", nullable=True)


class RefusalRow(Base):
    """A key that could not be fitted, and why."""

    __tablename__ = "refusals"
    __table_args__ = (
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
        sha256("input_digest"),
    )

    id = integer(primary_key=True)
    fit_run_id = integer(references="fit_runs.id")
    field_id = integer(references="fields.id")
    pmap_id = integer(references="pmaps.id")
    band = text()
    array_id = text("1 2 3 4 long")
    image_kind = text("cal, crf or i2d")
    flux_kind = text("iso, auto, aper or psf")
    aperture = text("which aperture, for aper")
    input_digest = text("SHA-256 of inputs, settings, model version")
    reason = text()
    created_utc = moment("UTC")


class DeliveryRow(Base):
    """A file that was exported."""

    __tablename__ = "deliveries"
    __table_args__ = (sha256("file_sha256"), positive("file_size_bytes"))

    id = integer(primary_key=True)
    kind = text("recipe, grizli, parquet")
    file_name = text()
    directory = text()
    file_size_bytes = big_integer("[byte]")
    file_sha256 = text(index=True)
    created_utc = moment("UTC")
    code_version = text("calreg version")


class DeliverySetRow(Base):
    """A coefficient set that a delivered file contains."""

    __tablename__ = "delivery_sets"

    delivery_id = integer(references="deliveries.id", primary_key=True)
    set_pk = integer(references="coefficient_sets.id", primary_key=True)


class AcceptanceRow(Base):
    """A set accepted for a range of contexts, in the half-open time [accepted_utc, ended_utc).

    Two acceptances of one band and array id never overlap in both range and time: the database
    refuses that (`calreg.db.engines.guards`).
    """

    __tablename__ = "acceptances"
    __table_args__ = (
        not_empty("reason"),
        positive("pmap_from_number"),
        sa.CheckConstraint("pmap_to_number >= pmap_from_number", name="pmap_to_number"),
        sa.CheckConstraint("ended_utc >= accepted_utc", name="ended_utc"),
        sa.Index("ix_acceptances_key", "band", "array_id"),
    )

    id = integer(primary_key=True)
    set_pk = integer(references="coefficient_sets.id", index=True)
    band = text("of the set")
    array_id = text("of the set")
    pmap_from_number = integer("first context, 1130 for jwst_1130.pmap")
    pmap_to_number = integer(
        "last context, itself included; NULL when the end is open", nullable=True
    )
    reason = text("given with --reason")
    basis = text("what the range rests on, JSON")
    accepted_utc = moment("UTC")
    ended_utc = moment("UTC, NULL while it is in force", nullable=True)
    end_reason = text("why it ended, NULL while in force", nullable=True)


class WithdrawalRow(Base):
    """A set taken out of use, in the half-open time [withdrawn_utc, ended_utc)."""

    __tablename__ = "withdrawals"
    __table_args__ = (
        not_empty("reason"),
        sa.CheckConstraint("ended_utc >= withdrawn_utc", name="ended_utc"),
        sa.Index(
            "uq_withdrawals_in_force",
            "set_pk",
            unique=True,
            sqlite_where=sa.text("ended_utc IS NULL"),
        ),
    )

    id = integer(primary_key=True)
    set_pk = integer(references="coefficient_sets.id")
    reason = text("given with --reason")
    withdrawn_utc = moment("UTC")
    ended_utc = moment("UTC, NULL while it is in force", nullable=True)
    end_reason = text("why it ended, NULL while in force", nullable=True)


def _make_guards(table: sa.Table, connection: sa.Connection, **_: object) -> None:
    """Make what the engine has instead of a constraint that both know, as the migration does."""
    del table
    for statement in dialect_of(connection).guards.values():
        connection.exec_driver_sql(statement)


def _complete_index(table: sa.Table, connection: sa.Connection, **_: object) -> None:
    """Repeat for the engine at hand what the index is of: naming both above imports both."""
    for index in table.indexes:
        options = index.dialect_kwargs
        options[f"{connection.dialect.name}_where"] = options["sqlite_where"]


sa.event.listen(AcceptanceRow.__table__, "after_create", _make_guards)
sa.event.listen(WithdrawalRow.__table__, "before_create", _complete_index)


class ApplicationRow(Base):
    """A file that was corrected, or restored. Never changed."""

    __tablename__ = "applications"
    __table_args__ = (
        one_of("kind", "apply", "undo"),
        one_of("origin", "measured", "predicted", "identity"),
        not_empty("application_id"),
        not_empty("set_id"),
        positive("photom_factor"),
        sha256("sha256_before"),
        sha256("sha256_after"),
        sa.Index("ix_applications_application_id", "application_id"),
        sa.Index("ix_applications_set_pk", "set_pk"),
    )

    id = integer(primary_key=True)
    kind = text("apply or undo")
    application_id = text("card CALREGAP; an undo has that it undid")
    origin = text("measured, predicted or identity")
    set_id = text("card CALREGID: coefficient set, or identity")
    set_pk = integer(
        "NULL for identity, and for sets of other registries",
        references="coefficient_sets.id",
        nullable=True,
    )
    pmap_id = integer("CRDS_CTX of the file", references="pmaps.id")
    array = text("detector in lower case")
    band = text("the element that shapes the passband")
    photom_factor = double("PHOTMJSR was multiplied by it")
    file_name = text("file that was written")
    directory = text("where it was written to")
    sha256_before = text("SHA-256 of the whole file before")
    sha256_after = text("SHA-256 of the whole file after")
    created_utc = moment("UTC")
    code_version = text("calreg version")
