"""Read the cards of an image through an instrument's keyword table, and refuse what is wrong.

Where a card is looked for follows the table: a PRIMARY card in the primary header and, if it is
missing or empty there, in SCI; a SCI card in SCI and then in the primary header. So a mosaic with a
single HDU, or one whose maker moved cards, reads like the pipeline's own.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NoReturn, cast

import numpy as np

from calreg.errors import (
    HeaderValueError,
    InvalidValueError,
    MissingKeywordError,
    UnsupportedDataError,
)

if TYPE_CHECKING:
    from pathlib import Path

    from calreg.files.fits.headers import CardValue, FitsHeaders, HeaderUnit
    from calreg.instruments import Instrument, Keyword
    from calreg.units import FloatArray

_MIN_VERTICES = 3
_FRAME = re.compile(r"(?!nan$|inf$|infinity$)[a-z]\w*", re.IGNORECASE)

# What a card should say, for the message when it is missing.
_EXPECTED = {
    "telescope": "JWST",
    "instrument": "NIRCAM",
    "detector": "the array, such as NRCA1",
    "filter": "the element in the filter wheel, such as F444W",
    "pupil": "the element in the pupil wheel, such as CLEAR",
    "pmap": "the CRDS context of the calibration, such as jwst_1130.pmap",
    "exposure_type": "NRC_IMAGE",
    "expstart_mjd_utc": "the start of the exposure [MJD UTC]",
    "subarray": "the subarray, such as FULL",
    "s_region": "the footprint, POLYGON ICRS ra dec ...",
}


@dataclass(frozen=True)
class ImageCards:
    """The two headers that matter, read through the instrument's table.

    Attributes
    ----------
    keywords : dict of str to Keyword
        By property.
    science : HeaderUnit or None
        The extension SCI where there is one.
    """

    path: Path
    keywords: dict[str, Keyword]
    primary: HeaderUnit
    science: HeaderUnit | None
    _values: dict[str, CardValue] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, headers: FitsHeaders, instrument: Instrument) -> ImageCards:
        """Return the cards of a file."""
        return cls(headers.path, instrument.keywords, headers.primary, headers.find("SCI"))

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
            self.refuse(keyword.card, value, "text in quotes")
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
            self.refuse(keyword.card, value, f"a number{unit}")
        number = cast("float", value)
        if not math.isfinite(number):
            self.refuse(keyword.card, value, f"a finite number{unit}")
        if keyword.type == "int" and number != int(number):
            self.refuse(keyword.card, value, "a whole number")
        low = -math.inf if keyword.min is None else keyword.min
        high = math.inf if keyword.max is None else keyword.max
        if not low <= number <= high:
            self.refuse(keyword.card, value, f"a number from {low:g} to {high:g}{unit}")
        return float(number)

    def positive(self, name: str) -> float | None:
        """Return a number above zero, or None if missing."""
        return self.positive_of(self.keywords[name])

    def positive_of(self, keyword: Keyword) -> float | None:
        """Return the number above zero of a card, or None if missing."""
        value = self.number_of(keyword)
        if value is not None and value <= 0.0:
            self.refuse(keyword.card, value, f"a number above 0 [{keyword.unit}]")
        return value

    def miss(self, name: str) -> NoReturn:
        """Refuse the file because a card is missing."""
        looked_in = "PRIMARY" if self.science is None else "PRIMARY and SCI"
        msg = (
            f"{self.path}: card {self.keywords[name].card} is missing or empty in {looked_in}: "
            f"expected {_EXPECTED.get(name, 'a value')}; take the file as the jwst pipeline wrote "
            "it, or add the card"
        )
        raise MissingKeywordError(msg)

    def refuse(self, card: str, found: object, expected: str, remedy: str = "") -> NoReturn:
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


def parse_s_region(text: str) -> FloatArray:
    """Read the corners of an S_REGION polygon.

    Parameters
    ----------
    text : str
        ``POLYGON ICRS  ra dec ra dec ...`` [deg] in any case; the frame may be left out.

    Returns
    -------
    ndarray of float64, shape (n_vertices, 2)
        ICRS (ra, dec) [deg], ra in [0, 360); a last vertex that repeats the first is dropped.

    Raises
    ------
    InvalidValueError
        For another shape or frame, an odd count, fewer than three different vertices, or numbers
        that are not finite or not on the sky.

    Examples
    --------
    >>> parse_s_region("POLYGON ICRS  10 1 11 1 11 2").tolist()
    [[10.0, 1.0], [11.0, 1.0], [11.0, 2.0]]
    """
    words = text.split()
    shape = words.pop(0).upper() if words else ""
    if shape != "POLYGON":
        msg = f"found shape {shape!r}, expected POLYGON"
        raise InvalidValueError(msg)
    if words and _FRAME.fullmatch(words[0]):
        frame = words.pop(0).upper()
        if frame != "ICRS":
            msg = f"found frame {frame}, expected ICRS"
            raise InvalidValueError(msg)
    try:
        values = [float(word) for word in words]
    except ValueError as error:
        msg = f"found {text!r}, expected one POLYGON of numbers [deg]"
        raise InvalidValueError(msg) from error
    if len(values) % 2:
        msg = f"found {len(values)} numbers, expected pairs of ra and dec"
        raise InvalidValueError(msg)
    corners = list(zip(values[::2], values[1::2], strict=True))
    # The comparisons are false for NaN, so that it is refused with them.
    if not all(abs(ra) <= 360.0 and abs(dec) <= 90.0 for ra, dec in corners):
        msg = f"found {text!r}, expected finite ra in [-360, 360] and dec in [-90, 90] deg"
        raise InvalidValueError(msg)
    corners = [(ra % 360.0, dec) for ra, dec in corners]
    if corners and corners[0] == corners[-1]:
        corners = corners[:-1]
    n_different = len(set(corners))
    if n_different < _MIN_VERTICES:
        msg = f"found {n_different} different vertices, expected at least {_MIN_VERTICES}"
        raise InvalidValueError(msg)
    return np.array(corners, dtype=np.float64)


def _unless_blank(value: CardValue) -> CardValue:
    """Return None for a string of blanks."""
    return None if isinstance(value, str) and not value.strip() else value
