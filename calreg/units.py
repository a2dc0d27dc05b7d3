"""Units, magnitudes and the one sign convention.

The sign: ``dmag = m_measured - m_reference``. A positive offset means that the array reads too
faint; its flux and its PHOTMJSR are multiplied by ``10**(+0.4 * dmag)`` (Ma et al. 2024, Eq. 11
and the published table). For modules ``dmag = m_A - m_B``; for pairs, later minus earlier epoch. A
delta flat is divided into the data and has the opposite sense.

Internal units: flux density microjansky, magnitudes AB, sky ICRS degrees, focal plane arcsec,
tangent-plane coordinate along a field arcmin, times MJD UTC.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING, overload

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    # Names for annotations: a question from the shell does not wait for NumPy.
    FloatArray = NDArray[np.float64]

AB_ZERO_POINT_UJY_MAG = 23.9
"""AB magnitude of 1 microjansky, 8.90 + 15 (Oke & Gunn 1983, rounded as SExtractor users do)."""

MEGAJANSKY_IN_UJY = 1.0e12
ARCSEC_PER_DEG = 3600.0
ARCMIN_PER_DEG = 60.0
MAS_PER_DEG = 3.6e6
SECONDS_PER_DAY = 86400.0

MJD_ZERO_UTC = datetime(1858, 11, 17, tzinfo=UTC)
"""When the Modified Julian Date was zero."""

MAG_PER_RELATIVE_FLUX = 2.5 / math.log(10.0)
"""Magnitude error per relative flux error, 1.0857."""


@overload
def flux_factor(dmag: float) -> float: ...
@overload
def flux_factor(dmag: FloatArray) -> FloatArray: ...
def flux_factor(dmag: float | FloatArray) -> float | FloatArray:
    """Return the factor that corrects flux and PHOTMJSR for an offset.

    Parameters
    ----------
    dmag : float or ndarray of float64
        Offset m_measured - m_reference [mag]; positive reads too faint.

    Returns
    -------
    float or ndarray of float64
        ``10**(+0.4 * dmag)``, above one for a positive offset.
    """
    return 10.0 ** (0.4 * dmag)


@overload
def flux_divisor(dmag: float) -> float: ...
@overload
def flux_divisor(dmag: FloatArray) -> FloatArray: ...
def flux_divisor(dmag: float | FloatArray) -> float | FloatArray:
    """Return the number that an image is divided by to correct it (delta flats, grizli).

    Returns
    -------
    float or ndarray of float64
        ``10**(-0.4 * dmag)``, the reciprocal of `flux_factor`.
    """
    return 10.0 ** (-0.4 * dmag)


def factor_offset_mag(factor: float) -> float:
    """Return the offset of an array whose flux has to be multiplied by a factor.

    Parameters
    ----------
    factor : float
        Positive.

    Returns
    -------
    float
        ``2.5 log10(factor)`` [mag], the inverse of `flux_factor`; positive above one.
    """
    return 2.5 * math.log10(factor)


def ab_mag(flux_ujy: FloatArray) -> FloatArray:
    """Return AB magnitudes.

    Parameters
    ----------
    flux_ujy : ndarray of float64
        Flux density [uJy].

    Returns
    -------
    ndarray of float64
        ``23.9 - 2.5 log10(flux_ujy)``; NaN where the flux is not positive or not finite.
    """
    import numpy as np

    flux = np.asarray(flux_ujy, dtype=np.float64)
    mag = np.full(flux.shape, np.nan)
    is_positive = np.isfinite(flux) & (flux > 0.0)
    np.log10(flux, out=mag, where=is_positive)
    return np.where(is_positive, AB_ZERO_POINT_UJY_MAG - 2.5 * mag, np.nan)


def ab_flux_ujy(mag: FloatArray) -> FloatArray:
    """Return the flux density [uJy] of AB magnitudes, the inverse of `ab_mag`."""
    import numpy as np

    return 10.0 ** (0.4 * (AB_ZERO_POINT_UJY_MAG - np.asarray(mag, dtype=np.float64)))


def surface_brightness_to_ujy(pixar_sr: float) -> float:
    """Return the flux density [uJy] of one pixel with 1 MJy/sr.

    Parameters
    ----------
    pixar_sr : float
        Pixel area [sr], the card PIXAR_SR.

    Returns
    -------
    float
        ``1e12 * pixar_sr``: AB = -2.5 log10(sum * PIXAR_SR * 1e6) + 8.90.
    """
    return MEGAJANSKY_IN_UJY * pixar_sr
