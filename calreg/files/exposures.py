"""Read JWST exposures and mosaics: their headers, checked, as `calreg.domain.Exposure`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from calreg.domain import Exposure, ExposureKind, Pmap
from calreg.errors import (
    FileFormatError,
    HeaderValueError,
    InvalidValueError,
    MissingKeywordError,
    UnknownKeyError,
    UnsupportedDataError,
)
from calreg.files.headers import FitsHeaders, file_sha256, read_headers
from calreg.files.imagecards import ImageCards, parse_s_region
from calreg.files.textcolumn import read_text_column
from calreg.units import SECONDS_PER_DAY, FloatArray

if TYPE_CHECKING:
    from pathlib import Path

    from calreg.files.headers import HeaderUnit
    from calreg.instruments import Array, Band, Instrument

FULL_SUBARRAY = "FULL"
CALIBRATED_UNIT = "MJy/sr"

_COMPLETE = "COMPLETE"
_PLACEHOLDERS = frozenset({"", "N/A", "UNKNOWN"})
_MOSAIC_MODELS = frozenset({"DrizProductModel", "MultiProductModel"})  # jwst before 0.17
_UNCALIBRATED_MODELS = {"Level1bModel": "uncal", "RampModel": "ramp"}
_UNCALIBRATED_UNITS = {"DN": "uncal", "DN/S": "rate", "ELECTRON": "uncal", "ELECTRON/S": "rate"}
_UNCALIBRATED_NAMES = ("uncal", "ramp", "rate", "rateints", "trapsfilled", "dark")
_GRISM_TYPES = frozenset({"NRC_WFSS", "NRC_GRISM", "NRC_TSGRISM"})
_MEMBER_TABLE = "HDRTAB"


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
    instrument : Instrument
        The keyword table and the arrays and bands that may occur.
    full_hash : bool
        Also digest the whole file.
    headers : FitsHeaders or None
        The headers of `path` where they have been read already.

    Returns
    -------
    Exposure

    Raises
    ------
    FileFormatError
        If the file is not FITS, or is truncated.
    UnsupportedDataError
        If it is no calibrated image of one array: uncal, rate, grism, coronagraph, a reference
        file, another instrument, a mosaic of several arrays or of inputs with different contexts.
    MissingKeywordError
        If a card that calreg needs is missing or empty.
    HeaderValueError
        If a card has a value that cannot be used.

    Notes
    -----
    A mosaic is recognised by S_RESAMP = COMPLETE, a name (of the file, or in FILENAME) that ends
    in `_i2d`, its DATAMODL, or a table HDRTAB of its members. Its identifiers from VISIT to
    EXPOSURE are left empty; SUBARRAY, which mosaics may lack, is FULL then, whereas an exposure
    must have it: it is part of the key of a zero point. EXPEND, where missing, is EXPSTART plus the
    exposure time, and EXPMID half way between them.
    """
    headers = read_headers(path) if headers is None else headers
    cards = ImageCards.of(headers, instrument)
    kind = _accepted_kind(cards, headers, instrument)
    array = _array(cards, instrument)
    band = _band(cards, array, instrument)
    start, mid, end = _times(cards)
    identity = _identity(cards, kind)
    return Exposure(
        kind=kind,
        program=identity.program,
        observation=identity.observation,
        visit=identity.visit,
        visit_group=identity.visit_group,
        sequence=identity.sequence,
        activity=identity.activity,
        exposure=identity.exposure,
        array=array.name,
        pmap=_pmap(cards),
        cal_ver=cards.text("cal_ver"),
        filter=band.filter,
        pupil=cards.required_text("pupil").upper(),
        band=band.name,
        subarray=_subarray(cards, kind),
        expstart_mjd_utc=start,
        expmid_mjd_utc=mid,
        expend_mjd_utc=end,
        exposure_time_s=_exposure_time_s(cards),
        n_members=_n_members(cards, headers) if kind is ExposureKind.I2D else 1,
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
        bunit=_bunit(cards),
        photmjsr=cards.positive("photmjsr"),
        pixar_sr=cards.positive("pixar_sr"),
        r_photom=_reference(cards, "r_photom"),
        r_flat=_reference(cards, "r_flat"),
        r_area=_reference(cards, "r_area"),
        target=_without_placeholder(cards.text("target")),
        file_name=path.name,
        directory=str(path.absolute().parent),
        file_size_bytes=headers.size_bytes,
        header_sha256=headers.sha256,
        file_sha256=file_sha256(path) if full_hash else None,
    )


