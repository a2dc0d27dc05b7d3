"""Read the pixels of an image: what photometry needs, plane by plane, native byte order.

Taken are our mosaics, the pipeline's `i2d`, `cal` and `crf`, and mosaics made elsewhere, with SCI
in an extension or in the primary HDU. Noise comes from ERR, else from the variances VAR_POISSON,
VAR_RNOISE, VAR_FLAT (or VAR), else from a WHT that says it is the inverse variance (WHTTYPE = ivm).
Any other WHT tells covered pixels from others, no more.
"""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, cast

import numpy as np

from calreg.errors import (
    FileFormatError,
    HeaderValueError,
    InvalidValueError,
    MissingKeywordError,
    UnsupportedDataError,
)
from calreg.files.fits.headers import read_headers
from calreg.files.readguard import refuse_damaged
from calreg.flags import DO_NOT_USE, SATURATED
from calreg.science.photometry.image import ImagePlanes
from calreg.science.sky.grids import Grid

if TYPE_CHECKING:
    from pathlib import Path

    from astropy.wcs import WCS
    from numpy.typing import NDArray

    from calreg.domain import BoolArray
    from calreg.files.fits.headers import FitsHeaders, HeaderUnit

NOISE_REMEDY = "--no-weights measures it with the noise of its background alone"
_VARIANCES = ("VAR_POISSON", "VAR_RNOISE", "VAR_FLAT")
_INVERSE_VARIANCE = "IVM"
_IMAGE_EXTENSIONS = ("IMAGE", "IUEIMAGE")

# Cards that make more of a WCS than CTYPE, CRVAL, CRPIX, CDELT and PC do: other matrices, turns,
# parameters of projections, SIP terms, lookup tables.
_MORE_WCS = re.compile(
    rb"CD\d|CROTA|P[VS]\d|[AB]P?_(ORDER|\d)|C[PQ](DIS|ERR)|D[PQ]\d|D2IM|AXISCORR|WCSAXES[A-Z]"
)


@dataclass(frozen=True)
class ImageFile:
    """An image whose headers were read and whose pixels were not.

    Attributes
    ----------
    science : HeaderUnit
        The HDU of the pixels.
    shape : tuple of int
        Rows and columns.
    pixar_sr : float or None
        The card PIXAR_SR [sr].
    bunit : str
        The card BUNIT.
    """

    path: Path
    headers: FitsHeaders = field(repr=False)
    science: HeaderUnit = field(repr=False)
    shape: tuple[int, int]
    pixar_sr: float | None
    bunit: str

    @property
    def noise_correlation(self) -> float:
        """The card NOISCORR of calreg's mosaics: noise of large sums over that from ERR; else 1."""
        value = self.headers.primary.get("NOISCORR")
        return float(value) if isinstance(value, int | float) and value > 0.0 else 1.0

    @cached_property
    def wcs(self) -> WCS:
        """Celestial world coordinates, with SIP distortion where the header has it."""
        return _read_wcs(self.path, self.science)

    @cached_property
    def grid(self) -> Grid | None:
        """The pixels as a `Grid`, None where they are not square TAN ones without distortion."""
        try:
            return _plain_grid(self.science, self.shape) or Grid.from_wcs(self.wcs, self.shape)
        except InvalidValueError:
            return None

    def describe(self) -> str:
        """Return the WCS in one line of FITS terms."""
        grid = self.grid
        if grid is not None:
            return grid.describe()
        header = self.wcs.celestial.wcs
        scales = np.sqrt(np.abs(np.linalg.det(self.wcs.pixel_scale_matrix))) * 3600.0
        kind = f"{header.ctype[0]}, {header.ctype[1]}"
        return (
            f"{kind}, CRVAL {header.crval[0]:.6f} {header.crval[1]:+.6f}, CRPIX "
            f"{header.crpix[0]:.2f} {header.crpix[1]:.2f}, {scales:.5f} arcsec per pixel, "
            f"{self.shape[1]} x {self.shape[0]} pixels"
            f"{', with distortion' if self.wcs.has_distortion else ''}"
        )


