"""The tables, as mapped classes. Migrations make them; a test holds the two equal.

Times are UTC, sky is ICRS degrees, ``array`` is a detector, ``array_id`` what modules A and B share.
Text that a header may lack is stored empty, not NULL, so that unique constraints see it.
"""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from calreg.db.types import UtcTimestamp

NAMING_CONVENTION = {
    "pk": "pk_%(table_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
}


class Base(DeclarativeBase):
    """Declarative base; every float is double precision, every string unbounded text."""

    metadata = sa.MetaData(naming_convention=NAMING_CONVENTION)
    type_annotation_map = {float: sa.Double(), str: sa.Text(), datetime: UtcTimestamp()}


def _one_of(column: str, *values: str) -> sa.CheckConstraint:
    """CHECK that a text column holds one of a few words."""
    words = ", ".join(f"'{value}'" for value in values)
    return sa.CheckConstraint(f"{column} IN ({words})", name=column)


def _between(column: str, low: float, high: float) -> sa.CheckConstraint:
    """CHECK that a number lies within closed bounds."""
    return sa.CheckConstraint(f"{column} BETWEEN {low} AND {high}", name=column)


def _positive(column: str) -> sa.CheckConstraint:
    """CHECK that a number is positive (NULL passes)."""
    return sa.CheckConstraint(f"{column} > 0", name=column)


def _not_negative(column: str) -> sa.CheckConstraint:
    """CHECK that a number is zero or more (NULL passes)."""
    return sa.CheckConstraint(f"{column} >= 0", name=column)


def _sha256(column: str) -> sa.CheckConstraint:
    """CHECK that a digest has 64 characters."""
    return sa.CheckConstraint(f"length({column}) = 64", name=column)


_IMAGE_KINDS = ("cal", "crf", "i2d")
_FLUX_KINDS = ("iso", "auto", "aper", "psf")
_ARRAY_IDS = ("1", "2", "3", "4", "long")


class PmapRow(Base):
    """A CRDS context."""

    __tablename__ = "pmaps"
    __table_args__ = (sa.UniqueConstraint("number"), _positive("number"))

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True, comment="jwst_1130.pmap")
    number: Mapped[int] = mapped_column(comment="integer that contexts are ordered by")


class IngestRow(Base):
    """One call of ingest (or import) that wrote something."""

    __tablename__ = "ingests"

    id: Mapped[int] = mapped_column(primary_key=True)
    started_utc: Mapped[datetime] = mapped_column(comment="UTC")
    code_version: Mapped[str] = mapped_column(comment="calreg version")


class FieldRow(Base):
    """A patch of sky: exposures with overlapping footprints."""

    __tablename__ = "fields"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True, comment="given, or the proposer's target name")
    merged_into_id: Mapped[int | None] = mapped_column(
        sa.ForeignKey("fields.id"), comment="field that took this one's epochs over"
    )
    merged_utc: Mapped[datetime | None] = mapped_column(comment="when, UTC")
    created_utc: Mapped[datetime] = mapped_column(comment="UTC")


