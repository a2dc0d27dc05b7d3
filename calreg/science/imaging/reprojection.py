"""Resample an image onto another pixel grid, with the package `reproject`."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from calreg.errors import MissingExtraError
from calreg.science.photometry.image import ImagePlanes

if TYPE_CHECKING:
    from collections.abc import Callable

    from astropy.wcs import WCS
    from numpy.typing import NDArray

    from calreg.units import FloatArray

    Resample = Callable[..., FloatArray]

_BAND_ROWS = 512
"""Rows that are brought over at a time, so that memory does not grow with the image."""

_MARGIN_PIXELS = 24
"""Pixels around a band's input; a cubic spline forgets its edge by a factor of 4 per pixel."""

_COARSE = 1.5
"""From this ratio of pixel sizes on, output pixels average input pixels."""

_BAD_SHARE = 0.01
"""A new pixel is bad where at least this share of its value would come from bad ones."""

_BORDER_SAMPLES = 33


def reproject_planes(
    planes: ImagePlanes, wcs: WCS, target: WCS, target_shape: tuple[int, int]
) -> ImagePlanes:
    """Resample an image onto other pixels, keeping its surface brightness.

    Parameters
    ----------
    planes : ImagePlanes
        Not changed.
    wcs : astropy.wcs.WCS
        Its celestial WCS, distortion included.
    target : astropy.wcs.WCS
        That of the new pixels.
    target_shape : tuple of int
        Rows and columns.

    Returns
    -------
    ImagePlanes
        Pixels of which 1 % or more would come from bad ones, or from outside, are bad.

    Raises
    ------
    MissingExtraError
        Without `reproject`.

    Notes
    -----
    `sci` is interpolated with a cubic spline (bad pixels filled with the median first), or, where a
    new pixel is more than 1.5 times as large as an old one, averaged by the adaptive algorithm
    (DeForest 2004) with its Hann kernel. A flux is the sum over new pixels times *their* area.
    `err` is interpolated linearly, as it is, times the ratio of pixel sizes, because a sum over n
    new pixels stands for n times that many old ones; the noise of neighbours is correlated
    afterwards.
    """
    interpolate, average = _require_reproject()
    ratio = _pixel_size_deg(target) / _pixel_size_deg(wcs)
    resample = average if ratio > _COARSE else interpolate
    has_err, has_saturated = planes.err is not None, planes.is_saturated is not None
    moved = ImagePlanes(
        sci=np.full(target_shape, np.nan, dtype=np.float32),
        is_bad=np.ones(target_shape, dtype=np.bool_),
        err=np.full(target_shape, np.nan, dtype=np.float32) if has_err else None,
        is_saturated=np.zeros(target_shape, dtype=np.bool_) if has_saturated else None,
        gain=planes.gain,
    )
    for row in range(0, target_shape[0], _BAND_ROWS):
        rows = slice(row, min(row + _BAND_ROWS, target_shape[0]))
        band = target[rows, :]
        shape = rows.stop - rows.start, target_shape[1]
        window = _window(wcs, planes.shape, band, shape)
        if window is None:
            continue
        piece, piece_wcs = _cut(planes, window), wcs[window]
        _fill_band(
            moved,
            rows,
            piece,
            partial(_pulled, resample, piece_wcs, band, shape),
            1.0 / ratio,
        )
    return moved


def _pulled(
    resample: Resample,
    wcs: WCS,
    target: WCS,
    shape: tuple[int, int],
    plane: NDArray[np.float32],
    order: str,
) -> FloatArray:
    """Resample a plane onto a band of the new image."""
    return resample(plane, wcs, target, shape, order)


