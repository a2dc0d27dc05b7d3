"""Offsets of others: each number as it was published, and the differences between modules."""

from __future__ import annotations

import sqlalchemy as sa

from calreg.db.schema.base import (
    Base,
    double,
    integer,
    not_empty,
    not_negative,
    one_of,
    positive,
    sha256,
    text,
)

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

    id = integer(primary_key=True)
    ingest_id = integer(references="ingests.id")
    source = text("citation given with --source")
    pmap_id = integer(references="pmaps.id")
    band = text()
    array_id = text("1 2 3 4 long")
    offset_ab_mag = double("m_A - m_B [mag]")
    offset_ab_err_mag = double("[mag], NULL where not stated", nullable=True)
    offset_a_mag = double("share of module A [mag]")
    offset_b_mag = double("share of module B [mag]")
    slope_mag_arcmin = double("[mag / arcmin]")
    slope_err_mag_arcmin = double("[mag / arcmin]")
    as_given = text("the row or rows of the file, JSON")
    file_name = text()
    file_sha256 = text("SHA-256 of the file")
    sense = text("what the file's numbers do to flux")
    method = text("star: fluxes of sources; sky: surface brightness, without PIXAR_SR")
    state = text("measured or interpolated")
    datum = text("what is held at zero: B, A or given")
    pixar_ab_mag = double(
        "-2.5 log10 of PIXAR_SR of A over B, not in the offset [mag]", nullable=True
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

    id = integer(primary_key=True)
    ingest_id = integer(references="ingests.id")
    source = text("citation given with --source")
    pmap_id = integer(references="pmaps.id")
    band = text()
    array = text("detector in lower case")
    value_given = double("in unit_given")
    err_given = double("in unit_given, NULL where not stated", nullable=True)
    unit_given = text("factor or mag")
    sense = text("what the number does to flux")
    method = text("star or sky")
    state = text("measured; datum: held fixed; interpolated; none: no data")
    offset_mag = double("in our sign, relative to the table's own datum [mag]")
    offset_err_mag = double("[mag], NULL where not stated", nullable=True)
    photmjsr = double("PHOTMJSR that the table gives [MJy/sr per DN/s]", nullable=True)
    pixar_sr = double("PIXAR_SR that the table gives [sr]", nullable=True)
    line = integer("line of the file")
    text_given = text("that line")
    file_name = text()
    file_sha256 = text("SHA-256 of the file")
