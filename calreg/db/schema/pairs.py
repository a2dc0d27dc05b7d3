"""What matching finds: sources, fit runs, pair groups, pairs, variable sources."""

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
)


class SourceRow(Base):
    """What the pairs of one object share."""

    __tablename__ = "sources"
    __table_args__ = (
        between("ra_deg", 0, 360),
        between("dec_deg", -90, 90),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    field_id: Mapped[int] = mapped_column(sa.ForeignKey("fields.id"), index=True)
    ra_deg: Mapped[float] = mapped_column(comment="[deg, ICRS]")
    dec_deg: Mapped[float] = mapped_column(comment="[deg, ICRS]")


class FitRunRow(Base):
    """One refit that wrote something."""

    __tablename__ = "fit_runs"

    id: Mapped[int] = mapped_column(primary_key=True)
    started_utc: Mapped[datetime] = mapped_column(comment="UTC")
    settings: Mapped[str] = mapped_column(comment="JSON")
    code_version: Mapped[str] = mapped_column(comment="calreg version")


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

    id: Mapped[int] = mapped_column(primary_key=True)
    fit_run_id: Mapped[int] = mapped_column(sa.ForeignKey("fit_runs.id"))
    field_id: Mapped[int] = mapped_column(sa.ForeignKey("fields.id"))
    pmap_id: Mapped[int] = mapped_column(sa.ForeignKey("pmaps.id"))
    band: Mapped[str] = mapped_column()
    array_id: Mapped[str] = mapped_column(comment="1 2 3 4 long")
    image_kind: Mapped[str] = mapped_column(comment="cal, crf or i2d, the same on both sides")
    flux_kind: Mapped[str] = mapped_column(comment="the same on both sides")
    aperture: Mapped[str] = mapped_column(comment="the same on both sides")
    catalog_i_id: Mapped[int] = mapped_column(sa.ForeignKey("catalogs.id"), comment="earlier image")
    catalog_j_id: Mapped[int] = mapped_column(sa.ForeignKey("catalogs.id"), comment="later image")
    epoch_i_id: Mapped[int] = mapped_column(sa.ForeignKey("epochs.id"))
    epoch_j_id: Mapped[int] = mapped_column(sa.ForeignKey("epochs.id"))
    array_i: Mapped[str] = mapped_column(comment="array that saw the patch first")
    array_j: Mapped[str] = mapped_column(comment="array that saw it later")
    relation: Mapped[str] = mapped_column(comment="rolls: equal, opposite, other")
    roll_i_deg: Mapped[float] = mapped_column(comment="roll of the earlier image [deg, N over E]")
    max_sep_arcsec: Mapped[float] = mapped_column(comment="search radius [arcsec]")
    min_snr: Mapped[float] = mapped_column(comment="pairs of lower mean S/N are not stored")
    match_version: Mapped[int] = mapped_column(comment="version of the matching code")
    n_matched: Mapped[int] = mapped_column(comment="pairs found, stored or not")
    n_ambiguous: Mapped[int] = mapped_column(comment="of these, flagged ambiguous")
    n_selected: Mapped[int] = mapped_column(comment="clean pairs within the run's limits")
    median_mag: Mapped[float | None] = mapped_column(comment="median later - earlier [mag]")
    mad_mag: Mapped[float | None] = mapped_column(comment="median absolute deviation [mag]")
    ra_median_mas: Mapped[float | None] = mapped_column(comment="removed offset dRA cosDec [mas]")
    ra_mad_mas: Mapped[float | None] = mapped_column(comment="its MAD [mas]")
    dec_median_mas: Mapped[float | None] = mapped_column(comment="removed offset dDec [mas]")
    dec_mad_mas: Mapped[float | None] = mapped_column(comment="its MAD [mas]")


class VariableSourceRow(Base):
    """A source found variable in one pair group; kept, and left out of every later fit."""

    __tablename__ = "variable_sources"
    __table_args__ = (positive("chi2"), {"sqlite_with_rowid": False})

    source_id: Mapped[int] = mapped_column(sa.ForeignKey("sources.id"), primary_key=True)
    group_id: Mapped[int] = mapped_column(sa.ForeignKey("pair_groups.id"), primary_key=True)
    chi2: Mapped[float] = mapped_column(comment="squared residual over its variance")
    residual_mag: Mapped[float] = mapped_column(comment="later - earlier minus the patch [mag]")


class PairRow(Base):
    """Two detections of one source in two epochs, same band, same pmap."""

    __tablename__ = "pairs"
    __table_args__ = (
        not_negative("mag_err_i"),
        not_negative("mag_err_j"),
        sa.Index("ix_pairs_source_id", "source_id"),
        {"sqlite_with_rowid": False},
    )

    group_id: Mapped[int] = mapped_column(sa.ForeignKey("pair_groups.id"), primary_key=True)
    number_i: Mapped[int] = mapped_column(primary_key=True, comment="row in the earlier catalog")
    number_j: Mapped[int] = mapped_column(primary_key=True, comment="row in the later catalog")
    source_id: Mapped[int] = mapped_column(sa.ForeignKey("sources.id"))
    ra_deg: Mapped[float] = mapped_column(comment="mean position [deg, ICRS]")
    dec_deg: Mapped[float] = mapped_column(comment="mean position [deg, ICRS]")
    sep_mas: Mapped[float] = mapped_column(comment="separation after the median offset [mas]")
    mag_i: Mapped[float] = mapped_column(comment="earlier magnitude [mag AB]")
    mag_err_i: Mapped[float] = mapped_column(comment="[mag]")
    mag_j: Mapped[float] = mapped_column(comment="later magnitude [mag AB]")
    mag_err_j: Mapped[float] = mapped_column(comment="[mag]")
    flags: Mapped[int] = mapped_column(comment="bits of calreg.flags.PairFlag")