def _accepted_kind(cards: ImageCards, headers: FitsHeaders, instrument: Instrument) -> ExposureKind:
    """Return the kind of image, if calreg takes it at all."""
    _require_instrument(cards, instrument)
    kind = _kind(cards, headers)
    _require_calibrated(cards, kind)
    _require_imaging(cards, instrument)
    if kind is ExposureKind.I2D:
        _require_one_context(cards, headers)
    return kind


def _require_instrument(cards: ImageCards, instrument: Instrument) -> None:
    """Refuse reference files and other telescopes and instruments."""
    reference_type = cards.primary.get("REFTYPE")
    if isinstance(reference_type, str) and reference_type.strip():
        cards.reject(
            f"is a reference file, not an exposure (REFTYPE={reference_type.strip()}): "
            "expected a cal, crf or i2d image"
        )
    for name, expected in (("telescope", instrument.telescope), ("instrument", instrument.name)):
        found = cards.required_text(name).upper()
        if found != expected:
            cards.reject(
                f"card {cards.keywords[name].card}: found {found!r}, expected {expected!r}; "
                f"calreg takes {instrument.telescope} {instrument.name} images"
            )


def _name_endings(cards: ImageCards) -> tuple[str, ...]:
    """Return what follows the last underscore in the file's name, and in its card FILENAME."""
    named = cards.primary.get("FILENAME")
    names = (cards.path.name, named if isinstance(named, str) else "")
    return tuple(name.split(".", 1)[0].rpartition("_")[2].lower() for name in names)


def _kind(cards: ImageCards, headers: FitsHeaders) -> ExposureKind:
    """Tell mosaics, cosmic-ray flagged exposures and plain ones apart."""
    endings = _name_endings(cards)
    if (
        cards.text("resample_state").upper() == _COMPLETE
        or "i2d" in endings
        or cards.text("data_model") in _MOSAIC_MODELS
        or headers.find(_MEMBER_TABLE) is not None
    ):
        return ExposureKind.I2D
    if cards.text("outlier_state").upper() == _COMPLETE or {"crf", "crfints"} & set(endings):
        return ExposureKind.CRF
    return ExposureKind.CAL


def _bunit(cards: ImageCards) -> str:
    """Return BUNIT, with MJy/sr in one spelling."""
    bunit = cards.text("bunit")
    return CALIBRATED_UNIT if bunit.upper() == CALIBRATED_UNIT.upper() else bunit


def _require_calibrated(cards: ImageCards, kind: ExposureKind) -> None:
    """Refuse what has not gone through the photom step, or went through it without effect."""
    bunit = _bunit(cards)
    state = cards.text("photom_state").upper()
    model = cards.text("data_model")
    is_done = bunit == CALIBRATED_UNIT and cards.number("photmjsr") is not None
    has_raw_unit = bunit.upper() in _UNCALIBRATED_UNITS
    is_mosaic = kind is ExposureKind.I2D
    is_claimed = state == _COMPLETE and model not in _UNCALIBRATED_MODELS
    if is_claimed and not is_mosaic and not is_done:
        photmjsr = cards.number("photmjsr")
        found = f"BUNIT={bunit!r}, PHOTMJSR={'missing' if photmjsr is None else photmjsr}"
        cards.refuse(
            "S_PHOTOM",
            f"COMPLETE with {found}",
            f"BUNIT={CALIBRATED_UNIT!r} and a PHOTMJSR",
            "the photom step found no matching row and did nothing: run it with a file that has it",
        )
    is_calibrated = is_claimed if state else (is_done or is_mosaic)
    if model not in _UNCALIBRATED_MODELS and is_calibrated and not has_raw_unit:
        return
    what = _uncalibrated_name(cards, model, bunit)
    lacking = "" if cards.text("pmap") else " without CRDS_CTX"
    shown = ", ".join(
        f"{card}={value or 'missing'}"
        for card, value in (("S_PHOTOM", state), ("BUNIT", bunit), ("DATAMODL", model))
    )
    cards.reject(
        f"is {what}{lacking}, not photometrically calibrated ({shown}): expected cal, crf or i2d; "
        "run the jwst pipeline on it through calwebb_image2 first"
    )


