"""What fits and people answer: coefficient sets, refusals, external solutions, deliveries."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from calreg.db.schema.base import (
    FLUX_KINDS,
    IMAGE_KINDS,
    Base,
    between,
    not_empty,
    not_negative,
    one_of,
    positive,
    sha256,
)


class CoefficientSetRow(Base):
    """Fitted numbers for one key. Never changed; the highest version is the current one."""

    __tablename__ = "coefficient_sets"
    __table_args__ = (
        sa.UniqueConstraint(
            "field_id",
            "pmap_id",
            "band",
            "array_id",
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
        sa.Index("ix_coefficient_sets_key", "band", "array_id", "pmap_id", "version"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    set_id: Mapped[str] = mapped_column(unique=True, comment="UUID, stamped on what is exported")
    fit_run_id: Mapped[int] = mapped_column(sa.ForeignKey("fit_runs.id"))
    field_id: Mapped[int] = mapped_column(sa.ForeignKey("fields.id"))
    pmap_id: Mapped[int] = mapped_column(sa.ForeignKey("pmaps.id"))
    filter: Mapped[str] = mapped_column(comment="FILTER")
    pupil: Mapped[str] = mapped_column(comment="PUPIL")
    band: Mapped[str] = mapped_column()
    array_id: Mapped[str] = mapped_column(comment="1 2 3 4 long")
    image_kind: Mapped[str] = mapped_column(comment="cal, crf or i2d")
    flux_kind: Mapped[str] = mapped_column(comment="iso, auto, aper or psf")
    aperture: Mapped[str] = mapped_column(comment="which aperture, for aper")
    model: Mapped[str] = mapped_column(comment="pair")
    model_version: Mapped[int] = mapped_column(comment="version of the model's code")
    version: Mapped[int] = mapped_column(comment="1, 2, ... per key")
    datum: Mapped[str] = mapped_column(comment="what is held at zero: B")
    settings: Mapped[str] = mapped_column(comment="JSON")
    input_digest: Mapped[str] = mapped_column(comment="SHA-256 of inputs, settings, model version")
    axis_pa_deg: Mapped[float] = mapped_column(comment="position angle of +d [deg, N over E]")
    origin_ra_deg: Mapped[float] = mapped_column(comment="d = 0 [deg, ICRS]")
    origin_dec_deg: Mapped[float] = mapped_column(comment="d = 0 [deg, ICRS]")
    n_epochs: Mapped[int] = mapped_column(comment="epochs in the fit")
    n_pairs: Mapped[int] = mapped_column(comment="pairs in the fit")
    n_sources: Mapped[int] = mapped_column(comment="independent sources in the fit")
    n_clipped: Mapped[int] = mapped_column(comment="pairs left out as variable")
    floor_mag: Mapped[float] = mapped_column(comment="noise floor per pair [mag]")
    scatter_mag: Mapped[float] = mapped_column(comment="robust scatter of residuals [mag]")
    chi2: Mapped[float] = mapped_column(comment="weighted squared residuals")
    n_dof: Mapped[int] = mapped_column(comment="degrees of freedom of chi2")
    corr_offset_slope: Mapped[float | None] = mapped_column(comment="NULL without a slope")
    pivot_arcmin: Mapped[float | None] = mapped_column(
        comment="folded d where offset and slope are uncorrelated [arcmin]"
    )
    offset_pivot_mag: Mapped[float | None] = mapped_column(comment="m_A - m_B at the pivot [mag]")
    offset_pivot_err_mag: Mapped[float | None] = mapped_column(comment="[mag]")
    offset_bootstrap_err_mag: Mapped[float] = mapped_column(comment="error by bootstrap [mag]")
    check_time_mag: Mapped[float | None] = mapped_column(
        comment="median of pairs with equal rolls, the check on the time term [mag]"
    )
    check_time_err_mag: Mapped[float | None] = mapped_column(comment="[mag]")
    created_utc: Mapped[datetime] = mapped_column(comment="UTC", index=True)


class CoefficientRow(Base):
    """One coefficient of a set."""

    __tablename__ = "coefficients"
    __table_args__ = (not_negative("err"), {"sqlite_with_rowid": False})

    set_pk: Mapped[int] = mapped_column(sa.ForeignKey("coefficient_sets.id"), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True, comment="offset_ab, slope, time:EPOCH")
    value: Mapped[float] = mapped_column(comment="in unit")
    err: Mapped[float] = mapped_column(comment="standard error, in unit; 0 when held fixed")
    unit: Mapped[str] = mapped_column(comment="mag, mag / arcmin")


class CovarianceRow(Base):
    """One element of a set's covariance (upper triangle with the diagonal)."""

    __tablename__ = "covariances"
    __table_args__ = ({"sqlite_with_rowid": False},)

    set_pk: Mapped[int] = mapped_column(sa.ForeignKey("coefficient_sets.id"), primary_key=True)
    name_1: Mapped[str] = mapped_column(primary_key=True)
    name_2: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[float] = mapped_column(comment="product of the two units")


class SetInputRow(Base):
    """A pair group that a set was fitted from, with its statistics under the set's selection."""

    __tablename__ = "set_inputs"
    __table_args__ = (not_negative("n_used"), {"sqlite_with_rowid": False})

    set_pk: Mapped[int] = mapped_column(sa.ForeignKey("coefficient_sets.id"), primary_key=True)
    group_id: Mapped[int] = mapped_column(sa.ForeignKey("pair_groups.id"), primary_key=True)
    n_used: Mapped[int] = mapped_column(comment="pairs in the fit")
    median_mag: Mapped[float | None] = mapped_column(comment="[mag]")
    mad_mag: Mapped[float | None] = mapped_column(comment="[mag]")


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

    id: Mapped[int] = mapped_column(primary_key=True)
    fit_run_id: Mapped[int] = mapped_column(sa.ForeignKey("fit_runs.id"))
    field_id: Mapped[int] = mapped_column(sa.ForeignKey("fields.id"))
    pmap_id: Mapped[int] = mapped_column(sa.ForeignKey("pmaps.id"))
    band: Mapped[str] = mapped_column()
    array_id: Mapped[str] = mapped_column(comment="1 2 3 4 long")
    image_kind: Mapped[str] = mapped_column(comment="cal, crf or i2d")
    flux_kind: Mapped[str] = mapped_column(comment="iso, auto, aper or psf")
    aperture: Mapped[str] = mapped_column(comment="which aperture, for aper")
    input_digest: Mapped[str] = mapped_column(comment="SHA-256 of inputs, settings, model version")
    reason: Mapped[str] = mapped_column()
    created_utc: Mapped[datetime] = mapped_column(comment="UTC")


class DeliveryRow(Base):
    """A file that was exported."""

    __tablename__ = "deliveries"
    __table_args__ = (sha256("file_sha256"), positive("file_size_bytes"))

    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(comment="recipe, grizli, parquet")
    file_name: Mapped[str] = mapped_column()
    directory: Mapped[str] = mapped_column()
    file_size_bytes: Mapped[int] = mapped_column(sa.BigInteger, comment="[byte]")
    file_sha256: Mapped[str] = mapped_column(index=True)
    created_utc: Mapped[datetime] = mapped_column(comment="UTC")
    code_version: Mapped[str] = mapped_column(comment="calreg version")


class DeliverySetRow(Base):
    """A coefficient set that a delivered file contains."""

    __tablename__ = "delivery_sets"

    delivery_id: Mapped[int] = mapped_column(sa.ForeignKey("deliveries.id"), primary_key=True)
    set_pk: Mapped[int] = mapped_column(sa.ForeignKey("coefficient_sets.id"), primary_key=True)
