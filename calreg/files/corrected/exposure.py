"""Look at an exposure that is to be corrected or restored; refuse it before anything is written."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from calreg.domain import ExposureKind
from calreg.errors import (
    FileFormatError,
    HeaderValueError,
    MissingKeywordError,
    UnsupportedDataError,
)
from calreg.files.corrected.asdftree import AsdfTree
from calreg.files.fits.headers import read_headers
from calreg.files.images.calibration import CorrectionRecord, read_record
from calreg.files.images.cards import ImageCards, ImageKey, read_image_key, require_calibrated

if TYPE_CHECKING:
    from pathlib import Path

    from calreg.files.fits.headers import FitsHeaders, HeaderUnit
    from calreg.instruments import Instrument
    from calreg.science.model.gradient import ArrayCorrection
    from calreg.units import FloatArray

SCIENCE = "SCI"
ASDF = "ASDF"
PHOTUJA2 = "PHOTUJA2"

_POWERS = {SCIENCE: 1, "ERR": 1}
_VARIANCE = "VAR_"
_TYPES = {-32: ">f4", -64: ">f8"}
_WITHOUT_UNIT = frozenset({"DQ", "AREA", "WHT", "CON", ASDF, "PRIMARY", "INT_TIMES"})


def power_of(name: str) -> int:
    """Return the power of the factor that an extension gets: 1, 2 for variances, 0 for others."""
    return 2 if name.startswith(_VARIANCE) else _POWERS.get(name, 0)


@dataclass(frozen=True)
class PixelFactor:
    """The factor of every pixel of an image, as a product.

    Attributes
    ----------
    along_y : ndarray of float64, shape (ny,)
    along_x : ndarray of float64, shape (nx,)
        The factor of pixel (x, y) is along_y[y] along_x[x].
    """

    along_y: FloatArray
    along_x: FloatArray

    @property
    def is_one(self) -> bool:
        """Whether no pixel changes."""
        return bool((self.along_y == 1.0).all() and (self.along_x == 1.0).all())

    def inverse(self) -> PixelFactor:
        """Return one over it."""
        return PixelFactor(1.0 / self.along_y, 1.0 / self.along_x)

    def squared(self) -> PixelFactor:
        """Return its square, for variances."""
        return PixelFactor(self.along_y**2, self.along_x**2)


@dataclass(frozen=True)
class CalFile:
    """An exposure that can be corrected, or restored.

    Attributes
    ----------
    photmjsr : float
        As in the header [MJy/sr per DN/s].
    stamp : tuple of int
        Inode, size and time of change, to notice if somebody else writes the file.
    left_alone : tuple of str
        Image extensions that no correction touches, and that calreg does not know.
    """

    path: Path
    headers: FitsHeaders
    science: HeaderUnit
    key: ImageKey
    record: CorrectionRecord | None
    photmjsr: float
    photmjsr_card: str
    stamp: tuple[int, ...]
    left_alone: tuple[str, ...]

    @property
    def dtypes(self) -> dict[int, str]:
        """Type of the pixels of every extension that is scaled, by its place in the file."""
        return {
            unit.index: _TYPES[_integer(unit, "BITPIX")]
            for unit in self.headers.units
            if power_of(unit.name)
        }

    def pixel_factor(self, correction: ArrayCorrection) -> PixelFactor:
        """Return the factor that SCI is multiplied by.

        Parameters
        ----------
        correction : ArrayCorrection
            Of the full array.

        Returns
        -------
        PixelFactor
            That is photom_factor / delta_flat in the pixels of the exposure, those of its subarray.

        Raises
        ------
        MissingKeywordError, UnsupportedDataError
            If there is a gradient, and where the pixels are on the array cannot be told.
        """
        nx, ny = self.science.shape[:2]
        along_y, along_x = (1.0 / factor for factor in correction.flat_factors())
        if correction.gradient is None:
            along_y, along_x = along_y[:1].repeat(ny), along_x[:1].repeat(nx)
        else:
            x0, y0 = self._corner(correction.n_pixels)
            along_y, along_x = along_y[y0 : y0 + ny], along_x[x0 : x0 + nx]
        return PixelFactor(along_y, correction.photom_factor * along_x)

    def _corner(self, n_pixels: int) -> tuple[int, int]:
        """Return the 0-based pixel of the array where the exposure begins."""
        corner = []
        for axis in (1, 2):
            n = self.science.shape[axis - 1]
            start = self._subarray_card(f"SUBSTRT{axis}")
            size = self._subarray_card(f"SUBSIZE{axis}")
            if size != n:
                msg = (
                    f"{self.path}: SCI has {n} pixels along axis {axis}, but SUBSIZE{axis} is "
                    f"{size}: a cut-out, whose place on the array cannot be told, and the "
                    "correction has a gradient; correct the exposure before it is cut out"
                )
                raise UnsupportedDataError(msg)
            if start < 1 or start - 1 + n > n_pixels:
                msg = (
                    f"{self.path}: card SUBSTRT{axis}: found {start} with {n} pixels, expected a "
                    f"subarray within {n_pixels} pixels; correct the header"
                )
                raise HeaderValueError(msg)
            corner.append(start - 1)
        return corner[0], corner[1]

    def _subarray_card(self, card: str) -> int:
        """Return a card that says where the subarray is."""
        value = self.headers.primary.get(card)
        if value is None:
            value = self.science.get(card)
        if type(value) is not int:
            msg = (
                f"{self.path}: card {card} is missing or no whole number in PRIMARY and SCI: "
                "expected where the pixels are on the array, which a gradient needs; take the file "
                "as the jwst pipeline wrote it, or add the card"
            )
            raise MissingKeywordError(msg)
        return value


def read_cal_file(path: Path, instrument: Instrument) -> CalFile:
    """Read what a correction needs to know of an exposure, and refuse what cannot be corrected.

    Raises
    ------
    FileFormatError
        If it is not FITS, is truncated, or its ASDF tree cannot be changed.
    UnsupportedDataError
        If it is uncal, rate, i2d, grism, compressed, or its planes are not of one size and real.
    MissingKeywordError, HeaderValueError
        If a card is missing or cannot be used, or the cards of an earlier correction do not fit.
    """
    stamp = _stamp(path) if path.exists() else ()
    headers = read_headers(path)
    cards = ImageCards.of(headers, instrument)
    require_calibrated(cards, headers, instrument)
    key = read_image_key(cards, headers, instrument)
    if key.kind is ExposureKind.I2D:
        cards.reject(
            "is a mosaic (i2d): its pixels mix exposures and places on the detector: expected cal "
            "or crf; correct the exposures and resample them"
        )
    science = _require_planes(cards, headers)
    photmjsr = cards.positive("photmjsr")
    if photmjsr is None:
        cards.miss("photmjsr")
    _require_tree(headers)
    return CalFile(
        path=path,
        headers=headers,
        science=science,
        key=key,
        record=read_record(headers),
        photmjsr=photmjsr,
        photmjsr_card=cards.card("photmjsr"),
        stamp=stamp,
        left_alone=tuple(
            unit.name or f"HDU {unit.index}"
            for unit in headers.units
            if unit.extension == "IMAGE"
            and not power_of(unit.name)
            and unit.name not in _WITHOUT_UNIT
        ),
    )


def is_unchanged(cal: CalFile) -> bool:
    """Return whether the file is still the one that was looked at."""
    return cal.path.exists() and cal.stamp == _stamp(cal.path)


def _stamp(path: Path) -> tuple[int, ...]:
    """Return inode, size and time of the last change of a file."""
    status = path.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns


def _data_of(unit: HeaderUnit) -> bytes:
    """Return the data of an extension."""
    with unit.path.open("rb") as stream:
        stream.seek(unit.data_start)
        return stream.read(unit.data_end - unit.data_start)


def _integer(unit: HeaderUnit, card: str) -> int:
    """Return a whole number; zero if there is none."""
    value = unit.get(card)
    return value if type(value) is int else 0


def _require_planes(cards: ImageCards, headers: FitsHeaders) -> HeaderUnit:
    """Return SCI; refuse planes that are missing, doubled, compressed, scaled, of other sizes."""
    scaled = [unit for unit in headers.units if power_of(unit.name)]
    names = [unit.name for unit in scaled]
    if names.count(SCIENCE) != 1:
        cards.reject(
            f"has {names.count(SCIENCE) or 'no'} extensions SCI: expected one, as in a cal file of "
            "the jwst pipeline"
        )
    science = scaled[names.index(SCIENCE)]
    shape = science.shape
    if 0 in shape:
        cards.reject(
            f"SCI has no pixels ({' x '.join(map(str, shape))}): expected an image; make the file "
            "again"
        )
    for unit in scaled:
        if unit.extension != "IMAGE":
            cards.reject(
                f"extension {unit.name} is a {unit.extension}, a compressed image perhaps: "
                "expected IMAGE; unpack the file first (funpack)"
            )
        bitpix = _integer(unit, "BITPIX")
        if bitpix not in _TYPES:
            cards.reject(f"extension {unit.name}: found BITPIX={bitpix}, expected -32 or -64")
        if unit.data_end - unit.data_start != math.prod(unit.shape) * abs(bitpix) // 8:
            cards.reject(
                f"extension {unit.name}: found PCOUNT or GCOUNT that are not those of an image, "
                "expected 0 and 1"
            )
        if unit.get("BSCALE") not in (None, 1, 1.0) or unit.get("BZERO") not in (None, 0, 0.0):
            cards.reject(f"extension {unit.name}: found BSCALE or BZERO, expected none")
        if unit.shape != shape or len(shape) < 2:
            found = " x ".join(map(str, unit.shape))
            cards.reject(
                f"extension {unit.name} has {found} pixels, SCI {' x '.join(map(str, shape))}: "
                "expected the same, of two axes or more"
            )
    return science


def _require_tree(headers: FitsHeaders) -> None:
    """Refuse an ASDF extension whose numbers could not be changed with the header's."""
    unit = headers.find(ASDF)
    if unit is None:
        return
    content = _data_of(unit)
    form = unit.get("TFORM1")
    if unit.shape not in ((len(content),), (len(content), 1)) or form not in (
        None,
        f"{len(content)}B",
    ):
        found = " x ".join(map(str, unit.shape))
        msg = (
            f"{unit.path}: extension ASDF cannot be changed: found {found} bytes with TFORM1="
            f"{form!r}, expected one row of bytes; write the file again with the jwst package, or "
            "take the extension away"
        )
        raise FileFormatError(msg)
    AsdfTree(content, unit.path)