def _fill_band(
    moved: ImagePlanes,
    rows: slice,
    piece: ImagePlanes,
    pull: Callable[[NDArray[np.float32], str], FloatArray],
    err_factor: float,
) -> None:
    """Fill rows of the new planes from a piece of the old ones."""
    share = pull(piece.is_bad.astype(np.float32), "bilinear")
    is_bad = ~(share < _BAD_SHARE)
    good = piece.sci[~piece.is_bad]
    middle = np.float32(np.median(good)) if good.size else np.float32(0.0)
    sci = pull(np.where(piece.is_bad, middle, piece.sci), "bicubic")
    is_bad |= ~np.isfinite(sci)
    sci[is_bad] = np.nan
    moved.sci[rows], moved.is_bad[rows] = sci, is_bad
    if moved.err is not None and piece.err is not None:
        finite = np.where(np.isfinite(piece.err), piece.err, np.float32(0.0))
        err = pull(finite, "bilinear") * err_factor
        err[is_bad] = np.nan
        moved.err[rows] = err
    if moved.is_saturated is not None and piece.is_saturated is not None:
        saturated = pull(piece.is_saturated.astype(np.float32), "bilinear")
        moved.is_saturated[rows] = saturated >= _BAD_SHARE


def _require_reproject() -> tuple[Resample, Resample]:
    """Return the two ways to resample: interpolate and average."""
    try:
        from reproject import reproject_adaptive, reproject_interp
    except ImportError as error:
        msg = (
            "--reproject needs reproject, which is not installed; run: "
            "pip install 'calreg[reproject]'"
        )
        raise MissingExtraError(msg) from error

    def interpolate(
        plane: NDArray[np.float32], wcs: WCS, band: WCS, shape: tuple[int, int], order: str
    ) -> FloatArray:
        """Interpolate; NaN outside."""
        result: FloatArray = reproject_interp(
            (plane, wcs), band, shape_out=shape, order=order, return_footprint=False
        )
        return result

    def average(
        plane: NDArray[np.float32], wcs: WCS, band: WCS, shape: tuple[int, int], order: str
    ) -> FloatArray:
        """Average; NaN where the kernel reaches outside."""
        del order
        result: FloatArray = reproject_adaptive(
            (plane, wcs), band, shape_out=shape, kernel="hann", return_footprint=False
        )
        return result

    return interpolate, average


def _pixel_size_deg(wcs: WCS) -> float:
    """Return the side of a pixel at the reference point [deg]."""
    return float(np.sqrt(np.abs(np.linalg.det(wcs.celestial.pixel_scale_matrix))))


def _window(
    wcs: WCS, shape: tuple[int, int], band: WCS, band_shape: tuple[int, int]
) -> tuple[slice, slice] | None:
    """Return rows and columns of the old image that a band needs, None if there are none."""
    columns = np.linspace(-0.5, band_shape[1] - 0.5, _BORDER_SAMPLES)
    rows = np.linspace(-0.5, band_shape[0] - 0.5, _BORDER_SAMPLES)
    x, y = (grid.ravel() for grid in np.meshgrid(columns, rows))
    # The iteration diverges far outside of an image with distortion; such points do not matter.
    x_old, y_old = wcs.all_world2pix(*band.all_pix2world(x, y, 0), 0, quiet=True)
    is_finite = np.isfinite(x_old) & np.isfinite(y_old)
    if not is_finite.any():
        return None
    found = []
    for values, length in ((y_old[is_finite], shape[0]), (x_old[is_finite], shape[1])):
        start = max(int(np.floor(values.min())) - _MARGIN_PIXELS, 0)
        stop = min(int(np.ceil(values.max())) + _MARGIN_PIXELS + 1, length)
        if stop - start < 2:
            return None
        found.append(slice(start, stop))
    return found[0], found[1]


def _cut(planes: ImagePlanes, window: tuple[slice, slice]) -> ImagePlanes:
    """Return views of a window of planes."""
    return replace(
        planes,
        sci=planes.sci[window],
        is_bad=planes.is_bad[window],
        err=None if planes.err is None else planes.err[window],
        is_saturated=None if planes.is_saturated is None else planes.is_saturated[window],
    )