def open_image(path: Path) -> ImageFile:
    """Read the headers of an image and find its pixels and its WCS.

    Raises
    ------
    FileFormatError
        If the file is not FITS, is truncated, or has no image.
    MissingKeywordError
        If the image has no celestial WCS.
    """
    with refuse_damaged(path):
        headers = read_headers(path)
        science = _science_unit(headers)
        pixar_sr, bunit = (_card(headers, science, name) for name in ("PIXAR_SR", "BUNIT"))
        image = ImageFile(
            path=path,
            headers=headers,
            science=science,
            shape=_plane_shape(science),
            pixar_sr=float(pixar_sr) if isinstance(pixar_sr, int | float) else None,
            bunit=bunit.strip() if isinstance(bunit, str) else "",
        )
        if image.grid is None:
            _ = image.wcs  # refuses an image without one
        return image


def read_planes(image: ImageFile, *, needs_noise: bool = True) -> ImagePlanes:
    """Read the pixels of an image.

    Parameters
    ----------
    needs_noise : bool
        Refuse an image that has neither errors nor weights.

    Returns
    -------
    ImagePlanes
        Bad are pixels that are not finite, have no weight, are DO_NOT_USE, or have an error that is
        not positive.

    Raises
    ------
    FileFormatError
        If a plane has another shape than SCI, or cannot be read.
    UnsupportedDataError
        If no pixel carries data, all are saturated, or, with `needs_noise`, there are neither
        errors nor weights.
    """
    with refuse_damaged(image.path):
        sci = _read_float(image, image.science)
        is_bad = ~np.isfinite(sci)
        err = _read_noise(image)
        has_weight = _mark_weightless(image, is_bad)
        if err is None and not has_weight and needs_noise:
            msg = (
                f"{image.path}: has neither ERR nor VAR nor WHT, so the noise of its pixels is not "
                f"known: add one, or say that there is none ({NOISE_REMEDY})"
            )
            raise UnsupportedDataError(msg)
        if err is not None:
            is_bad |= ~(np.isfinite(err) & (err > 0.0))
        is_saturated = _mark_flagged(image, is_bad)
        _require_data(image, is_bad, is_saturated)
        return ImagePlanes(sci=sci, is_bad=is_bad, err=err, is_saturated=is_saturated)


def _science_unit(headers: FitsHeaders) -> HeaderUnit:
    """Return the extension SCI, else the first HDU with pixels."""
    named = headers.find("SCI")
    candidates = [
        unit
        for unit in ((named,) if named is not None else headers.units)
        if unit.index == 0 or unit.extension in _IMAGE_EXTENSIONS or unit.get("ZIMAGE") is True
    ]
    for unit in candidates:
        if len(_axes(unit)) > 1:
            return unit
    msg = f"{headers.path}: has no image: expected pixels in SCI or in the primary HDU"
    raise FileFormatError(msg)


def _axes(unit: HeaderUnit) -> tuple[int, ...]:
    """Return the lengths of an image's axes, of the image inside where it is tile-compressed."""
    if unit.get("ZIMAGE") is not True:
        return unit.shape
    n_axes = unit.get("ZNAXIS")
    n_lengths = n_axes if isinstance(n_axes, int) else 0
    lengths = (unit.get(f"ZNAXIS{i}") for i in range(1, n_lengths + 1))
    return tuple(length for length in lengths if isinstance(length, int))


def _plane_shape(unit: HeaderUnit) -> tuple[int, int]:
    """Return rows and columns of a plane; axes of length one beyond the second do not count."""
    axes = _axes(unit)
    if any(length != 1 for length in axes[2:]) or min(axes) < 1:
        msg = (
            f"{unit.path}: {unit.name or 'the image'} has axes of {' x '.join(map(str, axes))}: "
            "expected two"
        )
        raise FileFormatError(msg)
    return axes[1], axes[0]


