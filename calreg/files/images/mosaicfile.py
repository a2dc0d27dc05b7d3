"""Drizzled mosaics as FITS in the layout of the jwst pipeline's `i2d` files, and their summary."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from calreg.errors import CalregError, InvalidValueError
from calreg.files.atomic import fill_pending
from calreg.files.fits.cards import BLOCK_BYTES, Value, format_card
from calreg.files.fits.headers import read_headers
from calreg.files.fits.write import (
    comment_cards,
    image_header,
    plain_text,
    primary_block,
    table_block,
)
from calreg.files.images.cards import CALIBRATED_UNIT, MEMBER_TABLE
from calreg.files.readguard import refuse_damaged
from calreg.science.sky.geometry import s_region_text
from calreg.units import MEGAJANSKY_IN_UJY

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from calreg.domain import Exposure, Pmap
    from calreg.files.atomic import PendingFile
    from calreg.instruments import Instrument
    from calreg.science.imaging.cleaning import CleaningSettings
    from calreg.science.imaging.drizzling import DrizzledMosaic

_COMMENT = (
    "Noise is correlated between pixels: the error of a sum over many pixels is NOISCORR times the "
    "root of the summed squares of ERR, the variance of a mean over n pixels of sky 1 / (n WHT)."
)

_MEMBER_UNITS = {
    "PHOTMJSR": "MJy/sr",
    "PIXAR_SR": "sr",
    "EXPSTART": "d",
    "EXPEND": "d",
    "XPOSURE": "s",
    "RA_REF": "deg",
    "DEC_REF": "deg",
    "ROLL_REF": "deg",
    "V2_REF": "arcsec",
    "V3_REF": "arcsec",
    "BACKGRND": "MJy/sr",
}


_DIGEST, _COVERAGE, _NOISE = "INPUTSHA", "COVERAGE", "MEDERR"
_CORRELATION, _BACKGROUND, _EXPOSURE = "NOISCORR", "MEDBKG", "EFFEXPTM"


@dataclass(frozen=True)
class MosaicMember:
    """What a mosaic's file says of one exposure in it.

    Attributes
    ----------
    exposure : Exposure
        Its header.
    rescale : float
        Factor applied to its pixels.
    background : float
        Median background subtracted from it, before the factor [MJy/sr].
    wcs_from : str
        ``gwcs`` or ``sip``.
    wcs_text : str
        Its world coordinates as FITS cards, in pixels of the whole detector; empty if it is not
        known where on the detector its pixels are.
    """

    exposure: Exposure
    rescale: float
    background: float
    wcs_from: str
    wcs_text: str


def write_mosaic(
    pending: PendingFile,
    mosaic: DrizzledMosaic,
    members: Sequence[MosaicMember],
    instrument: Instrument,
    *,
    pmap: Pmap,
    code_version: str,
    photmjsr: float | None = None,
    cards: Mapping[str, tuple[Value, str]] | None = None,
) -> None:
    """Write a mosaic of the exposures of one array, under its hidden name.

    Parameters
    ----------
    pending : PendingFile
        It gets its name afterwards, by `calreg.files.atomic.NamedFiles`.
    members : sequence of MosaicMember
        In the order of the bits of the context planes.
    pmap : Pmap
        Context of the mosaic; of its members, too, unless they were rescaled to it.
    code_version : str
        Version of calreg (card CALREGVR).
    photmjsr : float, optional
        Conversion that the rescaled pixels are on [MJy/sr per DN/s]; that of the members if not
        given.
    cards : mapping of str to (value, comment), optional
        More cards of the primary header, by keyword.

    Raises
    ------
    InvalidValueError
        If the members are not those of the mosaic, lack PHOTMJSR, or are on different scales.
    OutputError
        If the file cannot be written; it is removed then.

    Notes
    -----
    The same input gives the same bytes. Column CRDS_CTX of HDRTAB is the context that the pixels
    are on; CTXINPUT is the one that the exposure was calibrated with. PHOTMJSR is the exposure's
    own. DIGEST is that of its headers, as the registry keeps it, SHA256 that of the whole file.
    """
    path = pending.path
    if len(members) != mosaic.n_members:
        msg = (
            f"{path}: {len(members)} members for a mosaic of {mosaic.n_members}: expected one each"
        )
        raise InvalidValueError(msg)
    photmjsr = _photmjsr(path, members, photmjsr)
    primary = [
        *_primary_cards(path.name, mosaic, members, pmap, instrument, code_version),
        *(format_card(name, value, note) for name, (value, note) in (cards or {}).items()),
        *comment_cards(_COMMENT),
    ]
    unit = [format_card("BUNIT", CALIBRATED_UNIT, "physical units of the array values")]
    weight = [
        format_card("BUNIT", "sr2 MJy-2", "physical units of the array values"),
        format_card("WHTTYPE", "ivm", "inverse variance of the sky"),
    ]
    with fill_pending(pending) as temporary, temporary.open("wb") as stream:
        stream.write(primary_block(primary))
        _write_image(stream, "SCI", mosaic.sci, _science_cards(mosaic, members, photmjsr))
        _write_image(stream, "ERR", mosaic.err, unit)
        _write_image(stream, "WHT", mosaic.wht, weight)
        _write_image(stream, "CON", mosaic.con, [])
        _write_image(stream, "DQ", mosaic.dq, [])
        columns = _member_columns(members, pmap, instrument)
        stream.write(table_block(MEMBER_TABLE, columns, _MEMBER_UNITS))


def _photmjsr(path: Path, members: Sequence[MosaicMember], given: float | None) -> float:
    """Return the conversion that the pixels are on, the same for all members."""
    values = [] if given is None else [given]
    for member in members:
        photmjsr = member.exposure.photmjsr
        if photmjsr is None:
            msg = (
                f"{path}: member {member.exposure.file_name} has no PHOTMJSR: expected the "
                "conversion that its pixels are on"
            )
            raise InvalidValueError(msg)
        values.append(photmjsr * member.rescale)
    if not np.allclose(values, values[0], rtol=1e-6, atol=0.0):
        msg = (
            f"{path}: members are on scales with PHOTMJSR from {min(values):.7g} to "
            f"{max(values):.7g} MJy/sr: expected one; rescale them to one context"
        )
        raise InvalidValueError(msg)
    return values[0]


# --- headers ------------------------------------------------------------------------------------


def _primary_cards(
    name: str,
    mosaic: DrizzledMosaic,
    members: Sequence[MosaicMember],
    pmap: Pmap,
    instrument: Instrument,
    code_version: str,
) -> list[bytes]:
    """Return the cards that describe the observation, the first member's where they are many."""
    first = members[0].exposure
    array = instrument.array(first.array)
    start = min(member.exposure.expstart_mjd_utc for member in members)
    end = max(member.exposure.expend_mjd_utc for member in members)
    rows: list[tuple[str, Value, str]] = [
        ("TELESCOP", instrument.telescope, "Telescope used to acquire the data"),
        ("INSTRUME", instrument.name, "Instrument used to acquire the data"),
        ("FILENAME", plain_text(name), "Name of the file"),
        ("DATAMODL", "ImageModel", "Type of data model"),
        ("CALREGVR", code_version, "Version of calreg"),
        ("DETECTOR", array.detector, "Name of detector used to acquire the data"),
        ("CHANNEL", instrument.channel_card(array), "Instrument channel"),
        ("MODULE", array.module, "NIRCam module: A, B, or MULTIPLE"),
        ("FILTER", first.filter, "Name of the filter element used"),
        ("PUPIL", first.pupil, "Name of the pupil element used"),
        ("EXP_TYPE", instrument.imaging_exposure_types[0], "Type of data in the exposure"),
        ("SUBARRAY", first.subarray, "Subarray used"),
        ("PROGRAM", first.program, "Program number"),
        ("OBSERVTN", first.observation, "Observation number"),
        ("TARGPROP", first.target, "Proposer's name for the target"),
        ("CRDS_CTX", pmap.name, "CRDS context of the pixels"),
        ("CAL_VER", first.cal_ver, "Calibration software version number"),
        ("EXPSTART", start, "[d] exposure start time in MJD"),
        ("EXPMID", 0.5 * (start + end), "[d] exposure mid time in MJD"),
        ("EXPEND", end, "[d] exposure end time in MJD"),
        ("EFFEXPTM", _exposure_time_s(members), "[s] Effective exposure time, all members"),
        *(
            (card, f"crds://{value}" if value else "N/A", "Reference file, if one for all")
            for card, value in (
                ("R_PHOTOM", _common([member.exposure.r_photom for member in members])),
                ("R_FLAT", _common([member.exposure.r_flat for member in members])),
                ("R_AREA", _common([member.exposure.r_area for member in members])),
            )
        ),
        ("S_PHOTOM", "COMPLETE", "Photometric Calibration"),
        ("S_RESAMP", "COMPLETE", "Resample"),
        ("NDRIZ", len(members), "Number of images drizzled"),
        ("KERNEL", mosaic.kernel, "Drizzle kernel"),
        ("PIXFRAC", mosaic.pixfrac, "Fraction by which input pixels were shrunk"),
        ("WHTTYPE", "ivm", "Weights: inverse variance of the sky"),
        ("NOISCORR", mosaic.noise_correlation, "Noise of large sums over that from ERR"),
    ]
    return [format_card(*row) for row in rows]