class EpochRow(Base):
    """The exposures of one field taken together at one roll; times and roll follow from its exposures."""

    __tablename__ = "epochs"
    __table_args__ = (sa.UniqueConstraint("field_id", "label"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    field_id: Mapped[int] = mapped_column(sa.ForeignKey("fields.id"), index=True)
    label: Mapped[str | None] = mapped_column(comment="name given with --epoch, NULL when found")


class ExposureRow(Base):
    """One detector image with a header: an exposure, or a mosaic of one array's dithers."""

    __tablename__ = "exposures"
    __table_args__ = (
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
        _one_of("kind", *_IMAGE_KINDS),
        _sha256("header_sha256"),
        _sha256("file_sha256"),
        sa.CheckConstraint("expend_mjd_utc >= expstart_mjd_utc", name="expend_mjd_utc"),
        _positive("exposure_time_s"),
        _positive("photmjsr"),
        _positive("pixar_sr"),
        _positive("n_members"),
        _between("roll_deg", 0, 360),
        _between("ra_ref_deg", 0, 360),
        _between("dec_ref_deg", -90, 90),
        sa.Index("ix_exposures_file_name", "file_name"),
        sa.Index("ix_exposures_epoch_id", "epoch_id"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    epoch_id: Mapped[int] = mapped_column(sa.ForeignKey("epochs.id"))
    pmap_id: Mapped[int] = mapped_column(sa.ForeignKey("pmaps.id"))
    ingest_id: Mapped[int] = mapped_column(sa.ForeignKey("ingests.id"))
    kind: Mapped[str] = mapped_column(comment="cal, crf or i2d")
    program: Mapped[str] = mapped_column(comment="PROGRAM")
    observation: Mapped[str] = mapped_column(comment="OBSERVTN")
    visit: Mapped[str] = mapped_column(comment="VISIT, empty for mosaics")
    visit_group: Mapped[str] = mapped_column(comment="VISITGRP, empty for mosaics")
    sequence: Mapped[str] = mapped_column(comment="SEQ_ID, empty for mosaics")
    activity: Mapped[str] = mapped_column(comment="ACT_ID, empty for mosaics")
    exposure: Mapped[str] = mapped_column(comment="EXPOSURE, empty for mosaics")
    array: Mapped[str] = mapped_column(comment="DETECTOR in lower case")
    array_id: Mapped[str] = mapped_column(comment="what modules A and B share: 1 2 3 4 long")
    module: Mapped[str] = mapped_column(comment="A or B")
    cal_ver: Mapped[str] = mapped_column(comment="CAL_VER")
    filter: Mapped[str] = mapped_column(comment="FILTER")
    pupil: Mapped[str] = mapped_column(comment="PUPIL")
    band: Mapped[str] = mapped_column(comment="the element that shapes the passband")
    subarray: Mapped[str] = mapped_column(comment="SUBARRAY")
    expstart_mjd_utc: Mapped[float] = mapped_column(comment="EXPSTART [d, MJD UTC]")
    expmid_mjd_utc: Mapped[float] = mapped_column(comment="EXPMID [d, MJD UTC]")
    expend_mjd_utc: Mapped[float] = mapped_column(comment="EXPEND [d, MJD UTC]")
    exposure_time_s: Mapped[float | None] = mapped_column(comment="EFFEXPTM or XPOSURE [s]")
    n_members: Mapped[int] = mapped_column(comment="raw exposures in the image")
    ra_v1_deg: Mapped[float | None] = mapped_column(comment="RA_V1 [deg, ICRS]")
    dec_v1_deg: Mapped[float | None] = mapped_column(comment="DEC_V1 [deg, ICRS]")
    pa_v3_deg: Mapped[float | None] = mapped_column(comment="PA_V3 [deg, N over E]")
    ra_ref_deg: Mapped[float | None] = mapped_column(comment="RA_REF [deg, ICRS]")
    dec_ref_deg: Mapped[float | None] = mapped_column(comment="DEC_REF [deg, ICRS]")
    roll_ref_deg: Mapped[float | None] = mapped_column(comment="ROLL_REF [deg, N over E]")
    v2_ref_arcsec: Mapped[float | None] = mapped_column(comment="V2_REF [arcsec]")
    v3_ref_arcsec: Mapped[float | None] = mapped_column(comment="V3_REF [arcsec]")
    roll_deg: Mapped[float] = mapped_column(comment="PA_V3, else ROLL_REF [deg, N over E]")
    s_region: Mapped[str] = mapped_column(comment="S_REGION [deg, ICRS]")
    bunit: Mapped[str] = mapped_column(comment="BUNIT of SCI")
    photmjsr: Mapped[float | None] = mapped_column(comment="PHOTMJSR [MJy/sr per DN/s]")
    pixar_sr: Mapped[float | None] = mapped_column(comment="PIXAR_SR [sr]")
    r_photom: Mapped[str] = mapped_column(comment="R_PHOTOM without crds://")
    r_flat: Mapped[str] = mapped_column(comment="R_FLAT without crds://")
    r_area: Mapped[str] = mapped_column(comment="R_AREA without crds://")
    target: Mapped[str] = mapped_column(comment="TARGPROP")
    file_name: Mapped[str] = mapped_column(comment="name of the file")
    directory: Mapped[str] = mapped_column(comment="where the file was")
    file_size_bytes: Mapped[int] = mapped_column(sa.BigInteger, comment="[byte]")
    header_sha256: Mapped[str] = mapped_column(comment="SHA-256 of all header blocks and the size")
    file_sha256: Mapped[str | None] = mapped_column(comment="SHA-256 of the file, with --hash full")


class ZeroPointRow(Base):
    """A PHOTMJSR seen for (pmap, array, filter, pupil, subarray); disagreeing values stand side by side."""

    __tablename__ = "zero_points"
    __table_args__ = (
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
        _positive("photmjsr"),
        _positive("pixar_sr"),
        sa.Index("ix_zero_points_key", "band", "array", "pmap_id"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    pmap_id: Mapped[int] = mapped_column(sa.ForeignKey("pmaps.id"))
    ingest_id: Mapped[int] = mapped_column(sa.ForeignKey("ingests.id"))
    array: Mapped[str] = mapped_column(comment="detector in lower case")
    filter: Mapped[str] = mapped_column(comment="FILTER")
    pupil: Mapped[str] = mapped_column(comment="PUPIL")
    band: Mapped[str] = mapped_column(comment="the element that shapes the passband")
    subarray: Mapped[str] = mapped_column(comment="SUBARRAY")
    photmjsr: Mapped[float] = mapped_column(comment="PHOTMJSR [MJy/sr per DN/s]")
    pixar_sr: Mapped[float | None] = mapped_column(comment="PIXAR_SR [sr]; NULL from mosaics")
    r_photom: Mapped[str] = mapped_column(comment="photom reference file")
    source: Mapped[str] = mapped_column(comment="where the value was seen: header")


class CatalogRow(Base):
    """One catalog of one image, with one kind of flux."""

    __tablename__ = "catalogs"
    __table_args__ = (
        sa.UniqueConstraint("exposure_id", "flux_kind", "aperture", name="uq_catalogs_identity"),
        _one_of("flux_kind", *_FLUX_KINDS),
        _one_of("mag_origin", "flux", "catalog"),
        _sha256("file_sha256"),
        _not_negative("n_dropped_nonfinite"),
        _not_negative("n_negative_flux"),
        _positive("n_rows"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    exposure_id: Mapped[int] = mapped_column(sa.ForeignKey("exposures.id"))
    ingest_id: Mapped[int] = mapped_column(sa.ForeignKey("ingests.id"))
    flux_kind: Mapped[str] = mapped_column(comment="iso, auto, aper or psf")
    aperture: Mapped[str] = mapped_column(comment="which aperture, for aper")
    software: Mapped[str] = mapped_column(comment="program and version")
    detection_image: Mapped[str] = mapped_column(comment="detection image where stated")
    mag_origin: Mapped[str] = mapped_column(comment="flux: from fluxes and PIXAR_SR; or catalog")
    mag_disagreement: Mapped[float | None] = mapped_column(
        comment="median (computed - stated) magnitude [mag]"
    )
    settings: Mapped[str] = mapped_column(comment="settings that the file states, JSON")
    n_rows: Mapped[int] = mapped_column(comment="detections stored")
    n_dropped_nonfinite: Mapped[int] = mapped_column(comment="rows dropped for NaN or infinity")
    n_negative_flux: Mapped[int] = mapped_column(comment="rows stored without magnitude")
    file_name: Mapped[str] = mapped_column(comment="name of the file")
    directory: Mapped[str] = mapped_column(comment="where the file was")
    file_size_bytes: Mapped[int] = mapped_column(sa.BigInteger, comment="[byte]")
    file_sha256: Mapped[str] = mapped_column(comment="SHA-256 of the whole file", index=True)


class DetectionRow(Base):
    """One measurement of one source on one image."""

    __tablename__ = "detections"
    __table_args__ = (
        _between("ra_deg", 0, 360),
        _between("dec_deg", -90, 90),
        {"sqlite_with_rowid": False},
    )

    catalog_id: Mapped[int] = mapped_column(sa.ForeignKey("catalogs.id"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, comment="row identifier in the catalog")
    ra_deg: Mapped[float] = mapped_column(comment="[deg, ICRS]")
    dec_deg: Mapped[float] = mapped_column(comment="[deg, ICRS]")
    x: Mapped[float | None] = mapped_column(comment="[pixel, 0-based]")
    y: Mapped[float | None] = mapped_column(comment="[pixel, 0-based]")
    flux_ujy: Mapped[float | None] = mapped_column(comment="[uJy]")
    flux_err_ujy: Mapped[float | None] = mapped_column(comment="[uJy]")
    mag_ab: Mapped[float | None] = mapped_column(comment="[mag AB], NULL if flux is not positive")
    mag_err: Mapped[float | None] = mapped_column(comment="[mag]")
    flags: Mapped[int] = mapped_column(comment="bits of calreg.flags.DetectionFlag")


class SourceRow(Base):
    """What the pairs of one object share."""

    __tablename__ = "sources"
    __table_args__ = (
        _between("ra_deg", 0, 360),
        _between("dec_deg", -90, 90),
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
            "match_version",
            name="uq_pair_groups_identity",
        ),
        sa.CheckConstraint("epoch_i_id <> epoch_j_id", name="epochs"),
        sa.CheckConstraint("catalog_i_id <> catalog_j_id", name="catalogs"),
        _one_of("relation", "equal", "opposite", "other"),
        _one_of("array_id", *_ARRAY_IDS),
        _one_of("image_kind", *_IMAGE_KINDS),
        _one_of("flux_kind", *_FLUX_KINDS),
        _positive("max_sep_arcsec"),
        _not_negative("n_matched"),
        _not_negative("n_ambiguous"),
        _not_negative("n_selected"),
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
    match_version: Mapped[int] = mapped_column(comment="version of the matching code")
    n_matched: Mapped[int] = mapped_column(comment="pairs stored")
    n_ambiguous: Mapped[int] = mapped_column(comment="pairs flagged ambiguous")
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
    __table_args__ = (_positive("chi2"), {"sqlite_with_rowid": False})

    source_id: Mapped[int] = mapped_column(sa.ForeignKey("sources.id"), primary_key=True)
    group_id: Mapped[int] = mapped_column(sa.ForeignKey("pair_groups.id"), primary_key=True)
    chi2: Mapped[float] = mapped_column(comment="squared residual over its variance")
    residual_mag: Mapped[float] = mapped_column(comment="later - earlier minus the patch [mag]")


class PairRow(Base):
    """Two detections of one source in two epochs, same band, same pmap."""

    __tablename__ = "pairs"
    __table_args__ = (
        _not_negative("mag_err_i"),
        _not_negative("mag_err_j"),
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
        _one_of("array_id", *_ARRAY_IDS),
        _one_of("image_kind", *_IMAGE_KINDS),
        _one_of("flux_kind", *_FLUX_KINDS),
        _positive("version"),
        _positive("n_pairs"),
        _not_negative("n_clipped"),
        _not_negative("floor_mag"),
        _sha256("input_digest"),
        _between("corr_offset_slope", -1.0000001, 1.0000001),
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
    __table_args__ = (_not_negative("err"), {"sqlite_with_rowid": False})

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
    __table_args__ = (_not_negative("n_used"), {"sqlite_with_rowid": False})

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
        _sha256("input_digest"),
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


class ExternalSolutionRow(Base):
    """An offset that others published, as given and in our sign."""

    __tablename__ = "external_solutions"
    __table_args__ = (
        sa.UniqueConstraint(
            "source", "pmap_id", "band", "array_id", name="uq_external_solutions_identity"
        ),
        _one_of("array_id", *_ARRAY_IDS),
        _not_negative("offset_ab_err_mag"),
        _sha256("file_sha256"),
        sa.Index("ix_external_solutions_key", "band", "array_id", "pmap_id"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    ingest_id: Mapped[int] = mapped_column(sa.ForeignKey("ingests.id"))
    source: Mapped[str] = mapped_column(comment="citation given with --source")
    pmap_id: Mapped[int] = mapped_column(sa.ForeignKey("pmaps.id"))
    band: Mapped[str] = mapped_column()
    array_id: Mapped[str] = mapped_column(comment="1 2 3 4 long")
    offset_ab_mag: Mapped[float] = mapped_column(comment="m_A - m_B [mag]")
    offset_ab_err_mag: Mapped[float] = mapped_column(comment="[mag]")
    offset_a_mag: Mapped[float] = mapped_column(comment="share of module A [mag]")
    offset_b_mag: Mapped[float] = mapped_column(comment="share of module B [mag]")
    slope_mag_arcmin: Mapped[float] = mapped_column(comment="[mag / arcmin]")
    slope_err_mag_arcmin: Mapped[float] = mapped_column(comment="[mag / arcmin]")
    as_given: Mapped[str] = mapped_column(comment="the row of the file, JSON")
    file_name: Mapped[str] = mapped_column()
    file_sha256: Mapped[str] = mapped_column(comment="SHA-256 of the file")


class DeliveryRow(Base):
    """A file that was exported."""

    __tablename__ = "deliveries"
    __table_args__ = (_sha256("file_sha256"), _positive("file_size_bytes"))

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