def _plain_grid(science: HeaderUnit, shape: tuple[int, int]) -> Grid | None:
    """Return the pixels of a plain tangent plane by its cards, as the library would find them.

    None where the cards say anything else: then the library has to be asked, which takes half a
    second to import.
    """
    if len(_axes(science)) != 2 or any(_MORE_WCS.match(name) for name in science.offsets):
        return None
    names = ("CRVAL1", "CRVAL2", "CRPIX1", "CRPIX2", "CDELT1", "CDELT2")
    turns = {"PC1_1": 1.0, "PC1_2": 0.0, "PC2_1": 0.0, "PC2_2": 1.0}
    words = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "RADESYS": "ICRS"}
    defaults = {"CUNIT1": "deg", "CUNIT2": "deg", "WCSAXES": 2, "LONPOLE": 180.0}
    try:
        if any(science.get(name) != word for name, word in words.items()):
            return None
        if any(science.get(name) not in (None, usual) for name, usual in defaults.items()):
            return None
        values = [science.get(name) for name in names]
        matrix = [
            science.get(name) if name.encode().ljust(8) in science.offsets else usual
            for name, usual in turns.items()
        ]
    except HeaderValueError:
        return None
    numbers = [float(n) for n in (*values, *matrix) if isinstance(n, float | int)]
    if len(numbers) != len(values) + len(matrix):
        return None
    ra_deg, dec_deg, x, y, dx, dy, xx, xy, yx, yy = numbers
    try:
        return Grid.from_tangent_plane(
            (ra_deg, dec_deg), (x, y), ((dx * xx, dx * xy), (dy * yx, dy * yy)), shape
        )
    except InvalidValueError:
        return None


def _read_wcs(path: Path, science: HeaderUnit) -> WCS:
    """Return the celestial WCS of an image."""
    from astropy.io import fits
    from astropy.wcs import WCS

    header = fits.Header.fromstring(science.raw)
    with warnings.catch_warnings():
        # It mends dates and obsolete cards aloud.
        warnings.simplefilter("ignore")
        wcs = WCS(header, naxis=2)
    if not wcs.has_celestial:
        found = ", ".join(f"{card}={header.get(card, 'missing')}" for card in ("CTYPE1", "CTYPE2"))
        msg = (
            f"{path}: has no WCS in {science.name or 'its image'} ({found}): expected CTYPE1 "
            "RA---TAN, CTYPE2 DEC--TAN and the cards that go with them; make the image again with "
            "them"
        )
        raise MissingKeywordError(msg)
    return wcs


def _card(headers: FitsHeaders, science: HeaderUnit, name: str) -> object:
    """Return a card of the image's header, else of the primary one."""
    value = science.get(name)
    return headers.primary.get(name) if value is None else value


def _read_noise(image: ImageFile) -> NDArray[np.float32] | None:
    """Return one sigma per pixel from ERR, VAR or an inverse-variance WHT; None without them."""
    unit = image.headers.find("ERR")
    if unit is not None:
        return _read_float(image, unit)
    units = [unit for name in _VARIANCES if (unit := image.headers.find(name)) is not None]
    units = units or [unit for unit in (image.headers.find("VAR"),) if unit is not None]
    if units:
        variance = _read_float(image, units[0])
        for unit in units[1:]:
            variance += _read_float(image, unit)
        return _root(variance)
    weight = image.headers.find("WHT")
    if weight is None or str(weight.get("WHTTYPE") or "").strip().upper() != _INVERSE_VARIANCE:
        return None
    variance = _read_float(image, weight)
    np.divide(1.0, variance, out=variance, where=variance > 0.0)
    return _root(variance)


