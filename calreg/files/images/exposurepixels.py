"""Read the pixels of a `cal` or `crf` exposure, with its world coordinates."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

from calreg.errors import FileFormatError, MissingKeywordError, UnsupportedDataError
from calreg.files.fits.headers import read_headers
from calreg.files.images.cards import read_first_pixel
from calreg.files.images.gwcs import read_gwcs
from calreg.files.readguard import refuse_damaged
from calreg.flags import DO_NOT_USE, SATURATED

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from calreg.files.fits.headers import FitsHeaders
    from calreg.science.imaging.drizzling import SkyMap
    from calreg.units import FloatArray

_SCIENCE, _ERROR, _QUALITY = "SCI", "ERR", "DQ"
_READ_NOISE = "VAR_RNOISE"
_NEEDED_VARIANCES = ("VAR_POISSON", _READ_NOISE)
_MORE_VARIANCES = ("VAR_FLAT",)


class WcsSource(StrEnum):
    """Where the world coordinates of an exposure were taken from."""

    GWCS = "gwcs"
    SIP = "sip"


class FitsSky:
    """Sky positions by a FITS WCS, its SIP terms included.

    Parameters
    ----------
    wcs : astropy.wcs.WCS
        Of the image's two celestial axes.
    """

    def __init__(self, wcs: WCS) -> None:
        self._wcs = wcs

    def sky_of(self, x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return ICRS (ra, dec) [deg] of pixels, 0-based; arrays keep their shape."""
        ra_deg, dec_deg = self._wcs.all_pix2world(x, y, 0)
        return np.asarray(ra_deg), np.asarray(dec_deg)


@dataclass(frozen=True)
class CalWorld:
    """The world coordinates of one exposure.

    Attributes
    ----------
    cards : str
        FITS cards with SIP terms, 80 characters each.
    note : str
        Why the header's WCS was used where the file has an ASDF extension; empty otherwise.
    shape : tuple of int
        ``(ny, nx)`` of the image.
    first_pixel : tuple of int, or None
        Detector pixel, 0-based (x, y), that the image's first one is; None where SUBSTRT1, SUBSTRT2
        and SUBSIZE1, SUBSIZE2 do not tell, or are not of this image.
    """

    sky: SkyMap
    source: WcsSource
    cards: str = field(repr=False)
    note: str
    shape: tuple[int, int]
    first_pixel: tuple[int, int] | None

    def detector_cards(self, first_pixel: tuple[int, int]) -> str:
        """Return the FITS cards in pixels of the whole detector.

        Parameters
        ----------
        first_pixel : tuple of int
            Detector pixel, 0-based (x, y), that the image's first one is.
        """
        header = fits.Header.fromstring(self.cards)
        for axis, first in enumerate(first_pixel, start=1):
            # SIP terms count from CRPIX, and go with it.
            header[f"CRPIX{axis}"] = header[f"CRPIX{axis}"] + first
        return str(header.tostring(sep="", endcard=False, padding=False))


@dataclass(frozen=True)
class CalImage:
    """The pixels of one exposure.

    Attributes
    ----------
    sci : ndarray of float32, shape (ny, nx)
        Surface brightness [MJy/sr]; NaN where there is none.
    err : ndarray of float32, shape (ny, nx)
        1-sigma error [MJy/sr], Poisson noise included.
    dq : ndarray of uint32, shape (ny, nx)
        Data quality bits of the jwst pipeline.
    var_rnoise : ndarray of float32, shape (ny, nx), or None
        Variance of the read noise [(MJy/sr)^2].
    """

    path: Path
    sci: NDArray[np.float32] = field(repr=False)
    err: NDArray[np.float32] = field(repr=False)
    dq: NDArray[np.uint32] = field(repr=False)
    var_rnoise: NDArray[np.float32] | None = field(repr=False)
    world: CalWorld


def read_cal_world(path: Path) -> CalWorld:
    """Read an exposure's world coordinates, without its pixels.

    Parameters
    ----------
    path : Path
        A `cal` or `crf` file with the extension SCI.

    Raises
    ------
    FileFormatError
        If the file is truncated or damaged, or has no SCI.
    MissingKeywordError
        If there is no WCS, neither in the ASDF extension nor in the header of SCI.
    UnsupportedDataError
        If SCI is no image.
    """
    headers = read_headers(path)
    with refuse_damaged(path), fits.open(path, memmap=False) as hdus:
        if _SCIENCE not in hdus or not hdus[_SCIENCE].shape:
            raise FileFormatError(_no_science_message(path))
        ny, *others = hdus[_SCIENCE].shape
        if len(others) != 1:
            raise UnsupportedDataError(_no_image_message(path, (*others[::-1], ny)))
        return _world_coordinates(headers, hdus[_SCIENCE].header, (ny, others[0]))


def read_cal_image(path: Path, world: CalWorld | None = None) -> CalImage:
    """Read an exposure's pixels.

    Parameters
    ----------
    path : Path
        A `cal` or `crf` file with the extensions SCI, DQ, and ERR or the variances.
    world : CalWorld, optional
        Its world coordinates, where they have been read already.

    Raises
    ------
    FileFormatError
        If the file is truncated or damaged, or an extension is missing or of another shape.
    MissingKeywordError
        If there is no WCS, neither in the ASDF extension nor in the header of SCI.
    UnsupportedDataError
        If SCI is no image, or no pixel can be used: all NaN, all DO_NOT_USE, all saturated.

    Notes
    -----
    The error is ERR, or, where that is missing or nowhere positive, the root of VAR_POISSON +
    VAR_RNOISE (+ VAR_FLAT).
    """
    world = read_cal_world(path) if world is None else world
    with refuse_damaged(path), fits.open(path, memmap=False) as hdus:
        sci = _plane(hdus, _SCIENCE, path, np.float32, world.shape)
        if sci is None:
            raise FileFormatError(_no_science_message(path))
        dq = _plane(hdus, _QUALITY, path, np.uint32, sci.shape)
        if dq is None:
            msg = (
                f"{path}: has no extension DQ: expected the data quality bits, without which bad "
                "pixels cannot be told; take the file as the jwst pipeline wrote it"
            )
            raise FileFormatError(msg)
        var_rnoise = _plane(hdus, _READ_NOISE, path, np.float32, sci.shape)
        err = _error(hdus, path, sci, var_rnoise)
        _require_usable(path, sci, dq)
    return CalImage(path, sci, err, dq, var_rnoise, world)


