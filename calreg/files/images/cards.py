"""The cards of an image: its key, and whether calreg takes it, by an instrument's keyword table.

Where a card is looked for follows the table: a PRIMARY card in the primary header and, if it is
missing or empty there, in SCI; a SCI card in SCI and then in the primary header. So a mosaic with a
single HDU, or one whose maker moved cards, reads like the pipeline's own.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from dataclasses import dataclass, field
from itertools import count, takewhile
from typing import TYPE_CHECKING, NamedTuple, NoReturn, cast

from calreg.domain import ExposureKind, Pmap
from calreg.errors import (
    FileFormatError,
    HeaderValueError,
    InvalidValueError,
    MissingKeywordError,
    UnknownKeyError,
    UnsupportedDataError,
)
from calreg.files.fits.textcolumn import read_number_column, read_text_column

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from calreg.files.fits.headers import CardValue, FitsHeaders, HeaderUnit
    from calreg.instruments import Array, Band, Instrument, Keyword


FULL_SUBARRAY = "FULL"
CALIBRATED_UNIT = "MJy/sr"
MEMBER_TABLE = "HDRTAB"

_COMPLETE = "COMPLETE"
_MANY = 3
_PLACEHOLDERS = frozenset({"", "N/A", "UNKNOWN"})
_MOSAIC_MODELS = frozenset({"DrizProductModel", "MultiProductModel"})  # jwst before 0.17
_UNCALIBRATED_MODELS = {"Level1bModel": "uncal", "RampModel": "ramp"}
_UNCALIBRATED_UNITS = {"DN": "uncal", "DN/S": "rate", "ELECTRON": "uncal", "ELECTRON/S": "rate"}
_UNCALIBRATED_NAMES = ("uncal", "ramp", "rate", "rateints", "trapsfilled", "dark")
_GRISM_TYPES = frozenset({"NRC_WFSS", "NRC_GRISM", "NRC_TSGRISM"})


@dataclass(frozen=True)
class ImageCards:
    """The two headers that matter, read through the instrument's table.

    Attributes
    ----------
    science : HeaderUnit or None
        The extension SCI where there is one.
    """

    path: Path
    instrument: Instrument
    primary: HeaderUnit
    science: HeaderUnit | None
    _values: dict[str, CardValue] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, headers: FitsHeaders, instrument: Instrument) -> ImageCards:
        """Return the cards of a file."""
        return cls(headers.path, instrument, headers.primary, headers.find("SCI"))

    @property
    def keywords(self) -> dict[str, Keyword]:
        """Where properties stand, by property."""
        return self.instrument.keywords

    def card(self, name: str) -> str:
        """Return the name of a property's card."""
        return self.keywords[name].card

    def value(self, keyword: Keyword) -> CardValue:
        """Return a card from the header where it belongs, else from the other; None if empty."""
        if keyword.card in self._values:
            return self._values[keyword.card]
        is_primary_first = keyword.hdu == "PRIMARY"
        first = self.primary if is_primary_first else self.science
        value = None if first is None else _unless_blank(first.get(keyword.card))
        if value is None:
            second = self.science if is_primary_first else self.primary
            value = None if second is None else _unless_blank(second.get(keyword.card))
        self._values[keyword.card] = value
        return value

    def text(self, name: str) -> str:
        """Return a string card without blanks around it; empty if missing."""
        keyword = self.keywords[name]
        value = self.value(keyword)
        if value is None:
            return ""
        if not isinstance(value, str):
            self._refuse(keyword.card, value, "text in quotes")
        return value.strip()

    def required_text(self, name: str) -> str:
        """Return a string card that must be there."""
        text = self.text(name)
        if not text:
            self.miss(name)
        return text

    def number(self, name: str) -> float | None:
        """Return a finite number within its bounds, or None if missing."""
        return self.number_of(self.keywords[name])

    def required_number(self, name: str) -> float:
        """Return a number that must be there."""
        number = self.number(name)
        if number is None:
            self.miss(name)
        return number

    def number_of(self, keyword: Keyword) -> float | None:
        """Return the number of a card, as `number` does."""
        value = self.value(keyword)
        if value is None:
            return None
        unit = f" [{keyword.unit}]" if keyword.unit else ""
        if type(value) not in (int, float):
            self._refuse(keyword.card, value, f"a number{unit}")
        number = cast("float", value)
        if not math.isfinite(number):
            self._refuse(keyword.card, value, f"a finite number{unit}")
        if keyword.type == "int" and number != int(number):
            self._refuse(keyword.card, value, "a whole number")
        if not keyword.holds(number):
            self._refuse(keyword.card, value, keyword.bounds)
        return float(number)

    def positive(self, name: str) -> float | None:
        """Return a number above zero, or None if missing."""
        return self.positive_of(self.keywords[name])

    def positive_of(self, keyword: Keyword) -> float | None:
        """Return the number above zero of a card, or None if missing."""
        value = self.number_of(keyword)
        if value is not None and value <= 0.0:
            self._refuse(keyword.card, value, f"a number above 0 [{keyword.unit}]")
        return value

    def miss(self, name: str) -> NoReturn:
        """Refuse the file because a card is missing."""
        looked_in = "PRIMARY" if self.science is None else "PRIMARY and SCI"
        msg = (
            f"{self.path}: card {self.keywords[name].card} is missing or empty in {looked_in}: "
            f"expected {_expected(name, self.instrument)}; take the file as the jwst pipeline "
            "wrote it, or add the card"
        )
        raise MissingKeywordError(msg)

    def refuse(self, name: str, found: object, expected: str, remedy: str = "") -> NoReturn:
        """Refuse the file because the value of a property cannot be used."""
        self._refuse(self.card(name), found, expected, remedy)

    def _refuse(self, card: str, found: object, expected: str, remedy: str = "") -> NoReturn:
        """Refuse the file because a card's value cannot be used."""
        msg = (
            f"{self.path}: card {card}: found {found!r}, expected {expected}; "
            f"{remedy or 'correct the header, or take the file from the archive'}"
        )
        raise HeaderValueError(msg)

    def reject(self, reason: str) -> NoReturn:
        """Refuse the file because it holds what calreg does not take."""
        msg = f"{self.path}: {reason}"
        raise UnsupportedDataError(msg)


