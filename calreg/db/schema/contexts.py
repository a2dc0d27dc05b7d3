"""What is known of contexts: their reference files, declared equalities, tested predictions."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from calreg.db.schema.base import (
    REFERENCE_KINDS,
    Base,
    not_empty,
    not_negative,
    one_of,
)


class ReferenceFileRow(Base):
    """A reference file that a context has for an array, and a band where the choice depends on it.

    Those that exposures name are columns of exposures.
    """

    __tablename__ = "reference_files"
    __table_args__ = (
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
        one_of("kind", *REFERENCE_KINDS),
        not_empty("file_name"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    pmap_id: Mapped[int] = mapped_column(sa.ForeignKey("pmaps.id"))
    ingest_id: Mapped[int] = mapped_column(sa.ForeignKey("ingests.id"))
    array: Mapped[str] = mapped_column(comment="detector in lower case")
    kind: Mapped[str] = mapped_column(comment="photom, flat or area")
    filter: Mapped[str] = mapped_column(comment="FILTER, empty for every one")
    pupil: Mapped[str] = mapped_column(comment="PUPIL, empty for every one")
    useafter: Mapped[str] = mapped_column(
        comment="date of exposures from which on it is used, as in the rmap; empty if not stated"
    )
    file_name: Mapped[str] = mapped_column(comment="jwst_nircam_photom_0155.fits")
    source: Mapped[str] = mapped_column(comment="mapping, or a citation")


class PmapEqualityRow(Base):
    """Two contexts that somebody declared to have the same PHOTMJSR; withdrawn, never deleted."""

    __tablename__ = "pmap_equalities"
    __table_args__ = (
        sa.CheckConstraint("pmap_1_id <> pmap_2_id", name="pmap_2_id"),
        not_empty("reason"),
        sa.CheckConstraint(
            "(withdrawn_utc IS NULL) = (withdrawn_reason IS NULL)", name="withdrawn_reason"
        ),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    pmap_1_id: Mapped[int] = mapped_column(sa.ForeignKey("pmaps.id"))
    pmap_2_id: Mapped[int] = mapped_column(sa.ForeignKey("pmaps.id"))
    reason: Mapped[str] = mapped_column(comment="why they are believed equal")
    declared_utc: Mapped[datetime] = mapped_column(comment="UTC")
    code_version: Mapped[str] = mapped_column(comment="calreg version")
    withdrawn_utc: Mapped[datetime | None] = mapped_column(comment="UTC, NULL while it holds")
    withdrawn_reason: Mapped[str | None] = mapped_column(comment="why it no longer holds")


class PredictionResidualRow(Base):
    """A fitted offset beside the one predicted from another context when it was fitted."""

    __tablename__ = "prediction_residuals"
    __table_args__ = (
        sa.CheckConstraint(
            "(from_set_pk IS NULL) <> (from_solution_id IS NULL)", name="from_set_pk"
        ),
        not_negative("predicted_err_mag"),
        not_negative("residual_err_mag"),
    )

    set_pk: Mapped[int] = mapped_column(
        sa.ForeignKey("coefficient_sets.id"), primary_key=True, comment="the set that was fitted"
    )
    from_pmap_id: Mapped[int] = mapped_column(
        sa.ForeignKey("pmaps.id"), comment="context that the prediction is from"
    )
    from_set_pk: Mapped[int | None] = mapped_column(
        sa.ForeignKey("coefficient_sets.id"), comment="set that the prediction rests on"
    )
    from_solution_id: Mapped[int | None] = mapped_column(
        sa.ForeignKey("external_solutions.id"), comment="or external solution"
    )
    predicted_offset_ab_mag: Mapped[float] = mapped_column(comment="m_A - m_B [mag]")
    predicted_err_mag: Mapped[float] = mapped_column(comment="[mag]")
    residual_mag: Mapped[float] = mapped_column(comment="measured minus predicted [mag]")
    residual_err_mag: Mapped[float] = mapped_column(comment="both errors, as independent [mag]")
    basis: Mapped[str] = mapped_column(comment="what the prediction rests on")
    candidates: Mapped[str] = mapped_column(
        comment="what else may have changed, JSON list; empty while they agree within 3 sigma"
    )
    created_utc: Mapped[datetime] = mapped_column(comment="UTC")
