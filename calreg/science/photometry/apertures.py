"""Kron ellipses, fixed apertures and half-light radii; `sep` is the engine.

Pixels that belong to a neighbour are replaced by the pixel on the opposite side of the source, as
SExtractor does with MASK_TYPE CORRECT, in Kron ellipses and circles; they are left out of
half-light radii.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from calreg.science.photometry.background import require_sep
from calreg.science.photometry.neighbours import KRON_SEARCH, SUBPIXELS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from calreg.domain import BoolArray
    from calreg.science.photometry.neighbours import Ellipses, MirroredPixels
    from calreg.units import FloatArray

_GROWTH_SEARCH = 6.0
"""Extent of the growth curve in a (SExtractor GROWTH_NSIG)."""


@dataclass(frozen=True)
class ApertureSums:
    """Sums in apertures; shape (n,) each.

    Attributes
    ----------
    flux, flux_err : ndarray of float64
        Sum and one sigma [unit of the image].
    is_incomplete : ndarray of bool
        Whether the aperture leaves the image or holds bad pixels.
    bad_fraction : ndarray of float64
        Bad pixels per pixel of the aperture.
    """

    flux: FloatArray = field(repr=False)
    flux_err: FloatArray = field(repr=False)
    is_incomplete: BoolArray = field(repr=False)
    bad_fraction: FloatArray = field(repr=False)


@dataclass(frozen=True)
class SubtractedImage:
    """An image without its background, as sums are taken of it.

    Attributes
    ----------
    pixels : ndarray of float32, shape (ny, nx)
        Zero where bad.
    is_bad : ndarray of bool, shape (ny, nx)
        Pixels without data.
    has_bad : bool
        Whether there are any.
    err : ndarray of float32, shape (ny, nx), or None
        One sigma of each pixel, Poisson noise included, zero where bad; None: not known.
    rms : float
        Noise of the background, which counts where `err` is None.
    gain : float or None
        Electrons per unit of the image, for Poisson noise where `err` is None.
    """

    pixels: NDArray[np.float32] = field(repr=False)
    is_bad: BoolArray = field(repr=False)
    has_bad: bool
    err: NDArray[np.float32] | None = field(repr=False)
    rms: float
    gain: float | None

    def flux_error(self, flux: FloatArray, variance: FloatArray) -> FloatArray:
        """Return one sigma of sums whose pixels have a summed variance, with Poisson noise."""
        if self.err is None and self.gain is not None and self.gain > 0.0:
            variance = variance + np.maximum(flux, 0.0) / self.gain
        return np.sqrt(variance)


def kron_radii(
    pixels: NDArray[np.float32], segmentation: NDArray[np.int32], ellipses: Ellipses
) -> tuple[FloatArray, BoolArray]:
    """Measure first moments of the radius (Kron 1980, ApJS 43, 305), in units of a and b.

    Parameters
    ----------
    pixels : ndarray of float32, shape (ny, nx)
        Detection image without background, zero where bad.
    segmentation : ndarray of int32, shape (ny, nx)
        Number of the source that owns a pixel; neighbours' pixels are left out.

    Returns
    -------
    radius : ndarray of float64, shape (n,)
        Zero where the flux is not positive.
    is_cut : ndarray of bool, shape (n,)
        Whether the ellipse that it is measured in leaves the image.
    """
    sep = require_sep()
    radius, engine_flags = sep.kron_radius(
        pixels,
        ellipses.x,
        ellipses.y,
        ellipses.a,
        ellipses.b,
        ellipses.theta_rad,
        KRON_SEARCH,
        seg_id=_numbers(ellipses),
        segmap=segmentation,
    )
    return np.asarray(radius, dtype=np.float64), (engine_flags & sep.APER_TRUNC) != 0


def sum_kron_ellipses(
    image: SubtractedImage,
    segmentation: NDArray[np.int32],
    ellipses: Ellipses,
    kron_radius: FloatArray,
    mirrored: MirroredPixels,
) -> ApertureSums:
    """Sum an image in the AUTO apertures, by whole pixels as SExtractor does.

    Parameters
    ----------
    segmentation : ndarray of int32, shape (ny, nx)
        Number of the source that owns a pixel, 0 for the sky.
    kron_radius : ndarray of float64, shape (n,)
        Radius of the apertures in units of a and b.
    mirrored : MirroredPixels
        What `mirror_in_ellipses` found for them.
    """
    sep = require_sep()
    shape = (ellipses.x, ellipses.y, ellipses.a, ellipses.b, ellipses.theta_rad, kron_radius)
    flux, flux_err, engine_flags = sep.sum_ellipse(
        image.pixels,
        *shape,
        err=image.rms if image.err is None else image.err,
        seg_id=_numbers(ellipses),
        segmap=segmentation,
        subpix=1,
    )
    flux, variance = _with_mirrored(image, flux, flux_err, mirrored)
    n_bad = np.zeros(ellipses.n_sources)
    if image.has_bad:
        n_bad = sep.sum_ellipse(image.is_bad.view(np.uint8), *shape, subpix=1)[0]
    area = np.maximum(np.pi * ellipses.a * ellipses.b * kron_radius**2, 1.0)
    is_incomplete = ((engine_flags & sep.APER_TRUNC) != 0) | (n_bad > 0.0)
    return ApertureSums(flux, image.flux_error(flux, variance), is_incomplete, n_bad / area)


def sum_circles(
    image: SubtractedImage,
    segmentation: NDArray[np.int32],
    ellipses: Ellipses,
    radius_px: float,
    mirrored: MirroredPixels,
) -> ApertureSums:
    """Sum an image in a circle around each isophotal centroid.

    Parameters
    ----------
    segmentation : ndarray of int32, shape (ny, nx)
        Number of the source that owns a pixel, 0 for the sky.
    radius_px : float
        Radius [pixels].
    mirrored : MirroredPixels
        What `mirror_in_circles` found for them.
    """
    sep = require_sep()
    shape = (ellipses.x, ellipses.y, radius_px)
    flux, flux_err, engine_flags = sep.sum_circle(
        image.pixels,
        *shape,
        err=image.rms if image.err is None else image.err,
        seg_id=_numbers(ellipses),
        segmap=segmentation,
        subpix=SUBPIXELS,
    )
    flux, variance = _with_mirrored(image, flux, flux_err, mirrored)
    n_bad = np.zeros(ellipses.n_sources)
    if image.has_bad:
        n_bad = sep.sum_circle(image.is_bad.view(np.uint8), *shape, subpix=SUBPIXELS)[0]
    is_incomplete = ((engine_flags & sep.APER_TRUNC) != 0) | (n_bad > 0.0)
    bad_fraction = n_bad / (np.pi * radius_px**2)
    return ApertureSums(flux, image.flux_error(flux, variance), is_incomplete, bad_fraction)


def half_light_radii(
    image: SubtractedImage,
    segmentation: NDArray[np.int32],
    ellipses: Ellipses,
    flux_auto: FloatArray,
) -> FloatArray:
    """Measure the radii of circles that hold half the AUTO flux (FLUX_RADIUS).

    Parameters
    ----------
    segmentation : ndarray of int32, shape (ny, nx)
        Number of the source that owns a pixel; neighbours' pixels are left out.
    flux_auto : ndarray of float64, shape (n,)
        Whole flux of each source [unit of the image].

    Returns
    -------
    ndarray of float64, shape (n,)
        Radius [pixels], at most six times `a`; NaN where the flux is not positive.
    """
    has_flux = flux_auto > 0.0
    radius, _ = require_sep().flux_radius(
        image.pixels,
        ellipses.x,
        ellipses.y,
        _GROWTH_SEARCH * ellipses.a,
        0.5,
        normflux=np.where(has_flux, flux_auto, 1.0),
        seg_id=_numbers(ellipses),
        segmap=segmentation,
        subpix=SUBPIXELS,
    )
    return np.where(has_flux, radius, np.nan)


def _numbers(ellipses: Ellipses) -> NDArray[np.int32]:
    """Return the numbers of all sources."""
    return np.arange(1, ellipses.n_sources + 1, dtype=np.int32)


def _with_mirrored(
    image: SubtractedImage, flux: FloatArray, flux_err: FloatArray, mirrored: MirroredPixels
) -> tuple[FloatArray, FloatArray]:
    """Return fluxes and variances with what stands for neighbours' pixels."""
    if image.err is None:
        added = mirrored.areas() * image.rms**2
    else:
        added = mirrored.sums(image.err, power=2)
    return flux + mirrored.sums(image.pixels), flux_err**2 + added
