"""Read JWST exposures and mosaics: their headers, checked, as `calreg.domain.Exposure`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from calreg.domain import Exposure, ExposureKind
from calreg.errors import (
    HeaderValueError,
    InvalidValueError,
    MissingKeywordError,
)
from calreg.files.atomic import sha256_of
from calreg.files.fits.headers import read_headers
from calreg.files.images.calibration import read_record
from calreg.files.images.cards import (
    MEMBER_TABLE,
    ImageCards,
    bunit_of,
    read_image_key,
    reference_name,
    require_calibrated,
    without_placeholder,
)
from calreg.science.sky.geometry import require_outline, s_region_polygons
from calreg.units import SECONDS_PER_DAY

if TYPE_CHECKING:
    from pathlib import Path

    from calreg.files.fits.headers import FitsHeaders
    from calreg.instruments import Instrument
    from calreg.units import FloatArray


def read_exposure(
    path: Path,
    *,
    instrument: Instrument,
    full_hash: bool = False,
    headers: FitsHeaders | None = None,
) -> Exposure:
    """Read one exposure or mosaic from its headers; pixels are not read.

    Parameters
    ----------
    path : Path
        A `cal`, `crf` or `i2d` file, or a mosaic of one array's exposures made elsewhere.
    headers : FitsHeaders or None
        Those of `path`, where they have been read already.

    Raises
    ------
    FileFormatError
        If the file is not FITS, or is truncated.
    UnsupportedDataError
        If it is no calibrated image of one array: uncal, rate, grism, coronagraph, a reference
        file, another instrument, a mosaic of several arrays or of inputs with different contexts,
        an exposure that calreg corrected.
    MissingKeywordError
        If a card that calreg needs is missing or empty.
    HeaderValueError
        If a card has a value that cannot be used.

    Notes
    -----
    What makes a mosaic is said at `read_image_key`. Its identifiers from VISIT to EXPOSURE are left
    empty. EXPEND, where missing, is EXPSTART plus the exposure time, and EXPMID half way between
    them.
    """
    headers = read_headers(path) if headers is None else headers
    cards = ImageCards.of(headers, instrument)
    require_calibrated(cards, headers, instrument)
    key = read_image_key(cards, headers, instrument)
    _require_uncorrected(cards, headers)
    start, mid, end = _times(cards)
    identity = _identity(cards, key.kind)
    return Exposure(
        kind=key.kind,
        program=identity.program,
        observation=identity.observation,
        visit=identity.visit,
        visit_group=identity.visit_group,
        sequence=identity.sequence,
        activity=identity.activity,
        exposure=identity.exposure,
        array=key.array.name,
        pmap=key.pmap,
        cal_ver=cards.text("cal_ver"),
        filter=key.band.filter,
        pupil=key.pupil,
        band=key.band.name,
        subarray=key.subarray,
        expstart_mjd_utc=start,
        expmid_mjd_utc=mid,
        expend_mjd_utc=end,
        exposure_time_s=_exposure_time_s(cards),
        n_members=_n_members(cards, headers) if key.kind is ExposureKind.I2D else 1,
        ra_v1_deg=cards.number("ra_v1_deg"),
        dec_v1_deg=cards.number("dec_v1_deg"),
        pa_v3_deg=cards.number("pa_v3_deg"),
        ra_ref_deg=cards.number("ra_ref_deg"),
        dec_ref_deg=cards.number("dec_ref_deg"),
        roll_ref_deg=cards.number("roll_ref_deg"),
        v2_ref_arcsec=cards.number("v2_ref_arcsec"),
        v3_ref_arcsec=cards.number("v3_ref_arcsec"),
        roll_deg=_roll_deg(cards),
        s_region=cards.required_text("s_region"),
        footprint=_footprint(cards),
        bunit=bunit_of(cards),
        photmjsr=cards.positive("photmjsr"),
        pixar_sr=cards.positive("pixar_sr"),
        r_photom=reference_name(cards, "r_photom"),
        r_flat=reference_name(cards, "r_flat"),
        r_area=reference_name(cards, "r_area"),
        target=without_placeholder(cards.text("target")),
        file_name=path.name,
        directory=str(path.absolute().parent),
        file_size_bytes=headers.size_bytes,
        header_sha256=headers.sha256,
        file_sha256=sha256_of(path) if full_hash else None,
    )


def _require_uncorrected(cards: ImageCards, headers: FitsHeaders) -> None:
    """Refuse an exposure that calreg corrected: its offset would count as the context's."""
    record = read_record(headers)
    if record is not None:
        cards.reject(
            f"was corrected by calreg with set {record.set_id} (card CALREGID): expected an "
            "exposure as the jwst pipeline made it, because offsets are those of a context; "
            "restore it with calreg undo, or take the file as it was"
        )