def _common(values: Sequence[str]) -> str:
    """Return the one value of all members; empty if there are several."""
    return values[0] if len(set(values)) == 1 else ""


def _exposure_time_s(members: Sequence[MosaicMember]) -> float:
    """Return the summed exposure time [s]."""
    return float(sum(member.exposure.exposure_time_s or 0.0 for member in members))


def _science_cards(
    mosaic: DrizzledMosaic, members: Sequence[MosaicMember], photmjsr: float
) -> list[bytes]:
    """Return the cards of SCI: photometry, pointing of the first member, WCS of the grid."""
    first = members[0].exposure
    grid = mosaic.grid
    wcs = grid.wcs().wcs
    pixar_a2 = grid.scale_arcsec**2
    pixar_sr = grid.pixel_sr
    photuja2 = photmjsr * MEGAJANSKY_IN_UJY * pixar_sr / pixar_a2
    rows: list[tuple[str, Value | None, str]] = [
        ("BUNIT", CALIBRATED_UNIT, "physical units of the array values"),
        ("XPOSURE", _exposure_time_s(members), "[s] Exposure time, all members"),
        ("PHOTMJSR", photmjsr, "Flux density (MJy/steradian) producing 1 cps"),
        ("PHOTUJA2", photuja2, "Flux density (uJy/arcsec2) producing 1 cps"),
        ("PIXAR_SR", pixar_sr, "Pixel area in steradians"),
        ("PIXAR_A2", pixar_a2, "Pixel area in arcsec^2"),
        ("RA_V1", first.ra_v1_deg, "[deg] RA of telescope V1 axis"),
        ("DEC_V1", first.dec_v1_deg, "[deg] Dec of telescope V1 axis"),
        ("PA_V3", first.pa_v3_deg, "[deg] Position angle of telescope V3 axis"),
        ("V2_REF", first.v2_ref_arcsec, "[arcsec] Telescope V2 coord of reference point"),
        ("V3_REF", first.v3_ref_arcsec, "[arcsec] Telescope V3 coord of reference point"),
        ("RA_REF", first.ra_ref_deg, "[deg] Right ascension of the reference point"),
        ("DEC_REF", first.dec_ref_deg, "[deg] Declination of the reference point"),
        ("ROLL_REF", first.roll_ref_deg, "[deg] V3 roll angle at the ref point (N over E)"),
        ("S_REGION", s_region_text(mosaic.footprint()), "spatial extent of the observation"),
        ("RADESYS", "ICRS", "Equatorial coordinate system"),
        ("WCSAXES", 2, "Number of coordinate axes"),
        *((f"CTYPE{i + 1}", str(wcs.ctype[i]), "TAN (gnomonic) projection") for i in range(2)),
        *((f"CUNIT{i + 1}", "deg", "Unit of coordinate") for i in range(2)),
        *((f"CRPIX{i + 1}", float(wcs.crpix[i]), "Pixel of reference point") for i in range(2)),
        *((f"CRVAL{i + 1}", float(wcs.crval[i]), "[deg] Reference point") for i in range(2)),
        *((f"CDELT{i + 1}", float(wcs.cdelt[i]), "[deg] Pixel scale") for i in range(2)),
        *(
            (f"PC{i + 1}_{j + 1}", float(wcs.pc[i, j]), "Transformation matrix element")
            for i in range(2)
            for j in range(2)
        ),
        ("LONPOLE", 180.0, "[deg] Native longitude of celestial pole"),
        ("LATPOLE", grid.dec_deg, "[deg] Native latitude of celestial pole"),
    ]
    return [format_card(name, value, note) for name, value, note in rows if value is not None]


