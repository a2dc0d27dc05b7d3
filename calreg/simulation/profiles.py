"""Draw stars and galaxies into pixels: sums of Gaussians, integrated over every pixel.

Profiles are mixtures of Gaussians on the sky. A galaxy seen through the telescope is a mixture
again, its variances those of the galaxy plus those of the point-spread function.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import nnls

from calreg.errors import UnknownKeyError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from calreg.domain import BoolArray, IntArray
    from calreg.units import FloatArray

_SIGMA_PER_FWHM = 1.0 / np.sqrt(8.0 * np.log(2.0))

PSF_FWHM_ARCSEC = {"F150W": 0.050, "F200W": 0.066, "F356W": 0.116, "F444W": 0.145}
"""Full width at half maximum in the bands of JWIDF (JWST User Documentation, NIRCam Point Spread
Functions, table 1)."""

_PSF_WEIGHTS = (0.74, 0.17, 0.07, 0.02)
_PSF_WIDTHS = (1.0, 2.6, 6.5, 16.0)
"""Core and wings: shares of the flux, and widths in units of the core's (SIMULATED; 0.75 of the
flux within 2 and 0.98 within 14 sigma of the core, about as for the telescope)."""

_GALAXY_WIDTHS = (0.31, 0.75, 1.41)
"""Widths of the Gaussians that stand for an exponential disc, by its half-light radius."""

_HALF_LIGHT_PER_SCALE = 1.67835
"""Half-light radius of an exponential disc by its scale length."""

_REACH_SIGMA = 4.6
"""Gaussians are drawn to here: 1e-5 of their flux is beyond."""

_COARSE_SIGMA_PX = 2.0
_SUB_PIXELS = 3
"""Gaussians narrower than 2 pixels are evaluated at 3 by 3 places of each pixel, others at one."""

_STAMP_HALVES_PX = (5, 7, 10, 14, 20, 28, 40, 56, 80, 112, 160)
_PAD_PX = 2 * _STAMP_HALVES_PX[-1] + 1
"""Border of the canvas that holds the stamps of sources beyond the edges."""

_BATCH = 3_000_000


@dataclass(frozen=True)
class Mixture:
    """A round profile as a sum of Gaussians.

    Attributes
    ----------
    weights : ndarray of float64, shape (n,)
        Shares of the flux, in sum 1.
    variances : ndarray of float64, shape (n,)
        Along each axis [arcsec^2], or by the square of a radius.
    """

    weights: FloatArray = field(repr=False)
    variances: FloatArray = field(repr=False)


@dataclass(frozen=True)
class Gaussians:
    """Gaussians on a detector; all arrays have shape (n,).

    Attributes
    ----------
    x, y : ndarray of float64
        Centres, 0-based pixels.
    flux : ndarray of float64
        Sums over all pixels, in any unit.
    var_x, var_y, cov_xy : ndarray of float64
        Covariance [pixels^2].
    """

    x: FloatArray = field(repr=False)
    y: FloatArray = field(repr=False)
    flux: FloatArray = field(repr=False)
    var_x: FloatArray = field(repr=False)
    var_y: FloatArray = field(repr=False)
    cov_xy: FloatArray = field(repr=False)


def psf(band: str) -> Mixture:
    """Return the point-spread function of a band.

    Returns
    -------
    Mixture
        Variances [arcsec^2].

    Raises
    ------
    UnknownKeyError
        If the width in that band is not known.
    """
    if band not in PSF_FWHM_ARCSEC:
        msg = f"no simulated PSF in {band}: expected one of {', '.join(PSF_FWHM_ARCSEC)}"
        raise UnknownKeyError(msg)
    sigma = _SIGMA_PER_FWHM * PSF_FWHM_ARCSEC[band] * np.array(_PSF_WIDTHS)
    return Mixture(np.array(_PSF_WEIGHTS), sigma**2)


@cache
def exponential_disc() -> Mixture:
    """Return an exponential disc of half-light radius 1, seen face on.

    Returns
    -------
    Mixture
        Variances in units of the squared half-light radius.

    Notes
    -----
    Gaussians of fixed widths, their weights by non-negative least squares of the flux in rings
    (Hogg & Lang 2013, PASP 125, 719, have the idea); within 0.4 per cent of the disc's growth.
    """
    edges = np.linspace(0.0, 4.0, 81)
    scaled = _HALF_LIGHT_PER_SCALE * edges
    growth = 1.0 - np.exp(-scaled) * (1.0 + scaled)
    variances = np.array(_GALAXY_WIDTHS) ** 2
    gaussian_growth = 1.0 - np.exp(-0.5 * edges[:, np.newaxis] ** 2 / variances)
    weights, _ = nnls(np.diff(gaussian_growth, axis=0), np.diff(growth))
    return Mixture(weights / weights.sum(), variances)


def draw_gaussians(gaussians: Gaussians, shape: tuple[int, int]) -> NDArray[np.float32]:
    """Draw Gaussians, each integrated over the pixels.

    Returns
    -------
    ndarray of float32, shape (ny, nx)
        Flux per pixel, in the unit of the Gaussians' flux. What falls outside is lost.

    Notes
    -----
    Each pixel is the mean over its parts of the Gaussian at their centres, widened by the variance
    of a part, side^2 / 12: the integral to fourth order in the side. The sum over pixels is the
    flux to 1e-4 wherever the centre is, since a Gaussian wider than 2/3 of a part has no more to
    alias.
    """
    pad = _PAD_PX
    ny, nx = shape
    canvas = np.zeros((ny + 2 * pad, nx + 2 * pad), dtype=np.float32)
    widest = np.maximum(gaussians.var_x, gaussians.var_y)
    determinant = gaussians.var_x * gaussians.var_y - gaussians.cov_xy**2
    is_fine = determinant / widest < _COARSE_SIGMA_PX**2
    rung = np.searchsorted(_STAMP_HALVES_PX, np.ceil(_REACH_SIGMA * np.sqrt(widest)) + 1.0)
    rung = np.minimum(rung, len(_STAMP_HALVES_PX) - 1)
    halves = np.array(_STAMP_HALVES_PX)[rung]
    is_near = (gaussians.x > -halves) & (gaussians.x < nx - 1 + halves)
    is_near &= (gaussians.y > -halves) & (gaussians.y < ny - 1 + halves)
    for step, half in enumerate(_STAMP_HALVES_PX):
        for parts in (1, _SUB_PIXELS):
            chosen = is_near & (rung == step) & (is_fine == (parts > 1))
            _add_stamps(canvas, gaussians, chosen, half, parts)
    return np.ascontiguousarray(canvas[pad : pad + ny, pad : pad + nx])


def _add_stamps(
    canvas: NDArray[np.float32], gaussians: Gaussians, chosen: BoolArray, half: int, parts: int
) -> None:
    """Add the chosen Gaussians to a padded image, on stamps of one size."""
    rows = np.flatnonzero(chosen)
    side = 2 * half + 1
    batch = max(_BATCH // (side * parts) ** 2, 1)
    for start in range(0, rows.size, batch):
        some = rows[start : start + batch]
        x, y = gaussians.x[some], gaussians.y[some]
        x_middle, y_middle = np.rint(x).astype(np.int64), np.rint(y).astype(np.int64)
        stamps = _stamps(gaussians, some, (x - x_middle, y - y_middle), half, parts)
        for stamp, left, low in zip(
            stamps, x_middle + _PAD_PX - half, y_middle + _PAD_PX - half, strict=True
        ):
            canvas[low : low + side, left : left + side] += stamp


def _stamps(
    gaussians: Gaussians,
    rows: IntArray,
    offsets: tuple[FloatArray, FloatArray],
    half: int,
    parts: int,
) -> NDArray[np.float32]:
    """Return stamps (n, side, side) of Gaussians that are off the middle by less than a pixel."""
    widening = 1.0 / (12.0 * parts**2)
    var_x, var_y = gaussians.var_x[rows] + widening, gaussians.var_y[rows] + widening
    cov = gaussians.cov_xy[rows]
    determinant = var_x * var_y - cov**2
    peak = gaussians.flux[rows] / (2.0 * np.pi * np.sqrt(determinant) * parts**2)
    side = 2 * half + 1
    places = (np.arange(side * parts) + 0.5) / parts - half - 0.5
    u = (places - offsets[0][:, np.newaxis]).astype(np.float32)
    v = (places - offsets[1][:, np.newaxis]).astype(np.float32)
    weights = [np.float32(-0.5) * w for w in (var_y, var_x, -2.0 * cov)]
    by_uu, by_vv, by_uv = ((w / determinant).astype(np.float32)[:, np.newaxis] for w in weights)
    exponent = (by_uv * v)[:, :, np.newaxis] * u[:, np.newaxis, :]
    exponent += (by_uu * u * u)[:, np.newaxis, :]
    exponent += (by_vv * v * v)[:, :, np.newaxis]
    np.exp(exponent, out=exponent)
    exponent *= peak.astype(np.float32)[:, np.newaxis, np.newaxis]
    if parts == 1:
        return exponent
    blocks = exponent.reshape(-1, side, parts, side, parts)
    return np.asarray(blocks.sum(axis=(2, 4)))