def _times(cards: ImageCards) -> tuple[float, float, float]:
    """Return start, middle and end [MJD UTC]."""
    start = cards.required_number("expstart_mjd_utc")
    end = cards.number("expend_mjd_utc")
    if end is None:
        end = start + (_exposure_time_s(cards) or 0.0) / SECONDS_PER_DAY
    mid = cards.number("expmid_mjd_utc")
    if mid is None:
        mid = 0.5 * (start + end)
    first = cards.card("expstart_mjd_utc")
    if end < start:
        cards.refuse("expend_mjd_utc", end, f"a time not before {first}={start!r}")
    if not start <= mid <= end:
        last = cards.card("expend_mjd_utc")
        cards.refuse("expmid_mjd_utc", mid, f"a time between {first}={start!r} and {last}={end!r}")
    return start, mid, end


def _exposure_time_s(cards: ImageCards) -> float | None:
    """Return EFFEXPTM, or XPOSURE where a mosaic has only that."""
    keyword = cards.keywords["exposure_time_s"]
    value = cards.positive_of(keyword)
    return cards.positive_of(replace(keyword, card="XPOSURE")) if value is None else value


def _n_members(cards: ImageCards, headers: FitsHeaders) -> int:
    """Return how many exposures are in a mosaic: rows of HDRTAB, else NDRIZ, else one."""
    table = headers.find(MEMBER_TABLE)
    if table is not None and len(table.shape) > 1 and table.shape[1] > 0:
        return table.shape[1]
    n_drizzled = cards.number("n_members")
    return 1 if n_drizzled is None else int(n_drizzled)


@dataclass(frozen=True)
class _Identity:
    """The JWST identifiers; empty from `visit` on for mosaics."""

    program: str
    observation: str
    visit: str = ""
    visit_group: str = ""
    sequence: str = ""
    activity: str = ""
    exposure: str = ""


def _identity(cards: ImageCards, kind: ExposureKind) -> _Identity:
    """Return the identifiers, all of which an exposure must have and a mosaic may lack."""
    if kind is ExposureKind.I2D:
        return _Identity(cards.text("program"), cards.text("observation"))
    return _Identity(
        program=cards.required_text("program"),
        observation=cards.required_text("observation"),
        visit=cards.required_text("visit"),
        visit_group=cards.required_text("visit_group"),
        sequence=cards.required_text("sequence"),
        activity=cards.required_text("activity"),
        exposure=cards.required_text("exposure"),
    )


def _roll_deg(cards: ImageCards) -> float:
    """Return PA_V3, else ROLL_REF, in [0, 360)."""
    for name in ("pa_v3_deg", "roll_ref_deg"):
        roll = cards.number(name)
        if roll is not None:
            return roll % 360.0
    msg = (
        f"{cards.path}: cards PA_V3 and ROLL_REF are missing or empty in SCI and PRIMARY: expected "
        "the roll [deg], which tells epochs apart; take the file as the jwst pipeline wrote it, or "
        "add PA_V3"
    )
    raise MissingKeywordError(msg)


def _footprint(cards: ImageCards) -> FloatArray:
    """Return the corners that S_REGION gives."""
    try:
        polygons = s_region_polygons(cards.required_text("s_region"))
        for polygon in polygons:
            require_outline(polygon)
        return np.concatenate(polygons)
    except InvalidValueError as error:
        msg = (
            f"{cards.path}: card S_REGION: {error}; write the outline of the pixels with data into "
            "the card (of an exposure, assign_wcs does)"
        )
        raise HeaderValueError(msg) from error
