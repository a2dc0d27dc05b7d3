"""What is known of contexts: their reference files, declared equalities, tested predictions."""

from __future__ import annotations

import sqlalchemy as sa

from calreg.db.schema.base import (
    REFERENCE_KINDS,
    Base,
    double,
    integer,
    moment,
    not_empty,
    not_negative,
    one_of,
    text,
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

    id = integer(primary_key=True)
    pmap_id = integer(references="pmaps.id")
    ingest_id = integer(references="ingests.id")
    array = text("detector in lower case")
    kind = text("photom, flat or area")
    filter = text("FILTER, empty for every one")
    pupil = text("PUPIL, empty for every one")
    useafter = text(
        "date of exposures from which on it is used, as in the rmap; empty if not stated"
    )
    file_name = text("jwst_nircam_photom_0155.fits")
    source = text("mapping, or a citation")


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

    id = integer(primary_key=True)
    pmap_1_id = integer(references="pmaps.id")
    pmap_2_id = integer(references="pmaps.id")
    reason = text("why they are believed equal")
    declared_utc = moment("UTC")
    code_version = text("calreg version")
    withdrawn_utc = moment("UTC, NULL while it holds", nullable=True)
    withdrawn_reason = text("why it no longer holds", nullable=True)


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

    set_pk = integer("the set that was fitted", references="coefficient_sets.id", primary_key=True)
    from_pmap_id = integer("context that the prediction is from", references="pmaps.id")
    from_set_pk = integer(
        "set that the prediction rests on", references="coefficient_sets.id", nullable=True
    )
    from_solution_id = integer(
        "or external solution", references="external_solutions.id", nullable=True
    )
    predicted_offset_ab_mag = double("m_A - m_B [mag]")
    predicted_err_mag = double("[mag]")
    residual_mag = double("measured minus predicted [mag]")
    residual_err_mag = double("both errors, as independent [mag]")
    basis = text("what the prediction rests on")
    candidates = text(
        "what else may have changed, JSON list; empty while they agree within 3 sigma"
    )
    created_utc = moment("UTC")
