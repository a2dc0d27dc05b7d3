"""What matching finds: sources, fit runs, pair groups, pairs, variable sources."""

from __future__ import annotations

import sqlalchemy as sa

from calreg.db.schema.base import (
    FLUX_KINDS,
    IMAGE_KINDS,
    Base,
    between,
    double,
    integer,
    moment,
    not_empty,
    not_negative,
    one_of,
    positive,
    text,
)


class SourceRow(Base):
    """What the pairs of one object share."""

    __tablename__ = "sources"
    __table_args__ = (
        between("ra_deg", 0, 360),
        between("dec_deg", -90, 90),
    )

    id = integer(primary_key=True)
    field_id = integer(references="fields.id", index=True)
    ra_deg = double("[deg, ICRS]")
    dec_deg = double("[deg, ICRS]")


class FitRunRow(Base):
    """One refit that wrote something."""

    __tablename__ = "fit_runs"

    id = integer(primary_key=True)
    started_utc = moment("UTC")
    settings = text("JSON")
    code_version = text("calreg version")


class PairGroupRow(Base):
    """The match of two catalogs: one patch seen in two epochs. Immutable once written."""

    __tablename__ = "pair_groups"
    __table_args__ = (
        sa.UniqueConstraint(
            "catalog_i_id",
            "catalog_j_id",
            "max_sep_arcsec",
            "min_snr",
            "match_version",
            name="uq_pair_groups_identity",
        ),
        sa.CheckConstraint("epoch_i_id <> epoch_j_id", name="epochs"),
        sa.CheckConstraint("catalog_i_id <> catalog_j_id", name="catalogs"),
        one_of("relation", "equal", "opposite", "other"),
        not_empty("array_id"),
        one_of("image_kind", *IMAGE_KINDS),
        one_of("flux_kind", *FLUX_KINDS),
        positive("max_sep_arcsec"),
        positive("min_snr"),
        not_negative("n_matched"),
        not_negative("n_ambiguous"),
        not_negative("n_selected"),
        sa.Index("ix_pair_groups_key", "field_id", "pmap_id", "band", "array_id"),
    )

    id = integer(primary_key=True)
    fit_run_id = integer(references="fit_runs.id")
    field_id = integer(references="fields.id")
    pmap_id = integer(references="pmaps.id")
    band = text()
    array_id = text("1 2 3 4 long")
    image_kind = text("cal, crf or i2d, the same on both sides")
    flux_kind = text("the same on both sides")
    aperture = text("the same on both sides")
    catalog_i_id = integer("earlier image", references="catalogs.id")
    catalog_j_id = integer("later image", references="catalogs.id")
    epoch_i_id = integer(references="epochs.id")
    epoch_j_id = integer(references="epochs.id")
    array_i = text("array that saw the patch first")
    array_j = text("array that saw it later")
    relation = text("rolls: equal, opposite, other")
    roll_i_deg = double("roll of the earlier image [deg, N over E]")
    max_sep_arcsec = double("search radius [arcsec]")
    min_snr = double("pairs of lower mean S/N are not stored")
    match_version = integer("version of the matching code")
    n_matched = integer("pairs found, stored or not")
    n_ambiguous = integer("of these, flagged ambiguous")
    n_selected = integer("clean pairs within the run's limits")
    median_mag = double("median later - earlier [mag]", nullable=True)
    mad_mag = double("median absolute deviation [mag]", nullable=True)
    ra_median_mas = double("removed offset dRA cosDec [mas]", nullable=True)
    ra_mad_mas = double("its MAD [mas]", nullable=True)
    dec_median_mas = double("removed offset dDec [mas]", nullable=True)
    dec_mad_mas = double("its MAD [mas]", nullable=True)


class VariableSourceRow(Base):
    """A source found variable in one pair group; kept, and left out of every later fit."""

    __tablename__ = "variable_sources"
    __table_args__ = (positive("chi2"), {"sqlite_with_rowid": False})

    source_id = integer(references="sources.id", primary_key=True)
    group_id = integer(references="pair_groups.id", primary_key=True)
    chi2 = double("squared residual over its variance")
    residual_mag = double("later - earlier minus the patch [mag]")


class PairRow(Base):
    """Two detections of one source in two epochs, same band, same pmap."""

    __tablename__ = "pairs"
    __table_args__ = (
        not_negative("mag_err_i"),
        not_negative("mag_err_j"),
        sa.Index("ix_pairs_source_id", "source_id"),
        {"sqlite_with_rowid": False},
    )

    group_id = integer(references="pair_groups.id", primary_key=True)
    number_i = integer("row in the earlier catalog", primary_key=True)
    number_j = integer("row in the later catalog", primary_key=True)
    source_id = integer(references="sources.id")
    ra_deg = double("mean position [deg, ICRS]")
    dec_deg = double("mean position [deg, ICRS]")
    sep_mas = double("separation after the median offset [mas]")
    mag_i = double("earlier magnitude [mag AB]")
    mag_err_i = double("[mag]")
    mag_j = double("later magnitude [mag AB]")
    mag_err_j = double("[mag]")
    flags = integer("bits of calreg.flags.PairFlag")