def _expected(name: str, instrument: Instrument) -> str:
    """Return the text expected on a card, for the message when it is missing."""
    first = next(iter(instrument.arrays.values()))
    last = [*instrument.bands.values()][-1]
    return {
        "telescope": instrument.telescope,
        "instrument": instrument.name,
        "detector": f"the array, such as {first.detector}",
        "filter": f"the element in the filter wheel, such as {last.filter}",
        "pupil": f"the element in the pupil wheel, such as {instrument.clear_pupils[0]}",
        "pmap": "the CRDS context of the calibration, such as jwst_1130.pmap",
        "exposure_type": instrument.imaging_exposure_types[0],
        "expstart_mjd_utc": "the start of the exposure [MJD UTC]",
        "subarray": "the subarray, such as FULL",
        "s_region": "the footprint, POLYGON ICRS ra dec ...",
    }.get(name, "a value")


def _unless_blank(value: CardValue) -> CardValue:
    """Return None for a string of blanks."""
    return None if isinstance(value, str) and not value.strip() else value


# --- what decides which correction an image gets --------------------------------------------------


@dataclass(frozen=True)
class ImageKey:
    """What decides which correction an image gets.

    Attributes
    ----------
    pupil : str
        The card PUPIL in upper case.
    subarray : str
        Upper case.
    """

    kind: ExposureKind
    array: Array
    band: Band
    pupil: str
    subarray: str
    pmap: Pmap


def read_image_key(cards: ImageCards, headers: FitsHeaders, instrument: Instrument) -> ImageKey:
    """Read the key of an image, whether or not it is calibrated.

    Raises
    ------
    UnsupportedDataError
        If it is no image of one array: grism, coronagraph, a reference file, another instrument.
    MissingKeywordError, HeaderValueError
        If a card of the key is missing or cannot be used.

    Notes
    -----
    A mosaic is recognised by S_RESAMP = COMPLETE, a name (of the file, or in FILENAME) that ends
    in `_i2d`, its DATAMODL, or a table HDRTAB of its members. SUBARRAY, which mosaics may lack, is
    FULL then, whereas an exposure must have it.
    """
    _require_instrument(cards, instrument)
    kind = kind_of_image(cards, headers)
    _require_imaging(cards, instrument)
    array = _array(cards, instrument)
    return ImageKey(
        kind=kind,
        array=array,
        band=_band(cards, array, instrument),
        pupil=cards.required_text("pupil").upper(),
        subarray=_subarray(cards, kind),
        pmap=_pmap(cards),
    )