def _no_science_message(path: Path) -> str:
    """Report that there are no pixels."""
    return f"{path}: has no extension SCI: expected a cal or crf file of the jwst pipeline"


def _no_image_message(path: Path, axes: tuple[int, ...]) -> str:
    """Report that the pixels are no image."""
    return (
        f"{path}: SCI has {len(axes)} axes, {' x '.join(map(str, axes))}: expected one image of "
        "two; combine the integrations first, or leave it out"
    )


def _plane(
    hdus: Any, name: str, path: Path, dtype: type[Any], shape: tuple[int, ...] | None = None
) -> NDArray[Any] | None:
    """Return an extension's pixels in native byte order; None if there is none."""
    if name not in hdus or hdus[name].data is None:
        return None
    pixels = np.ascontiguousarray(hdus[name].data, dtype=dtype)
    if shape is not None and pixels.shape != shape:
        found, expected = (" x ".join(map(str, axes[::-1])) for axes in (pixels.shape, shape))
        msg = f"{path}: {name} has {found} pixels, expected {expected} as SCI; make the file again"
        raise FileFormatError(msg)
    return pixels


def _error(
    hdus: Any, path: Path, sci: NDArray[np.float32], var_rnoise: NDArray[np.float32] | None
) -> NDArray[np.float32]:
    """Return the 1-sigma error of the pixels."""
    err = _plane(hdus, _ERROR, path, np.float32, sci.shape)
    with np.errstate(invalid="ignore"):
        if err is not None and bool((err > 0.0).any()):
            return err
        if all(name in hdus for name in _NEEDED_VARIANCES) and var_rnoise is not None:
            total = var_rnoise.copy()
            for name in (_NEEDED_VARIANCES[0], *_MORE_VARIANCES):
                variance = _plane(hdus, name, path, np.float32, sci.shape)
                if variance is not None:
                    total += variance
            if bool((total > 0.0).any()):
                return np.asarray(np.sqrt(total), dtype=np.float32)
    found = "no extension ERR" if err is None else "an ERR without a positive value"
    msg = (
        f"{path}: has {found} and no VAR_POISSON with VAR_RNOISE: expected the errors of the "
        "pixels, which weigh exposures; take the file as the jwst pipeline wrote it"
    )
    raise FileFormatError(msg)


def _require_usable(path: Path, sci: NDArray[np.float32], dq: NDArray[np.uint32]) -> None:
    """Refuse an exposure without any pixel that holds data."""
    is_finite = np.isfinite(sci)
    is_used = (dq & DO_NOT_USE) == 0
    if not is_finite.any():
        reason = "SCI is NaN throughout"
    elif not is_used.any():
        reason = "DQ says DO_NOT_USE throughout"
    elif not (is_finite & is_used & ((dq & SATURATED) == 0)).any():
        reason = "every pixel that is left is saturated (DQ)"
    else:
        return
    msg = f"{path}: holds no data: {reason}; leave it out"
    raise UnsupportedDataError(msg)


def _world_coordinates(headers: FitsHeaders, science: Any, shape: tuple[int, int]) -> CalWorld:
    """Return the gwcs, else the header's WCS, with its cards and a note."""
    sky, reason = read_gwcs(headers, shape)
    first = _first_pixel(headers, shape)
    if sky is not None:
        return CalWorld(sky, WcsSource.GWCS, sky.fits_cards, "", shape, first)
    wcs, problem = _header_wcs(science)
    has_asdf = headers.find("ASDF") is not None
    if wcs is None:
        why = f"; {reason}" if has_asdf else ""
        msg = (
            f"{headers.path}: has no WCS ({problem}{why}): expected where its pixels are on the "
            "sky; run the step assign_wcs on it, or leave it out"
        )
        raise MissingKeywordError(msg)
    text = str(wcs.to_header_string(relax=True))
    return CalWorld(FitsSky(wcs), WcsSource.SIP, text, reason if has_asdf else "", shape, first)


def _first_pixel(headers: FitsHeaders, shape: tuple[int, int]) -> tuple[int, int] | None:
    """Return where on the detector an image begins, unless it is a cut-out of what was read."""
    sizes = tuple(headers.primary.get(card) for card in ("SUBSIZE1", "SUBSIZE2"))
    return read_first_pixel(headers) if sizes == shape[::-1] else None


def _header_wcs(science: Any) -> tuple[WCS | None, str]:
    """Return the WCS of a header, or None and why there is none."""
    try:
        wcs = WCS(science)
        if wcs.naxis != 2 or not wcs.has_celestial:
            return None, "SCI has no CTYPE1, CTYPE2 of the sky"
        determinant = float(np.linalg.det(wcs.pixel_scale_matrix))
    except Exception as error:  # whatever a broken header makes wcslib say
        return None, " ".join(f"SCI: {type(error).__name__}: {error}".split())[:160]
    if not np.isfinite(determinant) or determinant == 0.0:
        return None, "SCI has CD or PC cards that give pixels no size"
    return wcs, ""
