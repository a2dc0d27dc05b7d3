"""Tell compact sources from extended ones by their half-light radii."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from calreg.flags import DetectionFlag
from calreg.units import ARCSEC_PER_DEG

if TYPE_CHECKING:
    from calreg.domain import IntArray
    from calreg.units import FloatArray

COMPACT, EXTENDED, UNKNOWN = 1, 0, -1
"""Codes of a catalog's column `compactness`."""

LIMIT_FACTOR = 1.2
"""Compact sources are at most this much larger than stars."""

SHARPEST_FACTOR = 0.7
"""What is smaller than this part of a star is no source on the sky but a hot pixel."""

MIN_STARS = 10
"""Fewer do not make a locus."""

R_HALF_PER_FWHM = 0.65
"""Half-light radius of NIRCam's point-spread function per full width at half maximum, within a
tenth; its wings make it larger than the 0.5 of a Gaussian."""

_AIRY_FWHM = 1.025
_MIRROR_M = 6.5
_BRIGHT_FRACTION = 0.3
_BIN_DEX = 0.02
_PEAK_FRACTION = 0.5
_SPOILED = (
    DetectionFlag.SATURATED
    | DetectionFlag.TRUNCATED
    | DetectionFlag.BLENDED
    | DetectionFlag.ISOPHOTE_INCOMPLETE
)


@dataclass(frozen=True)
class Compactness:
    """Which sources are compact.

    Attributes
    ----------
    compactness : ndarray of int64, shape (n,)
        `COMPACT`, `EXTENDED` or `UNKNOWN`.
    star_arcsec : float
        Half-light radius of a star [arcsec]; NaN where it is not known.
    limit_arcsec : float
        Largest half-light radius of a compact source [arcsec]; NaN where it is not known.
    n_stars : int
        Sources that the locus was found from, 0 where it comes from the width of the
        point-spread function.
    """

    compactness: IntArray = field(repr=False)
    star_arcsec: float
    limit_arcsec: float
    n_stars: int


def compact_sources(
    r_half_arcsec: FloatArray,
    mag: FloatArray,
    flags: IntArray,
    *,
    psf_fwhm_arcsec: float | None = None,
) -> Compactness:
    """Find the locus of stars and tell which sources are as compact as they are.

    Parameters
    ----------
    r_half_arcsec : ndarray of float64, shape (n,)
        Half-light radii [arcsec]; NaN where unknown.
    mag : ndarray of float64, shape (n,)
        Magnitudes [mag] of any zero point; NaN where unknown.
    flags : ndarray of int64, shape (n,)
        Bits of `DetectionFlag`; saturated, truncated and blended sources do not make the locus.
    psf_fwhm_arcsec : float or None
        Width of the point-spread function [arcsec], which stands in where there are fewer than
        `MIN_STARS` stars.

    Returns
    -------
    Compactness
        Unknown where the radius is, and everywhere where there is neither locus nor width.

    Notes
    -----
    Stars have one radius at all magnitudes, galaxies are larger and of many sizes. The locus is the
    smallest radius at which the brightest third of the clean sources piles up (to at least half of
    the highest pile, in steps of 0.02 dex), and its median radius is a star's. Compact is what has
    from 0.7 to 1.2 times this radius.
    """
    is_clean = (flags & int(_SPOILED)) == 0
    is_clean &= np.isfinite(r_half_arcsec) & np.isfinite(mag)
    is_clean[is_clean] = r_half_arcsec[is_clean] > 0.0
    star_arcsec, n_stars = _locus(r_half_arcsec[is_clean], mag[is_clean])
    if n_stars < MIN_STARS:
        star_arcsec = R_HALF_PER_FWHM * psf_fwhm_arcsec if psf_fwhm_arcsec else float("nan")
        n_stars = 0
    codes = np.full(r_half_arcsec.shape, UNKNOWN, dtype=np.int64)
    if np.isfinite(star_arcsec):
        is_known = np.isfinite(r_half_arcsec)
        ratio = r_half_arcsec[is_known] / star_arcsec
        is_compact = (ratio >= SHARPEST_FACTOR) & (ratio <= LIMIT_FACTOR)
        codes[is_known] = np.where(is_compact, COMPACT, EXTENDED)
    return Compactness(codes, star_arcsec, LIMIT_FACTOR * star_arcsec, n_stars)


def _locus(r_half: FloatArray, mag: FloatArray) -> tuple[float, int]:
    """Return the radius of stars and how many made it, from clean sources."""
    n_bright = max(int(_BRIGHT_FRACTION * mag.size), min(3 * MIN_STARS, mag.size))
    if n_bright == 0:
        return float("nan"), 0
    dex = np.log10(r_half[np.argsort(mag, kind="stable")[:n_bright]])
    bins = np.floor((dex - dex.min()) / _BIN_DEX).astype(np.int64)
    # Three bins together, so that a locus on a bin's edge counts whole.
    piles = np.convolve(np.bincount(bins), np.ones(3), mode="same")
    first = int(np.argmax(piles >= _PEAK_FRACTION * piles.max()))
    # Up to the top of this pile.
    while first + 1 < piles.size and piles[first + 1] > piles[first]:
        first += 1
    is_star = np.abs(bins - first) <= 1
    return float(10.0 ** np.median(dex[is_star])), int(np.count_nonzero(is_star))


def expected_fwhm_arcsec(band: str) -> float | None:
    """Return the diffraction-limited width of a band's point-spread function [arcsec].

    Parameters
    ----------
    band : str
        Such as ``F150W``; its digits are the wavelength in units of 10 nm.

    Returns
    -------
    float or None
        1.025 wavelengths over 6.5 m, which is within a tenth of the measured width from F150W on
        (JWST User Documentation, NIRCam point-spread functions); None for other names.
    """
    digits = band[1:4]
    if not digits.isdigit():
        return None
    wavelength_m = int(digits) * 1e-8
    return float(np.degrees(_AIRY_FWHM * wavelength_m / _MIRROR_M)) * ARCSEC_PER_DEG