def require_calibrated(cards: ImageCards, headers: FitsHeaders, instrument: Instrument) -> None:
    """Refuse what has not gone through the photom step, or went through it without effect.

    Raises
    ------
    HeaderValueError
        If S_PHOTOM is COMPLETE, but BUNIT is not MJy/sr or PHOTMJSR is missing.
    UnsupportedDataError
        If it is not calibrated (uncal, ramp, rate), a mosaic of inputs of several arrays,
        bands or calibrations, a reference file, or of another instrument.
    """
    _require_instrument(cards, instrument)
    kind = kind_of_image(cards, headers)
    _require_photom(cards, kind)
    if kind is ExposureKind.I2D:
        _require_imaging(cards, instrument)
        _require_one_calibration(cards, headers)


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
    """Return the part after the last underscore of the file's name, and of its card FILENAME."""
    named = cards.primary.get("FILENAME")
    names = (cards.path.name, named if isinstance(named, str) else "")
    return tuple(name.split(".", 1)[0].rpartition("_")[2].lower() for name in names)


def kind_of_image(cards: ImageCards, headers: FitsHeaders) -> ExposureKind:
    """Tell mosaics, cosmic-ray flagged exposures and plain ones apart."""
    endings = _name_endings(cards)
    if (
        cards.text("resample_state").upper() == _COMPLETE
        or "i2d" in endings
        or cards.text("data_model") in _MOSAIC_MODELS
        or headers.find(MEMBER_TABLE) is not None
    ):
        return ExposureKind.I2D
    if cards.text("outlier_state").upper() == _COMPLETE or {"crf", "crfints"} & set(endings):
        return ExposureKind.CRF
    return ExposureKind.CAL


def bunit_of(cards: ImageCards) -> str:
    """Return BUNIT, with MJy/sr in one spelling."""
    bunit = cards.text("bunit")
    return CALIBRATED_UNIT if bunit.upper() == CALIBRATED_UNIT.upper() else bunit


def _require_photom(cards: ImageCards, kind: ExposureKind) -> None:
    """Refuse what the photom step has not seen, or has not changed."""
    bunit = bunit_of(cards)
    state = cards.text("photom_state").upper()
    model = cards.text("data_model")
    is_done = bunit == CALIBRATED_UNIT and cards.number("photmjsr") is not None
    has_raw_unit = bunit.upper() in _UNCALIBRATED_UNITS
    is_mosaic = kind is ExposureKind.I2D
    is_claimed = state == _COMPLETE and model not in _UNCALIBRATED_MODELS
    if is_claimed and not is_mosaic and not is_done:
        photmjsr = cards.number("photmjsr")
        unit, scale = cards.card("bunit"), cards.card("photmjsr")
        found = f"{unit}={bunit!r}, {scale}={'missing' if photmjsr is None else photmjsr}"
        cards.refuse(
            "photom_state",
            f"COMPLETE with {found}",
            f"{unit}={CALIBRATED_UNIT!r} and a {scale}",
            "the photom step found no matching row and did nothing: run it with a file that has it",
        )
    is_calibrated = is_claimed if state else (is_done or is_mosaic)
    if model not in _UNCALIBRATED_MODELS and is_calibrated and not has_raw_unit:
        return
    what = _uncalibrated_name(cards, model, bunit)
    lacking = "" if cards.text("pmap") else f" without {cards.card('pmap')}"
    shown = ", ".join(
        f"{cards.card(name)}={value or 'missing'}"
        for name, value in (("photom_state", state), ("bunit", bunit), ("data_model", model))
    )
    cards.reject(
        f"is {what}{lacking}, not photometrically calibrated ({shown}): expected cal, crf or i2d; "
        "run the jwst pipeline on it through calwebb_image2 first"
    )


def _uncalibrated_name(cards: ImageCards, model: str, bunit: str) -> str:
    """Return the pipeline's name for an uncalibrated file."""
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
    card, wheel = cards.card("exposure_type"), cards.card("pupil")
    if exposure_type in _GRISM_TYPES or pupil.startswith("GRISM"):
        cards.reject(
            f"is a grism exposure ({card}={exposure_type}, {wheel}={pupil}): expected {card} "
            f"{' or '.join(instrument.imaging_exposure_types)} and an imaging pupil; leave it out"
        )
    if exposure_type not in instrument.imaging_exposure_types:
        cards.reject(
            f"is not an imaging exposure: card {card}: found {exposure_type!r}, expected "
            f"{' or '.join(instrument.imaging_exposure_types)}; leave it out"
        )


def _array(cards: ImageCards, instrument: Instrument) -> Array:
    """Return the array that DETECTOR names."""
    detector = cards.required_text("detector")
    if detector.upper() == "MULTIPLE":
        cards.reject(
            f"is a mosaic of several arrays ({cards.card('detector')}=MULTIPLE), which cannot "
            "be told apart: expected one mosaic per array; resample each array's exposures by "
            "themselves"
        )
    try:
        return instrument.array(detector)
    except UnknownKeyError:
        expected = ", ".join(array.detector for array in instrument.arrays.values())
        cards.refuse("detector", detector, f"one of {expected}")