# --- data ---------------------------------------------------------------------------------------


def _write_image(stream: BinaryIO, name: str, pixels: NDArray[Any], cards: Sequence[bytes]) -> None:
    """Write an image extension, with one copy of its pixels in memory."""
    stream.write(image_header(name, pixels.dtype, pixels.shape, cards))
    big_endian = pixels.astype(pixels.dtype.newbyteorder(">"))
    stream.write(big_endian.data)
    stream.write(b"\0" * (-big_endian.nbytes % BLOCK_BYTES))


def _member_columns(
    members: Sequence[MosaicMember], pmap: Pmap, instrument: Instrument
) -> dict[str, list[Any]]:
    """Return the columns of HDRTAB; NaN where a header does not say."""
    exposures = [member.exposure for member in members]
    return {
        "FILENAME": [exposure.file_name for exposure in exposures],
        "DETECTOR": [instrument.array(exposure.array).detector for exposure in exposures],
        "CRDS_CTX": [pmap.name] * len(members),
        "CTXINPUT": [exposure.pmap.name for exposure in exposures],
        "CAL_VER": [exposure.cal_ver for exposure in exposures],
        "PHOTMJSR": [exposure.photmjsr for exposure in exposures],
        "PIXAR_SR": [exposure.pixar_sr for exposure in exposures],
        "EXPSTART": [exposure.expstart_mjd_utc for exposure in exposures],
        "EXPEND": [exposure.expend_mjd_utc for exposure in exposures],
        "XPOSURE": [exposure.exposure_time_s for exposure in exposures],
        "RA_REF": [exposure.ra_ref_deg for exposure in exposures],
        "DEC_REF": [exposure.dec_ref_deg for exposure in exposures],
        "ROLL_REF": [exposure.roll_ref_deg for exposure in exposures],
        "V2_REF": [exposure.v2_ref_arcsec for exposure in exposures],
        "V3_REF": [exposure.v3_ref_arcsec for exposure in exposures],
        "DIGEST": [exposure.header_sha256 for exposure in exposures],
        "SHA256": [exposure.file_sha256 or "" for exposure in exposures],
        "RESCALE": [member.rescale for member in members],
        "BACKGRND": [member.background for member in members],
        "WCS_FROM": [str(member.wcs_from) for member in members],
        "WCS": [member.wcs_text for member in members],
    }


