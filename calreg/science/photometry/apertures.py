"""Kron ellipses, fixed apertures, half-light radii and windowed centroids; `sep` is the engine.

Pixels that belong to a neighbour are replaced by the pixel on the opposite side of the source, as
SExtractor does with MASK_TYPE CORRECT, in Kron ellipses and circles; they are left out of
half-light radii, and are as they are in windows. The segmentation (ny, nx) holds the number of the
source that owns a pixel, 0 for the sky.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from calreg.science.photometry.image import require_sep
from calreg.science.photometry.neighbours import KRON_SEARCH, SUBPIXELS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from calreg.domain import BoolArray, IntArray
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
    kron_radius : ndarray of float64, shape (n,)
        Radius of the apertures in units of a and b.
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
    """Sum an image in a circle around each isophotal centroid."""
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


# --- windowed centroids -------------------------------------------------------------------------

_MIN_R_HALF_PX = 0.5
"""Smallest half-light radius that a window is made from (SExtractor GROWTH_MINHLRAD)."""

_SIGMA_PER_R_HALF = 2.0 / 2.35
"""Width of the window per half-light radius (SExtractor, XWIN_IMAGE)."""

_WINDOW_SIGMA = 4.0
"""Radius of the window in its own sigma (SExtractor WINPOS_NSIG)."""

_EXACT_OVERLAP = 0
"""Pixels on the rim of a window are cut exactly: that is three times as fast as SExtractor's 11 by
11 parts, and moves centroids by some 1e-5 pixels."""

_MAX_SHIFT = 2.0
"""A window that wanders further from the isophotal centroid, in its own sigma, went elsewhere."""

_FREE_SHIFT_PX = 1.0
"""Within this shift along either axis, SExtractor does not ask for the isophotal ellipse."""

_BLOCK_PIXELS = 1 << 18
"""Pixels of the windows that are summed at a time."""


def windowed_centroids(
    image: SubtractedImage, ellipses: Ellipses, r_half_px: FloatArray
) -> tuple[FloatArray, FloatArray, BoolArray]:
    """Measure centroids in a Gaussian window (XWIN_IMAGE, YWIN_IMAGE).

    Parameters
    ----------
    ellipses : Ellipses
        Where the iteration starts.
    r_half_px : ndarray of float64, shape (n,)
        Half-light radii [pixels], which set the width of the window; NaN takes the smallest.

    Returns
    -------
    x, y : ndarray of float64, shape (n,)
        Centroid [0-based pixels]; the isophotal one where the iteration failed.
    is_windowed : ndarray of bool, shape (n,)
        False where it failed.

    Notes
    -----
    It failed where SExtractor 2.25 says so with FLAGS_WIN and falls back to the isophotal centroid:
    the flux in the window is not positive, its second moments are not those of a source (negative,
    or singular), or it left the isophote's ellipse by more than a pixel on both axes; and where it
    wandered off by more than two of its own widths. Most of these have a S/N below 10.
    """
    r_half = np.maximum(np.where(np.isfinite(r_half_px), r_half_px, 0.0), _MIN_R_HALF_PX)
    sigma = r_half * _SIGMA_PER_R_HALF
    x, y, _ = require_sep().winpos(
        image.pixels, ellipses.x, ellipses.y, sigma, subpix=_EXACT_OVERLAP
    )
    # A comparison with NaN is false.
    is_windowed = np.hypot(x - ellipses.x, y - ellipses.y) <= _MAX_SHIFT * sigma
    is_windowed &= ~_left_ellipse(ellipses, x - ellipses.x, y - ellipses.y)
    rows = np.flatnonzero(is_windowed)
    is_windowed[rows] = _is_like_source(image.pixels, x[rows], y[rows], sigma[rows])
    return (
        np.where(is_windowed, x, ellipses.x),
        np.where(is_windowed, y, ellipses.y),
        is_windowed,
    )


def _left_ellipse(ellipses: Ellipses, dx: FloatArray, dy: FloatArray) -> BoolArray:
    """Mark shifts that lead out of the ellipse of rms extents (bit 8 of FLAGS_WIN)."""
    cos, sin = np.cos(ellipses.theta_rad), np.sin(ellipses.theta_rad)
    along, across = (dx * cos + dy * sin) / ellipses.a, (dy * cos - dx * sin) / ellipses.b
    is_far = (np.abs(dx) > _FREE_SHIFT_PX) & (np.abs(dy) > _FREE_SHIFT_PX)
    return np.asarray(is_far & (along**2 + across**2 > 1.0))


def _is_like_source(
    pixels: NDArray[np.float32], x: FloatArray, y: FloatArray, sigma: FloatArray
) -> BoolArray:
    """Mark windows with positive flux and moments (bits 1, 2 and 4 of FLAGS_WIN are not set)."""
    is_like = np.zeros(x.size, dtype=np.bool_)
    half = np.ceil(_WINDOW_SIGMA * sigma).astype(np.int64) + 1
    for rows, reach in _blocks(half):
        steps = np.arange(-reach, reach + 1)
        i = np.rint(x[rows]).astype(np.int64)[:, None] + steps
        j = np.rint(y[rows]).astype(np.int64)[:, None] + steps
        dx, dy = i - x[rows][:, None], j - y[rows][:, None]
        inside_x, inside_y = (i >= 0) & (i < pixels.shape[1]), (j >= 0) & (j < pixels.shape[0])
        patch = pixels[
            np.clip(j, 0, pixels.shape[0] - 1)[:, :, None],
            np.clip(i, 0, pixels.shape[1] - 1)[:, None, :],
        ].astype(np.float64)
        scale = -0.5 / sigma[rows][:, None] ** 2
        patch *= (np.exp(scale * dy**2) * inside_y)[:, :, None]
        patch *= (np.exp(scale * dx**2) * inside_x)[:, None, :]
        limit = (_WINDOW_SIGMA * sigma[rows]) ** 2
        patch[dx[:, None, :] ** 2 + dy[:, :, None] ** 2 > limit[:, None, None]] = 0.0
        is_like[rows] = _has_positive_moments(patch, dx, dy)
    return is_like


def _has_positive_moments(patch: FloatArray, dx: FloatArray, dy: FloatArray) -> BoolArray:
    """Mark weighted patches, shape (n, ny, nx), with positive flux and second moments."""
    columns, rows = patch.sum(axis=1), patch.sum(axis=2)
    flux = columns.sum(axis=1)
    has_flux = flux > 0.0
    norm = np.where(has_flux, flux, 1.0)
    x1, y1 = (columns * dx).sum(axis=1) / norm, (rows * dy).sum(axis=1) / norm
    xx = (columns * dx**2).sum(axis=1) / norm - x1**2
    yy = (rows * dy**2).sum(axis=1) / norm - y1**2
    xy = np.einsum("kyx,ky,kx->k", patch, dy, dx) / norm - x1 * y1
    return np.asarray(has_flux & (xx >= 0.0) & (yy >= 0.0) & (xx * yy >= xy**2))


def _blocks(half: IntArray) -> Iterator[tuple[IntArray, int]]:
    """Yield rows of windows of similar size and their largest reach, a few pixels at a time."""
    order = np.argsort(half, kind="stable")
    start = 0
    while start < order.size:
        n_rows = max(1, _BLOCK_PIXELS // int(2 * half[order[start]] + 1) ** 2)
        rows = order[start : start + n_rows]
        # No window is padded to more than twice its area.
        rows = rows[half[rows] <= 1.4 * half[rows[0]]]
        yield rows, int(half[rows[-1]])
        start += rows.size