def _band(cards: ImageCards, array: Array, instrument: Instrument) -> Band:
    """Return the band of FILTER and PUPIL, which must be one of the array's channel."""
    filter_name = cards.required_text("filter").upper()
    pupil = cards.required_text("pupil").upper()
    try:
        band = instrument.band(filter_name, pupil)
    except InvalidValueError as error:
        clear = " or ".join(instrument.clear_pupils)
        msg = (
            f"{cards.path}: {error}: expected a filter with {cards.card('pupil')}={clear}, or a "
            "narrower element in the pupil wheel with its filter; leave it out if it is no imaging "
            "exposure"
        )
        raise UnsupportedDataError(msg) from error
    if band.channel != array.channel:
        expected = f"a {array.channel} filter, as {cards.card('detector')} is {array.detector}"
        cards.refuse("filter", filter_name, expected)
    return band


def _pmap(cards: ImageCards) -> Pmap:
    """Return the context, which must be a numbered one."""
    text = cards.required_text("pmap")
    try:
        return Pmap.parse(text)
    except InvalidValueError as error:
        msg = (
            f"{cards.path}: card {cards.card('pmap')}: {error}; "
            "calibrate again with a numbered context"
        )
        raise HeaderValueError(msg) from error


class _Member(NamedTuple):
    """One exposure of a mosaic: its file's name, and the context that it was calibrated with."""

    name: str
    context: str


def _require_one_calibration(cards: ImageCards, headers: FitsHeaders) -> None:
    """Refuse a mosaic whose members are not of its array, band and context, calibrated alike."""
    table = headers.find(MEMBER_TABLE)
    if table is None:
        _require_named_array(cards)
        return
    if table.extension != "BINTABLE":
        msg = (
            f"{cards.path}: HDU {MEMBER_TABLE} is not a table: found "
            f"{table.extension}, expected BINTABLE; resample again"
        )
        raise FileFormatError(msg)
    n_rows = table.shape[1] if len(table.shape) > 1 else 0
    names = read_text_column(table, "FILENAME") or [f"row {n}" for n in range(1, n_rows + 1)]
    # calreg mosaic: what each was calibrated with, before it was brought to one context.
    inputs = read_text_column(table, "CTXINPUT")
    members = [_Member(name, inputs[n] if inputs else "") for n, name in enumerate(names)]
    stated = _stated(cards)
    for what, name, remedy in _MEMBER_TEXTS:
        column = cards.card(name) if name in cards.keywords else name.upper()
        groups: dict[str, list[str]] = defaultdict(list)
        for member, text in zip(members, read_text_column(table, column), strict=False):
            if without_placeholder(text):
                groups[_in_one_spelling(name, text, cards.instrument)].append(member.name)
        if name == "cal_ver" and inputs:
            continue
        _require_one(cards, column, groups, stated.get(name, ""), (what, remedy))
        if name == "detector" and not groups:
            _require_named_array(cards, names)
    for name in ("photmjsr", "pixar_sr"):
        column = cards.card(name)
        values = read_number_column(table, column)
        for context in sorted({member.context for member in members}):
            found = [
                (value, member.name)
                for member, value in zip(members, values, strict=False)
                if member.context == context and math.isfinite(value)
            ]
            number = cards.number(name) if name == "photmjsr" and not inputs else None
            groups = _alike(found if number is None else [*found, (number, "")])
            if len(groups) > 1:
                _require_one(cards, column, groups, "", ("values", _CALIBRATE_ALIKE))


_CALIBRATE_ALIKE = "calibrate all inputs alike and resample"

# What members share: what it is called, the property of its card, the remedy where they do not.
_MEMBER_TEXTS = (
    ("contexts", "pmap", "calibrate all inputs with one and resample"),
    ("arrays", "detector", "resample each array's exposures by themselves"),
    ("modules", "module", "resample each array's exposures by themselves"),
    ("filters", "filter", "resample each band's exposures by themselves"),
    ("pupils", "pupil", "resample each band's exposures by themselves"),
    ("calibrations", "cal_ver", _CALIBRATE_ALIKE),
)

_SAME_CALIBRATION = 1e-4
"""Relative: drifts within an epoch, and the rounding of a card, are less."""