def _root(variance: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the square root in place, NaN where there is none."""
    variance[~(variance > 0.0)] = np.nan
    return np.sqrt(variance, out=variance)


def _mark_weightless(image: ImageFile, is_bad: BoolArray) -> bool:
    """Mark pixels without weight; return whether the image has weights."""
    unit = image.headers.find("WHT")
    if unit is None:
        return False
    is_bad |= ~(_read_float(image, unit) > 0.0)
    return True


def _mark_flagged(image: ImageFile, is_bad: BoolArray) -> BoolArray | None:
    """Mark DO_NOT_USE pixels; return which ones are saturated."""
    unit = image.headers.find("DQ")
    if unit is None:
        return None
    plane = _read_plane(image, unit)
    if plane.dtype.kind not in "iu":
        msg = f"{image.path}: DQ holds {plane.dtype}: expected whole numbers"
        raise FileFormatError(msg)
    flags = cast("NDArray[np.integer]", plane)
    is_bad |= (flags & DO_NOT_USE) != 0
    return np.asarray((flags & SATURATED) != 0)


def _require_data(image: ImageFile, is_bad: BoolArray, is_saturated: BoolArray | None) -> None:
    """Refuse an image in which nothing can be measured."""
    n_good = is_bad.size - int(np.count_nonzero(is_bad))
    n_saturated = 0 if is_saturated is None else int(np.count_nonzero(is_saturated))
    # A saturated pixel often is NaN and DO_NOT_USE as well; saturation is the reason to name.
    if is_saturated is not None and n_saturated and bool((is_saturated | is_bad).all()):
        msg = (
            f"{image.path}: is saturated throughout ({n_saturated} of {is_bad.size} pixels, the "
            "others carry no data): nothing can be measured; leave it out"
        )
        raise UnsupportedDataError(msg)
    if n_good == 0:
        msg = (
            f"{image.path}: none of its {is_bad.size} pixels carries data (all are NaN, without "
            "weight, or DO_NOT_USE): nothing can be measured; leave it out"
        )
        raise UnsupportedDataError(msg)


def _read_float(image: ImageFile, unit: HeaderUnit) -> NDArray[np.float32]:
    """Return a plane as native float32."""
    return np.ascontiguousarray(_read_plane(image, unit), dtype=np.float32)


def _read_plane(image: ImageFile, unit: HeaderUnit) -> NDArray[np.generic]:
    """Return the pixels of one HDU, a copy, and refuse another shape than that of SCI."""
    shape = _plane_shape(unit)
    if shape != image.shape:
        msg = (
            f"{image.path}: {unit.name} has {shape[1]} x {shape[0]} pixels, SCI has "
            f"{image.shape[1]} x {image.shape[0]}: expected the same"
        )
        raise FileFormatError(msg)
    if _is_plain_float(unit):
        # Read and turned over in place: no second copy, no pages of a mapped file.
        pixels = np.fromfile(
            image.path, dtype=">f4", count=shape[0] * shape[1], offset=unit.data_start
        )
        if pixels.size < shape[0] * shape[1]:
            msg = f"{image.path}: {unit.name} ends early: the file changed while it was read"
            raise FileFormatError(msg)
        native = np.dtype(np.float32)
        if not pixels.dtype.isnative:
            pixels = pixels.byteswap(inplace=True).view(native)
        return pixels.reshape(shape)
    from astropy.io import fits

    # The library cannot map planes that are scaled, as the pipeline's DQ (unsigned) is.
    is_scaled = any(unit.get(card) is not None for card in ("BSCALE", "BZERO", "BLANK"))
    with fits.open(image.path, memmap=not is_scaled) as hdus:
        data = hdus[unit.index].data
        return (data if is_scaled else np.array(data)).reshape(shape)


def _is_plain_float(unit: HeaderUnit) -> bool:
    """Return whether the data of an HDU are the pixels themselves, as float32."""
    return (
        unit.get("BITPIX") == -32
        and unit.get("ZIMAGE") is not True
        and (unit.get("BSCALE") or 1.0) == 1.0
        and not unit.get("BZERO")
    )


def read_weights(image: ImageFile) -> NDArray[np.float32] | None:
    """Read the plane WHT of an image.

    Returns
    -------
    ndarray of float32, shape (ny, nx), or None
        Zero where it is not a positive number; None where the image has none.

    Raises
    ------
    FileFormatError
        If it has another shape than SCI, or cannot be read.
    """
    unit = image.headers.find("WHT")
    if unit is None:
        return None
    with refuse_damaged(image.path):
        weight = _read_float(image, unit)
        weight[~(np.isfinite(weight) & (weight > 0.0))] = 0.0
        return weight
