"""The exposures in a mosaic, by its table HDRTAB, and which of them cover a place, by its CON.

CON is the context image of drizzle: bit k of plane p is set in the pixels that exposure 32 p + k,
a 0-based row of HDRTAB, contributed to. Mosaics of `calreg mosaic` have the world coordinates of
every exposure in the column WCS, in pixels of its whole detector; those of the jwst pipeline have
its pointing only.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from calreg.errors import FileFormatError, UnknownKeyError
from calreg.files.fits.headers import BLOCK_BYTES
from calreg.files.images.cards import MEMBER_TABLE
from calreg.files.readguard import refuse_damaged
from calreg.science.sky.coverage import (
    CoveringExposure,
    DetectorMap,
    LinearDetector,
    WcsDetector,
    pointing_of,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from astropy.wcs import WCS
    from numpy.typing import NDArray

    from calreg.domain import BoolArray
    from calreg.files.fits.headers import FitsHeaders, HeaderUnit
    from calreg.instruments import Array, Instrument
    from calreg.units import FloatArray

_SCIENCE, _CONTEXT = "SCI", "CON"
_BITS_PER_PLANE = 32
_WINDOW = tuple((dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1))
_POINTING = ("V2_REF", "V3_REF", "RA_REF", "DEC_REF", "ROLL_REF")


@dataclass(frozen=True)
class MosaicMembers:
    """The exposures of one mosaic.

    Attributes
    ----------
    exposures : tuple of CoveringExposure
        In the order of the bits of CON.
    context : ndarray of int32, shape (n_planes, ny, nx), or None
        CON, mapped and not read; None where the file has none for these exposures.
    """

    exposures: tuple[CoveringExposure, ...]
    wcs: WCS = field(repr=False)
    context: NDArray[np.int32] | None = field(repr=False)

    def covering(self, ra_deg: FloatArray, dec_deg: FloatArray) -> BoolArray | None:
        """Tell which exposures cover sky positions.

        Parameters
        ----------
        ra_deg, dec_deg : ndarray of float64, shape (n,)
            ICRS [deg].

        Returns
        -------
        ndarray of bool, shape (n_exposures, n), or None
            Whether an exposure contributed to most of the 3 by 3 pixels around, so that a bad pixel
            in it does not count as its edge; None where the file does not say.
        """
        if self.context is None:
            return None
        x, y = (np.asarray(axis) for axis in self.wcs.all_world2pix(ra_deg, dec_deg, 0))
        _, ny, nx = self.context.shape
        inside = np.flatnonzero((x > -0.5) & (x < nx - 0.5) & (y > -0.5) & (y < ny - 0.5))
        column, row = (np.rint(axis[inside]).astype(np.intp) for axis in (x, y))
        counts = np.zeros((len(self.exposures), inside.size), dtype=np.int32)
        for dy, dx in _WINDOW:
            is_pixel = (row + dy >= 0) & (row + dy < ny) & (column + dx >= 0) & (column + dx < nx)
            at = np.flatnonzero(is_pixel)
            for n, plane in enumerate(self.context):
                words = plane[row[at] + dy, column[at] + dx].astype(np.int32)
                of_plane = counts[n * _BITS_PER_PLANE : (n + 1) * _BITS_PER_PLANE]
                bits = np.arange(len(of_plane), dtype=np.int32)[:, np.newaxis]
                of_plane[:, at] += (words >> bits) & 1
        is_covered = np.zeros((len(self.exposures), ra_deg.size), dtype=np.bool_)
        is_covered[:, inside] = 2 * counts > len(_WINDOW)
        return is_covered


def read_members(
    headers: FitsHeaders, array: Array, instrument: Instrument
) -> MosaicMembers | None:
    """Read the table of a mosaic's exposures.

    Parameters
    ----------
    array : Array
        That of an exposure whose array the table does not name.

    Returns
    -------
    MosaicMembers or None
        None where there is no such table, or it has neither world coordinates nor pointings.

    Raises
    ------
    FileFormatError
        If the table or the mosaic's WCS cannot be read.
    """
    science, table = headers.find(_SCIENCE), headers.find(MEMBER_TABLE)
    if science is None or table is None or len(table.shape) < 2 or table.shape[1] == 0:
        return None
    path = headers.path
    with refuse_damaged(path):
        columns = _columns(table)
        exposures = [
            _exposure({name: values[row] for name, values in columns.items()}, array, instrument)
            for row in range(table.shape[1])
        ]
        wcs = _wcs_of(science.raw)
        if wcs.naxis != 2 or not wcs.has_celestial:
            msg = f"{path}: SCI has no WCS of two celestial axes: expected CTYPE1 and CTYPE2"
            raise FileFormatError(msg)
    found = tuple(exposure for exposure in exposures if exposure is not None)
    if len(found) < len(exposures):
        return None
    return MosaicMembers(found, wcs, _context(headers, science, len(found)))


def _columns(table: HeaderUnit) -> dict[str, NDArray[Any]]:
    """Return the columns of a table by name in upper case."""
    from astropy.io import fits

    with table.path.open("rb") as stream:
        stream.seek(table.data_start)
        content = stream.read(-(-(table.data_end - table.data_start) // BLOCK_BYTES) * BLOCK_BYTES)
    data = fits.BinTableHDU.fromstring(table.raw + content).data
    return {str(name).upper(): np.array(data[name]) for name in data.dtype.names}


def _exposure(
    row: Mapping[str, Any], array: Array, instrument: Instrument
) -> CoveringExposure | None:
    """Return the exposure of a row; None if it says nothing of where its pixels were."""
    name = _text(row.get("DETECTOR", ""))
    try:
        array = instrument.array(name) if name else array
    except UnknownKeyError:
        return None
    pointing = pointing_of(*(_number(row.get(card)) for card in _POINTING))
    cards = _text(row.get("WCS", ""))
    detector: DetectorMap
    if cards:
        detector = WcsDetector(_wcs_of(cards.encode("ascii", "replace")), array.n_pixels)
    elif pointing is not None:
        detector = LinearDetector(array, pointing)
    else:
        return None
    return CoveringExposure(detector, array.n_pixels, pointing)


def _wcs_of(cards: bytes) -> WCS:
    """Return the WCS of some cards."""
    from astropy.io import fits
    from astropy.wcs import WCS

    with warnings.catch_warnings():
        # Of dates and obsolete cards, which do not matter here.
        warnings.simplefilter("ignore")
        return WCS(fits.Header.fromstring(cards))


def _context(headers: FitsHeaders, science: HeaderUnit, n_members: int) -> NDArray[np.int32] | None:
    """Map CON, if it is a plain image of the mosaic's shape with a bit for each exposure."""
    unit = headers.find(_CONTEXT)
    if unit is None or unit.get("BITPIX") != _BITS_PER_PLANE or unit.get("ZIMAGE") is True:
        return None
    n_planes = unit.shape[2] if len(unit.shape) == 3 else 1
    is_plain = not unit.get("BZERO") and (unit.get("BSCALE") or 1.0) == 1.0
    if not is_plain or unit.shape[:2] != science.shape[:2] or len(unit.shape) not in {2, 3}:
        return None
    if n_members > n_planes * _BITS_PER_PLANE:
        return None
    shape = (n_planes, unit.shape[1], unit.shape[0])
    return np.memmap(headers.path, dtype=">i4", mode="r", offset=unit.data_start, shape=shape)


def _number(value: Any) -> float:
    """Return a cell as a number; NaN where it is none."""
    return float(value) if isinstance(value, (int, float, np.number)) else float("nan")


def _text(value: Any) -> str:
    """Return a cell of text without the blanks around it."""
    text = value.decode("ascii", "replace") if isinstance(value, bytes) else str(value)
    return text.strip()