def _uncalibrated_name(cards: ImageCards, model: str, bunit: str) -> str:
    """Return what the pipeline calls an uncalibrated file."""
    ending = _name_endings(cards)[0]
    if model in _UNCALIBRATED_MODELS:
        return _UNCALIBRATED_MODELS[model]
    if ending in _UNCALIBRATED_NAMES:
        return ending
    return _UNCALIBRATED_UNITS.get(bunit.upper(), "an image")


def _require_imaging(cards: ImageCards, instrument: Instrument) -> None:
    """Refuse spectra and coronagraphy."""
    exposure_type = cards.required_text("exposure_type").upper()
    pupil = cards.required_text("pupil").upper()
    if exposure_type in _GRISM_TYPES or pupil.startswith("GRISM"):
        cards.reject(
            f"is a grism exposure (EXP_TYPE={exposure_type}, PUPIL={pupil}): expected EXP_TYPE "
            f"{' or '.join(instrument.imaging_exposure_types)} and an imaging pupil; leave it out"
        )
    if exposure_type not in instrument.imaging_exposure_types:
        cards.reject(
            f"is not an imaging exposure: card EXP_TYPE: found {exposure_type!r}, expected "
            f"{' or '.join(instrument.imaging_exposure_types)}; leave it out"
        )


def _array(cards: ImageCards, instrument: Instrument) -> Array:
    """Return the array that DETECTOR names."""
    detector = cards.required_text("detector")
    if detector.upper() == "MULTIPLE":
        cards.reject(
            "is a mosaic of several arrays (DETECTOR=MULTIPLE), which cannot be told apart: "
            "expected one mosaic per array; resample each array's exposures by themselves"
        )
    try:
        return instrument.array(detector)
    except UnknownKeyError:
        expected = ", ".join(array.detector for array in instrument.arrays.values())
        cards.refuse("DETECTOR", detector, f"one of {expected}")


def _band(cards: ImageCards, array: Array, instrument: Instrument) -> Band:
    """Return the band of FILTER and PUPIL, which must be one of the array's channel."""
    filter_name = cards.required_text("filter").upper()
    pupil = cards.required_text("pupil").upper()
    try:
        band = instrument.band(filter_name, pupil)
    except InvalidValueError as error:
        clear = " or ".join(instrument.clear_pupils)
        msg = (
            f"{cards.path}: {error}: expected a filter with PUPIL={clear}, or a narrower element "
            "in the pupil wheel with its filter; leave it out if it is no imaging exposure"
        )
        raise UnsupportedDataError(msg) from error
    if band.channel != array.channel:
        expected = f"a {array.channel} filter, as DETECTOR is {array.detector}"
        cards.refuse("FILTER", filter_name, expected)
    return band


def _pmap(cards: ImageCards) -> Pmap:
    """Return the context, which must be a numbered one."""
    text = cards.required_text("pmap")
    try:
        return Pmap.parse(text)
    except InvalidValueError as error:
        msg = f"{cards.path}: card CRDS_CTX: {error}; calibrate again with a numbered context"
        raise HeaderValueError(msg) from error


