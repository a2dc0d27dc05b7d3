"""Offsets of others: each number as it was published, and the differences between modules."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from calreg.db.schema.base import Base, not_empty, not_negative, one_of, positive, sha256

SENSES = ("multiply", "divide")
METHODS = ("star", "sky")


class ExternalSolutionRow(Base):
    """An offset between the modules that others published, as given and in our sign."""

    __tablename__ = "external_solutions"
    __table_args__ = (
        sa.UniqueConstraint(
            "source", "pmap_id", "band", "array_id", name="uq_external_solutions_identity"
        ),
        not_empty("array_id"),
        not_negative("offset_ab_err_mag"),
        sha256("file_sha256"),
        one_of("sense", *SENSES),
        one_of("method", *METHODS),
        one_of("state", "measured", "interpolated"),
        sa.Index("ix_external_solutions_key", "band", "array_id", "pmap_id"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    ingest_id: Mapped[int] = mapped_column(sa.ForeignKey("ingests.id"))
    source: Mapped[str] = mapped_column(comment="citation given with --source")
    pmap_id: Mapped[int] = mapped_column(sa.ForeignKey("pmaps.id"))
    band: Mapped[str] = mapped_column()
    array_id: Mapped[str] = mapped_column(comment="1 2 3 4 long")
    offset_ab_mag: Mapped[float] = mapped_column(comment="m_A - m_B [mag]")
    offset_ab_err_mag: Mapped[float | None] = mapped_column(comment="[mag], NULL where not stated")
    offset_a_mag: Mapped[float] = mapped_column(comment="share of module A [mag]")
    offset_b_mag: Mapped[float] = mapped_column(comment="share of module B [mag]")
    slope_mag_arcmin: Mapped[float] = mapped_column(comment="[mag / arcmin]")
    slope_err_mag_arcmin: Mapped[float] = mapped_column(comment="[mag / arcmin]")
    as_given: Mapped[str] = mapped_column(comment="the row or rows of the file, JSON")
    file_name: Mapped[str] = mapped_column()
    file_sha256: Mapped[str] = mapped_column(comment="SHA-256 of the file")
    sense: Mapped[str] = mapped_column(comment="what the file's numbers do to flux")
    method: Mapped[str] = mapped_column(
        comment="star: fluxes of sources; sky: surface brightness, without PIXAR_SR"
    )
    state: Mapped[str] = mapped_column(comment="measured or interpolated")
    datum: Mapped[str] = mapped_column(comment="what is held at zero: B, A or given")
    pixar_ab_mag: Mapped[float | None] = mapped_column(
        comment="-2.5 log10 of PIXAR_SR of A over B, not in the offset [mag]"
    )


class ExternalValueRow(Base):
    """One number of a table of others, by array, as it stands there."""

    __tablename__ = "external_values"
    __table_args__ = (
        sa.UniqueConstraint("source", "pmap_id", "band", "array"),
        not_negative("err_given"),
        not_negative("offset_err_mag"),
        sha256("file_sha256"),
        one_of("sense", *SENSES),
        one_of("method", *METHODS),
        one_of("state", "measured", "datum", "interpolated", "none"),
        one_of("unit_given", "factor", "mag"),
        positive("photmjsr"),
        positive("pixar_sr"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    ingest_id: Mapped[int] = mapped_column(sa.ForeignKey("ingests.id"))
    source: Mapped[str] = mapped_column(comment="citation given with --source")
    pmap_id: Mapped[int] = mapped_column(sa.ForeignKey("pmaps.id"))
    band: Mapped[str] = mapped_column()
    array: Mapped[str] = mapped_column(comment="detector in lower case")
    value_given: Mapped[float] = mapped_column(comment="in unit_given")
    err_given: Mapped[float | None] = mapped_column(comment="in unit_given, NULL where not stated")
    unit_given: Mapped[str] = mapped_column(comment="factor or mag")
    sense: Mapped[str] = mapped_column(comment="what the number does to flux")
    method: Mapped[str] = mapped_column(comment="star or sky")
    state: Mapped[str] = mapped_column(
        comment="measured; datum: held fixed; interpolated; none: no data"
    )
    offset_mag: Mapped[float] = mapped_column(
        comment="in our sign, relative to the table's own datum [mag]"
    )
    offset_err_mag: Mapped[float | None] = mapped_column(comment="[mag], NULL where not stated")
    photmjsr: Mapped[float | None] = mapped_column(
        comment="PHOTMJSR that the table gives [MJy/sr per DN/s]"
    )
    pixar_sr: Mapped[float | None] = mapped_column(comment="PIXAR_SR that the table gives [sr]")
    line: Mapped[int] = mapped_column(comment="line of the file")
    text_given: Mapped[str] = mapped_column(comment="that line")
    file_name: Mapped[str] = mapped_column()
    file_sha256: Mapped[str] = mapped_column(comment="SHA-256 of the file")
