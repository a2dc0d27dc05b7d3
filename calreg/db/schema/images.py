"""What comes in: contexts, fields, epochs, exposures, zero points, catalogs, detections."""

from __future__ import annotations

import sqlalchemy as sa

from calreg.db.schema.base import (
    CATALOG_ORIGINS,
    FLUX_KINDS,
    IMAGE_KINDS,
    ZERO_POINT_KINDS,
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


class InstrumentRow(Base):
    """The one instrument whose data the registry holds."""

    __tablename__ = "instrument"
    __table_args__ = (sa.CheckConstraint("id = 1", name="id"), not_empty("name"))

    id = integer("1", primary_key=True, autoincrement=False)
    name = text("as the card INSTRUME has it")
    source = text("name of a table that comes with calreg or another package, or path of a file")
    facts = text("TOML text; NULL where the table comes with calreg", nullable=True)


class PmapRow(Base):
    """A CRDS context."""

    __tablename__ = "pmaps"
    __table_args__ = (sa.UniqueConstraint("number"), positive("number"))

    id = integer(primary_key=True)
    name = text("jwst_1130.pmap", unique=True)
    number = integer("integer that contexts are ordered by")


class IngestRow(Base):
    """One call of ingest (or import) that wrote something."""

    __tablename__ = "ingests"

    id = integer(primary_key=True)
    started_utc = moment("UTC")
    code_version = text("calreg version")


class FieldRow(Base):
    """A patch of sky: exposures with overlapping footprints."""

    __tablename__ = "fields"

    id = integer(primary_key=True)
    name = text("given, or the proposer's target name", unique=True)
    merged_into_id = integer(
        "field that took this one's epochs over", references="fields.id", nullable=True
    )
    merged_utc = moment("when, UTC", nullable=True)
    created_utc = moment("UTC")


class EpochRow(Base):
    """The exposures of one field taken together at one roll; times and roll follow from them."""

    __tablename__ = "epochs"
    __table_args__ = (sa.UniqueConstraint("field_id", "label"),)

    id = integer(primary_key=True)
    field_id = integer(references="fields.id", index=True)
    label = text("name given with --epoch, NULL when found", nullable=True)


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

    id = integer(primary_key=True)
    epoch_id = integer(references="epochs.id")
    pmap_id = integer(references="pmaps.id")
    ingest_id = integer(references="ingests.id")
    kind = text("cal, crf or i2d")
    program = text("PROGRAM")
    observation = text("OBSERVTN")
    visit = text("VISIT, empty for mosaics")
    visit_group = text("VISITGRP, empty for mosaics")
    sequence = text("SEQ_ID, empty for mosaics")
    activity = text("ACT_ID, empty for mosaics")
    exposure = text("EXPOSURE, empty for mosaics")
    array = text("DETECTOR in lower case")
    array_id = text("what modules A and B share: 1 2 3 4 long")
    module = text("A or B")
    cal_ver = text("CAL_VER")
    filter = text("FILTER")
    pupil = text("PUPIL")
    band = text("the element that shapes the passband")
    subarray = text("SUBARRAY")
    expstart_mjd_utc = double("EXPSTART [d, MJD UTC]")
    expmid_mjd_utc = double("EXPMID [d, MJD UTC]")
    expend_mjd_utc = double("EXPEND [d, MJD UTC]")
    exposure_time_s = double("EFFEXPTM or XPOSURE [s]", nullable=True)
    n_members = integer("raw exposures in the image")
    ra_v1_deg = double("RA_V1 [deg, ICRS]", nullable=True)
    dec_v1_deg = double("DEC_V1 [deg, ICRS]", nullable=True)
    pa_v3_deg = double("PA_V3 [deg, N over E]", nullable=True)
    ra_ref_deg = double("RA_REF [deg, ICRS]", nullable=True)
    dec_ref_deg = double("DEC_REF [deg, ICRS]", nullable=True)
    roll_ref_deg = double("ROLL_REF [deg, N over E]", nullable=True)
    v2_ref_arcsec = double("V2_REF [arcsec]", nullable=True)
    v3_ref_arcsec = double("V3_REF [arcsec]", nullable=True)
    roll_deg = double("PA_V3, else ROLL_REF [deg, N over E]")
    s_region = text("S_REGION [deg, ICRS]")
    bunit = text("BUNIT of SCI")
    photmjsr = double("PHOTMJSR [MJy/sr per DN/s]", nullable=True)
    pixar_sr = double("PIXAR_SR [sr]", nullable=True)
    r_photom = text("R_PHOTOM without crds://")
    r_flat = text("R_FLAT without crds://")
    r_area = text("R_AREA without crds://")
    target = text("TARGPROP")
    file_name = text("name of the file")
    directory = text("where the file was")
    file_size_bytes = big_integer("[byte]")
    header_sha256 = text("SHA-256 of all header blocks and the size")
    file_sha256 = text("SHA-256 of the file, with --hash full", nullable=True)


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

    id = integer(primary_key=True)
    pmap_id = integer(references="pmaps.id")
    ingest_id = integer(references="ingests.id")
    array = text("detector in lower case")
    filter = text("FILTER")
    pupil = text("PUPIL")
    band = text("the element that shapes the passband")
    subarray = text("SUBARRAY, empty where it holds for every one")
    photmjsr = double("PHOTMJSR [MJy/sr per DN/s]")
    pixar_sr = double("PIXAR_SR [sr]; NULL from mosaics", nullable=True)
    r_photom = text("photom reference file")
    source = text("where the value was seen: header, or a citation")
    kind = text(
        "header: with its time correction; table: row of a photom file; timed: the same, "
        "in a file with TIMECOEFF; published: as others wrote it down"
    )
    photmjsr_half_width = double("half a unit of the last digit of photmjsr [MJy/sr per DN/s]")
    pixar_half_width_sr = double("half a unit of the last digit of pixar_sr [sr]", nullable=True)
    file_name = text("file of values; empty for headers of images")


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

    id = integer(primary_key=True)
    field_id = integer(references="fields.id")
    epoch_id = integer("epoch whose footprints it covers", references="epochs.id")
    ingest_id = integer(references="ingests.id")
    band = text()
    scale_arcsec = double("side of a pixel [arcsec]")
    ra_deg = double("tangent point [deg, ICRS]")
    dec_deg = double("tangent point [deg, ICRS]")
    y_pa_deg = double("position angle of +y [deg, N over E]")
    x_ref = double("tangent point [pixel, 0-based]")
    y_ref = double("tangent point [pixel, 0-based]")
    nx = integer("columns")
    ny = integer("rows")


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
        not_negative("n_dropped_error"),
        not_negative("n_negative_flux"),
        positive("n_rows"),
    )

    id = integer(primary_key=True)
    exposure_id = integer(references="exposures.id")
    ingest_id = integer(references="ingests.id")
    flux_kind = text("iso, auto, aper or psf")
    aperture = text("which aperture, for aper")
    software = text("program and version")
    detection_image = text("detection image where stated")
    mag_origin = text("flux: from fluxes and PIXAR_SR; or catalog")
    mag_disagreement = double("median (computed - stated) magnitude [mag]", nullable=True)
    settings = text("settings that the file states, JSON")
    n_rows = integer("detections stored")
    n_dropped_nonfinite = integer("rows dropped for NaN or infinity")
    n_dropped_error = integer("rows dropped for an error of 0 or less")
    n_negative_flux = integer("rows stored without magnitude")
    file_name = text("name of the file")
    directory = text("where the file was")
    file_size_bytes = big_integer("[byte]")
    file_sha256 = text("SHA-256 of the whole file; of settings and images for pixels", index=True)
    origin = text("file: read from a catalog; pixels: measured on the image that the name is of")
    version = integer("1, 2, ... per image, flux and aperture")


