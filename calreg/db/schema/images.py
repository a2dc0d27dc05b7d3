"""What comes in: contexts, fields, epochs, exposures, zero points, catalogs, detections."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from calreg.db.schema.base import (
    CATALOG_ORIGINS,
    FLUX_KINDS,
    IMAGE_KINDS,
    ZERO_POINT_KINDS,
    Base,
    between,
    not_empty,
    not_negative,
    one_of,
    positive,
    sha256,
)


class InstrumentRow(Base):
    """The one instrument whose data the registry holds."""

    __tablename__ = "instrument"
    __table_args__ = (sa.CheckConstraint("id = 1", name="id"), not_empty("name"))

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False, comment="1")
    name: Mapped[str] = mapped_column(comment="as the card INSTRUME has it")
    source: Mapped[str] = mapped_column(
        comment="name of a table that comes with calreg or another package, or path of a file"
    )
    facts: Mapped[str | None] = mapped_column(
        comment="TOML text; NULL where the table comes with calreg"
    )


class PmapRow(Base):
    """A CRDS context."""

    __tablename__ = "pmaps"
    __table_args__ = (sa.UniqueConstraint("number"), positive("number"))

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
    """The exposures of one field taken together at one roll; times and roll follow from them."""

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
        one_of("kind", *IMAGE_KINDS),
        sha256("header_sha256"),
        sha256("file_sha256"),
        sa.CheckConstraint("expend_mjd_utc >= expstart_mjd_utc", name="expend_mjd_utc"),
        positive("exposure_time_s"),
        positive("photmjsr"),
        positive("pixar_sr"),
        positive("n_members"),
        between("roll_deg", 0, 360),
        between("ra_ref_deg", 0, 360),
        between("dec_ref_deg", -90, 90),
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
    """A PHOTMJSR seen for (pmap, array, filter, pupil, subarray); others stand side by side."""

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
        positive("photmjsr"),
        positive("pixar_sr"),
        one_of("kind", *ZERO_POINT_KINDS),
        positive("photmjsr_half_width"),
        positive("pixar_half_width_sr"),
        sa.Index("ix_zero_points_key", "band", "array", "pmap_id"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    pmap_id: Mapped[int] = mapped_column(sa.ForeignKey("pmaps.id"))
    ingest_id: Mapped[int] = mapped_column(sa.ForeignKey("ingests.id"))
    array: Mapped[str] = mapped_column(comment="detector in lower case")
    filter: Mapped[str] = mapped_column(comment="FILTER")
    pupil: Mapped[str] = mapped_column(comment="PUPIL")
    band: Mapped[str] = mapped_column(comment="the element that shapes the passband")
    subarray: Mapped[str] = mapped_column(comment="SUBARRAY, empty where it holds for every one")
    photmjsr: Mapped[float] = mapped_column(comment="PHOTMJSR [MJy/sr per DN/s]")
    pixar_sr: Mapped[float | None] = mapped_column(comment="PIXAR_SR [sr]; NULL from mosaics")
    r_photom: Mapped[str] = mapped_column(comment="photom reference file")
    source: Mapped[str] = mapped_column(comment="where the value was seen: header, or a citation")
    kind: Mapped[str] = mapped_column(
        comment="header: with its time correction; table: row of a photom file; timed: the same, "
        "in a file with TIMECOEFF; published: as others wrote it down"
    )
    photmjsr_half_width: Mapped[float] = mapped_column(
        comment="half a unit of the last digit of photmjsr [MJy/sr per DN/s]"
    )
    pixar_half_width_sr: Mapped[float | None] = mapped_column(
        comment="half a unit of the last digit of pixar_sr [sr]"
    )
    file_name: Mapped[str] = mapped_column(comment="file of values; empty for headers of images")


class GridRow(Base):
    """The pixel grid that all mosaics of a field in one band share."""

    __tablename__ = "grids"
    __table_args__ = (
        sa.UniqueConstraint("field_id", "band", "scale_arcsec", name="uq_grids_identity"),
        positive("scale_arcsec"),
        between("ra_deg", 0, 360),
        between("dec_deg", -90, 90),
        between("y_pa_deg", 0, 360),
        positive("nx"),
        positive("ny"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    field_id: Mapped[int] = mapped_column(sa.ForeignKey("fields.id"))
    epoch_id: Mapped[int] = mapped_column(
        sa.ForeignKey("epochs.id"), comment="epoch whose footprints it covers"
    )
    ingest_id: Mapped[int] = mapped_column(sa.ForeignKey("ingests.id"))
    band: Mapped[str] = mapped_column()
    scale_arcsec: Mapped[float] = mapped_column(comment="side of a pixel [arcsec]")
    ra_deg: Mapped[float] = mapped_column(comment="tangent point [deg, ICRS]")
    dec_deg: Mapped[float] = mapped_column(comment="tangent point [deg, ICRS]")
    y_pa_deg: Mapped[float] = mapped_column(comment="position angle of +y [deg, N over E]")
    x_ref: Mapped[float] = mapped_column(comment="tangent point [pixel, 0-based]")
    y_ref: Mapped[float] = mapped_column(comment="tangent point [pixel, 0-based]")
    nx: Mapped[int] = mapped_column(comment="columns")
    ny: Mapped[int] = mapped_column(comment="rows")


class CatalogRow(Base):
    """One catalog of one image, with one kind of flux; the highest version is the current one."""

    __tablename__ = "catalogs"
    __table_args__ = (
        sa.UniqueConstraint(
            "exposure_id", "flux_kind", "aperture", "version", name="uq_catalogs_identity"
        ),
        one_of("flux_kind", *FLUX_KINDS),
        one_of("mag_origin", "flux", "catalog"),
        one_of("origin", *CATALOG_ORIGINS),
        positive("version"),
        sha256("file_sha256"),
        not_negative("n_dropped_nonfinite"),
        not_negative("n_negative_flux"),
        positive("n_rows"),
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
    file_sha256: Mapped[str] = mapped_column(
        comment="SHA-256 of the whole file; of settings and images for pixels", index=True
    )
    origin: Mapped[str] = mapped_column(
        comment="file: read from a catalog; pixels: measured on the image that the name is of"
    )
    version: Mapped[int] = mapped_column(comment="1, 2, ... per image, flux and aperture")


class DetectionRow(Base):
    """One measurement of one source on one image."""

    __tablename__ = "detections"
    __table_args__ = (
        between("ra_deg", 0, 360),
        between("dec_deg", -90, 90),
        between("compactness", -1, 1),
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
    x_det: Mapped[float | None] = mapped_column(
        comment="detector column, mean of the exposures that cover it [pixel, 0-based]"
    )
    y_det: Mapped[float | None] = mapped_column(
        comment="detector row, mean of the exposures that cover it [pixel, 0-based]"
    )
    v2_arcsec: Mapped[float | None] = mapped_column(comment="mean V2 of these exposures [arcsec]")
    v3_arcsec: Mapped[float | None] = mapped_column(comment="mean V3 of these exposures [arcsec]")
    r_half_arcsec: Mapped[float | None] = mapped_column(comment="half-light radius [arcsec]")
    compactness: Mapped[int] = mapped_column(comment="1 compact, 0 extended, -1 unknown")
