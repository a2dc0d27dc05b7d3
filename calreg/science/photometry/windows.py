"""Windowed centroids; `sep` is the engine. Pixels of neighbours are as they are in windows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from calreg.science.photometry.background import require_sep

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from calreg.domain import BoolArray, IntArray
    from calreg.science.photometry.apertures import SubtractedImage
    from calreg.science.photometry.neighbours import Ellipses
    from calreg.units import FloatArray

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
    """Tell which shifts lead out of the ellipse of rms extents (bit 8 of FLAGS_WIN)."""
    cos, sin = np.cos(ellipses.theta_rad), np.sin(ellipses.theta_rad)
    along, across = (dx * cos + dy * sin) / ellipses.a, (dy * cos - dx * sin) / ellipses.b
    is_far = (np.abs(dx) > _FREE_SHIFT_PX) & (np.abs(dy) > _FREE_SHIFT_PX)
    return np.asarray(is_far & (along**2 + across**2 > 1.0))


def _is_like_source(
    pixels: NDArray[np.float32], x: FloatArray, y: FloatArray, sigma: FloatArray
) -> BoolArray:
    """Tell windows with positive flux and moments (bits 1, 2 and 4 of FLAGS_WIN are not set)."""
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
    """Tell weighted patches, shape (n, ny, nx), with positive flux and second moments."""
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