def _require_one_context(cards: ImageCards, headers: FitsHeaders) -> None:
    """Refuse a mosaic whose members, by its HDRTAB, had other contexts than the one it states."""
    table = headers.find(_MEMBER_TABLE)
    if table is None:
        return
    if table.extension != "BINTABLE":
        msg = (
            f"{cards.path}: HDU {_MEMBER_TABLE} is not a table: found "
            f"{table.extension}, expected BINTABLE; resample again"
        )
        raise FileFormatError(msg)
    members = _member_contexts(table)
    if len(members) > 1:
        found = ", ".join(sorted(members, key=_context_order))
        cards.reject(
            f"is a mosaic whose inputs had different contexts: found {found} in column "
            f"CRDS_CTX of {_MEMBER_TABLE}, expected one; calibrate all inputs with one and resample"
        )
    stated = str(_pmap(cards))
    if members and stated not in members:
        cards.reject(
            f"is a mosaic that states another context than its inputs: found CRDS_CTX={stated} and "
            f"{members.pop()} in {_MEMBER_TABLE}, expected one; calibrate the inputs with the "
            "context of the mosaic and resample again"
        )


def _member_contexts(table: HeaderUnit) -> set[str]:
    """Return the different contexts in HDRTAB, numbered ones in their full spelling."""
    texts = set(read_text_column(table, "CRDS_CTX"))
    return {_full_context(text) for text in texts if text.upper() not in _PLACEHOLDERS}


def _full_context(text: str) -> str:
    """Return ``jwst_1130.pmap`` for any numbered spelling, other names as they are."""
    try:
        return str(Pmap.parse(text))
    except InvalidValueError:
        return text


def _context_order(name: str) -> tuple[int, str]:
    """Order contexts by their integer, other names last."""
    try:
        return Pmap.parse(name).number, name
    except InvalidValueError:
        return 10**9, name


def _times(cards: ImageCards) -> tuple[float, float, float]:
    """Return start, middle and end [MJD UTC]."""
    start = cards.required_number("expstart_mjd_utc")
    end = cards.number("expend_mjd_utc")
    if end is None:
        end = start + (_exposure_time_s(cards) or 0.0) / SECONDS_PER_DAY
    mid = cards.number("expmid_mjd_utc")
    if mid is None:
        mid = 0.5 * (start + end)
    if end < start:
        cards.refuse("EXPEND", end, f"a time not before EXPSTART={start!r}")
    if not start <= mid <= end:
        cards.refuse("EXPMID", mid, f"a time between EXPSTART={start!r} and EXPEND={end!r}")
    return start, mid, end


def _exposure_time_s(cards: ImageCards) -> float | None:
    """Return EFFEXPTM, or XPOSURE where a mosaic has only that."""
    keyword = cards.keywords["exposure_time_s"]
    value = cards.positive_of(keyword)
    return cards.positive_of(replace(keyword, card="XPOSURE")) if value is None else value


def _n_members(cards: ImageCards, headers: FitsHeaders) -> int:
    """Return how many exposures are in a mosaic: rows of HDRTAB, else NDRIZ, else one."""
    table = headers.find(_MEMBER_TABLE)
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


def _subarray(cards: ImageCards, kind: ExposureKind) -> str:
    """Return SUBARRAY in upper case; FULL for mosaics without it."""
    subarray = _without_placeholder(cards.text("subarray")).upper()
    if not subarray and kind is not ExposureKind.I2D:
        cards.miss("subarray")
    return subarray or FULL_SUBARRAY


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
        return parse_s_region(cards.required_text("s_region"))
    except InvalidValueError as error:
        msg = f"{cards.path}: card S_REGION: {error}; run assign_wcs again, or correct the card"
        raise HeaderValueError(msg) from error


def _reference(cards: ImageCards, name: str) -> str:
    """Return the name of a reference file; empty where the step had none."""
    return _without_placeholder(cards.text(name).removeprefix("crds://"))


def _without_placeholder(text: str) -> str:
    """Return nothing for N/A and UNKNOWN."""
    return "" if text.upper() in _PLACEHOLDERS else text