# --- cards by which a mosaic is known again: what it was made of, and what came out --------------


@dataclass(frozen=True)
class MosaicSummary:
    """What a mosaic's header says of it in a few numbers.

    Attributes
    ----------
    input_digest : str
        SHA-256 of its exposures and settings.
    header_sha256 : str
        SHA-256 over all header blocks and the file's size.
    exposure_time_s : float
        Summed over its exposures [s].
    coverage_arcmin2 : float
        Sky with data [arcmin^2].
    median_noise : float
        Median 1-sigma error of the pixels with data [MJy/sr].
    noise_correlation : float
        Noise of large sums over that from the errors.
    background : float
        Median over its exposures of the background that was subtracted [MJy/sr].
    """

    input_digest: str
    header_sha256: str
    exposure_time_s: float
    coverage_arcmin2: float
    median_noise: float
    noise_correlation: float
    background: float


def summary_cards(
    *,
    input_digest: str,
    cleaning: CleaningSettings,
    forced_pmap: str,
    coverage_arcmin2: float,
    median_noise: float,
    background: float,
) -> dict[str, tuple[Value, str]]:
    """Return the cards of a mosaic beyond those of its layout; numbers as in `MosaicSummary`.

    Parameters
    ----------
    forced_pmap : str
        Context that all exposures were rescaled to; empty if they were not.
    """
    return {
        "BKGSUB": (cleaning.background, "Background in blocks subtracted"),
        "BKGBOX": (cleaning.box_px, "[pixel] side of the blocks"),
        "BKGFILT": (cleaning.filter_blocks, "[block] side of the median filter over them"),
        "LEVELSUB": (cleaning.level, "Median level of each exposure subtracted"),
        "DESTRIPE": (cleaning.stripes, "Stripes of 1/f noise subtracted"),
        "FORCECTX": (forced_pmap or "N/A", "Context that exposures were rescaled to"),
        _COVERAGE: (coverage_arcmin2, "[arcmin2] sky with data"),
        _NOISE: (median_noise, "[MJy/sr] median of ERR"),
        _BACKGROUND: (background, "[MJy/sr] median background subtracted"),
        _DIGEST: (input_digest, "exposures and settings"),
    }


def read_summary(path: Path) -> MosaicSummary | None:
    """Read the numbers of a mosaic that `calreg mosaic` made.

    Returns
    -------
    MosaicSummary or None
        None for any other file, a damaged one included.
    """
    try:
        with refuse_damaged(path):
            headers = read_headers(path)
            primary = headers.primary
            digest = primary.get(_DIGEST)
            numbers = [
                primary.get(card)
                for card in (_EXPOSURE, _COVERAGE, _NOISE, _CORRELATION, _BACKGROUND)
            ]
    except CalregError:
        return None
    values = [float(value) for value in numbers if isinstance(value, int | float)]
    if not isinstance(digest, str) or len(values) != len(numbers):
        return None
    if not all(math.isfinite(value) for value in values):
        return None
    return MosaicSummary(digest, headers.sha256, *values)