class DetectionRow(Base):
    """One measurement of one source on one image."""

    __tablename__ = "detections"
    __table_args__ = (
        between("ra_deg", 0, 360),
        between("dec_deg", -90, 90),
        between("compactness", -1, 1),
        {"sqlite_with_rowid": False},
    )

    catalog_id = integer(references="catalogs.id", primary_key=True)
    number = integer("row identifier in the catalog", primary_key=True)
    ra_deg = double("[deg, ICRS]")
    dec_deg = double("[deg, ICRS]")
    x = double("[pixel, 0-based]", nullable=True)
    y = double("[pixel, 0-based]", nullable=True)
    flux_ujy = double("[uJy]", nullable=True)
    flux_err_ujy = double("[uJy]", nullable=True)
    mag_ab = double("[mag AB], NULL if flux is not positive", nullable=True)
    mag_err = double("[mag]", nullable=True)
    flags = integer("bits of calreg.flags.DetectionFlag")
    x_det = double(
        "detector column, mean of the exposures that cover it [pixel, 0-based]", nullable=True
    )
    y_det = double(
        "detector row, mean of the exposures that cover it [pixel, 0-based]", nullable=True
    )
    v2_arcsec = double("mean V2 of these exposures [arcsec]", nullable=True)
    v3_arcsec = double("mean V3 of these exposures [arcsec]", nullable=True)
    r_half_arcsec = double("half-light radius [arcsec]", nullable=True)
    compactness = integer("1 compact, 0 extended, -1 unknown")