def _stated(cards: ImageCards) -> dict[str, str]:
    """Return what a mosaic itself states, by property; CAL_VER may be that of the resampling."""
    array = _array(cards, cards.instrument)
    texts = {name: cards.required_text(name) for name in ("filter", "pupil")}
    texts |= {"pmap": str(_pmap(cards)), "detector": array.detector, "module": array.module}
    return {name: _in_one_spelling(name, text, cards.instrument) for name, text in texts.items()}


def _in_one_spelling(name: str, text: str, instrument: Instrument) -> str:
    """Return contexts in full, arrays by their detector, all names of a clear pupil as one."""
    if name == "pmap":
        return _full_context(text)
    if name == "detector":
        try:
            return instrument.array(text).detector
        except UnknownKeyError:
            return text
    text = text.upper() if name != "cal_ver" else text
    return instrument.clear_pupils[0] if text in instrument.clear_pupils else text


def _alike(values: Sequence[tuple[float, str]]) -> dict[str, list[str]]:
    """Return names by value, values that agree as one."""
    groups: dict[str, list[str]] = {}
    first = math.nan
    for value, name in sorted(values):
        if not abs(value - first) <= _SAME_CALIBRATION * abs(first):
            first = value
        groups.setdefault(f"{first:.7g}", []).append(name or "the mosaic itself")
    return groups


def _require_named_array(cards: ImageCards, names: Sequence[str] = ()) -> None:
    """Refuse members whose files' names, given or in the cards FLT00001 ..., tell other arrays."""
    column = "the names of its members"
    instrument = cards.instrument
    if not names:
        cells = (cards.primary.get(f"FLT{n:05d}") for n in count(1))
        names = [str(name) for name in takewhile(lambda cell: cell is not None, cells)]
    groups: dict[str, list[str]] = defaultdict(list)
    by_name = {array.detector.lower(): array.detector for array in instrument.arrays.values()}
    for name in names:
        for part in re.split(r"[_.]", name.lower()):
            if part in by_name:
                groups[by_name[part]].append(name)
    remedy = "resample each array's exposures by themselves"
    _require_one(cards, column, groups, _array(cards, instrument).detector, ("arrays", remedy))


def _require_one(
    cards: ImageCards,
    column: str,
    groups: Mapping[str, Sequence[str]],
    stated: str,
    words: tuple[str, str],
) -> None:
    """Refuse groups of members, by value, that are several or not what the mosaic states."""
    what, remedy = words
    is_column = " " not in column
    ordered = sorted(groups, key=_context_order)
    if len(ordered) > 1:
        named = "; ".join(f"{value}: {_few(groups[value])}" for value in ordered)
        cards.reject(
            f"is a mosaic whose inputs had different {what}: found {', '.join(ordered)} in "
            f"{f'column {column} of {MEMBER_TABLE}' if is_column else column} ({named}), "
            f"expected one; {remedy}"
        )
    if ordered and stated and ordered != [stated]:
        card = column if is_column else cards.card("detector")
        cards.reject(
            f"is a mosaic that states another {what.removesuffix('s')} than its inputs: found "
            f"{card}={stated} and {ordered[0]} in {MEMBER_TABLE if is_column else column} "
            f"({_few(groups[ordered[0]])}), expected one; {remedy}"
        )


def _few(names: Sequence[str]) -> str:
    """Return a few names, and how many more there are."""
    n_more = len(names) - _MANY
    return ", ".join(names[:_MANY]) + (f" and {n_more} more" if n_more > 0 else "")


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


def _subarray(cards: ImageCards, kind: ExposureKind) -> str:
    """Return SUBARRAY in upper case; FULL for mosaics without it."""
    subarray = without_placeholder(cards.text("subarray")).upper()
    if not subarray and kind is not ExposureKind.I2D:
        cards.miss("subarray")
    return subarray or FULL_SUBARRAY


def without_placeholder(text: str) -> str:
    """Return nothing for N/A and UNKNOWN."""
    return "" if text.upper() in _PLACEHOLDERS else text


def reference_name(cards: ImageCards, name: str) -> str:
    """Return the name of a reference file; empty where the step had none."""
    return without_placeholder(cards.text(name).removeprefix("crds://"))


def read_first_pixel(headers: FitsHeaders) -> tuple[int, int] | None:
    """Return the detector pixel, 0-based (x, y), that an exposure's first pixel is.

    By SUBSTRT1 and SUBSTRT2, which count from 1 in science orientation; None without them.
    """
    starts = [headers.primary.get(card) for card in ("SUBSTRT1", "SUBSTRT2")]
    first = [start - 1 for start in starts if isinstance(start, int) and start > 0]
    return (first[0], first[1]) if len(first) == len(starts) else None
